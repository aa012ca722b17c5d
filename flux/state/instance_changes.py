"""What events make of an instance as a whole. Pure."""

from datetime import datetime
from typing import Any

from flux import events
from flux.errors import StoredError
from flux.frozen import evolve
from flux.state.execution import Compensation, Execution, Tries
from flux.state.heads import consuming, moved
from flux.state.instance import Change, Head, Instance, Turn
from flux.state.status import (
    UNSETTLED,
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
    move,
)


def recovered(instance: Instance, event: events.InstanceRecovered) -> Change:
    recoveries = instance.head.recoveries + 1
    return Change(evolve(instance.head, recoveries=recoveries, updated_at=event.at))


def parked(instance: Instance, event: events.InstanceParked) -> Change:
    parked = moved(WorkflowStatus.PARKED)(instance, event)
    return Change(evolve(parked.head, reason=event.reason))


def unparked(instance: Instance, event: events.InstanceUnparked) -> Change:
    forward = instance.head.direction is Direction.FORWARD
    status = WorkflowStatus.RUNNING if forward else WorkflowStatus.ROLLING_BACK
    unparked = moved(status)(instance, event)
    return Change(evolve(unparked.head, reason=None, recoveries=0))


def paused(instance: Instance, event: events.InstancePaused) -> Change:
    paused = moved(WorkflowStatus.PAUSED)(instance, event)
    head = evolve(paused.head, reason=event.reason)
    return consuming(instance, head, event.number, "pause")


def resumed(instance: Instance, event: events.InstanceResumed) -> Change:
    resumed = moved(WorkflowStatus.RUNNING)(instance, event)
    return Change(evolve(resumed.head, reason=None))


def cancel_requested(instance: Instance, event: events.CancelRequested) -> Change:
    """Turn back; what a rollback has begun meanwhile is finished, whatever was asked for."""
    rolling_back = instance.head.status is WorkflowStatus.ROLLING_BACK
    keeps = not event.rollback and not rolling_back
    turned = _turned_back(instance, event, event.error)
    head = evolve(turned.head, cancelling=Cancelling.KEEP if keeps else Cancelling.ROLLBACK)
    cancelled = consuming(instance, head, event.number, "cancel")
    return evolve(cancelled, executions=turned.executions, refold=True)


def request_dropped(instance: Instance, event: events.RequestDropped) -> Change:
    return consuming(instance, instance.head, event.number, "nobody")


def queued(instance: Instance, event: events.InstanceQueued) -> Change:
    turn = Turn(number=_turn(instance), gates=event.gates)
    head = evolve(instance.head, turn=turn, reason=event.reason, updated_at=event.at)
    return _called(instance, head, event.calls)


def admitted(instance: Instance, event: events.InstanceAdmitted) -> Change:
    turn = Turn(number=_turn(instance), gates=event.gates, admitted=True)
    head = evolve(instance.head, turn=turn, reason=None, updated_at=event.at)
    return _called(instance, head, event.calls)


def admission_failed(instance: Instance, event: events.AdmissionFailed) -> Change:
    return _turned_back(instance, event, event.error)


def _turn(instance: Instance) -> int:
    return 1 if instance.head.turn is None else instance.head.turn.number


def _called(instance: Instance, head: Head, calls: tuple[int, ...]) -> Change:
    if not calls:
        return Change(head)
    read = evolve(head, inbox_read=instance.read_without(*calls))
    return Change(read, consumed=dict.fromkeys(calls, "turn"))


def _next_turn(head: Head) -> Turn | None:
    """One that has ended has given its place back, and waits for another turn."""
    if head.turn is None or not head.status.is_ended:
        return head.turn
    return Turn(number=head.turn.number + 1)


def deadline_exceeded(instance: Instance, event: events.DeadlineExceeded) -> Change:
    return _turned_back(instance, event, event.error)


def definition_adopted(instance: Instance, event: events.DefinitionAdopted) -> Change:
    return Change(evolve(instance.head, shape=event.shape, version=event.version))


def _turned_back(
    instance: Instance,
    event: events.CancelRequested | events.DeadlineExceeded | events.AdmissionFailed,
    error: StoredError,
) -> Change:
    """Nothing forward follows: what was begun or waits has failed, the first cause is kept."""
    head = instance.head
    stood = head.status in (WorkflowStatus.SUSPENDED, WorkflowStatus.PAUSED, WorkflowStatus.PARKED)
    turned = evolve(
        head,
        status=move(head.status, WorkflowStatus.RUNNING) if stood else head.status,
        direction=Direction.BACK,
        error=head.error or error,
        reason=None,
        recoveries=0,
        updated_at=event.at,
    )
    unsettled = (e for e in instance.current.values() if e.status in UNSETTLED)
    closed = tuple(_closed(e, event.at, error) for e in unsettled)
    return Change(turned, closed, refold=True)


def rollback_requested(instance: Instance, event: events.RollbackRequested) -> Change:
    turned = moved(WorkflowStatus.ROLLING_BACK)(instance, event).head
    return Change(evolve(turned, direction=Direction.BACK, error=event.error, recoveries=0))


def steps_closed(instance: Instance, event: events.StepsClosed) -> Change:
    unsettled = (e for e in instance.current.values() if e.status in UNSETTLED)
    closed = tuple(_closed(e, event.at, event.error) for e in unsettled)
    return Change(evolve(instance.head, updated_at=event.at), closed, refold=True)


def data_conflict_found(instance: Instance, event: events.DataConflictFound) -> Change:
    error = instance.head.error or event.error
    return Change(evolve(instance.head, direction=Direction.BACK, error=error))


def _closed(execution: Execution, at: datetime, error: StoredError) -> Execution:
    if execution.attempts == 0:  # its predicate said yes, no more: it has no entry
        return evolve(execution, replaced=True)
    suspended = execution.status is StepStatus.SUSPENDED
    return evolve(
        execution,
        status=StepStatus.FAILED,
        outcome=Outcome.UNKNOWN if suspended else execution.outcome,
        tries=execution.tries.over,
        ended_at=at,
        error=error,
        closed=True,
    )


def rollback_retried(instance: Instance, event: events.RollbackRetried) -> Change:
    failed = (
        evolve(execution, compensation=_afresh(execution.compensation))
        for execution in instance.executions.values()
        if execution.compensation is not None
        and execution.compensation.status is CompensationStatus.FAILED
    )
    head = moved(WorkflowStatus.ROLLING_BACK)(instance, event).head
    return Change(evolve(head, recoveries=0), tuple(failed))


def _afresh(compensation: Compensation) -> Compensation:
    return evolve(compensation, status=CompensationStatus.RUNNING, failures=0, retry_at=None)


def restarted(instance: Instance, event: events.InstanceRestarted) -> Change:
    set_aside = (_set_aside(instance.executions[number]) for number in event.replaced)
    head = evolve(
        moved(WorkflowStatus.RUNNING)(instance, event).head,
        direction=Direction.FORWARD,
        run=instance.head.run + 1,
        recoveries=0,
        error=None,
        reason=None,
        cancelling=None,
        undated=True,
        turn=_next_turn(instance.head),
    )
    return Change(head, tuple(set_aside), refold=True)


def _set_aside(execution: Execution) -> Execution:
    # A step that waits has acted; should it not be reached again, it is to be undone.
    waits = execution.status is StepStatus.SUSPENDED
    return evolve(execution, replaced=True, outcome=Outcome.UNKNOWN if waits else execution.outcome)


def steps_retried(instance: Instance, event: events.StepsRetried) -> Change:
    retried = (
        evolve(
            instance.current[step],
            status=StepStatus.RUNNING,
            asked=False,
            tries=Tries(ended=instance.current[step].tries.ended, verifying=step in event.verify),
            ended_at=None,
            handled_by=None,
            closed=False,
            again=True,
            **NOT_WAITING,
        )
        for step in event.steps
    )
    head = evolve(
        moved(WorkflowStatus.RUNNING)(instance, event).head,
        direction=Direction.FORWARD,
        recoveries=0,
        error=None,
        undated=True,
        turn=_next_turn(instance.head),
    )
    set_aside = (_set_aside(instance.current[step]) for step in event.aside)
    return Change(head, (*retried, *set_aside), refold=True)


NOT_WAITING: dict[str, Any] = {
    "waiting": None,
    "suspended_at": None,
    "changes": None,
    "merged": None,
    "folded": None,
}
"""What an execution whose wait has failed loses when it is run anew."""
