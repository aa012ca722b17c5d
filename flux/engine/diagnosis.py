"""Why an instance is where it is: a report for people. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from flux.definition.correlation import correlation_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine.compensation import failed, owed
from flux.engine.waiting import REQUESTS, TURN
from flux.errors import listing
from flux.frozen import frozen
from flux.state.instance import Instance
from flux.state.status import Direction, StepStatus, WorkflowStatus
from flux.storage import Record, StoredSignal


@frozen(kw_only=True)
class AwaitedSignal:
    """What a suspended step waits for; `signal` is None for a sleep, `until` None for ever."""

    step: str
    signal: str | None
    since: datetime | None
    until: datetime | None


@frozen(kw_only=True)
class ReceivedSignal:
    """A signal in the inbox; `taken_by` is the step that took it, None if none did yet."""

    number: int
    name: str
    payload: Any
    signal_id: str | None
    received_at: datetime
    taken_by: str | None


@frozen(kw_only=True)
class Diagnosis:
    """Why an instance rests or runs, and what comes next.

    `because` is one sentence. `due_at` is when it goes on by itself, `driven_until` the end of the
    lease of whoever drives it. `unfit` says why the code at hand cannot go on with it.
    """

    id: str
    workflow: str
    version: str
    status: WorkflowStatus
    because: str
    comes_next: str
    correlation: Mapping[str, Any]
    waits_for: tuple[AwaitedSignal, ...]
    signals: tuple[ReceivedSignal, ...]
    due_at: datetime | None
    driven_until: datetime | None
    recoveries: int
    deadline: datetime | None
    unfit: str | None

    def __str__(self) -> str:
        return f"{self.id} is {self.status}: {self.because}; next: {self.comes_next}"


def diagnosis(
    instance: Instance,
    record: Record,
    signals: Sequence[StoredSignal],
    *,
    definition: WorkflowDefinition | None,
    unfit: str | None,
    now: datetime,
) -> Diagnosis:
    """The report on an instance as it was last saved."""
    waits = _waits(instance)
    unread = [s.signal.name for s in signals if s.consumed_by is None]
    return Diagnosis(
        id=instance.id,
        workflow=record.workflow,
        version=record.version,
        status=instance.head.status,
        because=_because(instance, record, waits, unread, now),
        comes_next=unfit or _comes_next(instance, record, waits, definition),
        correlation=correlation_of(record.labels),
        waits_for=waits,
        signals=tuple(_received(s) for s in signals if s.signal.name not in (*REQUESTS, TURN)),
        due_at=record.wake_at if record.lease_until is None else None,
        driven_until=record.lease_until,
        recoveries=instance.head.recoveries,
        deadline=instance.deadline,
        unfit=unfit,
    )


def _waits(instance: Instance) -> tuple[AwaitedSignal, ...]:
    return tuple(
        AwaitedSignal(
            step=execution.step,
            signal=execution.waiting.signal,
            since=execution.suspended_at,
            until=execution.waiting.until,
        )
        for execution in instance.history()
        if execution.status is StepStatus.SUSPENDED and execution.waiting is not None
    )


def _received(stored: StoredSignal) -> ReceivedSignal:
    return ReceivedSignal(
        number=stored.number,
        name=stored.signal.name,
        payload=orjson.loads(stored.signal.payload),
        signal_id=stored.signal.signal_id,
        received_at=stored.signal.sent_at,
        taken_by=stored.consumed_by,
    )


def _because(
    instance: Instance,
    record: Record,
    waits: Sequence[AwaitedSignal],
    unread: Sequence[str],
    now: datetime,
) -> str:
    head = instance.head
    stuck = failed(instance) if head.status is WorkflowStatus.ROLLBACK_FAILED else None
    if stuck is not None and stuck.compensation is not None:
        why = f"step {stuck.step!r} could not be undone: {stuck.compensation.error}"
        return f"it failed with {head.error}, and {why}"
    if head.status.is_ended:
        return "it has run to its end" if head.error is None else f"it ended with {head.error}"
    if record.lease_until is not None and record.lease_until > now:
        return f"it is driven, at {' and '.join(record.intent) or 'no step'}"
    if record.lease_until is not None:
        return "whoever drove it is gone"
    if head.status in (WorkflowStatus.PAUSED, WorkflowStatus.PARKED):
        return head.reason or "somebody paused it"
    if head.turn is not None and not head.turn.admitted and head.reason is not None:
        return f"it waits for its turn: {head.reason}"
    come = [one.signal for one in waits if one.signal in unread]
    if come:
        return f"the signal {come[0]!r} has come; it waits for an engine with room for it"
    if waits:
        return " and ".join(_waiting(one) for one in waits)
    return _tried_again(instance, now) or "it waits for an engine with room for it"


def _tried_again(instance: Instance, now: datetime) -> str | None:
    for execution in instance.history():
        retry_at, error, what = execution.tries.retry_at, execution.error, ""
        if (undone := execution.compensation) is not None:
            retry_at, error, what = undone.retry_at, undone.error, "the undoing of "
        if retry_at is not None and retry_at > now:
            told = f"{what}step {execution.step!r} failed ({error})"
            return f"{told}, next try at {retry_at}"
    return None


def _waiting(one: AwaitedSignal) -> str:
    what = "sleeps" if one.signal is None else f"waits for the signal {one.signal!r}"
    until = "" if one.until is None else f" until {one.until}"
    return f"step {one.step!r} {what} since {one.since}{until}"


def _comes_next(
    instance: Instance,
    record: Record,
    waits: Sequence[AwaitedSignal],
    definition: WorkflowDefinition | None,
) -> str:
    status = instance.head.status
    if status.is_ended:
        return "nothing"
    if status in _A_PERSON:
        return _A_PERSON[status]
    if instance.head.direction is Direction.BACK:
        left = owed(definition, instance) if definition is not None else []
        names = [instance.executions[number].step for number in reversed(left)]
        return f"the rollback goes on; still to undo: {listing(names)}"
    if waits:
        return f"step {waits[0].step!r} goes on when that comes"
    steps = definition.order if definition is not None else ()
    open_steps = (step.name for step in steps if not _is_settled(instance, step.name))
    step = next(iter(record.intent), None) or next(open_steps, None)
    return "it completes" if step is None else f"step {step!r} runs"


def _is_settled(instance: Instance, step: str) -> bool:
    execution = instance.current.get(step)
    return execution is not None and execution.is_settled


_A_PERSON = {
    WorkflowStatus.PAUSED: "resume() lets it go on",
    WorkflowStatus.PARKED: "resume() lets it go on, with a fresh budget",
    WorkflowStatus.ROLLBACK_FAILED: "retry_rollback() or skip_compensation() go on",
}
