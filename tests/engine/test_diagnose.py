"""`diagnose` answers why an instance is where it is, and what comes next; it changes nothing."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import (
    AwaitedSignal,
    CompensationContext,
    EngineClosedError,
    FluxEngine,
    InstanceNotFoundError,
    ReceivedSignal,
    Record,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from leasing import Held
from opening import OpenEngine
from sagas import Flaky, noting, sequence, until
from saves import DiedError, Saves
from settling import passing, watched
from undoing import Lives, fail, rested

START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET: Any = {"lease": 30, "poll": 3000}


@pytest.fixture
def storage(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for whose answers `passing` waits."""
    return watched(storage)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def quiet(open_engine: OpenEngine, clock: ManualClock) -> FluxEngine:
    """An engine on a clock that stands still."""
    return await open_engine(clock=clock, **QUIET)


async def test_a_wait(quiet: FluxEngine, clock: ManualClock) -> None:
    """It names the signal and the step that waits for it, since when and until when."""
    clock.advance(5)
    order = sequence("pay").wait("approval", signal="approved", timeout=60)
    await quiet.execute(order, id="order-1")
    clock.advance(10)
    told = await quiet.diagnose("order-1")
    assert (told.id, told.workflow, told.version, told.status) == (
        "order-1",
        "order",
        "1",
        WorkflowStatus.SUSPENDED,
    )
    since, until = START + timedelta(seconds=5), START + timedelta(seconds=65)
    assert told.waits_for == (
        AwaitedSignal(step="approval", signal="approved", since=since, until=until),
    )
    assert (told.due_at, told.driven_until, told.unfit) == (until, None, None)
    assert told.because == (
        f"step 'approval' waits for the signal 'approved' since {since} until {until}"
    )
    assert told.comes_next == "step 'approval' goes on when that comes"


async def test_a_wait_for_ever(quiet: FluxEngine) -> None:
    """Without a timeout nothing is due."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    told = await quiet.diagnose("order-1")
    assert (told.due_at, told.waits_for[0].until) == (None, None)
    assert told.because == f"step 'ok' waits for the signal 'ok' since {START}"


async def test_a_sleep(quiet: FluxEngine) -> None:
    """A sleep waits for no signal."""
    await quiet.execute(Workflow("order").sleep("nap", 60), id="order-1")
    told = await quiet.diagnose("order-1")
    until = START + timedelta(seconds=60)
    assert told.because == f"step 'nap' sleeps since {START} until {until}"
    assert (told.waits_for[0].signal, told.due_at) == (None, until)


async def test_as_a_sentence(quiet: FluxEngine) -> None:
    """As text it is one line for people."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    assert str(await quiet.diagnose("order-1")) == (
        f"order-1 is suspended: step 'ok' waits for the signal 'ok' since {START}; "
        "next: step 'ok' goes on when that comes"
    )


async def test_signals(quiet: FluxEngine, clock: ManualClock) -> None:
    """Every signal received is told: time, id, payload, and the step that took it."""
    await quiet.execute(Workflow("order").wait("a", "ok").wait("b", "ok").wait("c"), id="order-1")
    for number, signal_id in enumerate(["e-1", None, "e-3"], 1):
        clock.advance(1)
        await quiet.signal("order-1", "ok", {"number": number}, signal_id=signal_id)
    told = await quiet.diagnose("order-1")
    assert told.signals == tuple(
        ReceivedSignal(
            number=number,
            name="ok",
            payload={"number": number},
            signal_id=signal_id,
            received_at=START + timedelta(seconds=number),
            taken_by=step,
        )
        for number, signal_id, step in [(1, "e-1", "a"), (2, None, "b"), (3, "e-3", None)]
    )


async def test_requests_are_no_signals(quiet: FluxEngine) -> None:
    """A pause, which goes through the inbox too, is none of them."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    await quiet.pause("order-1")
    await until_status(quiet, WorkflowStatus.PAUSED)
    assert (await quiet.diagnose("order-1")).signals == ()


async def until_status(engine: FluxEngine, status: WorkflowStatus) -> None:
    """Return once "order-1" has this status."""
    async with asyncio.timeout(30):
        while (await engine.get("order-1")).status is not status:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_signal_that_has_come(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """A signal that no engine near has taken yet is told as the reason."""
    driving = await open_engine(clock=clock, **QUIET)
    await driving.execute(Workflow("order").wait("ok"), id="order-1")
    await driving.close()
    other = await open_engine(clock=clock)
    await other.signal("order-1", "ok", wait=False)
    told = await other.diagnose("order-1")
    assert told.because == "the signal 'ok' has come; it waits for an engine with room for it"
    assert told.due_at == clock.now()


async def test_a_signal_that_was_taken(quiet: FluxEngine) -> None:
    """One that another wait has taken is no reason to go on."""
    await quiet.execute(Workflow("order").wait("a", "ok").wait("b", "ok"), id="order-1")
    await quiet.signal("order-1", "ok")
    told = await quiet.diagnose("order-1")
    assert told.because == f"step 'b' waits for the signal 'ok' since {START}"


async def test_a_correlation(quiet: FluxEngine) -> None:
    """The values by which it is found are told as they are in the input."""
    lead = Workflow("lead", correlate_by=("request_id", "company_id")).wait("ok")
    await quiet.execute(lead, {"request_id": "r-1", "company_id": 7, "x": 1}, id="order-1")
    told = await quiet.diagnose("order-1")
    assert told.correlation == {"request_id": "r-1", "company_id": 7}


async def test_no_correlation(quiet: FluxEngine) -> None:
    """Its labels are none."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1", labels={"city": "Oslo"})
    assert (await quiet.diagnose("order-1")).correlation == {}


async def test_one_that_is_driven(quiet: FluxEngine, open_engine: OpenEngine) -> None:
    """It tells the step, and up to when its driver has it, also to another process."""
    held = Held()
    held.order.step("ship", noting("ship", held.ran))
    await quiet.start(held.order, id="order-1")
    await until(lambda: held.ran)
    other = await open_engine(workflows=[held.order], clock=ManualClock())
    told = await other.diagnose("order-1")
    assert (told.because, told.comes_next) == ("it is driven, at pay", "step 'pay' runs")
    assert (told.driven_until, told.due_at) == (START + timedelta(seconds=30), None)
    held.go_on.set()


async def test_one_that_was_just_claimed(storage: WorkflowStorage, quiet: FluxEngine) -> None:
    """It is driven, and no longer due, although it has not said what it does."""
    await quiet.execute(Workflow("order").sleep("nap", 60), id="order-1")
    await storage.claim("order-1", owner="other", lease=30)
    told = await quiet.diagnose("order-1")
    assert (told.because, told.due_at) == ("it is driven, at no step", None)
    assert told.driven_until == START + timedelta(seconds=30)


async def test_one_that_was_abandoned(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """When the lease has run out whoever drove it is gone."""
    engine = await open_engine(clock=clock, **QUIET)
    dead = await open_engine(Saves(storage, die_after=1), clock=clock, **QUIET)
    with pytest.raises(DiedError):
        await dead.execute(sequence("pay"), id="order-1")
    clock.advance(30)
    told = await engine.diagnose("order-1")
    assert told.because == "whoever drove it is gone"
    assert told.driven_until == START + timedelta(seconds=30)


async def test_one_that_waits_for_room(open_engine: OpenEngine, clock: ManualClock) -> None:
    """One that was left for later says so, and what will run."""
    held = Held()
    engine = await open_engine(clock=clock, max_instances=1, **QUIET)
    await engine.start(held.order, id="busy")
    await engine.start(Workflow("parcel").wait("ok"), id="order-1")
    told = await engine.diagnose("order-1")
    assert (told.status, told.because) == (
        WorkflowStatus.PENDING,
        "it waits for an engine with room for it",
    )
    held.go_on.set()


async def test_a_long_back_off(quiet: FluxEngine, clock: ManualClock) -> None:
    """Between two attempts it tells what failed and when it is tried again."""
    act = Flaky(None, ConnectionError("nobody there"))
    order = Workflow("order").step("pay", act, retries=Retry(1, initial=50, jitter=False))
    await quiet.start(order, id="order-1")
    await until(lambda: act.attempts)
    await passing(clock, 0)
    told = await quiet.diagnose("order-1")
    again = START + timedelta(seconds=50)
    assert told.because == (
        f"step 'pay' failed (ConnectionError: nobody there), next try at {again}"
    )
    assert (told.comes_next, told.due_at) == ("step 'pay' runs", again)


async def test_a_long_back_off_of_a_rollback(quiet: FluxEngine, clock: ManualClock) -> None:
    """So it tells of a compensator that is to be tried again."""
    undo = Flaky(None, ConnectionError("nobody there"))
    policy = Retry(1, initial=50, jitter=False)
    order = Workflow("order").step("a", noting("a", []), compensate=undo, compensate_retries=policy)
    await quiet.start(order.step("pay", fail), id="order-1")
    await until(lambda: undo.attempts)
    await passing(clock, 0)
    told = await quiet.diagnose("order-1")
    assert told.status is WorkflowStatus.ROLLING_BACK
    again = START + timedelta(seconds=50)
    assert told.because == (
        f"the undoing of step 'a' failed (ConnectionError: nobody there), next try at {again}"
    )
    assert told.comes_next == "the rollback goes on; still to undo: a"


async def test_a_rollback(quiet: FluxEngine) -> None:
    """While it is rolled back it tells what is being undone, and what is left, in that order."""
    go_on, ran = asyncio.Event(), list[str]()

    async def undo(ctx: CompensationContext) -> None:
        ran.append(ctx.step)
        await go_on.wait()

    order = sequence("a", "b", "c", compensate=undo).step("d", noting("d", [])).step("pay", fail)
    await quiet.start(order, id="order-1")
    await until(lambda: ran)
    told = await quiet.diagnose("order-1")
    assert (told.status, told.because) == (WorkflowStatus.ROLLING_BACK, "it is driven, at c")
    assert told.comes_next == "the rollback goes on; still to undo: c, b, a"
    go_on.set()


async def test_a_paused_one(quiet: FluxEngine) -> None:
    """It tells the reason that was given, or that somebody paused it, and what helps."""
    await quiet.execute(Workflow("order").wait("ok", timeout=60), id="order-1")
    await quiet.pause("order-1")
    await until_status(quiet, WorkflowStatus.PAUSED)
    told = await quiet.diagnose("order-1")
    assert (told.because, told.comes_next) == ("somebody paused it", "resume() lets it go on")
    assert told.waits_for[0].step == "ok"


async def test_a_reason_to_pause(quiet: FluxEngine) -> None:
    """The reason that was given is told."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    await quiet.pause("order-1", reason="stock-taking")
    await until_status(quiet, WorkflowStatus.PAUSED)
    assert (await quiet.diagnose("order-1")).because == "stock-taking"


async def test_a_parked_one(lives: Lives) -> None:
    """It tells how often it was recovered, and that `resume` gives it a fresh budget."""
    order = Workflow("order").step("b", lives.dying(2, noting("b", [])))
    await lives.start(order, id="o")
    await lives.next(order, max_recoveries=1)
    await lives.died()
    engine = await lives.next(order, max_recoveries=1)
    await rested(engine, "o")
    told = await engine.diagnose("o")
    assert told.because.startswith("recovered 1 times at step 'b' without progress")
    assert (told.comes_next, told.recoveries) == ("resume() lets it go on, with a fresh budget", 2)


async def test_a_failed_rollback(quiet: FluxEngine) -> None:
    """It tells what had failed first, what could not be undone, and the verbs that go on."""
    order = Workflow("order").step("a", noting("a", []), compensate=fail).step("pay", Flaky(None))
    await quiet.execute(order, id="order-1")
    told = await quiet.diagnose("order-1")
    why = "step 'a' could not be undone: RuntimeError: declined"
    assert told.because == f"it failed with RuntimeError: flaky, and {why}"
    assert told.comes_next == "retry_rollback() or skip_compensation() go on"


@pytest.mark.parametrize(
    ("order", "because"),
    [
        (sequence("a"), "it has run to its end"),
        (Workflow("order").step("a", Flaky(None)), "it ended with RuntimeError: flaky"),
    ],
    ids=["completed", "failed"],
)
async def test_one_that_ended(quiet: FluxEngine, order: Workflow, because: str) -> None:
    """It tells how it ended; nothing follows."""
    await quiet.execute(order, id="order-1")
    told = await quiet.diagnose("order-1")
    assert (told.because, told.comes_next, told.due_at) == (because, "nothing", None)


async def test_a_cancelled_one(quiet: FluxEngine) -> None:
    """And the reason why it was cancelled."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    await quiet.cancel("order-1", reason="no longer wanted")
    await until_status(quiet, WorkflowStatus.CANCELLED)
    told = await quiet.diagnose("order-1")
    assert told.because == (
        "it ended with InstanceCancelledError: instance 'order-1' was cancelled: no longer wanted"
    )


class Idle(Saves):
    """A storage in which an engine finds nothing to do."""

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        return ()


async def test_the_step_to_come(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """Of one that was handed back it names the first step that is not done."""
    ran: list[str] = []

    async def pay(ctx: WorkflowContext) -> None:
        ran.append("pay")
        await asyncio.sleep(0.02)

    order = Workflow("order").step("pay", pay).step("ship", fail)
    first = await open_engine(clock=clock, grace=5)
    await first.start(order, id="order-1")
    await until(lambda: ran)
    await first.close()
    idle = await open_engine(Idle(storage), workflows=[order], clock=clock)
    told = await idle.diagnose("order-1")
    assert told.because == "it waits for an engine with room for it"
    assert told.comes_next == "step 'ship' runs"


async def test_a_deadline(quiet: FluxEngine) -> None:
    """It tells by when the instance has to end."""
    await quiet.execute(Workflow("order", deadline=90).wait("ok"), id="order-1")
    told = await quiet.diagnose("order-1")
    assert told.deadline == told.due_at == START + timedelta(seconds=90)


async def test_code_that_does_not_fit(open_engine: OpenEngine, clock: ManualClock) -> None:
    """It tells why the code at hand cannot go on with the instance."""
    first = await open_engine(clock=clock, **QUIET)
    await first.execute(sequence("pay").wait("ok"), id="order-1")
    await first.close()
    changed = Workflow("order", version="2").step("charge", fail).wait("ok")
    told = await (await open_engine(workflows=[changed], clock=clock)).diagnose("order-1")
    assert told.unfit is not None
    assert told.unfit.startswith("instance 'order-1' cannot go on with this workflow 'order':")
    assert told.comes_next == told.unfit
    assert told.because == f"step 'ok' waits for the signal 'ok' since {START}"


async def test_an_unknown_workflow(open_engine: OpenEngine, clock: ManualClock) -> None:
    """A process without the workflow says that, and all else as well."""
    first = await open_engine(clock=clock, **QUIET)
    await first.execute(Workflow("order", correlate_by="sku").wait("ok"), {"sku": 7}, id="order-1")
    told = await (await open_engine(clock=clock)).diagnose("order-1")
    assert str(told.unfit).startswith("no workflow 'order' is registered")
    assert (told.correlation, told.waits_for[0].signal) == ({"sku": 7}, "ok")


async def test_nothing_is_changed(storage: WorkflowStorage, quiet: FluxEngine) -> None:
    """Asking leaves head and inbox as they are, and drives nothing."""
    await quiet.execute(Workflow("order").wait("ok"), id="order-1")
    before = await storage.load("order-1")
    await quiet.diagnose("order-1")
    assert await storage.load("order-1") == before


async def test_an_unknown_instance(quiet: FluxEngine) -> None:
    """Of what is not stored nothing can be told."""
    with pytest.raises(InstanceNotFoundError):
        await quiet.diagnose("order-1")


async def test_a_closed_engine(quiet: FluxEngine) -> None:
    """It is a verb like any other."""
    await quiet.close()
    with pytest.raises(EngineClosedError):
        await quiet.diagnose("order-1")
