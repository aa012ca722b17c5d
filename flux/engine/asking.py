"""Functions without effects: what predicates, branches and maps are asked, and what follows."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flux import events
from flux.definition.step import StepDefinition
from flux.engine import outcome, plan
from flux.engine.attempt import goes_through
from flux.engine.calls import Calls
from flux.errors import StoredError
from flux.events import Event
from flux.state.instance import Instance

_NONE: Any = object()


class Asking:
    """Asks for one driver, and lets happen what follows from the answers.

    `refuse_if_cancelled` raises where an error means that the driver itself was cancelled.
    """

    def __init__(
        self,
        decided: plan.Plan,
        instance: Instance,
        *,
        calls: Calls,
        now: Callable[[], datetime],
        apply: Callable[[Event], None],
        refuse_if_cancelled: Callable[[BaseException], None],
    ) -> None:
        self._plan = decided
        self._instance = instance
        self._calls = calls
        self._now = now
        self._apply = apply
        self._refuse_if_cancelled = refuse_if_cancelled

    async def predicate(self, step: StepDefinition) -> plan.Action | None:
        """What happens to the step now; None if it is skipped, or has failed."""
        assert step.when is not None
        answer = await self._answer(step, step.when, "the predicate of step", bool)
        if answer is _NONE:
            return None
        if answer:
            return self._plan.reached(self._instance, step)
        self._apply(events.StepSkipped(at=self._now(), step=step.name))
        return None

    async def choice(self, step: StepDefinition) -> None:
        """Which case of a branch is to run."""
        assert step.branch is not None

        def chosen(value: Any) -> Event:
            return outcome.after_choice(step, value, at=self._now())

        event = await self._answer(step, step.branch.on, "the selector of branch", chosen)
        if event is not _NONE:
            self._apply(event)

    async def items(self, step: StepDefinition) -> None:
        """What a map runs over."""
        assert step.each is not None

        def expanded(value: Any) -> Event:
            return outcome.after_expansion(step, value, at=self._now())

        event = await self._answer(step, step.each.over, "the list of map", expanded)
        if event is not _NONE:
            self._apply(event)

    def keep(self, action: plan.Action) -> None:
        """Keep a predicate's yes that was saved with an intent which will be taken back."""
        match action:
            case plan.Run(step, None) if step.when is not None:
                self._apply(events.StepReached(at=self._now(), step=step.name))

    async def _answer(
        self,
        step: StepDefinition,
        function: Callable[[Any], Any],
        what: str,
        read: Callable[[Any], Any],
    ) -> Any:
        """What is read of a function's answer; `_NONE`, and the step has failed, if it raised."""
        try:
            return read(await self._calls.ask(step, function, what))
        except BaseException as error:
            if goes_through(error):
                raise
            self._refuse_if_cancelled(error)
            stored = StoredError.of(error)
            self._apply(events.StepFailed(at=self._now(), step=step.name, error=stored))
            return _NONE
