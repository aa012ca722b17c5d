"""What observers are told: trace events, made from what happened. Pure.

The types of the original are marked `*`, the others are ours in its style.

    type                       made from                 status          tells besides
  * workflow:start             InstanceStarted           running         input
    workflow:queued            InstanceQueued                            reason
    workflow:admitted          InstanceAdmitted
    workflow:not_admitted      AdmissionFailed                           error
    workflow:recovered         InstanceRecovered
    workflow:parked            InstanceParked            parked          reason
    workflow:unparked          InstanceUnparked
    workflow:suspend           InstanceSuspended         suspended
    workflow:resume            InstanceResumed           running
    workflow:pause             InstancePaused            paused          reason
    workflow:cancel            CancelRequested                           error, rollback
    workflow:request_dropped   RequestDropped
    workflow:cancelled         InstanceCancelled         cancelled
    workflow:deadline          DeadlineExceeded                          error
    workflow:definition        DefinitionAdopted                         version
  * workflow:complete          InstanceCompleted         completed
  * workflow:error             InstanceFailed            failed
  * workflow:rollback_start    RollbackStarted           rolling_back
  * workflow:rollback_complete InstanceRolledBack        rolled_back
    workflow:rollback_failed   RollbackFailed            rollback_failed
    workflow:rollback_retry    RollbackRetried           rolling_back
    workflow:restart           InstanceRestarted         running         from_step
    workflow:rollback_requested RollbackRequested        rolling_back    error
    workflow:steps_closed      StepsClosed                               error
    workflow:conflict          DataConflictFound                         error
    workflow:retry             StepsRetried              running         steps, verify
  * step:start                 StepStarted               running         retries
    step:reached               StepReached               pending
  * step:skipped               StepSkipped               skipped
    step:left_out              StepLeftOut               skipped
    step:expanded              MapExpanded               running         items
    step:replayed              StepReplayed              completed
    step:reopened              StepReopened              running         verify
  * step:complete              StepCompleted             completed       attempt, changes, output,
                                                                         cached
  * step:suspend               StepSuspended             suspended       attempt, changes, signal,
                                                                         until
  * signal:received            SignalTaken               suspended       signal, payload, signal_id
    step:timeout               WaitTimedOut              suspended       signal
  * step:retry                 AttemptFailed             running         failure, retry_at, verify
  * step:error                 StepFailed                failed          failure, handled_by
    step:verify_error          VerifyFailed              running         error, retry_at
    step:not_done              StepCleared               running
    step:compensate_start      CompensationStarted       compensating    retries
  * step:compensate            StepCompensated           compensated     attempt, changes
    step:compensate_retry      CompensationAttemptFailed compensating    failure, retry_at
    step:compensate_error      CompensationFailed                        failure
    step:compensate_skipped    CompensationSkipped                       reason

Here `attempt` stands for `retries` and `duration`; `failure` for these, `error` and `ended`;
`changes` for `data` and `deleted`. What is no field of `FluxTraceEvent` is a key of its `meta`.

Each attempt has its `step:start`; then comes a `step:retry` if another one follows, otherwise
`step:complete` or `step:error`. A compensator tells the same from `step:compensate_start` on.

No status is told where the event alone does not say it: an instance that is recovered or unparked
goes on in the direction that it had, and a step whose compensation failed or was skipped keeps the
status that it had.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypedDict

import orjson
from attrs import Factory

from flux import events
from flux.errors import StoredError
from flux.events import AttemptEnd, CompensationEvent, DataChanges, Event, InstanceFacts, StepEvent
from flux.frozen import frozen


@frozen(kw_only=True)
class FluxTraceEvent:
    """One thing that happened to an instance; what an event does not tell is None, or empty.

    The fields are the original's, in Python spelling and units. All outlets get the same object,
    and nothing in it is shared with the instance.
    """

    type: str
    timestamp: datetime
    """When it happened by the engine's clock: an aware `datetime` in UTC."""
    workflow_id: str
    """The id of the instance."""
    workflow_name: str
    step_name: str | None = None
    step_index: int | None = None
    """The place of the step in the workflow, from 0."""
    commit: bool | None = None
    retries: int | None = None
    """How many attempts came before this one; in `step:retry` and `step:compensate_retry` those
    that have failed so far. Interrupted ones count, so it can be more than `max_retries`."""
    max_retries: int | None = None
    """How often the step may be retried; None for a compensation, which has its own policy."""
    duration: float | None = None
    """How many seconds the attempt took."""
    error: StoredError | None = None
    status: str | None = None
    """The status that follows: of the step execution in `step:` types, else of the instance."""
    input: Any = None
    data: Mapping[str, Any] | None = None
    """The keys of `data` that the step or its compensator set, with their values."""
    meta: Mapping[str, Any] = Factory(dict)
    """What the original has no field for; the module's table names the keys."""


def trace_event(facts: InstanceFacts, event: Event) -> FluxTraceEvent | None:
    """What observers are told of `event`; None for one that is not for them."""
    told = _TOLD.get(type(event))
    if told is None:
        return None
    return FluxTraceEvent(
        type=told.type,
        timestamp=event.at,
        workflow_id=facts.id,
        workflow_name=facts.workflow,
        status=told.status,
        **_step(facts, event),
        **told.details(facts, event),
    )


_WithError = (
    events.DeadlineExceeded
    | events.StepsClosed
    | events.DataConflictFound
    | events.RollbackRequested
)


class _Step(TypedDict, total=False):
    step_name: str
    step_index: int
    commit: bool
    max_retries: int | None


class _Details(TypedDict, total=False):
    retries: int | None
    duration: float | None
    error: StoredError | None
    input: Any
    data: Mapping[str, Any]
    meta: Mapping[str, Any]


class _Told(NamedTuple):
    type: str
    status: str | None
    details: Callable[[InstanceFacts, Any], _Details]


def _step(facts: InstanceFacts, event: Event) -> _Step:
    if not isinstance(event, StepEvent):
        return {}
    step = facts.steps.get(event.step.partition("[")[0])  # an item counts as its map
    if step is None:  # the code has lost it since
        return {"step_name": event.step}
    return {
        "step_name": event.step,
        "step_index": step.index,
        "commit": step.commit,
        "max_retries": None if isinstance(event, CompensationEvent) else step.max_retries,
    }


def _whole(facts: InstanceFacts, event: Event) -> _Details:
    return {"duration": (event.at - facts.created_at).total_seconds()}


def _cause(facts: InstanceFacts, event: Any) -> _Details:
    return {"error": event.error, **_whole(facts, event)}


def _nothing(facts: InstanceFacts, event: Event) -> _Details:
    return {}


def _input(facts: InstanceFacts, event: events.InstanceStarted) -> _Details:
    return {"input": orjson.loads(facts.input)}


def _reason(
    facts: InstanceFacts,
    event: events.InstanceQueued
    | events.InstanceParked
    | events.InstancePaused
    | events.CompensationSkipped,
) -> _Details:
    return {"meta": {"reason": event.reason}}


def _cancel(facts: InstanceFacts, event: events.CancelRequested) -> _Details:
    return {"error": event.error, "meta": {"rollback": event.rollback}}


def _error(facts: InstanceFacts, event: _WithError) -> _Details:
    return {"error": event.error}


def _items(facts: InstanceFacts, event: events.MapExpanded) -> _Details:
    return {"meta": {"items": len(orjson.loads(event.items))}}


def _version(facts: InstanceFacts, event: events.DefinitionAdopted) -> _Details:
    return {"meta": {"version": event.version}}


def _suspension(facts: InstanceFacts, event: events.StepSuspended) -> _Details:
    waiting = event.waiting
    return {
        "retries": event.attempt - 1,
        "duration": _seconds(event.started_at, event.at),
        "data": _set(event.changes),
        "meta": {
            "signal": waiting.signal,
            "until": waiting.until,
            **_deleted(event.changes),
        },
    }


def _signal(facts: InstanceFacts, event: events.SignalTaken) -> _Details:
    received = event.received
    payload = orjson.loads(received.payload)
    return {"meta": {"signal": received.name, "payload": payload, "signal_id": received.signal_id}}


def _missed(facts: InstanceFacts, event: events.WaitTimedOut) -> _Details:
    return {"meta": {"signal": event.signal}}


def _restart(facts: InstanceFacts, event: events.InstanceRestarted) -> _Details:
    return {"meta": {"from_step": event.from_step}}


def _steps(facts: InstanceFacts, event: events.StepsRetried) -> _Details:
    return {"meta": {"steps": list(event.steps), "verify": list(event.verify)}}


def _attempt(
    facts: InstanceFacts, event: events.StepStarted | events.CompensationStarted
) -> _Details:
    return {"retries": event.attempt - 1}


def _reopened(facts: InstanceFacts, event: events.StepReopened) -> _Details:
    return {"meta": {"verify": event.verify}}


def _result(facts: InstanceFacts, event: events.StepCompleted) -> _Details:
    return {
        "retries": event.attempt - 1,
        "duration": _seconds(event.started_at, event.at),
        "data": _set(event.changes),
        "meta": {
            "output": orjson.loads(event.output),
            **_deleted(event.changes),
            **({"cached": True} if event.cached else {}),
        },
    }


def _retry(facts: InstanceFacts, event: events.AttemptFailed) -> _Details:
    return {
        "retries": event.attempt,
        "duration": _seconds(event.started_at, event.at),
        "error": event.error,
        "meta": {**_ended(event.ended, event.retry_at), "verify": event.verify},
    }


def _failure(facts: InstanceFacts, event: events.StepFailed) -> _Details:
    handled = {} if event.handled_by is None else {"handled_by": event.handled_by}
    if event.attempt is None:
        return {"error": event.error, "meta": handled} if handled else {"error": event.error}
    return {
        "retries": event.attempt - 1,
        "duration": _seconds(event.started_at or event.at, event.at),
        "error": event.error,
        "meta": {**_ended(event.ended), **handled},
    }


def _verify_error(facts: InstanceFacts, event: events.VerifyFailed) -> _Details:
    return {"error": event.error, "meta": {"retry_at": event.retry_at}}


def _undone(facts: InstanceFacts, event: events.StepCompensated) -> _Details:
    return {
        "retries": event.attempt - 1,
        "duration": _seconds(event.started_at, event.at),
        "data": _set(event.changes),
        "meta": _deleted(event.changes),
    }


def _undo_retry(facts: InstanceFacts, event: events.CompensationAttemptFailed) -> _Details:
    return {
        "retries": event.attempt,
        "duration": _seconds(event.started_at, event.at),
        "error": event.error,
        "meta": _ended(event.ended, event.retry_at),
    }


def _undo_failure(facts: InstanceFacts, event: events.CompensationFailed) -> _Details:
    return {
        "retries": event.attempt - 1,
        "duration": _seconds(event.started_at, event.at),
        "error": event.error,
        "meta": _ended(event.ended),
    }


def _seconds(start: datetime, end: datetime) -> float:
    # The wall clock may have been set back meanwhile.
    return max(0.0, (end - start).total_seconds())


def _set(changes: DataChanges) -> dict[str, Any]:
    return {key: orjson.loads(text) for key, text in changes.set.items()}


def _deleted(changes: DataChanges) -> dict[str, Any]:
    return {"deleted": list(changes.deleted)} if changes.deleted else {}


def _ended(ended: AttemptEnd, retry_at: datetime | None = None) -> dict[str, Any]:
    due = {} if retry_at is None else {"retry_at": retry_at}
    return {"ended": str(ended), **due}


_TOLD: Mapping[type[Event], _Told] = {
    events.InstanceStarted: _Told("workflow:start", "running", _input),
    events.InstanceQueued: _Told("workflow:queued", None, _reason),
    events.InstanceAdmitted: _Told("workflow:admitted", None, _nothing),
    events.AdmissionFailed: _Told("workflow:not_admitted", None, _error),
    events.InstanceRecovered: _Told("workflow:recovered", None, _nothing),
    events.InstanceParked: _Told("workflow:parked", "parked", _reason),
    events.InstanceUnparked: _Told("workflow:unparked", None, _nothing),
    events.InstanceSuspended: _Told("workflow:suspend", "suspended", _nothing),
    events.InstanceResumed: _Told("workflow:resume", "running", _nothing),
    events.InstancePaused: _Told("workflow:pause", "paused", _reason),
    events.CancelRequested: _Told("workflow:cancel", None, _cancel),
    events.RequestDropped: _Told("workflow:request_dropped", None, _nothing),
    events.InstanceCancelled: _Told("workflow:cancelled", "cancelled", _cause),
    events.DeadlineExceeded: _Told("workflow:deadline", None, _error),
    events.DefinitionAdopted: _Told("workflow:definition", None, _version),
    events.InstanceCompleted: _Told("workflow:complete", "completed", _whole),
    events.InstanceFailed: _Told("workflow:error", "failed", _cause),
    events.RollbackStarted: _Told("workflow:rollback_start", "rolling_back", _cause),
    events.InstanceRolledBack: _Told("workflow:rollback_complete", "rolled_back", _cause),
    events.RollbackFailed: _Told("workflow:rollback_failed", "rollback_failed", _cause),
    events.RollbackRetried: _Told("workflow:rollback_retry", "rolling_back", _nothing),
    events.InstanceRestarted: _Told("workflow:restart", "running", _restart),
    events.StepsRetried: _Told("workflow:retry", "running", _steps),
    events.StepsClosed: _Told("workflow:steps_closed", None, _error),
    events.DataConflictFound: _Told("workflow:conflict", None, _error),
    events.RollbackRequested: _Told("workflow:rollback_requested", "rolling_back", _error),
    events.StepLeftOut: _Told("step:left_out", "skipped", _nothing),
    events.MapExpanded: _Told("step:expanded", "running", _items),
    events.StepStarted: _Told("step:start", "running", _attempt),
    events.StepReached: _Told("step:reached", "pending", _nothing),
    events.StepSkipped: _Told("step:skipped", "skipped", _nothing),
    events.StepReplayed: _Told("step:replayed", "completed", _nothing),
    events.StepReopened: _Told("step:reopened", "running", _reopened),
    events.StepCompleted: _Told("step:complete", "completed", _result),
    events.StepSuspended: _Told("step:suspend", "suspended", _suspension),
    events.SignalTaken: _Told("signal:received", "suspended", _signal),
    events.WaitTimedOut: _Told("step:timeout", "suspended", _missed),
    events.AttemptFailed: _Told("step:retry", "running", _retry),
    events.StepFailed: _Told("step:error", "failed", _failure),
    events.VerifyFailed: _Told("step:verify_error", "running", _verify_error),
    events.StepCleared: _Told("step:not_done", "running", _nothing),
    events.CompensationStarted: _Told("step:compensate_start", "compensating", _attempt),
    events.StepCompensated: _Told("step:compensate", "compensated", _undone),
    events.CompensationAttemptFailed: _Told("step:compensate_retry", "compensating", _undo_retry),
    events.CompensationFailed: _Told("step:compensate_error", None, _undo_failure),
    events.CompensationSkipped: _Told("step:compensate_skipped", None, _reason),
}
