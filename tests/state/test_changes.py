"""What each event makes of an instance: values in, values out."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flux import StoredError, WorkflowStatus, events
from flux.errors import IllegalMoveError
from flux.events import AttemptEnd, DataChanges, Event, Received, Waiting
from flux.state.changes import change
from flux.state.execution import Attempt, Execution, Tries
from flux.state.heads import first_head
from flux.state.instance import Instance, Origin, Turn
from flux.state.status import Cancelling, CompensationStatus, Direction, Outcome, StepStatus

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
ERROR = StoredError(type="RuntimeError", message="declined")
STATUS = WorkflowStatus


def texts(instance: Instance) -> dict[str, bytes]:
    """The data of an instance as JSON texts by key."""
    return {key: orjson.dumps(fragment) for key, fragment in instance.data.items()}


def new_instance(*happened: Event) -> Instance:
    """An instance that was started, and to which this has happened."""
    origin = Origin(id="o", workflow="order", version="1", created_at=AT, input=b"{}")
    instance = Instance(origin, first_head(AT))
    for event in (events.InstanceStarted(at=AT), *happened):
        instance.accept(change(instance, event))
    return instance


def completed(step: str, **set_: bytes) -> events.StepCompleted:
    changes = DataChanges(set=set_)
    return events.StepCompleted(
        at=AT, step=step, started_at=AT, attempt=1, output=b"1", changes=changes
    )


def attempt_failed(
    step: str, attempt: int, ended: AttemptEnd, at: datetime = AT
) -> events.AttemptFailed:
    return events.AttemptFailed(
        at=at, step=step, started_at=AT, attempt=attempt, ended=ended, error=ERROR, retry_at=AT
    )


def failed(step: str, ended: AttemptEnd = AttemptEnd.FAILED) -> events.StepFailed:
    return events.StepFailed(at=AT, step=step, error=ERROR, started_at=AT, attempt=1, ended=ended)


def compensated(step: str, number: int, **set_: bytes) -> events.StepCompensated:
    changes = DataChanges(set=set_)
    return events.StepCompensated(
        at=AT, step=step, number=number, started_at=AT, attempt=1, changes=changes
    )


def test_change_leaves_the_instance_alone() -> None:
    """An event makes a new value; nothing has happened until it is accepted."""
    instance = new_instance(completed("a", x=b"1"))
    head, executions, data = instance.head, dict(instance.executions), dict(instance.data)
    change(instance, completed("b", x=b"2"))
    change(instance, failed("b"))
    assert (instance.head, instance.executions, instance.data) == (head, executions, data)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (events.InstanceCompleted, STATUS.COMPLETED),
        (events.InstanceFailed, STATUS.FAILED),
        (events.RollbackStarted, STATUS.ROLLING_BACK),
    ],
)
def test_endings_move_the_status(ending: type[Event], status: WorkflowStatus) -> None:
    """And an instance that has ended tells when."""
    head = change(new_instance(), ending(at=LATER)).head
    assert (head.status, head.updated_at) == (status, LATER)
    assert head.ended_at == (LATER if status.is_ended else None)


@pytest.mark.parametrize(
    "event",
    [
        events.InstanceRolledBack(at=AT),
        events.RollbackFailed(at=AT),
        events.InstanceParked(at=AT, reason="x"),
    ],
)
def test_illegal_move_raises(event: Event) -> None:
    """An event that does not fit the status is a fault of the engine."""
    with pytest.raises(IllegalMoveError, match="cannot go from completed to"):
        change(new_instance(events.InstanceCompleted(at=AT)), event)


def test_completed_step() -> None:
    """It has an outcome, a result, and its turn."""
    execution = new_instance(completed("a"), completed("b")).current["b"]
    assert (execution.status, execution.outcome) == (StepStatus.COMPLETED, Outcome.COMPLETED)
    assert (execution.output, execution.attempts, execution.generation) == (b"1", 1, 1)
    assert execution.finished == execution.folded == execution.number == 2


def test_completed_after_a_failed_attempt() -> None:
    """It keeps when it began and what failed, and tells when it ended."""
    instance = new_instance(attempt_failed("a", 1, AttemptEnd.FAILED), completed("a"))
    execution = instance.current["a"]
    assert (execution.started_at, execution.ended_at, execution.tries.failures) == (AT, AT, 1)
    assert [attempt.number for attempt in execution.tries.ended] == [1]


@pytest.mark.parametrize("before", [(), (attempt_failed("a", 1, AttemptEnd.FAILED),)])
def test_what_was_merged_is_kept(before: tuple[Event, ...]) -> None:
    """It is folded in place of what the step itself changed, at its first attempt or later."""
    merged = DataChanges(set={"x": b"3"})
    instance = new_instance(*before, evolve(completed("a", x=b"1"), merged=merged))
    assert (instance.current["a"].merged, texts(instance)) == (merged, {"x": b"3"})
    assert texts(Instance(instance.origin, instance.head, instance.executions.values())) == {
        "x": b"3"
    }


def test_failed_step_turns_the_direction() -> None:
    """With the failure itself; status and data stay until the rollback begins."""
    instance = new_instance(completed("a", x=b"1"), failed("b"))
    head = instance.head
    assert (head.direction, head.status, head.error) == (Direction.BACK, STATUS.RUNNING, ERROR)
    assert texts(instance) == {"x": b"1"}


@pytest.mark.parametrize("ended", AttemptEnd)
def test_failed_attempt_tells_what_is_known(ended: AttemptEnd) -> None:
    """One that raised is known not to have acted; any other end leaves it unknown."""
    execution = new_instance(attempt_failed("a", 1, ended)).current["a"]
    unknown = ended is not AttemptEnd.FAILED
    assert execution.outcome == (Outcome.UNKNOWN if unknown else None)
    assert execution.tries.failures == (0 if ended is AttemptEnd.INTERRUPTED else 1)


def test_unknown_stays_unknown() -> None:
    """A later attempt that raised does not make it known; a completion does."""
    doubtful = attempt_failed("a", 1, AttemptEnd.TIMED_OUT)
    instance = new_instance(doubtful, attempt_failed("a", 2, AttemptEnd.FAILED))
    assert instance.current["a"].outcome is Outcome.UNKNOWN
    assert change(instance, failed("a")).executions[0].outcome is Outcome.UNKNOWN
    assert change(instance, completed("a")).executions[0].outcome is Outcome.COMPLETED


def test_only_the_last_attempts_are_kept() -> None:
    """A step that is tried for ever does not grow for ever."""
    tries = [attempt_failed("a", number, AttemptEnd.FAILED) for number in range(1, 31)]
    execution = new_instance(*tries).current["a"]
    assert [attempt.number for attempt in execution.tries.ended] == list(range(21, 31))
    assert (execution.attempts, execution.tries.failures) == (30, 30)


def test_recoveries_count_up_to_progress() -> None:
    """A step that ends sets them back, an attempt that fails does not."""
    recovered = events.InstanceRecovered(at=AT)
    instance = new_instance(recovered, recovered)
    assert instance.head.recoveries == 2
    attempt = attempt_failed("a", 1, AttemptEnd.INTERRUPTED)
    assert change(instance, attempt).head.recoveries == 2
    assert change(instance, completed("a")).head.recoveries == 0


LOST = events.CompensationFailed(
    at=AT, step="a", number=1, started_at=AT, attempt=3, error=ERROR, ended=AttemptEnd.FAILED
)


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ((events.InstanceParked(at=AT, reason="x"),), events.InstanceUnparked(at=AT)),
        ((events.InstanceFailed(at=AT),), events.StepsRetried(at=AT, steps=("b",))),
        (
            (events.InstanceFailed(at=AT),),
            events.InstanceRestarted(at=AT, from_step="b", replaced=()),
        ),
        (
            (events.RollbackStarted(at=AT), LOST, events.RollbackFailed(at=AT)),
            events.RollbackRetried(at=AT),
        ),
        (
            (events.RollbackStarted(at=AT), LOST, events.RollbackFailed(at=AT)),
            events.CompensationSkipped(at=AT, step="a", number=1, reason="by hand"),
        ),
        ((), events.DeadlineExceeded(at=AT, error=ERROR)),
    ],
    ids=lambda one: "" if isinstance(one, tuple) else type(one).__name__,
)
def test_recoveries_begin_anew(before: tuple[Event, ...], event: Event) -> None:
    """What a person lets go on, or what turns back, may be recovered as often as at first."""
    instance = new_instance(completed("a"), failed("b"), *before, events.InstanceRecovered(at=AT))
    assert instance.head.recoveries == 1
    assert change(instance, event).head.recoveries == 0


@pytest.mark.parametrize(
    "event",
    [
        events.StepReached(at=AT, step="a"),
        events.StepLeftOut(at=AT, step="a"),
        events.MapExpanded(at=AT, step="a", items=b"[]", batch_size=None),
        attempt_failed("a", 1, AttemptEnd.FAILED),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_ends_nothing_is_no_progress(event: Event) -> None:
    """The recoveries go on being counted."""
    assert change(new_instance(events.InstanceRecovered(at=AT)), event).head.recoveries == 1


@pytest.mark.parametrize(
    "event",
    [
        events.InstanceRecovered(at=LATER),
        events.StepsClosed(at=LATER, error=ERROR),
        events.DeadlineExceeded(at=LATER, error=ERROR),
        events.InstanceQueued(at=LATER, reason="full", gates=("g",)),
        events.InstanceAdmitted(at=LATER, gates=("g",)),
        attempt_failed("a", 1, AttemptEnd.FAILED, at=LATER),
    ],
    ids=lambda event: type(event).__name__,
)
def test_the_head_tells_when(event: Event) -> None:
    """An instance was updated when the last event happened to it."""
    assert change(new_instance(), event).head.updated_at == LATER


def test_rollback_requested_turns_back() -> None:
    """What had completed is rolled back, for the cause it is told, with a fresh budget."""
    instance = new_instance(completed("a"), events.InstanceCompleted(at=AT))
    instance.accept(change(instance, events.InstanceRecovered(at=AT)))
    head = change(instance, events.RollbackRequested(at=LATER, error=ERROR)).head
    assert (head.status, head.direction) == (STATUS.ROLLING_BACK, Direction.BACK)
    assert (head.error, head.recoveries, head.updated_at) == (ERROR, 0, LATER)


def test_a_tick_keeps_what_it_does_not_count() -> None:
    """Of the head, a step that ends changes the ticks, the recoveries and the time."""
    origin = Origin(id="o", workflow="order", version="1", created_at=AT, input=b"{}")
    head = evolve(first_head(AT), run=2, error=ERROR, reason="x", ended_at=AT, recoveries=3)
    head = evolve(head, cancelling=Cancelling.KEEP, undated=True, inbox_read=4, inbox_seen=5)
    head = evolve(head, shape=b"{}", version="2", turn=Turn(number=2), begun={"b": 7})
    later = evolve(completed("a"), at=LATER)
    ticked = change(Instance(origin, head), later).head
    assert ticked == evolve(head, ticks=1, recoveries=0, updated_at=LATER)


def test_what_was_begun_has_its_number() -> None:
    """It was numbered when it began beside others; once it has an entry, that is forgotten."""
    instance = new_instance()
    for step in ("a", "b"):
        instance.reserve(step)
    numbers = dict(instance.head.begun)
    changed = change(instance, completed("b"))
    assert changed.executions[0].number == changed.executions[0].place == numbers["b"]
    assert changed.head.begun == {"a": numbers["a"]}


def test_what_is_consumed_need_not_be_read_again() -> None:
    """The head tells up to where the inbox is consumed."""
    instance = new_instance()
    sent = [Received(number=n, name="x", payload=b"null", sent_at=AT) for n in (1, 2)]
    instance.receive(sent, 2)
    for number, read in ((2, 0), (1, 2)):
        paused = change(instance, events.RequestDropped(at=AT, number=number))
        assert (paused.head.inbox_read, dict(paused.consumed)) == (read, {number: "nobody"})
        instance.accept(paused)


def test_parked_on_its_way_back_keeps_its_end() -> None:
    """One that had completed, and is undone later, does not take its unique key again."""
    back = events.RollbackRequested(at=LATER, error=ERROR)
    instance = new_instance(completed("a"), events.InstanceCompleted(at=AT), back)
    assert change(instance, events.InstanceParked(at=LATER, reason="x")).head.ended_at == AT


def test_unparked_goes_on_as_it_went() -> None:
    """Forward as running, back as rolling back, both with a fresh budget."""
    parked = events.InstanceParked(at=AT, reason="too often")
    forward = new_instance(parked)
    back = new_instance(completed("a"), failed("b"), events.RollbackStarted(at=AT), parked)
    for instance, status in ((forward, STATUS.RUNNING), (back, STATUS.ROLLING_BACK)):
        assert (instance.head.status, instance.head.reason) == (STATUS.PARKED, "too often")
        head = change(instance, events.InstanceUnparked(at=AT)).head
        assert (head.status, head.reason, head.recoveries) == (status, None, 0)


def test_restart_sets_steps_aside() -> None:
    """Their data goes, their entries stay; the next execution is of another generation."""
    ended = (completed("a", x=b"1"), completed("b", y=b"2"), events.InstanceCompleted(at=AT))
    instance = new_instance(*ended)
    restarted = events.InstanceRestarted(at=AT, from_step="b", replaced=(2,))
    instance.accept(change(instance, restarted))
    assert (instance.head.status, instance.head.run, texts(instance)) == ("running", 2, {"x": b"1"})
    assert (set(instance.current), set(instance.past)) == ({"a"}, {"b"})
    assert [len(instance.history()), len(instance.history(replaced=True))] == [1, 2]
    instance.accept(change(instance, completed("b")))
    assert instance.current["b"].generation == 2


def test_restarted_has_not_ended() -> None:
    """An instance that had ended, and goes forward again, has no end."""
    instance = new_instance(completed("a"), events.InstanceCompleted(at=AT))
    restarted = events.InstanceRestarted(at=LATER, from_step="a", replaced=(1,))
    assert instance.head.ended_at == AT
    assert change(instance, restarted).head.ended_at is None


def test_a_failed_compensation_is_counted() -> None:
    """It has ended, with its failure; a person who skips it ends it anew, and tells why."""
    instance = new_instance(completed("a"), failed("b"), events.RollbackStarted(at=AT), LOST)
    lost = instance.executions[1].compensation
    assert lost is not None
    assert (lost.status, lost.failures, lost.attempts) == (CompensationStatus.FAILED, 1, 3)
    instance.accept(change(instance, events.RollbackFailed(at=AT)))
    skipped = events.CompensationSkipped(at=LATER, step="a", number=1, reason="by hand")
    settled = change(instance, skipped).executions[0].compensation
    assert settled == evolve(
        lost, status=CompensationStatus.SKIPPED, ended_at=LATER, reason="by hand"
    )


def test_a_compensation_that_goes_on_has_not_ended() -> None:
    """An attempt that failed is counted, and still is when the next one has undone the step."""
    instance = new_instance(completed("a"), failed("b"), events.RollbackStarted(at=AT))
    lost = events.CompensationAttemptFailed(
        at=AT,
        step="a",
        number=1,
        started_at=AT,
        attempt=1,
        ended=AttemptEnd.FAILED,
        error=ERROR,
        retry_at=LATER,
    )
    expected = (("running", None, LATER), ("completed", AT, None))
    for event, (status, ended_at, retry_at) in zip(
        (lost, compensated("a", 1)), expected, strict=True
    ):
        instance.accept(change(instance, event))
        undone = instance.executions[1].compensation
        assert undone is not None
        assert (undone.status, undone.ended_at, undone.retry_at) == (status, ended_at, retry_at)
        assert undone.failures == 1


def test_rollback_retried_is_afresh() -> None:
    """Failed compensations have no failures any more, but keep counting their attempts."""
    turn = (failed("b"), events.RollbackStarted(at=AT), LOST, events.RollbackFailed(at=AT))
    instance = new_instance(completed("a"), *turn)
    again = change(instance, events.RollbackRetried(at=AT))
    undone = again.executions[0].compensation
    assert undone is not None
    assert (undone.status, undone.failures, undone.attempts) == (CompensationStatus.RUNNING, 0, 3)
    assert again.head.status is STATUS.ROLLING_BACK


FEW, MANY = DataChanges(set={"x": b"1"}), DataChanges(set={"x": b"1", "y": b"2"})
OLD = StoredError(type="OldError", message="before")
TRIED = Tries(failures=1, retry_at=AT, verifying=True, verifications=2, exhausted=True)
KNOWN = Execution(
    number=1,
    step="a",
    status=StepStatus.RUNNING,
    place=1,
    generation=3,
    outcome=Outcome.UNKNOWN,
    asked=True,
    attempts=2,
    tries=TRIED,
    started_at=AT,
    ended_at=AT,
    waiting=Waiting(signal="x"),
    suspended_at=AT,
    output=b"0",
    changes=FEW,
    folded=1,
    error=OLD,
    again=True,
    closed=True,
    handled_by="h",
    merged=FEW,
)
"""Has a value in every field that an event may set."""
ATTEMPT = Attempt(number=4, started_at=LATER, ended_at=LATER, ended=AttemptEnd.FAILED, error=ERROR)
ANEW: dict[str, Any] = {
    "status": StepStatus.RUNNING,
    "asked": False,
    "tries": Tries(verifying=True),
    "ended_at": None,
    "handled_by": None,
    "closed": False,
    "again": True,
    "waiting": None,
    "suspended_at": None,
    "changes": None,
    "merged": None,
    "folded": None,
}


@pytest.mark.parametrize(
    ("known", "event", "changed"),
    [
        (
            {"status": StepStatus.FAILED, "again": False},
            events.StepsRetried(at=LATER, steps=("a",), verify=("a",)),
            ANEW,
        ),
        (
            {"status": StepStatus.FAILED, "again": False},
            events.StepReopened(at=LATER, step="a", number=1, verify=True),
            {**ANEW, "run": 2, "place": 6},
        ),
        (
            {},
            events.StepReplayed(at=LATER, step="a", number=1, merged=MANY),
            {"run": 2, "place": 6, "folded": 6, "merged": MANY},
        ),
        (
            {},
            events.StepSuspended(
                at=LATER,
                step="a",
                started_at=LATER,
                attempt=4,
                changes=MANY,
                waiting=Waiting(signal="y"),
                merged=MANY,
            ),
            {
                "status": StepStatus.SUSPENDED,
                "run": 2,
                "tries": TRIED.over,
                "attempts": 4,
                "waiting": Waiting(signal="y"),
                "suspended_at": LATER,
                "again": False,
                "changes": MANY,
                "merged": MANY,
                "folded": 6,
            },
        ),
        (
            {"status": StepStatus.SUSPENDED},
            events.AttemptFailed(
                at=LATER,
                step="a",
                started_at=LATER,
                attempt=4,
                ended=AttemptEnd.FAILED,
                error=ERROR,
                retry_at=LATER,
            ),
            {
                "status": StepStatus.RUNNING,
                "tries": Tries(failures=2, retry_at=LATER, ended=(ATTEMPT,)),
                "attempts": 4,
                "error": ERROR,
            },
        ),
        (
            {},
            events.StepFailed(
                at=LATER,
                step="a",
                started_at=LATER,
                attempt=4,
                ended=AttemptEnd.FAILED,
                error=ERROR,
                handled_by="other",
            ),
            {
                "status": StepStatus.FAILED,
                "tries": evolve(TRIED.over, failures=2, ended=(ATTEMPT,)),
                "ended_at": LATER,
                "attempts": 4,
                "error": ERROR,
                "handled_by": "other",
            },
        ),
        (
            {},
            events.VerifyFailed(at=LATER, step="a", error=ERROR, retry_at=LATER),
            {"tries": evolve(TRIED, verifications=3, retry_at=LATER), "error": ERROR},
        ),
        (
            {},
            events.StepCleared(at=LATER, step="a", retry_at=LATER),
            {"tries": evolve(TRIED, verifying=False, retry_at=LATER), "outcome": None},
        ),
        (
            {},
            events.MapExpanded(at=LATER, step="a", items=b"[1]", batch_size=2),
            {"attempts": 1, "started_at": LATER, "items": b"[1]", "batch_size": 2},
        ),
        (
            {},
            events.StepSkipped(at=LATER, step="a"),
            {"status": StepStatus.SKIPPED, "ended_at": LATER},
        ),
        (
            {"closed": False},
            events.StepsClosed(at=LATER, error=ERROR),
            {
                "status": StepStatus.FAILED,
                "tries": TRIED.over,
                "ended_at": LATER,
                "error": ERROR,
                "closed": True,
            },
        ),
    ],
    ids=lambda one: "" if isinstance(one, dict) else type(one).__name__,
)
def test_an_event_leaves_the_rest(
    known: dict[str, Any], event: Event, changed: dict[str, Any]
) -> None:
    """Of an execution that something is known of, it changes these fields and no other."""
    execution = evolve(KNOWN, **known)
    head = evolve(first_head(AT), status=STATUS.FAILED, run=2, ticks=5)
    instance = Instance(new_instance().origin, head, [execution])
    assert change(instance, event).executions[-1] == evolve(execution, **changed)


@pytest.mark.parametrize(
    "event",
    [
        events.StepReplayed(at=AT, step="a", number=1),
        events.StepReopened(at=AT, step="a", number=1),
        events.VerifyFailed(at=AT, step="a", error=ERROR, retry_at=LATER),
        events.StepCleared(at=AT, step="a"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_goes_on_is_no_progress(event: Event) -> None:
    """Nor does what becomes of an execution set the recoveries back before it ends."""
    instance = Instance(new_instance().origin, evolve(first_head(AT), recoveries=3), [KNOWN])
    assert change(instance, event).head.recoveries == 3


@pytest.mark.parametrize("ended", [AttemptEnd.FAILED, AttemptEnd.INTERRUPTED])
def test_a_first_attempt_that_fails_for_good(ended: AttemptEnd) -> None:
    """It is the step's whole history; one that was interrupted is no failure of the step's own."""
    execution = new_instance(failed("a", ended)).current["a"]
    assert (execution.started_at, execution.ended_at, execution.attempts) == (AT, AT, 1)
    assert execution.tries.failures == (1 if ended is AttemptEnd.FAILED else 0)


def test_a_step_left_out_has_ended() -> None:
    """As soon as the branch has chosen another case."""
    entry = change(new_instance(), events.StepLeftOut(at=LATER, step="a")).executions[0]
    assert (entry.status, entry.left_out, entry.ended_at) == (StepStatus.SKIPPED, True, LATER)


CANCEL = events.CancelRequested(at=AT, number=1, rollback=True, error=ERROR)


@pytest.mark.parametrize(
    ("event", "taker"),
    [(events.InstancePaused(at=AT, number=1, reason="x"), "pause"), (CANCEL, "cancel")],
    ids=["pause", "cancel"],
)
def test_a_request_is_taken(event: Event, taker: str) -> None:
    """The inbox tells what became of it."""
    assert dict(change(new_instance(), event).consumed) == {1: taker}


@pytest.mark.parametrize(
    "event",
    [
        CANCEL,
        events.DeadlineExceeded(at=AT, error=ERROR),
        events.AdmissionFailed(at=AT, error=ERROR),
        events.StepsClosed(at=AT, error=ERROR),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_was_only_asked_is_forgotten(event: Event) -> None:
    """A step whose predicate said yes, and that never began, counts no more on the way back."""
    instance = new_instance(events.StepReached(at=AT, step="a"))
    assert instance.current["a"].asked
    instance.accept(change(instance, event))
    assert instance.current == {}


def test_a_turn_keeps_its_number() -> None:
    """Waiting for it, and having it; one that has ended needs another."""
    head = evolve(first_head(AT), status=STATUS.COMPLETED, turn=Turn(number=2, gates=("g",)))
    instance = Instance(new_instance().origin, head)
    for event, turn in (
        (events.InstanceQueued(at=AT, reason="x", gates=("h",)), Turn(number=2, gates=("h",))),
        (events.InstanceAdmitted(at=AT, gates=("h",)), Turn(number=2, gates=("h",), admitted=True)),
        (events.InstanceRestarted(at=AT, from_step="a", replaced=()), Turn(number=3)),
    ):
        assert change(instance, event).head.turn == turn


@pytest.mark.parametrize(
    "event",
    [
        events.InstanceQueued(at=AT, reason="x", gates=("g",), calls=(1,)),
        events.InstanceAdmitted(at=AT, gates=("g",), calls=(1,)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_call_is_heeded_once(event: Event) -> None:
    """What told it to look whether its turn has come is consumed, and not read again."""
    instance = new_instance()
    instance.receive([Received(number=1, name="x", payload=b"null", sent_at=AT)], 1)
    changed = change(instance, event)
    assert (changed.head.inbox_read, dict(changed.consumed)) == (1, {1: "turn"})


def test_an_adopted_definition_counts() -> None:
    """It is the one with which the instance was last driven, whatever it was started with."""
    instance = new_instance(events.DefinitionAdopted(at=AT, shape=b"[2]", version="2"))
    assert (instance.shape, instance.version) == (b"[2]", "2")
    assert (instance.origin.shape, instance.origin.version) == (b"[]", "1")


def test_a_later_attempt_keeps_the_generation() -> None:
    """A step that runs anew after it had completed has its own key, whichever attempt does it."""
    restarted = events.InstanceRestarted(at=AT, from_step="a", replaced=(1,))
    instance = new_instance(completed("a"), events.InstanceCompleted(at=AT), restarted)
    for event in (attempt_failed("a", 1, AttemptEnd.FAILED), completed("a")):
        instance.accept(change(instance, event))
        assert (instance.current["a"].generation, instance.current["a"].run) == (2, 2)


keys = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([b"1", b"2"]), max_size=2)


coin = st.booleans()


@given(st.lists(st.tuples(st.sampled_from("abcd"), keys), max_size=8), st.data())
def test_data_is_the_fold_of_the_history(steps: list[Any], data: Any) -> None:
    """However the instance got there, its executions alone give its data again."""
    instance = new_instance()
    for step, set_ in steps:
        if step in instance.current:
            ended = events.InstanceCompleted(at=AT)
            instance.accept(change(instance, ended))
            replaced = (instance.current[step].number,)
            again = events.InstanceRestarted(at=AT, from_step=step, replaced=replaced)
            instance.accept(change(instance, again))
        instance.accept(change(instance, completed(step, **set_)))
        owed = sorted(e.number for e in instance.executions.values() if e.is_owed)
        if owed and data.draw(coin):
            undone = instance.executions[data.draw(st.sampled_from(owed))]
            event = compensated(undone.step, undone.number, **data.draw(keys))
            instance.accept(change(instance, event))
        rebuilt = Instance(instance.origin, instance.head, instance.executions.values())
        assert texts(rebuilt) == texts(instance)
        assert rebuilt.current == instance.current
