"""State and event to change: what each event makes of an instance. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import evolve

from flux import events
from flux.errors import StoredError
from flux.events import AttemptEnd, Event, StepEvent
from flux.state.execution import KEPT_ATTEMPTS, Attempt, Compensation, Execution
from flux.state.instance import Change, Head, Instance
from flux.state.status import (
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
    move,
)


def change(instance: Instance, event: Event) -> Change:
    """What `event` makes of `instance`, which stays as it is."""
    return _CHANGES[type(event)](instance, event)


def first_head(at: datetime) -> Head:
    """The head of an instance to which nothing has happened."""
    return Head(
        status=WorkflowStatus.PENDING,
        direction=Direction.FORWARD,
        run=1,
        ticks=0,
        recoveries=0,
        error=None,
        reason=None,
        updated_at=at,
        ended_at=None,
    )


# The instance as a whole


def _moved(status: WorkflowStatus) -> Callable[[Instance, Event], Change]:
    def moved(instance: Instance, event: Event) -> Change:
        head = evolve(
            instance.head,
            status=move(instance.head.status, status),
            updated_at=event.at,
            ended_at=event.at if status.is_ended else None,
        )
        return Change(head)

    return moved


def _recovered(instance: Instance, event: events.InstanceRecovered) -> Change:
    recoveries = instance.head.recoveries + 1
    return Change(evolve(instance.head, recoveries=recoveries, updated_at=event.at))


def _parked(instance: Instance, event: events.InstanceParked) -> Change:
    parked = _moved(WorkflowStatus.PARKED)(instance, event)
    return Change(evolve(parked.head, reason=event.reason))


def _unparked(instance: Instance, event: events.InstanceUnparked) -> Change:
    forward = instance.head.direction is Direction.FORWARD
    status = WorkflowStatus.RUNNING if forward else WorkflowStatus.ROLLING_BACK
    unparked = _moved(status)(instance, event)
    return Change(evolve(unparked.head, reason=None, recoveries=0))


def _paused(instance: Instance, event: events.InstancePaused) -> Change:
    paused = _moved(WorkflowStatus.PAUSED)(instance, event)
    head = evolve(paused.head, reason=event.reason)
    return _consuming(instance, head, event.number, "pause")


def _resumed(instance: Instance, event: events.InstanceResumed) -> Change:
    resumed = _moved(WorkflowStatus.RUNNING)(instance, event)
    return Change(evolve(resumed.head, reason=None))


def _cancel_requested(instance: Instance, event: events.CancelRequested) -> Change:
    """Turn back; what a rollback has begun meanwhile is finished, whatever was asked for."""
    rolling_back = instance.head.status is WorkflowStatus.ROLLING_BACK
    keeps = not event.rollback and not rolling_back
    turned = _turned_back(instance, event, event.error)
    head = evolve(turned.head, cancelling=Cancelling.KEEP if keeps else Cancelling.ROLLBACK)
    return _consuming(instance, head, event.number, "cancel", turned.executions)


def _request_dropped(instance: Instance, event: events.RequestDropped) -> Change:
    return _consuming(instance, instance.head, event.number, "nobody")


def _deadline_exceeded(instance: Instance, event: events.DeadlineExceeded) -> Change:
    return _turned_back(instance, event, event.error)


def _definition_adopted(instance: Instance, event: events.DefinitionAdopted) -> Change:
    return Change(evolve(instance.head, shape=event.shape, version=event.version))


def _turned_back(
    instance: Instance, event: events.CancelRequested | events.DeadlineExceeded, error: StoredError
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
    unsettled = (e for e in instance.current.values() if e.status in _UNSETTLED)
    return Change(turned, tuple(_closed(e, event.at, error) for e in unsettled))


_UNSETTLED = (StepStatus.RUNNING, StepStatus.SUSPENDED)


def _closed(execution: Execution, at: datetime, error: StoredError) -> Execution:
    if execution.attempts == 0:
        return evolve(execution, status=StepStatus.PENDING)
    suspended = execution.status is StepStatus.SUSPENDED
    return evolve(
        execution,
        status=StepStatus.FAILED,
        outcome=Outcome.UNKNOWN if suspended else execution.outcome,
        verifying=False,
        retry_at=None,
        ended_at=at,
        error=error,
    )


def _consuming(
    instance: Instance,
    head: Head,
    number: int,
    taker: str,
    executions: tuple[Execution, ...] = (),
) -> Change:
    read = evolve(head, inbox_read=instance.read_without(number))
    return Change(read, executions, consumed={number: taker})


def _rollback_retried(instance: Instance, event: events.RollbackRetried) -> Change:
    failed = (
        evolve(execution, compensation=_afresh(execution.compensation))
        for execution in instance.executions.values()
        if execution.compensation is not None
        and execution.compensation.status is CompensationStatus.FAILED
    )
    head = _moved(WorkflowStatus.ROLLING_BACK)(instance, event).head
    return Change(evolve(head, recoveries=0), tuple(failed))


def _afresh(compensation: Compensation) -> Compensation:
    return evolve(compensation, status=CompensationStatus.RUNNING, failures=0, retry_at=None)


def _restarted(instance: Instance, event: events.InstanceRestarted) -> Change:
    set_aside = (_set_aside(instance.executions[number]) for number in event.replaced)
    head = evolve(
        _moved(WorkflowStatus.RUNNING)(instance, event).head,
        direction=Direction.FORWARD,
        run=instance.head.run + 1,
        recoveries=0,
        error=None,
        reason=None,
        cancelling=None,
        undated=True,
    )
    return Change(head, tuple(set_aside), refold=True)


def _set_aside(execution: Execution) -> Execution:
    # A step that waits has acted; should it not be reached again, it is to be undone.
    waits = execution.status is StepStatus.SUSPENDED
    return evolve(execution, replaced=True, outcome=Outcome.UNKNOWN if waits else execution.outcome)


def _steps_retried(instance: Instance, event: events.StepsRetried) -> Change:
    retried = (
        evolve(
            instance.current[step],
            status=StepStatus.RUNNING,
            asked=False,
            verifying=step in event.verify,
            exhausted=False,
            failures=0,
            verifications=0,
            retry_at=None,
            ended_at=None,
            **_NOT_WAITING,
        )
        for step in event.steps
    )
    head = evolve(
        _moved(WorkflowStatus.RUNNING)(instance, event).head,
        direction=Direction.FORWARD,
        recoveries=0,
        error=None,
        undated=True,
    )
    return Change(head, tuple(retried), refold=True)


_NOT_WAITING: dict[str, Any] = {
    "waiting": None,
    "suspended_at": None,
    "changes": None,
    "folded": None,
}
"""What an execution whose wait has failed loses when it is run anew."""


# Steps on the way forward


def _completed(instance: Instance, event: events.StepCompleted) -> Change:
    head = _ticked(instance, event)
    known = instance.current.get(event.step)
    if known is not None and known.status is StepStatus.SUSPENDED:
        return _waited(known, event, head)
    # Constructed, not evolved: this is on the way of every step.
    execution = Execution(
        number=head.ticks if known is None else known.number,
        step=event.step,
        status=StepStatus.COMPLETED,
        place=head.ticks if known is None else known.place,
        generation=instance.generation(event.step) if known is None else known.generation,
        run=head.run,
        outcome=Outcome.COMPLETED,
        attempts=event.attempt,
        failures=0 if known is None else known.failures,
        started_at=event.started_at if known is None else known.started_at,
        ended_at=event.at,
        output=event.output,
        changes=event.changes,
        finished=head.ticks,
        folded=head.ticks,
        failed_attempts=() if known is None else known.failed_attempts,
    )
    return Change(head, (execution,), event.changes)


def _waited(known: Execution, event: events.StepCompleted, head: Head) -> Change:
    """A suspended step is done: what it changed in the data was saved when it was suspended."""
    waited = evolve(
        known,
        status=StepStatus.COMPLETED,
        outcome=Outcome.COMPLETED,
        waiting=None,
        ended_at=event.at,
        output=event.output,
        finished=head.ticks,
    )
    return Change(head, (waited,))


def _suspended(instance: Instance, event: events.StepSuspended) -> Change:
    head = _ticked(instance, event)
    known = instance.current.get(event.step) or _new(instance, event, head)
    suspended = evolve(
        known,
        status=StepStatus.SUSPENDED,
        run=head.run,
        verifying=False,
        attempts=event.attempt,
        started_at=known.started_at or event.started_at,
        retry_at=None,
        waiting=event.waiting,
        suspended_at=event.at,
        changes=event.changes,
        folded=head.ticks,
    )
    return Change(head, (suspended,), event.changes)


def _signal_taken(instance: Instance, event: events.SignalTaken) -> Change:
    return _consuming(instance, instance.head, event.received.number, event.step)


def _unchanged(instance: Instance, event: Event) -> Change:
    return Change(instance.head)


def _reached(instance: Instance, event: events.StepReached) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current.get(event.step) or _new(instance, event, head)
    return Change(head, (evolve(known, asked=True),))


def _skipped(instance: Instance, event: events.StepSkipped) -> Change:
    head = _ticked(instance, event)
    known = instance.current.get(event.step) or _new(instance, event, head)
    return Change(head, (evolve(known, status=StepStatus.SKIPPED, ended_at=event.at),))


def _replayed(instance: Instance, event: events.StepReplayed) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    past = instance.executions[event.number]
    replayed = evolve(past, replaced=False, run=head.run, place=head.ticks, folded=head.ticks)
    return Change(head, (*_untried(instance, event.step), replayed), past.changes)


def _reopened(instance: Instance, event: events.StepReopened) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    reopened = evolve(
        instance.executions[event.number],
        replaced=False,
        run=head.run,
        place=head.ticks,
        status=StepStatus.RUNNING,
        asked=False,
        verifying=event.verify,
        exhausted=False,
        failures=0,
        verifications=0,
        retry_at=None,
        ended_at=None,
        **_NOT_WAITING,
    )
    return Change(head, (*_untried(instance, event.step), reopened))


def _untried(instance: Instance, step: str) -> tuple[Execution, ...]:
    """An entry whose predicate raised: it gives way to what was done in an earlier run."""
    untried = instance.current.get(step)
    return () if untried is None else (evolve(untried, replaced=True),)


def _attempt_failed(instance: Instance, event: events.AttemptFailed) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current.get(event.step) or _new(instance, event, head)
    interrupted = event.ended is AttemptEnd.INTERRUPTED
    failed = evolve(
        known,
        status=StepStatus.RUNNING,
        outcome=_outcome(known, event.ended),
        verifying=event.verify,
        exhausted=event.is_last,
        verifications=0,
        attempts=event.attempt,
        failures=known.failures + (0 if interrupted else 1),
        started_at=known.started_at or event.started_at,
        retry_at=event.retry_at,
        error=event.error,
        failed_attempts=_with_attempt(known, event),
    )
    return Change(head, (failed,))


def _failed(instance: Instance, event: events.StepFailed) -> Change:
    head = evolve(_ticked(instance, event), direction=Direction.BACK, error=event.error)
    known = instance.current.get(event.step) or _new(instance, event, head)
    suspended = known.status is StepStatus.SUSPENDED
    failed = evolve(
        known,
        status=StepStatus.FAILED,
        # A step that waits has acted, in a way that nobody knows.
        outcome=Outcome.UNKNOWN if suspended else known.outcome,
        verifying=False,
        retry_at=None,
        started_at=known.started_at or event.started_at,
        ended_at=event.at,
        error=event.error,
    )
    if event.attempt is not None:
        failed = evolve(
            failed,
            outcome=_outcome(known, event.ended),
            attempts=event.attempt,
            failures=known.failures + (0 if event.ended is AttemptEnd.INTERRUPTED else 1),
            failed_attempts=_with_attempt(known, event),
        )
    return Change(head, (failed,))


def _verify_failed(instance: Instance, event: events.VerifyFailed) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current[event.step]
    failed = evolve(
        known,
        verifications=known.verifications + 1,
        retry_at=event.retry_at,
        error=event.error,
    )
    return Change(head, (failed,))


def _cleared(instance: Instance, event: events.StepCleared) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current[event.step]
    cleared = evolve(known, verifying=False, outcome=None, retry_at=event.retry_at)
    return Change(head, (cleared,))


def _new(instance: Instance, event: StepEvent, head: Head) -> Execution:
    return Execution(
        number=head.ticks,
        step=event.step,
        status=StepStatus.RUNNING,
        place=head.ticks,
        generation=instance.generation(event.step),
        run=head.run,
    )


def _outcome(known: Execution, ended: AttemptEnd) -> Outcome | None:
    # Once unknown, an outcome stays so until the step completes or a verifier clears it.
    return Outcome.UNKNOWN if ended.may_have_acted else known.outcome


def _with_attempt(
    known: Execution, event: events.AttemptFailed | events.StepFailed
) -> tuple[Attempt, ...]:
    attempt = Attempt(
        number=event.attempt or 0,
        started_at=event.started_at or event.at,
        ended_at=event.at,
        ended=event.ended,
        error=event.error,
    )
    return (*known.failed_attempts, attempt)[-KEPT_ATTEMPTS:]


# The way back


def _compensated(instance: Instance, event: events.StepCompensated) -> Change:
    head = _ticked(instance, event)
    execution = instance.executions[event.number]
    compensation = _compensation(
        execution,
        event,
        status=CompensationStatus.COMPLETED,
        changes=event.changes,
        finished=head.ticks,
        run=head.run,
    )
    return Change(head, (evolve(execution, compensation=compensation),), event.changes)


def _compensation_attempt_failed(
    instance: Instance, event: events.CompensationAttemptFailed
) -> Change:
    head = _ticked(instance, event, recoveries=instance.head.recoveries)
    compensation = _compensation(
        instance.executions[event.number],
        event,
        status=CompensationStatus.RUNNING,
        failed=event.ended is not AttemptEnd.INTERRUPTED,
        error=event.error,
        retry_at=event.retry_at,
    )
    undone = evolve(instance.executions[event.number], compensation=compensation)
    return Change(head, (undone,))


def _compensation_failed(instance: Instance, event: events.CompensationFailed) -> Change:
    head = _ticked(instance, event)
    compensation = _compensation(
        instance.executions[event.number],
        event,
        status=CompensationStatus.FAILED,
        failed=True,
        error=event.error,
    )
    return Change(head, (evolve(instance.executions[event.number], compensation=compensation),))


def _compensation_skipped(instance: Instance, event: events.CompensationSkipped) -> Change:
    head = evolve(_moved(WorkflowStatus.ROLLING_BACK)(instance, event).head, recoveries=0)
    execution = instance.executions[event.number]
    skipped = evolve(
        execution.compensation or Compensation(status=CompensationStatus.SKIPPED),
        status=CompensationStatus.SKIPPED,
        reason=event.reason,
        ended_at=event.at,
        retry_at=None,
    )
    return Change(head, (evolve(execution, compensation=skipped),))


def _compensation(
    execution: Execution,
    event: events.StepCompensated | events.CompensationAttemptFailed | events.CompensationFailed,
    *,
    status: CompensationStatus,
    failed: bool = False,
    error: StoredError | None = None,
    **placed: Any,
) -> Compensation:
    known = execution.compensation or Compensation(status=CompensationStatus.RUNNING)
    return Compensation(
        status=status,
        attempts=event.attempt,
        failures=known.failures + failed,
        started_at=known.started_at or event.started_at,
        ended_at=None if status is CompensationStatus.RUNNING else event.at,
        error=error or known.error,
        **placed,
    )


def _ticked(instance: Instance, event: Event, recoveries: int = 0) -> Head:
    head = instance.head
    return Head(
        status=head.status,
        direction=head.direction,
        run=head.run,
        ticks=head.ticks + 1,
        recoveries=recoveries,
        error=head.error,
        reason=head.reason,
        updated_at=event.at,
        ended_at=head.ended_at,
        cancelling=head.cancelling,
        undated=head.undated,
        inbox_read=head.inbox_read,
        shape=head.shape,
        version=head.version,
    )


_CHANGES: dict[type[Event], Callable[[Instance, Any], Change]] = {
    events.InstanceStarted: _moved(WorkflowStatus.RUNNING),
    events.InstanceRecovered: _recovered,
    events.InstanceSuspended: _moved(WorkflowStatus.SUSPENDED),
    events.InstanceResumed: _resumed,
    events.InstancePaused: _paused,
    events.CancelRequested: _cancel_requested,
    events.RequestDropped: _request_dropped,
    events.InstanceCancelled: _moved(WorkflowStatus.CANCELLED),
    events.DeadlineExceeded: _deadline_exceeded,
    events.DefinitionAdopted: _definition_adopted,
    events.InstanceCompleted: _moved(WorkflowStatus.COMPLETED),
    events.InstanceFailed: _moved(WorkflowStatus.FAILED),
    events.RollbackStarted: _moved(WorkflowStatus.ROLLING_BACK),
    events.InstanceRolledBack: _moved(WorkflowStatus.ROLLED_BACK),
    events.RollbackFailed: _moved(WorkflowStatus.ROLLBACK_FAILED),
    events.InstanceParked: _parked,
    events.InstanceUnparked: _unparked,
    events.RollbackRetried: _rollback_retried,
    events.InstanceRestarted: _restarted,
    events.StepsRetried: _steps_retried,
    events.StepReached: _reached,
    events.StepSkipped: _skipped,
    events.StepReplayed: _replayed,
    events.StepReopened: _reopened,
    events.StepCompleted: _completed,
    events.StepSuspended: _suspended,
    events.SignalTaken: _signal_taken,
    events.WaitTimedOut: _unchanged,
    events.AttemptFailed: _attempt_failed,
    events.StepFailed: _failed,
    events.VerifyFailed: _verify_failed,
    events.StepCleared: _cleared,
    events.StepCompensated: _compensated,
    events.CompensationAttemptFailed: _compensation_attempt_failed,
    events.CompensationFailed: _compensation_failed,
    events.CompensationSkipped: _compensation_skipped,
}
