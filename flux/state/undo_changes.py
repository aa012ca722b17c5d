"""What events make of steps on the way back. Pure."""

from functools import cache
from typing import Any

from flux import events
from flux.errors import StoredError
from flux.events import AttemptEnd
from flux.frozen import evolve
from flux.state.execution import Compensation, Execution
from flux.state.heads import moved, ticked
from flux.state.instance import Change, Instance
from flux.state.status import (
    CompensationStatus,
    WorkflowStatus,
)


def compensated(instance: Instance, event: events.StepCompensated) -> Change:
    head = ticked(instance, event)
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


def compensation_attempt_failed(
    instance: Instance, event: events.CompensationAttemptFailed
) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
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


def compensation_failed(instance: Instance, event: events.CompensationFailed) -> Change:
    head = ticked(instance, event)
    compensation = _compensation(
        instance.executions[event.number],
        event,
        status=CompensationStatus.FAILED,
        failed=True,
        error=event.error,
    )
    return Change(head, (evolve(instance.executions[event.number], compensation=compensation),))


def compensation_skipped(instance: Instance, event: events.CompensationSkipped) -> Change:
    head = evolve(moved(WorkflowStatus.ROLLING_BACK)(instance, event).head, recoveries=0)
    execution = instance.executions[event.number]
    skipped = evolve(
        execution.compensation or Compensation(status=CompensationStatus.SKIPPED),
        status=CompensationStatus.SKIPPED,
        reason=event.reason,
        ended_at=event.at,
        retry_at=None,
    )
    return Change(head, (evolve(execution, compensation=skipped),))


@cache
def _untried() -> Compensation:
    return Compensation(status=CompensationStatus.RUNNING)


def _compensation(
    execution: Execution,
    event: events.StepCompensated | events.CompensationAttemptFailed | events.CompensationFailed,
    *,
    status: CompensationStatus,
    failed: bool = False,
    error: StoredError | None = None,
    **placed: Any,
) -> Compensation:
    known = execution.compensation or _untried()
    return Compensation(
        status=status,
        attempts=event.attempt,
        failures=known.failures + failed,
        started_at=known.started_at or event.started_at,
        ended_at=None if status is CompensationStatus.RUNNING else event.at,
        error=error or known.error,
        **placed,
    )
