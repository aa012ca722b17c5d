"""What should happen and what has happened, to what happens next. Pure.

This is where `definition` and `state` meet. The actions are values: `loop` alone acts on them.
"""

from datetime import datetime

from attrs import frozen

from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.compensation import compensator_of, owed
from flux.events import Received
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import (
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
)


@frozen
class Ask:
    """Ask the predicate of the step just reached."""

    step: StepDefinition


@frozen
class Run:
    """Run the handler; `execution` is what its earlier attempts left, if there were any."""

    step: StepDefinition
    execution: Execution | None = None


@frozen
class Verify:
    """Ask the verifier whether the interrupted step has acted."""

    step: StepDefinition
    execution: Execution


@frozen
class Pause:
    """Wait for the next attempt, without an intent."""

    step: StepDefinition
    until: datetime


@frozen
class Replay:
    """Let a committed execution from before a restart stand."""

    step: StepDefinition
    execution: Execution


@frozen
class Reopen:
    """Go on with an unfinished execution from before a restart."""

    step: StepDefinition
    execution: Execution


@frozen
class Take:
    """The signal that the step waits for is there."""

    step: StepDefinition
    execution: Execution
    received: Received


@frozen
class TimeOut:
    """The time that the step waits for, or may wait, is over."""

    step: StepDefinition
    execution: Execution


@frozen
class Heed:
    """Somebody asked for the instance to be paused or cancelled."""

    request: Received


@frozen
class MissDeadline:
    """The instance should have ended by now."""


@frozen
class Undo:
    """Run the compensator of this execution."""

    step: StepDefinition
    execution: Execution


@frozen
class BeginRollback:
    """Turn back: there is something to undo."""


@frozen
class Finish:
    """Nothing is left to do for now: the instance rests like this, at the longest `until`."""

    status: WorkflowStatus
    until: datetime | None = None


Action = (
    Ask
    | Run
    | Verify
    | Pause
    | Replay
    | Reopen
    | Take
    | TimeOut
    | Heed
    | MissDeadline
    | Undo
    | BeginRollback
    | Finish
)


class Plan:
    """Decides for one driver of one instance.

    It remembers up to where the steps are settled, and what is still to be undone, so that deciding
    costs the same at the ten thousandth step as at the first.
    """

    def __init__(self, definition: WorkflowDefinition, longest_pause: float) -> None:
        self.definition = definition
        self._longest_pause = longest_pause
        self._place = 0
        self._owed: list[int] | None = None

    def decide(self, instance: Instance, now: datetime) -> Action:
        """What happens next."""
        status = instance.head.status
        stands = status is not WorkflowStatus.RUNNING and status.is_rest
        if stands and (status.is_ended or status is WorkflowStatus.ROLLBACK_FAILED):
            return Finish(status)
        if instance.inbox and (request := waiting.first_request(instance)) is not None:
            return Heed(request)
        if is_late(instance, now):
            return MissDeadline()
        if stands and status is not WorkflowStatus.SUSPENDED:
            return Finish(status, deadline_of(instance))
        if instance.head.direction is Direction.BACK:
            return self._back(instance, now)
        order = self.definition.order
        while self._place < len(order):
            step = order[self._place]
            execution = instance.current.get(step.name)
            if execution is None or not execution.is_settled:
                return self._forward(instance, step, execution, now)
            self._place += 1
        return Finish(WorkflowStatus.COMPLETED)

    def reached(self, instance: Instance, step: StepDefinition) -> Action:
        """What happens to a step that is reached and whose predicate, if any, said yes."""
        untried = instance.current.get(step.name)
        past = instance.past.get(step.name)
        if past is None or past.is_compensated:
            return Run(step, untried)
        if past.outcome is not Outcome.COMPLETED:
            return Reopen(step, past)
        return Replay(step, past) if step.commit else Run(step, untried)

    def _forward(
        self,
        instance: Instance,
        step: StepDefinition,
        execution: Execution | None,
        now: datetime,
    ) -> Action:
        if execution is None or execution.attempts == 0:
            unasked = execution is None or not execution.asked
            return Ask(step) if unasked and step.when else self.reached(instance, step)
        if execution.status is StepStatus.SUSPENDED:
            return self._wait(instance, step, execution, now)
        if self._waits(execution.retry_at, now, at_once=step.at_most_once):
            assert execution.retry_at is not None
            return Pause(step, execution.retry_at)
        return Verify(step, execution) if execution.verifying else Run(step, execution)

    def _wait(
        self, instance: Instance, step: StepDefinition, execution: Execution, now: datetime
    ) -> Action:
        assert execution.waiting is not None
        received = waiting.arrived(instance, execution.waiting)
        if received is not None:
            return Take(step, execution, received)
        until = execution.waiting.until
        if until is not None and until <= now:
            return TimeOut(step, execution)
        return Finish(WorkflowStatus.SUSPENDED, _earlier(until, deadline_of(instance)))

    def _back(self, instance: Instance, now: datetime) -> Action:
        if instance.head.cancelling is Cancelling.KEEP:
            return Finish(WorkflowStatus.CANCELLED)
        execution = self._first_owed(instance)
        turned = instance.head.status is WorkflowStatus.ROLLING_BACK
        if execution is None and instance.head.cancelling is not None:
            return Finish(WorkflowStatus.CANCELLED)
        if execution is None:
            return Finish(WorkflowStatus.ROLLED_BACK if turned else WorkflowStatus.FAILED)
        if not turned:
            return BeginRollback()
        step = compensator_of(self.definition, execution)
        assert step is not None
        undone = execution.compensation
        if undone is not None and undone.status is CompensationStatus.FAILED:
            return Finish(WorkflowStatus.ROLLBACK_FAILED)
        if undone is not None and self._waits(undone.retry_at, now, at_once=False):
            assert undone.retry_at is not None
            return Pause(step, undone.retry_at)
        return Undo(step, execution)

    def _first_owed(self, instance: Instance) -> Execution | None:
        if self._owed is None:
            self._owed = owed(self.definition, instance)
        while self._owed:
            execution = instance.executions[self._owed[-1]]
            if execution.is_owed:
                return execution
            self._owed.pop()
        return None

    def _waits(self, retry_at: datetime | None, now: datetime, *, at_once: bool) -> bool:
        """Whether the next attempt waits without an intent.

        A short back-off is waited out with the intent already saved. That of an at-most-once step
        is not, so that a crash in it is no interruption.
        """
        if retry_at is None or retry_at <= now:
            return False
        return at_once or (retry_at - now).total_seconds() > self._longest_pause


def is_late(instance: Instance, now: datetime) -> bool:
    """Whether the instance goes forward past its deadline."""
    if instance.origin.deadline is None:
        return False
    deadline = deadline_of(instance)
    return deadline is not None and deadline <= now


def deadline_of(instance: Instance) -> datetime | None:
    """By when the instance has to end; None for never, and on the way back."""
    return instance.deadline if instance.head.direction is Direction.FORWARD else None


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    return min((time for time in (first, second) if time is not None), default=None)


ACTS = (Run, Verify, Undo, Pause)
"""What the driver saves, and then does."""
