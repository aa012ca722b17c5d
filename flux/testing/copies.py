"""Changed copies of workflows: of the same shape, with functions that do what the test says."""

from collections.abc import Callable
from typing import Any

from attrs import evolve

from flux.config import FluxConfig
from flux.definition.builder import Workflow
from flux.definition.nodes import Branch
from flux.definition.step import Handler, StepDefinition, is_async
from flux.definition.workflow import WorkflowDefinition
from flux.engine.context import WorkflowContext
from flux.testing.activity import Activity
from flux.testing.mocks import Role, Script, settled


class Copies:
    """Makes the copies; each once, until `forget`.

    Only functions differ from the original, so an instance of the one is one of the other.
    """

    def __init__(self, script: Script, activity: Activity, config: FluxConfig) -> None:
        self._script = script
        self._activity = activity
        self._config = config
        self._made: dict[int, tuple[WorkflowDefinition, WorkflowDefinition]] = {}

    def forget(self) -> None:
        """Make them anew from here on: what may differ besides functions has changed."""
        self._made.clear()

    def of(self, workflow: Workflow | WorkflowDefinition) -> WorkflowDefinition:
        """The copy of a workflow, and within it the copies of its children's."""
        original = workflow.build() if isinstance(workflow, Workflow) else workflow
        # The original is kept with it, so that no other one has its id.
        known = self._made.get(id(original))
        if known is None:
            steps = tuple(self._step(original.name, step) for step in original.steps)
            children = tuple(map(self.of, original.children))
            copy = evolve(original, steps=steps, children=children)
            known = self._made[id(original)] = (original, copy)
        return known[1]

    def _step(self, workflow: str, step: StepDefinition) -> StepDefinition:
        changed: dict[str, Any] = {
            "handler": self._played(workflow, step, step.handler, step.timeout),
            "when": self._asked(step.when),
            "verify": self._asked(step.verify),
        }
        if step.compensate is not None:
            limit = step.compensate_timeout
            played = self._played(workflow, step, step.compensate, limit, undoes=True)
            changed["compensate"] = played
        if step.branch is not None:
            changed["branch"] = self._branch(workflow, step, step.branch)
        if step.each is not None:
            changed["each"] = evolve(step.each, over=self._asked(step.each.over))
        if step.child is not None:
            # What stands in for a whole child is an ordinary handler.
            is_mocked = self._script.is_mocked(workflow, step.name)
            changed["child"] = None if is_mocked else step.child
        return evolve(step, **changed)

    def _branch(self, workflow: str, step: StepDefinition, branch: Branch) -> Branch:
        role = Role(workflow=workflow, step=step.name, real=branch.on)
        return evolve(branch, on=self._function(role))

    def _played(
        self,
        workflow: str,
        step: StepDefinition,
        real: Handler,
        limit: float | None,
        *,
        undoes: bool = False,
    ) -> Handler:
        limit = limit or self._config.default_timeout
        role = Role(workflow=workflow, step=step.name, real=real, limit=limit, undoes=undoes)
        return self._function(role)

    def _function(self, role: Role) -> Handler:
        script = self._script

        async def play(ctx: WorkflowContext) -> Any:
            return await settled(script.play(role, ctx))

        def play_plainly(ctx: WorkflowContext) -> Any:
            return script.play(role, ctx)

        return play if is_async(role.real) else play_plainly

    def _asked(self, function: Callable[[Any], Any] | None) -> Any:
        """A function without effects; while it takes its time, no time passes by the clock."""
        activity = self._activity

        async def ask(ctx: Any) -> Any:
            assert function is not None
            with activity.call():
                return await settled(function(ctx))

        def ask_plainly(ctx: Any) -> Any:
            assert function is not None
            with activity.call():
                return function(ctx)

        if function is None:
            return None
        return ask if is_async(function) else ask_plainly
