"""The workflows that are explored, as the code of each process makes them."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, field, frozen

from flux.definition.builder import Workflow
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.testing.explorer.errors import ExplorationError
from flux.testing.explorer.outcome import with_children
from flux.testing.explorer.points import Course
from flux.testing.explorer.process import Process

Given = Workflow | WorkflowDefinition
Explored = Given | Sequence[Given] | Callable[[], Given | Sequence[Given]]
"""A workflow; or several, of which the first is explored and the others are known by name; or a
function that returns either. It is called for every process, so that what handlers keep in the
memory of one is not there in the next."""

LAST = "explorer-fails"
"""The step that fails at the end, where a rollback is explored."""


class MadeUpError(RuntimeError):
    """What the explorer's own last step raises."""


@frozen
class App:
    """Workflows built anew for each process."""

    make: Callable[[], Sequence[WorkflowDefinition]]

    @classmethod
    def of(cls, explored: Explored) -> "App":
        """`TypeError` for what holds no workflow."""

        def make() -> Sequence[WorkflowDefinition]:
            given: Any = explored
            is_made = callable(given) and not isinstance(given, Given)
            found = given() if is_made else given
            if inspect.isawaitable(found):
                if inspect.iscoroutine(found):
                    found.close()
                raise TypeError(
                    f"{explored!r} is async; give a plain function that makes the workflow"
                )
            listed = found if isinstance(found, list | tuple) else [found]
            if not listed or not all(isinstance(one, Given) for one in listed):
                raise TypeError(
                    f"{found!r} is no workflow; give one, a list of them, or a function that "
                    "returns either"
                )
            return [one.build() if isinstance(one, Workflow) else one for one in listed]

        return cls(make)

    def seen_by(self, process: Process, course: Course) -> Sequence[WorkflowDefinition]:
        """The workflows with their functions as this process calls them, the explored one first."""
        wrapping = _Wrapping(process)
        first, *others = self.make()
        explored = _failing_at_the_end(first) if course is Course.ROLLBACK else first
        return [wrapping.workflow(explored), *map(wrapping.workflow, others)]

    def can_be_undone(self) -> bool:
        """Whether there is anything that a rollback would call."""
        made = self.make()
        return _has_undo(made[0], {one.name: one for one in with_children(made)})


@frozen
class _Wrapping:
    process: Process
    _done: dict[int, WorkflowDefinition] = field(factory=dict, init=False)

    def workflow(self, definition: WorkflowDefinition) -> WorkflowDefinition:
        # A sub-workflow may be a step of several.
        if id(definition) not in self._done:
            steps = tuple(self._step(step) for step in definition.steps)
            children = tuple(map(self.workflow, definition.children))
            self._done[id(definition)] = evolve(definition, steps=steps, children=children)
        return self._done[id(definition)]

    def _step(self, step: StepDefinition) -> StepDefinition:
        calling, asking = self.process.calling, self.process.asking
        changes: dict[str, Any] = {"handler": calling("run", step.handler)}
        if step.verify is not None:
            changes["verify"] = calling("verify", step.verify)
        if step.compensate is not None:
            changes["compensate"] = calling("undo", step.compensate)
        if step.when is not None:
            changes["when"] = asking(step.when)
        if step.branch is not None:
            changes["branch"] = evolve(step.branch, on=asking(step.branch.on))
        if step.each is not None:
            changes["each"] = evolve(step.each, over=asking(step.each.over))
        return evolve(step, **changes)


def _has_undo(
    definition: WorkflowDefinition, known: dict[str, WorkflowDefinition], *above: str
) -> bool:
    for step in definition.steps:
        inner = None if step.child is None else known.get(step.child.workflow)
        here = (*above, definition.name)
        if step.child is None and step.compensate is not None:
            return True
        # A workflow may run itself, by its name.
        if inner is not None and inner.name not in here and _has_undo(inner, known, *here):
            return True
    return False


def _failing_at_the_end(definition: WorkflowDefinition) -> WorkflowDefinition:
    """The workflow with one more step, after all its ends, which fails."""
    if LAST in definition:
        raise ExplorationError(
            f"the explorer adds a step {LAST!r} of its own, and workflow {definition.name!r} has "
            "one; call it something else, or explore with rollback=False"
        )

    async def fail(ctx: Any) -> None:
        raise MadeUpError("the explorer lets the workflow fail at its end")

    last = StepDefinition(name=LAST, handler=fail, after=_ends(definition))
    return evolve(definition, steps=(*definition.steps, last))


def _ends(definition: WorkflowDefinition) -> tuple[str, ...]:
    """The steps after which nothing comes."""
    followed: set[str] = set()
    for step in definition.steps:
        branches = {b.name for b in definition.steps if b.branch and step.name in b.branch.firsts}
        # A branch may choose a case without steps: then it leads to what comes after its cases.
        followed.update(set(step.after) - branches)
    return tuple(s.name for s in definition.steps if s.name not in followed)
