"""The workflows and steps that a test may name."""

import re
from collections.abc import Iterable, Iterator, Sequence

from flux.definition.builder import Workflow
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.errors import UnknownStepError, UnknownWorkflowError, listing


class Cast:
    """Workflows as they were built, and those of their children."""

    def __init__(self, workflows: Iterable[Workflow | WorkflowDefinition]) -> None:
        self._known: dict[str, WorkflowDefinition] = {}
        for workflow in workflows:
            self.add(workflow)

    def add(self, workflow: Workflow | WorkflowDefinition) -> WorkflowDefinition:
        """Know it from here on; of one name, the last. `TypeError` for what is no workflow."""
        if not isinstance(workflow, Workflow | WorkflowDefinition):
            raise TypeError(f"{workflow!r} is no workflow; give a Workflow or a WorkflowDefinition")
        definition = workflow.build() if isinstance(workflow, Workflow) else workflow
        self._known[definition.name] = definition
        for child in definition.children:
            if self._known.get(child.name) is not child:
                self.add(child)
        return definition

    @property
    def workflows(self) -> Sequence[WorkflowDefinition]:
        """All of them."""
        return tuple(self._known.values())

    def workflow(self, name: str) -> WorkflowDefinition:
        """The one of this name, or `UnknownWorkflowError`."""
        if name not in self._known:
            raise UnknownWorkflowError(name, self._known)
        return self._known[name]

    def step(
        self, name: str, workflow: str | None = None, *, undoes: bool = False
    ) -> tuple[WorkflowDefinition, str]:
        """The workflow and the step that are meant by `step` or `workflow.step`.

        `UnknownStepError`; `ValueError` if several workflows have it, or if it `undoes` a step
        that has no compensator.
        """
        definition, name = self._found(checked_name(name), workflow)
        step = named_step(definition, name)
        if undoes and step.compensate is None:
            raise ValueError(f"step {name!r} of workflow {definition.name!r} has no compensator")
        return definition, name

    def _found(self, name: str, workflow: str | None) -> tuple[WorkflowDefinition, str]:
        if workflow is not None:
            definition = self.workflow(workflow)
            definition.place(name)
            return definition, name
        having = [one for one in self._known.values() if name in _names(one, name)]
        if len(having) > 1:
            ways = listing(f"{one.name}.{name}" for one in having)
            raise ValueError(f"several workflows have a step {name!r}; say which one: {ways}")
        if having:
            return having[0], name
        for one in self._known.values():
            own = name.removeprefix(f"{one.name}.")
            if own != name:
                one.place(own)
                return one, own
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownStepError:
        first, *others = self._known.values() or [None]
        if first is None:
            return UnknownStepError(name, "", ())
        steps = [step.name for step in first.steps]
        steps += [f"{one.name}.{step.name}" for one in others if one for step in one.steps]
        return UnknownStepError(name, first.name, steps)


def checked_name(name: str) -> str:
    """The name given, or `TypeError`."""
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name of a step; give texts, one by one")
    return name


def named_step(definition: WorkflowDefinition, name: str) -> StepDefinition:
    """The step of this name, or the map of which it names an item; or `UnknownStepError`."""
    step = definition.step(checked_name(name))
    is_item = step.each is not None and _ITEM.fullmatch(name.removeprefix(step.name))
    if name == step.name or is_item:
        return step
    raise UnknownStepError(name, definition.name, [one.name for one in definition.steps])


_ITEM = re.compile(r"\[[0-9]+\]")


def _names(definition: WorkflowDefinition, name: str) -> Iterator[str]:
    """The name, if it is that of a step of the workflow, or of an item of a map of it."""
    if name in definition:
        yield name
