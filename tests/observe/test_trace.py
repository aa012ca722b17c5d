"""Trace events: what observers are told of what happened."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import events
from flux.errors import StoredError
from flux.events import (
    AttemptEnd,
    CompensationEvent,
    DataChanges,
    Event,
    InstanceFacts,
    Received,
    RequestEvent,
    StepEvent,
    Waiting,
)
from flux.observe import trace
from flux.observe.trace import FluxTraceEvent, trace_event

AT = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
BEGUN = AT - timedelta(seconds=1.5)
LATER = AT + timedelta(seconds=4)
DECLINED = StoredError(type="CardError", message="declined")
CHANGES = DataChanges(set={"paid": b'{"cents":900}'}, deleted=("draft",))

STEP_COMPLETED = events.StepCompleted(
    at=AT, step="charge", started_at=BEGUN, attempt=2, output=b'"p-1"', changes=CHANGES
)
ATTEMPT_FAILED = events.AttemptFailed(
    at=AT,
    step="reserve",
    started_at=BEGUN,
    attempt=2,
    ended=AttemptEnd.TIMED_OUT,
    error=DECLINED,
    retry_at=LATER,
)
STEP_FAILED = events.StepFailed(
    at=AT, step="reserve", error=DECLINED, started_at=BEGUN, attempt=4, ended=AttemptEnd.REFUSED
)
COMPENSATED = events.StepCompensated(
    at=AT, step="charge", number=2, started_at=BEGUN, attempt=3, changes=CHANGES
)
UNDO_RETRIED = events.CompensationAttemptFailed(
    at=AT,
    step="charge",
    number=2,
    started_at=BEGUN,
    attempt=1,
    error=DECLINED,
    ended=AttemptEnd.FAILED,
    retry_at=LATER,
)
UNDO_FAILED = events.CompensationFailed(
    at=AT,
    step="charge",
    number=2,
    started_at=BEGUN,
    attempt=6,
    error=DECLINED,
    ended=AttemptEnd.TIMED_OUT,
)

RECEIVED = Received(
    number=3, name="approved", payload=b'{"by":"kim"}', sent_at=BEGUN, signal_id="evt-1"
)
STEP_SUSPENDED = events.StepSuspended(
    at=AT,
    step="charge",
    started_at=BEGUN,
    attempt=2,
    changes=CHANGES,
    waiting=Waiting(signal="approved", until=LATER, default=b'"none"'),
)
CANCEL_REQUESTED = events.CancelRequested(at=AT, number=1, rollback=False, error=DECLINED)

TOLD: list[tuple[Event, str, str | None]] = [
    (events.InstanceStarted(at=AT), "workflow:start", "running"),
    (events.InstanceQueued(at=AT, reason="full", gates=("a",)), "workflow:queued", None),
    (events.InstanceAdmitted(at=AT, gates=("a",)), "workflow:admitted", None),
    (events.AdmissionFailed(at=AT, error=DECLINED), "workflow:not_admitted", None),
    (events.InstanceRecovered(at=AT), "workflow:recovered", None),
    (events.InstanceParked(at=AT, reason="10 recoveries"), "workflow:parked", "parked"),
    (events.InstanceUnparked(at=AT), "workflow:unparked", None),
    (events.InstanceSuspended(at=AT), "workflow:suspend", "suspended"),
    (events.InstanceResumed(at=AT), "workflow:resume", "running"),
    (events.InstancePaused(at=AT, number=1, reason="audit"), "workflow:pause", "paused"),
    (CANCEL_REQUESTED, "workflow:cancel", None),
    (events.RequestDropped(at=AT, number=1), "workflow:request_dropped", None),
    (events.InstanceCancelled(at=AT), "workflow:cancelled", "cancelled"),
    (events.DeadlineExceeded(at=AT, error=DECLINED), "workflow:deadline", None),
    (
        events.DefinitionAdopted(at=AT, version="2", shape=b"[]"),
        "workflow:definition",
        None,
    ),
    (events.InstanceCompleted(at=AT), "workflow:complete", "completed"),
    (events.InstanceFailed(at=AT), "workflow:error", "failed"),
    (events.RollbackStarted(at=AT), "workflow:rollback_start", "rolling_back"),
    (events.InstanceRolledBack(at=AT), "workflow:rollback_complete", "rolled_back"),
    (events.RollbackFailed(at=AT), "workflow:rollback_failed", "rollback_failed"),
    (events.RollbackRetried(at=AT), "workflow:rollback_retry", "rolling_back"),
    (
        events.InstanceRestarted(at=AT, from_step="charge", replaced=(2,)),
        "workflow:restart",
        "running",
    ),
    (events.StepsRetried(at=AT, steps=("charge",)), "workflow:retry", "running"),
    (events.StepStarted(at=AT, step="reserve", attempt=1), "step:start", "running"),
    (events.StepReached(at=AT, step="reserve"), "step:reached", "pending"),
    (events.StepSkipped(at=AT, step="reserve"), "step:skipped", "skipped"),
    (events.StepReplayed(at=AT, step="charge", number=2), "step:replayed", "completed"),
    (events.StepReopened(at=AT, step="charge", number=2), "step:reopened", "running"),
    (STEP_COMPLETED, "step:complete", "completed"),
    (STEP_SUSPENDED, "step:suspend", "suspended"),
    (
        events.SignalTaken(at=AT, step="charge", received=RECEIVED),
        "signal:received",
        "suspended",
    ),
    (events.WaitTimedOut(at=AT, step="charge", signal="approved"), "step:timeout", "suspended"),
    (ATTEMPT_FAILED, "step:retry", "running"),
    (STEP_FAILED, "step:error", "failed"),
    (
        events.VerifyFailed(at=AT, step="charge", error=DECLINED, retry_at=LATER),
        "step:verify_error",
        "running",
    ),
    (events.StepCleared(at=AT, step="charge"), "step:not_done", "running"),
    (
        events.CompensationStarted(at=AT, step="charge", number=2, attempt=2),
        "step:compensate_start",
        "compensating",
    ),
    (COMPENSATED, "step:compensate", "compensated"),
    (UNDO_RETRIED, "step:compensate_retry", "compensating"),
    (UNDO_FAILED, "step:compensate_error", None),
    (
        events.CompensationSkipped(at=AT, step="charge", number=2, reason="by hand"),
        "step:compensate_skipped",
        None,
    ),
    (events.StepsClosed(at=AT, error=DECLINED), "workflow:steps_closed", None),
    (events.DataConflictFound(at=AT, error=DECLINED), "workflow:conflict", None),
    (
        events.RollbackRequested(at=AT, error=DECLINED),
        "workflow:rollback_requested",
        "rolling_back",
    ),
    (events.StepLeftOut(at=AT, step="charge"), "step:left_out", "skipped"),
    (events.MapExpanded(at=AT, step="charge", items=b"[1]"), "step:expanded", "running"),
]


def traced(facts: InstanceFacts, event: Event) -> FluxTraceEvent:
    made = trace_event(facts, event)
    assert made is not None
    return made


@pytest.mark.parametrize(("event", "type", "status"), TOLD, ids=lambda told: str(told)[:40])
def test_events_have_their_type(
    facts: InstanceFacts, event: Event, type: str, status: str | None
) -> None:
    """Each event has one type, and tells the status that follows from it."""
    made = traced(facts, event)
    assert (made.type, made.status) == (type, status)


def test_no_event_is_forgotten() -> None:
    """Whatever can happen to an instance is told, and tested above."""
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type)}
    happenings = {kind for kind in kinds if issubclass(kind, Event)}
    assert {type(event) for event, _, _ in TOLD} == happenings - {
        Event,
        StepEvent,
        CompensationEvent,
        RequestEvent,
    }


@pytest.mark.parametrize(("event", "type", "status"), TOLD, ids=lambda told: str(told)[:40])
def test_table_tells_each_type(event: Event, type: str, status: str | None) -> None:
    """The module's documentation has a line for it."""
    rows = [line.strip(" *").split() for line in (trace.__doc__ or "").splitlines()]
    known = [row[:3] for row in rows if row[:1] == [type]]
    expected = [type, event.__class__.__name__, *([status] if status else [])]
    assert [row[: len(expected)] for row in known] == [expected]


def test_unknown_events_are_not_told(facts: InstanceFacts) -> None:
    """An event without a type is for nobody."""
    assert trace_event(facts, Event(at=AT)) is None


def test_instance_is_named(facts: InstanceFacts) -> None:
    """Every event says when it happened, and to which instance of which workflow."""
    made = traced(facts, events.InstanceRecovered(at=AT))
    assert (made.timestamp, made.workflow_id, made.workflow_name) == (AT, "order-7", "order")


def test_events_of_the_instance_name_no_step(facts: InstanceFacts) -> None:
    """What happened to the whole instance belongs to no step."""
    made = traced(facts, events.InstanceCompleted(at=AT))
    assert (made.step_name, made.step_index, made.commit, made.max_retries) == (None,) * 4


def test_start_tells_the_input(facts: InstanceFacts) -> None:
    """The first event has the input, as values."""
    assert traced(facts, events.InstanceStarted(at=AT)).input == {"sku": "A1"}


def test_input_is_told_once(facts: InstanceFacts) -> None:
    """Only the first event has the input."""
    assert traced(facts, events.InstanceCompleted(at=AT)).input is None


def test_step_is_described(facts: InstanceFacts) -> None:
    """An event of a step says which one, where it stands, and what kind it is."""
    made = traced(facts, events.StepSkipped(at=AT, step="charge"))
    assert (made.step_name, made.step_index, made.commit) == ("charge", 1, True)


def test_lost_step_is_named(facts: InstanceFacts) -> None:
    """A step that the code has lost is told by its name alone."""
    made = traced(facts, events.StepSkipped(at=AT, step="gone"))
    assert (made.step_name, made.step_index) == ("gone", None)


@pytest.mark.parametrize(("attempt", "retries"), [(1, 0), (3, 2)])
def test_start_counts_retries(facts: InstanceFacts, attempt: int, retries: int) -> None:
    """The first attempt is no retry, and the step says how many it may have."""
    made = traced(facts, events.StepStarted(at=AT, step="reserve", attempt=attempt))
    assert (made.retries, made.max_retries) == (retries, 3)


def test_completion_tells_the_result(facts: InstanceFacts) -> None:
    """A completed step tells its output and what it changed, as values."""
    made = traced(facts, STEP_COMPLETED)
    assert made.data == {"paid": {"cents": 900}}
    assert made.meta == {"output": "p-1", "deleted": ["draft"]}


def test_completion_tells_the_effort(facts: InstanceFacts) -> None:
    """A completed step tells how long its last attempt took, in seconds, and its retries."""
    made = traced(facts, STEP_COMPLETED)
    assert (made.duration, made.retries) == (1.5, 1)


def test_suspension_tells_what_it_waits_for(facts: InstanceFacts) -> None:
    """A suspended step tells its signal, until when, and what it changed."""
    made = traced(facts, STEP_SUSPENDED)
    assert made.data == {"paid": {"cents": 900}}
    assert made.meta == {"signal": "approved", "until": LATER, "deleted": ["draft"]}
    assert (made.duration, made.retries) == (1.5, 1)


@pytest.mark.parametrize(
    "event", [CANCEL_REQUESTED, events.DeadlineExceeded(at=AT, error=DECLINED)]
)
def test_turning_back_tells_why(facts: InstanceFacts, event: Event) -> None:
    """A cancel and a missed deadline tell the error with which the instance ends."""
    assert traced(facts, event).error == DECLINED


def test_nothing_deleted_is_not_told(facts: InstanceFacts) -> None:
    """A step that deleted no key does not speak of it."""
    completed = events.StepCompleted(
        at=AT, step="charge", started_at=BEGUN, attempt=1, output=b"null", changes=DataChanges()
    )
    assert traced(facts, completed).meta == {"output": None}


def test_duration_is_never_negative(facts: InstanceFacts) -> None:
    """A wall clock that was set back during an attempt makes it take no time."""
    completed = events.StepCompleted(
        at=AT, step="charge", started_at=LATER, attempt=1, output=b"null", changes=DataChanges()
    )
    assert traced(facts, completed).duration == 0


def test_retry_tells_the_failure(facts: InstanceFacts) -> None:
    """A retry tells the error before it, how that attempt ended, and when the next one begins."""
    made = traced(facts, ATTEMPT_FAILED)
    assert (made.error, made.retries, made.duration) == (DECLINED, 2, 1.5)
    assert made.meta == {"ended": "timed_out", "retry_at": LATER, "verify": False}


def test_retry_at_once_has_no_time(facts: InstanceFacts) -> None:
    """A retry without a pause tells no time."""
    failed = events.AttemptFailed(
        at=AT,
        step="charge",
        started_at=BEGUN,
        attempt=1,
        ended=AttemptEnd.INTERRUPTED,
        error=DECLINED,
        verify=True,
    )
    assert traced(facts, failed).meta == {"ended": "interrupted", "verify": True}


def test_error_tells_the_failure(facts: InstanceFacts) -> None:
    """A failed step tells its error, its last attempt, and how that ended."""
    made = traced(facts, STEP_FAILED)
    assert (made.error, made.retries, made.duration) == (DECLINED, 3, 1.5)
    assert made.meta == {"ended": "refused"}


def test_error_without_attempt(facts: InstanceFacts) -> None:
    """A step that failed before its handler was called tells of no attempt."""
    made = traced(facts, events.StepFailed(at=AT, step="charge", error=DECLINED))
    assert (made.error, made.retries, made.duration, made.meta) == (DECLINED, None, None, {})


def test_verify_error_tells_when_next(facts: InstanceFacts) -> None:
    """A verifier that raised tells its error, and when it is asked again."""
    failed = events.VerifyFailed(at=AT, step="charge", error=DECLINED, retry_at=LATER)
    made = traced(facts, failed)
    assert (made.error, made.meta) == (DECLINED, {"retry_at": LATER})


def test_compensation_tells_its_changes(facts: InstanceFacts) -> None:
    """A compensated step tells what its compensator changed, and how long that took."""
    made = traced(facts, COMPENSATED)
    assert (made.data, made.meta) == ({"paid": {"cents": 900}}, {"deleted": ["draft"]})
    assert (made.retries, made.duration) == (2, 1.5)


def test_compensation_hides_the_steps_retries(facts: InstanceFacts) -> None:
    """The step's retries say nothing of its compensator's."""
    started = events.CompensationStarted(at=AT, step="charge", number=2, attempt=2)
    made = traced(facts, started)
    assert (made.retries, made.max_retries) == (1, None)


def test_compensation_retry_tells_the_failure(facts: InstanceFacts) -> None:
    """A retry of a compensator tells what a retry of a step does."""
    made = traced(facts, UNDO_RETRIED)
    assert (made.error, made.retries, made.duration) == (DECLINED, 1, 1.5)
    assert made.meta == {"ended": "failed", "retry_at": LATER}


def test_compensation_error_tells_the_failure(facts: InstanceFacts) -> None:
    """A compensator that failed for good tells its error, and how its last attempt ended."""
    made = traced(facts, UNDO_FAILED)
    assert (made.error, made.retries, made.duration) == (DECLINED, 5, 1.5)
    assert made.meta == {"ended": "timed_out"}


@pytest.mark.parametrize(
    ("event", "meta"),
    [
        (events.InstanceParked(at=AT, reason="stuck"), {"reason": "stuck"}),
        (events.InstancePaused(at=AT, number=1, reason="audit"), {"reason": "audit"}),
        (CANCEL_REQUESTED, {"rollback": False}),
        (events.DefinitionAdopted(at=AT, version="2", shape=b"[]"), {"version": "2"}),
        (
            events.SignalTaken(at=AT, step="charge", received=RECEIVED),
            {"signal": "approved", "payload": {"by": "kim"}, "signal_id": "evt-1"},
        ),
        (events.WaitTimedOut(at=AT, step="charge", signal="approved"), {"signal": "approved"}),
        (
            events.InstanceRestarted(at=AT, from_step="charge", replaced=(2,)),
            {"from_step": "charge"},
        ),
        (
            events.StepsRetried(at=AT, steps=("reserve", "charge"), verify=("charge",)),
            {"steps": ["reserve", "charge"], "verify": ["charge"]},
        ),
        (events.StepReopened(at=AT, step="charge", number=2, verify=True), {"verify": True}),
        (
            events.CompensationSkipped(at=AT, step="charge", number=2, reason="by hand"),
            {"reason": "by hand"},
        ),
    ],
    ids=lambda told: type(told).__name__,
)
def test_meta_tells_the_rest(facts: InstanceFacts, event: Event, meta: dict[str, object]) -> None:
    """What the original has no field for stands in meta."""
    assert traced(facts, event).meta == meta


@pytest.mark.parametrize(
    "end", [events.InstanceFailed, events.InstanceRolledBack, events.InstanceCancelled]
)
def test_failed_instance_tells_why(facts: InstanceFacts, end: type[Any]) -> None:
    """An instance that did not get through tells the cause, and how long it took."""
    told = traced(facts, end(at=AT, error=DECLINED))
    assert told.error == DECLINED
    assert told.duration == (AT - facts.created_at).total_seconds()
