"""S26: cancel and pause return when the request is saved; whoever drives the instance heeds it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    OutcomeUnknownError,
    Retry,
    Wait,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStatus,
    WorkflowStorage,
    done,
    sleep,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR
from opening import OpenEngine
from sagas import Flaky, heedless, noting, sequence, step_of, until
from saves import DiedError, Saves
from undoing import Lives, fail, undoable
from waits import (
    LONG,
    Held,
    HeldThread,
    Moments,
    about_to_run,
    asking,
    backs_off,
    becomes,
    ended,
    resting_as,
)

CANCELLED, ROLLED_BACK = WorkflowStatus.CANCELLED, WorkflowStatus.ROLLED_BACK
COMPLETED, PAUSED = WorkflowStatus.COMPLETED, WorkflowStatus.PAUSED
SUSPENDED, PARKED = WorkflowStatus.SUSPENDED, WorkflowStatus.PARKED
REASON = "out of stock"
IN_A_MINUTE = Retry(1, delay=lambda error, failed: 60)


def order_with(b: Any, did: list[Any], **options: Any) -> Workflow:
    """Steps "a", "b" with this handler, and "c"; "a" and "b" can be undone, which is noted."""

    async def undo_b(ctx: Any) -> None:
        did.append(f"undo b {ctx.outcome}")

    order = undoable("a", did=did)
    order.step("b", b, **{"compensate": undo_b} | options)
    return order.step("c", noting("c", did))


async def cancelled_in(engine: FluxEngine, handler: Any, did: list[Any], **options: Any) -> Any:
    """The result of the order that was cancelled while "b" ran, with the state `cancel` gave."""
    begun = asyncio.Event()

    async def b(ctx: WorkflowContext) -> Any:
        begun.set()
        return await handler(ctx)

    await engine.start(order_with(b, did, **options), id="o")
    await begun.wait()
    await engine.cancel("o", reason=REASON)
    return await ended(engine)


async def hangs(ctx: WorkflowContext) -> None:
    """A handler that does not come to an end by itself."""
    ctx.data["hung"] = True
    await asyncio.Event().wait()


# A handler that runs


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_s26_a_running_handler_is_cancelled(
    engine: FluxEngine, options: dict[str, Any]
) -> None:
    """Its outcome is unknown, what was done is undone, and nothing forward follows."""
    did: list[str] = []
    result = await cancelled_in(engine, hangs, did, **options)
    assert did == ["a", "undo b unknown", "undo a"]
    assert result.status is CANCELLED
    assert str(result.error) == "InstanceCancelledError: instance 'o' was cancelled: out of stock"
    b = step_of(result, "b")
    assert (b.status, b.outcome) == ("compensated", "unknown")
    assert [(one.ended, str(one.error)) for one in b.attempts] == [
        ("cancelled", "HandlerCancelledError: step 'b' was cancelled")
    ]


async def test_s26_compensators_are_not_cancelled(engine: FluxEngine) -> None:
    """Of the cancellation nothing is left once the handler has ended."""
    begun, seen = asyncio.Event(), list[int]()

    async def b(ctx: WorkflowContext) -> None:
        begun.set()
        await hangs(ctx)

    async def undo_b(ctx: WorkflowContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())

    await engine.start(order_with(b, [], compensate=undo_b), id="o")
    await begun.wait()
    await engine.cancel("o")
    await ended(engine)
    assert seen == [0]


async def test_s26_no_retry_follows(engine: FluxEngine) -> None:
    """A cancelled attempt is the last one, whatever retries the step has left."""
    did: list[str] = []
    result = await cancelled_in(engine, hangs, did, retries=Retry(3, initial=0))
    assert step_of(result, "b").attempt_count == 1


async def test_s26_a_cancelled_attempt_leaves_no_trace(engine: FluxEngine) -> None:
    """What it had changed in `data` is dropped."""
    result = await cancelled_in(engine, hangs, [])
    assert result.data == {}


async def test_s26_a_result_in_the_grace_counts(engine: FluxEngine) -> None:
    """A handler that ends well although it was cancelled has completed, and is undone as such."""

    async def ends_well(ctx: WorkflowContext) -> str:
        with suppress(asyncio.CancelledError):
            await hangs(ctx)
        return "saved in time"

    did: list[str] = []
    result = await cancelled_in(engine, ends_well, did)
    assert (result.status, did) == (CANCELLED, ["a", "undo b completed", "undo a"])
    assert (step_of(result, "b").output, result.data) == ("saved in time", {"hung": True})


@pytest.mark.parametrize("retries", [0, Retry(3, initial=0)])
async def test_s26_an_error_in_the_grace_counts(engine: FluxEngine, retries: Any) -> None:
    """A handler that raises another error when it is cancelled has not happened."""

    async def cleans_up(ctx: WorkflowContext) -> None:
        try:
            await hangs(ctx)
        except asyncio.CancelledError:
            raise RuntimeError("taken back") from None

    did: list[str] = []
    result = await cancelled_in(engine, cleans_up, did, retries=retries)
    assert (result.status, did) == (CANCELLED, ["a", "undo a"])
    assert (step_of(result, "b").outcome, step_of(result, "b").attempt_count) == (None, 1)


async def test_s26_a_handler_may_say_that_it_does_not_know(engine: FluxEngine) -> None:
    """`OutcomeUnknownError`, raised when it is cancelled, counts as at any other time."""

    async def doubts(ctx: WorkflowContext) -> None:
        try:
            await hangs(ctx)
        except asyncio.CancelledError:
            raise OutcomeUnknownError from None

    did: list[str] = []
    await cancelled_in(engine, doubts, did)
    assert did == ["a", "undo b unknown", "undo a"]


async def test_s26_a_wait_in_the_grace_is_cancelled(engine: FluxEngine) -> None:
    """A handler that returns a wait when it is cancelled has acted, and does not wait."""

    async def waits(ctx: WorkflowContext) -> Wait:
        with suppress(asyncio.CancelledError):
            await hangs(ctx)
        return wait("approved")

    did: list[str] = []
    result = await cancelled_in(engine, waits, did)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_s26_a_heedless_handler_is_left_behind(
    open_engine: OpenEngine, options: dict[str, Any]
) -> None:
    """It ignores its cancellation: after the grace its outcome is unknown, the rollback begins."""

    async def ignores(ctx: WorkflowContext) -> str:
        ctx.data["late"] = True
        await heedless(0.4)
        did.append("late")
        return "late"

    did: list[str] = []
    engine = await open_engine(grace=0.02)
    result = await cancelled_in(engine, ignores, did, **options)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])
    await until(lambda: "late" in did)
    state = await engine.get("o")
    assert (state.data, step_of(state, "b").output) == ({}, None)


async def test_s26_a_plain_handler_is_told(engine: FluxEngine) -> None:
    """It sees `ctx.cancelled()`; what it returns in the grace counts."""
    b, did = HeldThread(heeds=True), list[str]()
    await engine.start(order_with(b, did), id="o")
    await b.has_begun()
    await engine.cancel("o")
    result = await ended(engine)
    assert (result.status, b.told, step_of(result, "b").output) == (CANCELLED, [True], "told")
    assert did == ["a", "undo b completed", "undo a"]


async def test_s26_a_plain_handler_may_raise(engine: FluxEngine) -> None:
    """One that raises when it is told has not happened."""

    def b(ctx: WorkflowContext) -> None:
        did.append("b")
        while not ctx.cancelled():
            pass
        raise RuntimeError("taken back")

    did: list[str] = []
    await engine.start(order_with(b, did), id="o")
    await until(lambda: "b" in did)
    await engine.cancel("o")
    await ended(engine)
    assert did == ["a", "b", "undo a"]


async def test_s26_a_heedless_thread_is_left_behind(open_engine: OpenEngine) -> None:
    """A plain handler that does not look has the grace; its late result and data are dropped."""
    b, did = HeldThread(), list[str]()
    engine = await open_engine(grace=0.02)
    await engine.start(order_with(b, did), id="o")
    await b.has_begun()
    await engine.cancel("o")
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])
    b.go_on.set()
    await until(lambda: b.told)
    assert (b.told, step_of(await engine.get("o"), "b").output) == ([True], None)


async def test_s26_one_that_waits_for_a_thread(open_engine: OpenEngine) -> None:
    """A plain handler for which there was no thread yet is never called."""
    engine = await open_engine(max_threads=1, grace=0.02)
    busy, b, did = HeldThread(), HeldThread(heeds=True), list[str]()
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await busy.has_begun()
    await engine.start(order_with(b, did), id="o")
    await becomes(engine, lambda state: state.current_step == "b")
    await engine.cancel("o")
    assert (await ended(engine)).status is CANCELLED
    busy.go_on.set()
    await engine.execute(Workflow("next").step("a", lambda ctx: None))  # in the same thread
    assert (b.told, did) == ([], ["a", "undo a"])


async def test_s26_the_cause_is_the_cancel(open_engine: OpenEngine) -> None:
    """Also where an at-most-once handler ignored it, of which nobody knows whether it acted."""
    engine, b = await open_engine(grace=0.02), HeldThread()
    await engine.start(order_with(b, [], at_most_once=True), id="o")
    await b.has_begun()
    await engine.cancel("o")
    result = await ended(engine)
    b.go_on.set()
    assert result.error is not None
    assert (result.status, result.error.type) == (CANCELLED, "InstanceCancelledError")


async def test_s26_a_verifier_is_cancelled(engine: FluxEngine) -> None:
    """A cancel while the verifier is asked: the outcome stays unknown, the cause is the cancel."""
    asked = asyncio.Event()

    async def verify(ctx: WorkflowContext) -> Any:
        asked.set()
        await asyncio.Event().wait()
        return done()

    did: list[str] = []
    order = order_with(hangs, did, timeout=0.02, at_most_once=True, verify=verify)
    await engine.start(order, id="o")
    await asked.wait()
    await engine.cancel("o")
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])
    assert result.error is not None
    assert result.error.type == "InstanceCancelledError"


async def test_s26_a_handler_may_cancel_its_own_instance(engine: FluxEngine) -> None:
    """The verb returns once the request is saved, and the handler is cancelled after that."""
    did: list[str] = []

    async def b(ctx: WorkflowContext) -> None:
        with suppress(asyncio.CancelledError):
            await engine.cancel(ctx.id)
            did.append("b goes on")
            await asyncio.Event().wait()
        did.append("b is cancelled")
        raise OutcomeUnknownError

    async with asyncio.timeout(30):
        result = await engine.execute(order_with(b, did), id="o")
    assert result.status is CANCELLED
    assert [who for who in did if who != "b goes on"] == [
        "a",
        "b is cancelled",
        "undo b unknown",
        "undo a",
    ]


async def test_s26_only_cancel_cancels(engine: FluxEngine) -> None:
    """Cancelling the task that awaits `execute` leaves the instance as it is."""
    b, did = Held(), list[str]()
    caller = asyncio.create_task(engine.execute(order_with(b, did), id="o"))
    await b.began.wait()
    caller.cancel()
    b.go_on.set()
    assert ((await ended(engine)).status, did) == (COMPLETED, ["a", "c"])


# Saved before anybody is told


async def test_s26_the_cancel_is_saved_before_the_handler_is_told(
    engine: FluxEngine, storage: WorkflowStorage
) -> None:
    """When the handler is cancelled, the request is in the inbox already."""
    seen: list[str] = []

    async def b(ctx: WorkflowContext) -> None:
        try:
            await hangs(ctx)
        except asyncio.CancelledError:
            seen.extend(one.signal.name for one in await storage.signals("o"))
            raise

    await engine.start(order_with(b, []), id="o")
    await becomes(engine, lambda state: state.current_step == "b")
    await engine.cancel("o")
    await ended(engine)
    assert seen == ["flux:cancel"]


async def test_s26_a_saved_cancel_outlives_its_process(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The process dies after the request was saved: the next one cancels, and runs nothing."""
    did: list[str] = []
    clock, saves, b = ManualClock(), Saves(storage), Held()
    order = order_with(b, did)
    first = await open_engine(saves, clock=clock)
    await first.start(order, id="o")
    await b.began.wait()
    saves.die()
    sender = await open_engine(clock=clock)
    await sender.cancel("o")
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await ended(second, clock=clock)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])
    assert b.calls == 1


async def test_s26_the_cancel_returns_without_the_handler(open_engine: OpenEngine) -> None:
    """`cancel` does not wait for what it cancels: it tells how the instance was saved last."""
    b = Held()
    worker = await open_engine(clock=ManualClock())
    await worker.start(order_with(b, []), id="o")
    await b.began.wait()
    other = await open_engine(clock=ManualClock())
    state = await other.cancel("o")
    assert (state.id, state.status, b.go_on.is_set()) == ("o", "running", False)


# Between two saves


class Race:
    """The order, in whose saves a test cancels or pauses it from another process, or its own."""

    def __init__(self, storage: WorkflowStorage, open_engine: OpenEngine, own: bool) -> None:
        self.is_own = own
        self.moments = Moments(storage)
        self.did: list[str] = []
        self.raised: Exception | None = None
        self.given: WorkflowState | None = None
        self.clock = ManualClock()
        self._open_engine = open_engine

    async def open(self) -> FluxEngine:
        """The engine that drives; the other one knows no workflow, and time stands still."""
        self.engine = await self._open_engine(self.moments, clock=self.clock, poll=LONG["lease"])
        self._sender = self.engine if self.is_own else await self._open_engine(clock=self.clock)
        return self.engine

    async def cancel(self, *, rollback: bool = True, reason: str | None = None) -> None:
        """Cancel the instance; what `cancel` gives or raises is kept."""
        try:
            self.given = await self._sender.cancel("o", rollback=rollback, reason=reason)
        except InstanceEndedError as error:
            self.raised = error

    async def pause(self) -> None:
        """Pause the instance."""
        await self._sender.pause("o")


@pytest.fixture(params=[True, False], ids=["own", "other"])
def race(storage: WorkflowStorage, open_engine: OpenEngine, request: pytest.FixtureRequest) -> Race:
    return Race(storage, open_engine, request.param)


@pytest.fixture
def own_race(storage: WorkflowStorage, open_engine: OpenEngine) -> Race:
    """A race with the driver's own engine, which tells it of requests at any time."""
    return Race(storage, open_engine, own=True)


async def test_s26_between_intent_and_handler(own_race: Race) -> None:
    """A cancel after the intent was saved, before the handler is called: it is not called."""
    engine = await own_race.open()
    b = Held()
    own_race.moments.after(about_to_run("b"), own_race.cancel)
    result = await engine.execute(order_with(b, own_race.did), id="o")
    assert (result.status, own_race.did, b.calls) == (CANCELLED, ["a", "undo a"], 0)
    assert result.state.step("b") is None


async def test_s26_what_never_ran_has_no_entry(own_race: Race) -> None:
    """Nor has a step whose predicate had said yes before the cancel came."""
    engine = await own_race.open()
    own_race.moments.after(about_to_run("b"), own_race.cancel)
    order = order_with(noting("b", own_race.did), own_race.did, when=lambda ctx: True)
    result = await engine.execute(order, id="o")
    assert (result.status, [entry.name for entry in result.history]) == (CANCELLED, ["a"])


async def test_s26_while_the_lease_is_asked_for(own_race: Race) -> None:
    """A cancel while the driver makes sure of its lease, right before the call: no call."""
    engine = await own_race.open()
    calls: list[str] = []

    async def time_passes() -> None:
        own_race.clock.advance(31)
        own_race.moments.at_renewal = own_race.cancel

    own_race.moments.after(about_to_run("b"), time_passes)
    order = order_with(noting("b", calls), own_race.did)
    result = await engine.execute(order, id="o")
    assert (result.status, own_race.did, calls) == (CANCELLED, ["a", "undo a"], [])


async def test_s26_while_the_intent_is_saved(race: Race) -> None:
    """A cancel right before the save with the intent: the handler is not called either."""
    engine = await race.open()
    b = Held()
    race.moments.before(about_to_run("b"), race.cancel)
    result = await engine.execute(order_with(b, race.did), id="o")
    assert (result.status, race.did, b.calls) == (CANCELLED, ["a", "undo a"], 0)


async def test_s26_while_the_last_step_runs(race: Race) -> None:
    """The last step ends well: the acknowledged cancel wins over the completion."""

    async def c(ctx: WorkflowContext) -> str:
        with suppress(asyncio.CancelledError):
            await race.cancel()
            await asyncio.sleep(0)
        return "c"

    engine = await race.open()
    order = undoable("a", "b", did=race.did).step("c", c, compensate=noting("undo c", race.did))
    result = await engine.execute(order, id="o")
    assert result.status is CANCELLED
    assert race.did == ["a", "b", "undo c", "undo b", "undo a"]
    assert step_of(result, "c").outcome == "completed"


async def test_s26_while_the_end_is_saved(race: Race) -> None:
    """The last step is over, but not saved: the acknowledged cancel wins here as well."""
    engine = await race.open()
    race.moments.before(resting_as("completed"), race.cancel)
    result = await engine.execute(undoable("a", "b", did=race.did), id="o")
    assert (result.status, race.did) == (CANCELLED, ["a", "b", "undo b", "undo a"])
    assert race.raised is None


@pytest.mark.parametrize(("first", "did"), [(True, ["a", "undo a"]), (False, ["a"])])
async def test_s26_the_first_of_two_counts(race: Race, first: bool, did: list[str]) -> None:
    """Two cancels are accepted before either is heeded: what the first one asked for is done."""

    async def cancels() -> None:
        await race.cancel(rollback=first, reason="first")
        await race.cancel(rollback=not first, reason="second")

    engine = await race.open()
    race.moments.before(resting_as("completed"), cancels)
    result = await engine.execute(undoable("a", did=race.did), id="o")
    assert (result.status, race.did) == (CANCELLED, did)
    assert str(result.error).endswith("was cancelled: first")


async def test_s26_after_the_last_save(race: Race) -> None:
    """The end is saved, though its driver does not know yet: the cancel is refused."""
    engine = await race.open()
    race.moments.after(resting_as("completed"), race.cancel)
    result = await engine.execute(undoable("a", did=race.did), id="o")
    assert (result.status, race.did) == (COMPLETED, ["a"])
    assert isinstance(race.raised, InstanceEndedError)
    assert (race.raised.status, race.raised.verb) == ("completed", "be cancelled")


@pytest.mark.parametrize("rollback", [True, False])
async def test_s26_while_a_failure_is_saved(race: Race, rollback: bool) -> None:
    """It was accepted before the rollback was saved: that is finished, and ends as cancelled."""
    engine = await race.open()
    race.moments.before(about_to_run("a"), lambda: race.cancel(rollback=rollback))
    result = await engine.execute(undoable("a", did=race.did).step("pay", fail), id="o")
    assert (result.status, race.did) == (CANCELLED, ["a", "undo a"])
    assert str(result.error) == "RuntimeError: declined"


@pytest.mark.parametrize("rollback", [True, False])
async def test_s26_accepted_before_a_rollback_that_failed(race: Race, rollback: bool) -> None:
    """The rollback that it came before fails, and a person retries it: it ends as cancelled."""
    undo = Flaky(1)
    engine = await race.open()
    race.moments.before(about_to_run("a"), lambda: race.cancel(rollback=rollback))
    order = sequence().step("a", noting("a", race.did), compensate=undo).step("pay", fail)
    result = await engine.execute(order, id="o")
    assert (result.status, undo.attempts) == (WorkflowStatus.ROLLBACK_FAILED, [1])
    result = await engine.retry_rollback("o")
    assert (result.status, undo.attempts) == (CANCELLED, [1, 2])


async def test_s26_after_a_failure_is_saved(race: Race) -> None:
    """The rollback is saved, though its driver does not know yet: the cancel changes nothing."""
    engine = await race.open()
    race.moments.after(lambda save: save.status == "rolling_back", race.cancel)
    result = await engine.execute(undoable("a", did=race.did).step("pay", fail), id="o")
    assert (result.status, race.did) == (ROLLED_BACK, ["a", "undo a"])
    assert race.given is not None
    assert race.given.status is WorkflowStatus.ROLLING_BACK


async def test_s26_while_the_end_of_a_failure_is_saved(race: Race) -> None:
    """Nothing is to be undone, and the failure not yet saved: it ends as cancelled."""
    engine = await race.open()
    race.moments.before(resting_as("failed"), race.cancel)
    result = await engine.execute(sequence("a").step("pay", fail), id="o")
    assert (result.status, str(result.error)) == (CANCELLED, "RuntimeError: declined")


async def test_s26_while_a_suspension_is_saved(race: Race) -> None:
    """A cancel that comes while the wait is being saved is not lost."""
    engine = await race.open()
    race.moments.before(resting_as("suspended"), race.cancel)
    result = await engine.execute(asking(race.did), id="o")
    assert (result.status, race.did) == (CANCELLED, ["reserve", "ask", "undo reserve"])


async def test_s26_between_two_attempts(race: Race) -> None:
    """A cancel while a failed attempt is saved: no other attempt follows."""
    engine = await race.open()
    b = Flaky(None)
    race.moments.before(lambda save: bool(b.attempts), race.cancel)
    order = order_with(b, race.did, retries=Retry(3, initial=0))
    result = await engine.execute(order, id="o")
    assert (result.status, race.did, b.attempts) == (CANCELLED, ["a", "undo a"], [1])


# In a rollback


async def test_s26_a_rollback_goes_on(engine: FluxEngine) -> None:
    """A cancel in a rollback changes nothing, and returns the state."""
    undo, did = Held(), list[str]()
    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo)
    await engine.start(order.step("pay", fail), id="o")
    await undo.began.wait()
    for rollback in (True, False):
        state = await engine.cancel("o", rollback=rollback)
        assert state.status is WorkflowStatus.ROLLING_BACK
    undo.go_on.set()
    result = await ended(engine)
    assert (result.status, did, undo.calls) == (ROLLED_BACK, ["a", "b", "undo a"], 1)


async def test_s26_a_failed_rollback_stays(engine: FluxEngine) -> None:
    """A cancel of a `rollback_failed` instance changes nothing, also for later."""
    undo, did = Flaky(1), list[str]()
    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo)
    await engine.execute(order.step("pay", fail), id="o")
    before = await engine.get("o")
    assert await engine.cancel("o", rollback=False) == before
    assert before.status is WorkflowStatus.ROLLBACK_FAILED
    assert (await engine.retry_rollback("o")).status is ROLLED_BACK
    assert did == ["a", "b", "undo a"]


@pytest.mark.parametrize("rollback", [True, False])
async def test_s26_a_cancelled_one_is_not_cancelled_again(
    engine: FluxEngine, rollback: bool
) -> None:
    """While a cancel is rolled back, another one changes nothing, whatever it asks for."""
    undo, did = Held(), list[str]()
    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo).wait("approved")
    await engine.execute(order, id="o")
    await engine.cancel("o", reason="first")
    await undo.began.wait()
    await engine.cancel("o", rollback=rollback, reason="second")
    undo.go_on.set()
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a", "b", "undo a"])
    assert str(result.error).endswith("was cancelled: first")


async def test_s26_ten_cancels_at_once_are_one(open_engine: OpenEngine) -> None:
    """Ten at one instant, by two engines: each compensator runs once."""
    did: list[str] = []
    order = undoable("a", "b", did=did).wait("approved")
    engines = [await open_engine(workflows=[order]) for _ in range(2)]
    await engines[0].execute("order", id="o")
    cancels = (engines[n % 2].cancel("o") for n in range(10))
    given = await asyncio.gather(*cancels, return_exceptions=True)
    assert all(isinstance(one, WorkflowState | InstanceEndedError) for one in given)
    assert ((await ended(engines[0])).status, did) == (CANCELLED, ["a", "b", "undo b", "undo a"])


@pytest.mark.parametrize("verb", ["retry_rollback", "skip_compensation"])
async def test_s26_cancelled_after_a_failed_rollback(engine: FluxEngine, verb: str) -> None:
    """Its rollback failed, a person let it go on: it still ends as cancelled."""
    undo, did = Flaky(1), list[str]()
    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo).wait("approved")
    await engine.execute(order, id="o")
    await engine.cancel("o", reason=REASON)
    assert (await ended(engine)).status is WorkflowStatus.ROLLBACK_FAILED
    words = {"step": "b", "reason": "by hand"} if verb == "skip_compensation" else {}
    result = await getattr(engine, verb)("o", **words)
    assert (result.status, did) == (CANCELLED, ["a", "b", "undo a"])
    assert str(result.error).endswith(f"was cancelled: {REASON}")


# At rest


Reach = Callable[[OpenEngine, Lives, Workflow], Awaitable[FluxEngine]]


async def suspended(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    engine = await open_engine()
    await engine.execute(order.wait("approved"), id="o")
    return engine


async def sleeping(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    engine = await open_engine()
    await engine.execute(order.step("nap", lambda ctx: sleep(3600)), id="o")
    return engine


async def paused(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    engine = await suspended(open_engine, lives, order)
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)
    return engine


async def long_back_off(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    engine = await open_engine(lease=1)
    await engine.start(order.step("pay", fail, retries=IN_A_MINUTE), id="o")
    await becomes(engine, backs_off("pay"))
    return engine


async def short_back_off(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    engine = await open_engine(lease=100)
    await engine.start(order.step("pay", fail, retries=IN_A_MINUTE), id="o")
    await becomes(engine, backs_off("pay"))
    return engine


async def parked(open_engine: OpenEngine, lives: Lives, order: Workflow) -> FluxEngine:
    order.step("poison", lives.dying(2, hangs))
    await lives.start(order, id="o")
    await lives.next(order, max_recoveries=1)
    await lives.died()
    engine = await lives.next(order, max_recoveries=1)
    await becomes(engine, lambda state: state.status is PARKED)
    return engine


AT_REST: list[Reach] = [suspended, sleeping, paused, long_back_off, short_back_off, parked]


@pytest.mark.parametrize("reach", AT_REST)
async def test_s26_what_rests_is_cancelled(
    open_engine: OpenEngine, lives: Lives, reach: Reach
) -> None:
    """Nobody drives it, or only waits: it is rolled back at once, and ends as cancelled."""
    did: list[str] = []
    engine = await reach(open_engine, lives, undoable("a", "b", did=did))
    await engine.cancel("o", reason=REASON)
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a", "b", "undo b", "undo a"])
    assert str(result.error).endswith(f"was cancelled: {REASON}")
    assert (result.state.reason, result.state.current_step) == (None, None)


@pytest.mark.parametrize("reach", AT_REST)
async def test_s26_without_a_rollback(open_engine: OpenEngine, lives: Lives, reach: Reach) -> None:
    """With `rollback=False` nothing is undone; it ends as cancelled all the same."""
    did: list[str] = []
    engine = await reach(open_engine, lives, undoable("a", "b", did=did))
    await engine.cancel("o", rollback=False)
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a", "b"])
    assert [step_of(result, name).compensation for name in "ab"] == [None, None]


async def test_s26_a_running_one_without_a_rollback(engine: FluxEngine) -> None:
    """A running handler is cancelled; neither it nor what was done is undone."""
    b, did = Held(), list[str]()
    await engine.start(order_with(b, did), id="o")
    await b.began.wait()
    await engine.cancel("o", rollback=False)
    result = await ended(engine)
    assert (result.status, did) == (CANCELLED, ["a"])
    assert (step_of(result, "b").status, step_of(result, "b").outcome) == ("failed", "unknown")


async def test_s26_one_that_waits_for_room(open_engine: OpenEngine) -> None:
    """An instance that nobody has begun to drive is cancelled without a step being run."""
    engine, busy, did = await open_engine(max_instances=1), Held(), list[str]()
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await engine.start(undoable("a", did=did), id="o")
    state = await engine.cancel("o")
    assert state.status is WorkflowStatus.PENDING
    busy.go_on.set()
    result = await ended(engine)
    assert (result.status, did, result.history) == (CANCELLED, [], ())


@pytest.mark.parametrize("own", [True, False])
async def test_s26_one_parked_in_its_rollback(
    open_engine: OpenEngine, lives: Lives, own: bool
) -> None:
    """A cancel changes nothing: `resume` goes on with the rollback, which ends as such."""
    did: list[str] = []
    order = undoable("a", did=did)
    order.step("b", noting("b", did), compensate=lives.dying(2, noting("undo b", did)))
    await lives.start(order.step("pay", fail), id="o")
    await lives.next(order, max_recoveries=1)
    await lives.died()
    engine = await lives.next(order, max_recoveries=1)
    await becomes(engine, lambda state: state.status is PARKED)
    sender = engine if own else await open_engine(clock=lives.clock, **FAR)
    assert (await sender.cancel("o", rollback=False)).status is PARKED
    result = await engine.resume("o")
    assert (result.status, did[-2:]) == (ROLLED_BACK, ["undo b", "undo a"])


async def test_s26_a_cancelled_wait_gets_no_signal(engine: FluxEngine) -> None:
    """A signal that came before the cancel, but not for this wait, stays where it is."""
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "other", 1)
    await engine.cancel("o")
    await ended(engine)
    assert [one.taken_by for one in (await engine.diagnose("o")).signals] == [None]


async def test_s26_a_cancelled_instance_can_be_restarted(engine: FluxEngine) -> None:
    """It runs as if it had never been cancelled, and may fail, or be cancelled, again."""
    did: list[str] = []
    await engine.execute(asking(did), id="o")
    await engine.cancel("o")
    await ended(engine)
    assert (await engine.restart("o", "reserve")).status is SUSPENDED
    result = await engine.signal("o", "approved")
    assert result is not None
    assert (result.status, result.error) == (COMPLETED, None)
    assert did == ["reserve", "ask", "undo reserve", "reserve", "ask", "ship"]


async def test_s26_a_restarted_one_that_fails_is_not_cancelled(engine: FluxEngine) -> None:
    """The cancel of an earlier run says nothing of how the next one ends."""
    order = undoable("a", did=[]).wait("approved").step("pay", fail)
    await engine.execute(order, id="o")
    await engine.cancel("o")
    await ended(engine)
    await engine.restart("o", "a")
    result = await engine.signal("o", "approved")
    assert result is not None
    assert (result.status, str(result.error)) == (ROLLED_BACK, "RuntimeError: declined")


# Refused


async def completed(engine: FluxEngine) -> None:
    await engine.execute(sequence("a"), id="o")


async def failed(engine: FluxEngine) -> None:
    await engine.execute(Workflow("order").step("pay", fail), id="o")


async def rolled_back(engine: FluxEngine) -> None:
    await engine.execute(undoable("a", did=[]).step("pay", fail), id="o")


async def cancelled(engine: FluxEngine) -> None:
    await engine.execute(asking([]), id="o")
    await engine.cancel("o")
    await ended(engine)


async def rollback_failed(engine: FluxEngine) -> None:
    order = Workflow("order").step("a", noting("a", []), compensate=fail).step("pay", fail)
    await engine.execute(order, id="o")


async def rolling_back(engine: FluxEngine) -> None:
    undo = Held()
    order = Workflow("order").step("a", noting("a", []), compensate=undo).step("pay", fail)
    await engine.start(order, id="o")
    await undo.began.wait()


@pytest.mark.parametrize("verb", ["cancel", "pause"])
@pytest.mark.parametrize("reach", [completed, failed, rolled_back, cancelled])
async def test_s26_what_has_ended_is_left_alone(engine: FluxEngine, reach: Any, verb: str) -> None:
    """Both verbs say how it has ended, and change nothing."""
    await reach(engine)
    before = await engine.get("o")
    with pytest.raises(InstanceEndedError, match="nothing was changed") as refused:
        await getattr(engine, verb)("o")
    assert (refused.value.status, await engine.get("o")) == (reach.__name__, before)


@pytest.mark.parametrize("reach", [rolling_back, rollback_failed])
async def test_s26_no_pause_in_a_rollback(open_engine: OpenEngine, reach: Any) -> None:
    """The error names the status and a verb that fits."""
    engine = await open_engine(grace=0)
    await reach(engine)
    with pytest.raises(InvalidTransitionError, match="so it cannot pause") as refused:
        await engine.pause("o")
    assert refused.value.status == reach.__name__


async def test_s26_what_is_parked_is_not_paused(open_engine: OpenEngine, lives: Lives) -> None:
    """It stands still already, for another reason."""
    engine = await parked(open_engine, lives, sequence("a"))
    with pytest.raises(InvalidTransitionError, match=r"is parked.*resume\(\) lets it go on"):
        await engine.pause("o")


@pytest.mark.parametrize("verb", ["cancel", "pause"])
async def test_s26_unknown_instances(engine: FluxEngine, verb: str) -> None:
    """There is nothing to cancel or pause."""
    with pytest.raises(InstanceNotFoundError, match="no instance 'o'"):
        await getattr(engine, verb)("o")


@pytest.mark.parametrize("verb", ["cancel", "pause"])
async def test_s26_a_reason_is_text(engine: FluxEngine, verb: str) -> None:
    """Anything else is refused, and nothing happens."""
    await engine.execute(asking([]), id="o")
    with pytest.raises(ValueError, match="7 is no reason; it is text"):
        await getattr(engine, verb)("o", reason=7)
    assert (await engine.get("o")).status is SUSPENDED


# Pause


async def paused_in(engine: FluxEngine, did: list[Any], b: Held, **options: Any) -> WorkflowState:
    """The order that was paused while "b" ran, which then went on."""
    await engine.start(order_with(b, did, **options), id="o")
    await b.began.wait()
    await engine.pause("o", reason="audit")
    b.go_on.set()
    return await becomes(engine, lambda state: state.status is PAUSED)


async def test_s26_pause_stops_before_the_next_step(engine: FluxEngine) -> None:
    """The running handler goes on to its end, which is saved; the next one is not called."""
    b, did = Held(), list[str]()
    state = await paused_in(engine, did, b)
    assert (step_of(state, "b").output, did) == ("held", ["a"])
    assert (state.reason, state.current_step, state.completed_at) == ("audit", None, None)
    assert (await engine.diagnose("o")).driven_until is None


async def test_s26_resume_goes_on_after_a_pause(engine: FluxEngine) -> None:
    """Every step runs once, and of the pause nothing is left."""
    b, did = Held(), list[str]()
    await paused_in(engine, did, b)
    result = await engine.resume("o")
    assert (result.status, did, b.calls) == (COMPLETED, ["a", "c"], 1)
    assert (result.state.reason, result.error) == (None, None)


async def test_s26_pause_returns_when_it_is_saved(engine: FluxEngine) -> None:
    """The handler still runs, and is not told anything."""
    b = Held()
    await engine.start(order_with(b, []), id="o")
    await b.began.wait()
    state = await engine.pause("o")
    assert (state.status, b.go_on.is_set()) == ("running", False)


async def test_s26_a_paused_handler_is_not_told(engine: FluxEngine) -> None:
    """A plain handler sees no `cancelled()` when its instance is paused."""
    b = HeldThread(heeds=True)
    await engine.start(order_with(b, []), id="o")
    await b.has_begun()
    await engine.pause("o")
    b.go_on.set()
    state = await becomes(engine, lambda state: state.status is PAUSED)
    assert (b.told, step_of(state, "b").output) == ([False], "held")


async def test_s26_pause_between_intent_and_handler(own_race: Race) -> None:
    """The handler is not called; when it is resumed, that is its first attempt."""
    race, engine = own_race, await own_race.open()
    attempts: list[Any] = []
    race.moments.after(about_to_run("b"), race.pause)
    order = order_with(lambda ctx: attempts.append((ctx.attempt, ctx.idempotency_key)), race.did)
    result = await engine.execute(order, id="o")
    assert (result.status, race.did, attempts) == (PAUSED, ["a"], [])
    result = await engine.resume("o")
    assert (result.status, attempts) == (COMPLETED, [(1, "o:b:1")])


async def test_s26_pause_in_the_last_step(race: Race) -> None:
    """The acknowledged pause counts: the instance rests, and completes when it is resumed."""
    engine = await race.open()
    race.moments.before(resting_as("completed"), race.pause)
    result = await engine.execute(sequence("a", ran=race.did), id="o")
    assert (result.status, result.state.completed_at) == (PAUSED, None)
    assert (await engine.resume("o")).status is COMPLETED
    assert race.did == ["a"]


async def test_s26_pause_keeps_a_predicates_yes(own_race: Race) -> None:
    """The answer that was saved with the intent is not asked for again."""
    race, engine = own_race, await own_race.open()
    asked: list[str] = []

    def when(ctx: WorkflowContext) -> bool:
        asked.append(ctx.step)
        return True

    race.moments.after(about_to_run("b"), race.pause)
    order = order_with(noting("b", race.did), race.did, when=when)
    assert (await engine.execute(order, id="o")).status is PAUSED
    await engine.resume("o")
    assert (race.did, asked) == (["a", "b", "c"], ["b"])


@pytest.mark.parametrize("lease", [5, 1000])
async def test_s26_pause_in_a_back_off(open_engine: OpenEngine, lease: float) -> None:
    """It rests at once; resumed, it waits out what is left of the back-off."""
    clock, b = ManualClock(), Flaky(1)
    engine = await open_engine(clock=clock, lease=lease)
    later = Retry(1, delay=lambda error, failed: 6)
    await engine.start(order_with(b, [], retries=later), id="o")
    await becomes(engine, backs_off("b"))
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)
    clock.advance(3)
    resuming = asyncio.create_task(engine.resume("o"))
    await becomes(engine, lambda state: state.status is not PAUSED)
    assert b.attempts == [1]
    assert (await ended(engine, clock=clock)).status is COMPLETED
    assert 6 <= b.pauses[0] < 7
    assert (await resuming).status is COMPLETED


async def test_s26_a_back_off_that_ends_in_a_pause(open_engine: OpenEngine) -> None:
    """The time of the next attempt passes in the pause: it begins when the pause ends."""
    clock, b = ManualClock(), Flaky(1)
    engine = await open_engine(clock=clock, **LONG)
    await engine.start(order_with(b, [], retries=IN_A_MINUTE), id="o")
    await becomes(engine, backs_off("b"))
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)
    clock.advance(600)
    assert ((await engine.resume("o")).status, b.attempts) == (COMPLETED, [1, 2])


async def test_s26_what_waits_is_paused(engine: FluxEngine) -> None:
    """Its signals are kept, and taken when it is resumed."""
    did: list[str] = []
    await engine.execute(asking(did), id="o")
    await engine.pause("o", reason="audit")
    await becomes(engine, lambda state: state.status is PAUSED)
    result = await engine.signal("o", "approved", "yes")
    assert result is not None
    assert (result.status, result.state.reason, did) == (PAUSED, "audit", ["reserve", "ask"])
    assert ((await engine.resume("o")).status, did[-1]) == (COMPLETED, "ship")


async def test_s26_a_resumed_wait_goes_on_waiting(engine: FluxEngine) -> None:
    """Nothing has come meanwhile: it is suspended as before, and its handler is not called."""
    did: list[str] = []
    await engine.execute(asking(did), id="o")
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)
    result = await engine.resume("o")
    assert (result.status, result.state.current_step) == (SUSPENDED, "ask")
    result = await engine.signal("o", "approved")  # type: ignore[assignment]
    assert (result.status, did) == (COMPLETED, ["reserve", "ask", "ship"])


async def test_s26_one_that_waits_for_room_is_paused(open_engine: OpenEngine) -> None:
    """An instance that nobody has begun to drive runs no step until it is resumed."""
    engine, busy, did = await open_engine(max_instances=1), Held(), list[str]()
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await engine.start(sequence("a", ran=did), id="o")
    await engine.pause("o")
    busy.go_on.set()
    await becomes(engine, lambda state: state.status is PAUSED)
    assert did == []
    assert ((await engine.resume("o")).status, did) == (COMPLETED, ["a"])


async def test_s26_pausing_twice_is_pausing(engine: FluxEngine) -> None:
    """A second pause of a paused instance changes nothing; one resume is enough."""
    await engine.execute(asking([]), id="o")
    await engine.pause("o", reason="first")
    before = await becomes(engine, lambda state: state.status is PAUSED)
    assert await engine.pause("o", reason="second") == before
    assert (await engine.resume("o")).status is SUSPENDED


async def test_s26_two_pauses_need_one_resume(engine: FluxEngine) -> None:
    """Two that come while a step runs are one: the second is not left for after the resume."""
    b, did = Held(), list[str]()
    await engine.start(order_with(b, did), id="o")
    await b.began.wait()
    for reason in ("first", "second"):
        await engine.pause("o", reason=reason)
    b.go_on.set()
    state = await becomes(engine, lambda state: state.status is PAUSED)
    assert state.reason == "first"
    assert (await engine.resume("o")).status is COMPLETED


async def test_s26_a_failure_is_not_paused(engine: FluxEngine) -> None:
    """The step that ran when the pause came fails for good: what was done is undone."""
    b, did = Held(), list[str]()

    async def fails(ctx: WorkflowContext) -> None:
        await b(ctx)
        raise RuntimeError("declined")

    await engine.start(order_with(fails, did), id="o")
    await b.began.wait()
    await engine.pause("o")
    b.go_on.set()
    assert ((await ended(engine)).status, did) == (ROLLED_BACK, ["a", "undo a"])


async def test_s26_a_saved_pause_outlives_its_process(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The process dies after the request was saved: the next one pauses, and runs nothing."""
    clock, saves, b = ManualClock(), Saves(storage), Held()
    order = order_with(b, [])
    first = await open_engine(saves, clock=clock)
    await first.start(order, id="o")
    await b.began.wait()
    saves.die()
    sender = await open_engine(clock=clock)
    await sender.pause("o")
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    await becomes(second, lambda state: state.status is PAUSED, clock=clock)
    b.go_on.set()
    assert ((await second.resume("o")).status, b.calls) == (COMPLETED, 2)


async def test_s26_a_handler_may_pause_its_own_instance(engine: FluxEngine) -> None:
    """It goes on to its end, and the next step waits for a person."""
    did: list[str] = []

    async def b(ctx: WorkflowContext) -> str:
        await engine.pause(ctx.id)
        await asyncio.sleep(0)
        return "b"

    result = await engine.execute(order_with(b, did), id="o")
    assert (result.status, step_of(result, "b").output, did) == (PAUSED, "b", ["a"])


async def test_s26_a_paused_instance_survives_its_process(open_engine: OpenEngine) -> None:
    """No other process goes on with it until somebody resumes it there."""
    b, did = Held(), list[str]()
    first = await open_engine()
    await paused_in(first, did, b)
    await first.close()
    second = await open_engine(workflows=[order_with(b, did)])
    state = await second.get("o")
    assert (state.status, state.reason, did) == (PAUSED, "audit", ["a"])
    assert ((await second.resume("o")).status, did) == (COMPLETED, ["a", "c"])


@pytest.mark.parametrize("engines", [1, 2])
async def test_s26_two_resumes_at_one_instant(open_engine: OpenEngine, engines: int) -> None:
    """In one engine or in two: the next step runs once, and both callers get the end."""
    b, did = Held(), list[str]()
    order = order_with(b, did)
    opened = [await open_engine(workflows=[order]) for _ in range(engines)]
    await opened[0].start("order", id="o")
    await b.began.wait()
    await opened[0].pause("o")
    b.go_on.set()
    await becomes(opened[0], lambda state: state.status is PAUSED)
    results = await asyncio.gather(opened[0].resume("o"), opened[-1].resume("o"))
    assert [result.status for result in results] == [COMPLETED] * 2
    assert did == ["a", "c"]


async def test_s26_resume_before_the_pause(race: Race) -> None:
    """The pause is not heeded when `resume` is called: the instance does not stay paused."""
    engine, b = await race.open(), Held()
    await engine.start(order_with(b, race.did), id="o")
    await b.began.wait()
    await race.pause()
    await until(lambda: race.moments.inbox_reads == int(race.is_own))  # its driver has looked
    resuming = asyncio.create_task(engine.resume("o"))
    await until(lambda: race.moments.inbox_reads > int(race.is_own))  # and so has resume
    b.go_on.set()
    async with asyncio.timeout(30):
        assert (await resuming).status is COMPLETED
    assert race.did == ["a", "c"]


async def test_s26_resume_while_the_pause_is_saved(own_race: Race) -> None:
    """The pause is heeded just when `resume` has looked: it does not stay paused either."""
    engine, b = await own_race.open(), Held()
    await engine.start(order_with(b, own_race.did), id="o")
    await b.began.wait()
    await own_race.pause()

    async def is_paused() -> None:
        b.go_on.set()
        await becomes(engine, lambda state: state.status is PAUSED)

    own_race.moments.at_load = is_paused
    async with asyncio.timeout(30):
        assert (await engine.resume("o")).status is COMPLETED
    assert own_race.did == ["a", "c"]


async def test_s26_a_pause_before_the_resume_is_over(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A second pause came while the first was being saved: the resume after both ends both."""
    clock, moments, b = ManualClock(), Moments(storage), Held()
    order = order_with(b, [])
    first = await open_engine(moments, clock=clock)
    sender = await open_engine(clock=clock)
    second = await open_engine(workflows=[order], clock=clock)
    await first.start(order, id="o")
    await b.began.wait()
    await sender.pause("o")
    moments.before(resting_as("paused"), lambda: sender.pause("o"))
    moments.after(resting_as("paused"), moments.dies)
    b.go_on.set()
    await becomes(second, lambda state: state.status is PAUSED)
    assert (await second.resume("o")).status is COMPLETED


async def test_s26_resume_and_pause_in_turn(engine: FluxEngine) -> None:
    """Paused again after it was resumed, it stops again."""
    order = sequence().wait("a").wait("b")
    await engine.execute(order, id="o")
    for _ in range(2):
        await engine.pause("o")
        await becomes(engine, lambda state: state.status is PAUSED)
        assert (await engine.resume("o")).status is SUSPENDED
    await engine.signal("o", "a")
    result = await engine.signal("o", "b")
    assert result is not None
    assert result.status is COMPLETED


async def test_s26_a_paused_instance_can_be_restarted(engine: FluxEngine) -> None:
    """`restart` ends the pause as `resume` does."""
    b, did = Held(), list[str]()
    await paused_in(engine, did, b)
    result = await engine.restart("o", "a")
    assert (result.status, did, result.state.reason) == (COMPLETED, ["a", "a", "c"], None)


async def test_s26_a_paused_instance_is_not_deleted(engine: FluxEngine) -> None:
    """It is live: only what has ended can be deleted."""
    await engine.execute(asking([]), id="o")
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)
    with pytest.raises(InvalidTransitionError, match="is paused, so it cannot delete"):
        await engine.delete("o")


async def test_s26_a_cancel_after_a_pause(engine: FluxEngine) -> None:
    """Both come while a step runs: it is cancelled, whichever came first."""
    b, did = Held(), list[str]()
    await engine.start(order_with(b, did), id="o")
    await b.began.wait()
    await engine.pause("o")
    await engine.cancel("o")
    assert ((await ended(engine)).status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])


# Two engines


async def test_s26_cancelled_by_another_process(open_engine: OpenEngine) -> None:
    """The engine that runs the handler hears of it when it renews its lease, at the latest."""
    clock, b, did = ManualClock(), Held(), list[str]()
    worker = await open_engine(workflows=[order_with(b, did)], clock=clock, lease=30, poll=600)
    await worker.start("order", id="o")
    await b.began.wait()
    other = await open_engine(clock=clock, lease=30, poll=600)
    await other.cancel("o")
    clock.advance(10)
    assert ((await ended(worker)).status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])


async def test_s26_paused_by_another_process(open_engine: OpenEngine) -> None:
    """The engine that runs the handler hears of it in the answer to its next save."""
    b, did = Held(), list[str]()
    worker = await open_engine(workflows=[order_with(b, did)], clock=ManualClock())
    running = asyncio.create_task(worker.execute("order", id="o"))
    await b.began.wait()
    other = await open_engine(clock=ManualClock())
    await other.pause("o")
    b.go_on.set()
    assert ((await running).status, did) == (PAUSED, ["a"])


async def test_s26_what_rests_is_cancelled_by_another_process(open_engine: OpenEngine) -> None:
    """A process that does not know the workflow cancels it; the worker finds it at its poll."""
    clock, did = ManualClock(), list[str]()
    worker = await open_engine(workflows=[asking(did)], clock=clock, **LONG)
    await worker.execute("order", id="o")
    other = await open_engine(clock=clock, **LONG)
    assert (await other.cancel("o")).status is SUSPENDED
    result = await ended(worker, clock=clock)
    assert (result.status, did) == (CANCELLED, ["reserve", "ask", "undo reserve"])


async def test_s26_whoever_waits_sees_the_cancel(open_engine: OpenEngine) -> None:
    """`execute` in one process returns the cancelled result, though another one cancelled."""
    b = Held()
    worker = await open_engine(lease=0.3)
    running = asyncio.create_task(worker.execute(order_with(b, []), id="o"))
    await b.began.wait()
    await (await open_engine(lease=0.3)).cancel("o")
    async with asyncio.timeout(30):
        assert (await running).status is CANCELLED


async def test_s13_nothing_forward_is_saved_after_a_cancel(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A process that lost the instance while it was cancelled elsewhere saves nothing more."""
    clock, saves, b, did = ManualClock(), Saves(storage), Held(), list[str]()
    order = order_with(b, did)
    first = await open_engine(saves, clock=clock, poll=600)
    await first.start(order, id="o")
    await b.began.wait()
    clock.advance(5)
    second = await open_engine(workflows=[order], clock=clock, lease=600)
    saves.die()
    clock.advance(31)
    await second.cancel("o")
    result = await ended(second, clock=clock)
    saves.is_dead = False
    b.go_on.set()
    await until(lambda: saves.tried > 2)
    state = await second.get("o")
    assert (state.status, step_of(state, "b").output, did) == (
        result.status,
        None,
        ["a", "undo b unknown", "undo a"],
    )


async def test_s05_a_cancel_is_an_interruption(engine: FluxEngine) -> None:
    """A cancelled at-most-once step is not asked about: what is unknown is undone."""
    did: list[str] = []
    options: dict[str, Any] = {"at_most_once": True, "verify": noting("verify", did)}
    result = await cancelled_in(engine, hangs, did, **options)
    assert (result.status, did) == (CANCELLED, ["a", "undo b unknown", "undo a"])


async def test_s26_a_crash_in_a_cancelled_rollback(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """That it was cancelled is saved: the process that goes on with the rollback knows it."""
    clock, did = ManualClock(), list[str]()
    order = undoable("a", "b", did=did).wait("approved")
    saves = Saves(storage, die_after=5)
    first = await open_engine(saves, clock=clock)
    await first.execute(order, id="o")
    with suppress(DiedError):
        await first.cancel("o")
    await until(lambda: saves.is_dead)
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await ended(second, clock=clock)
    assert (result.status, did) == (CANCELLED, ["a", "b", "undo b", "undo a"])
