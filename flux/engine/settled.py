"""What an action comes to that nobody has to be called for. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime

from flux import events
from flux.definition.step import StepDefinition
from flux.engine import outcome, plan, steering
from flux.errors import (
    DeadlineExceededError,
    JoinNotMetError,
    OutcomeUnknownError,
    StoredError,
)
from flux.events import Event
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import Outcome, StepStatus, WorkflowStatus

_ENDS: dict[WorkflowStatus, Callable[..., Event]] = {
    WorkflowStatus.COMPLETED: events.InstanceCompleted,
    WorkflowStatus.SUSPENDED: events.InstanceSuspended,
}
_BAD_ENDS: dict[WorkflowStatus, Callable[..., Event]] = {
    WorkflowStatus.CANCELLED: events.InstanceCancelled,
    WorkflowStatus.FAILED: events.InstanceFailed,
    WorkflowStatus.ROLLED_BACK: events.InstanceRolledBack,
    WorkflowStatus.ROLLBACK_FAILED: events.RollbackFailed,
}


def at_once(action: plan.Action, instance: Instance, at: datetime) -> Iterator[Event]:
    """The events of an action that needs neither a call nor a save of its own."""
    match action:
        case plan.Take() | plan.TimeOut():
            received = action.received if isinstance(action, plan.Take) else None
            yield from woken(instance, at)
            yield from outcome.after_wait(action.step, action.execution, received, at=at)
        case plan.Close():
            assert instance.head.error is not None
            yield events.StepsClosed(at=at, error=instance.head.error)
        case plan.Heed(request):
            yield steering.heeded(instance, request, at)
        case plan.MissDeadline():
            late = DeadlineExceededError(instance.id, instance.deadline)
            yield events.DeadlineExceeded(at=at, error=StoredError.of(late))
        case plan.BeginRollback():
            yield events.RollbackStarted(at=at, error=instance.head.error)
        case _:
            yield from _in_the_graph(action, at)


def _in_the_graph(action: plan.Action, at: datetime) -> Iterator[Event]:
    match action:
        case plan.Replay(step, past):
            yield events.StepReplayed(at=at, step=step.name, number=past.number)
        case plan.LeaveOut(step):
            yield events.StepLeftOut(at=at, step=step.name)
        case plan.Gather(step, execution, output):
            yield outcome.after_items(step, execution, output, at=at)
        case plan.FailMap(step, failed, open_items):
            yield from outcome.after_failed_item(step, failed, open_items, at=at)
        case plan.FailJoin(step, missing):
            unmet = StoredError.of(JoinNotMetError(step.name, step.join, missing))
            yield events.StepFailed(at=at, step=step.name, error=unmet)
        case plan.FailAgain(step, execution):
            assert execution.error is not None
            yield events.StepFailed(at=at, step=step.name, error=execution.error)


def woken(instance: Instance, at: datetime) -> Iterator[Event]:
    """That an instance goes on, if it was suspended."""
    if instance.head.status is WorkflowStatus.SUSPENDED:
        yield events.InstanceResumed(at=at)


def ended(instance: Instance, status: WorkflowStatus, at: datetime) -> Iterator[Event]:
    """That an instance comes to rest in this status, unless it has that already."""
    if status is instance.head.status:
        return
    if status in _ENDS:
        yield _ENDS[status](at=at)
    else:
        yield _BAD_ENDS[status](at=at, error=instance.head.error)


def reopened(step: StepDefinition, past: Execution, at: datetime) -> Iterator[Event]:
    """That what a restart set aside of a step counts again; or that it may not run again."""
    # A step that waited was not interrupted: a restart runs it as it runs a completed one.
    waited = past.status is StepStatus.SUSPENDED
    doubtful = step.at_most_once and past.outcome is Outcome.UNKNOWN and not waited
    verify = doubtful and step.verify is not None
    yield events.StepReopened(at=at, step=step.name, number=past.number, verify=verify)
    if doubtful and not verify:
        error = OutcomeUnknownError(
            f"whether at-most-once step {step.name!r} has acted is unknown; "
            "retry_step() runs it all the same"
        )
        yield events.StepFailed(at=at, step=step.name, error=StoredError.of(error))
