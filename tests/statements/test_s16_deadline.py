"""S16, the deadline: an instance that has not ended by then fails, whatever it is doing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from flux import (
    FluxEngine,
    FluxResult,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    sleep,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR
from opening import OpenEngine
from sagas import heedless, noting, step_of, until
from saves import Saves
from undoing import Lives, fail
from waits import (
    LONG,
    Held,
    HeldThread,
    Moments,
    about_to_run,
    backs_off,
    becomes,
    ended,
    resting_as,
)

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED
ROLLED_BACK, SUSPENDED = WorkflowStatus.ROLLED_BACK, WorkflowStatus.SUSPENDED
PAUSED, PARKED = WorkflowStatus.PAUSED, WorkflowStatus.PARKED
NOW = ManualClock().now()
MINUTE: dict[str, Any] = {"deadline": 60}


def order_of(did: list[Any], **options: Any) -> Workflow:
    """A workflow with a minute to end in, whose first step "a" can be undone."""
    order = Workflow("order", **MINUTE | options)
    return order.step("a", noting("a", did), compensate=noting("undo a", did))


def missed(result: FluxResult) -> bool:
    """Whether this is how an instance ends that missed its deadline."""
    error = result.error
    return error is not None and error.type == "DeadlineExceededError"


async def hangs(ctx: WorkflowContext) -> None:
    """A handler that does not come to an end by itself."""
    ctx.data["hung"] = True
    await asyncio.Event().wait()


@pytest.mark.parametrize("deadline", [60, 60.0, timedelta(minutes=1)])
async def test_s16_the_deadline_can_be_seen(open_engine: OpenEngine, deadline: Any) -> None:
    """It is counted from the start of the instance, and is due then even if it waits for ever."""
    engine = await open_engine(clock=ManualClock(), **LONG)
    await engine.execute(Workflow("order", deadline=deadline).wait("approved"), id="o")
    due = NOW + timedelta(seconds=60)
    assert ((await engine.get("o")).deadline, (await engine.diagnose("o")).due_at) == (due, due)


async def test_s16_without_a_deadline_there_is_none(open_engine: OpenEngine) -> None:
    """An instance of another workflow may take its time."""
    engine = await open_engine(clock=ManualClock(), **LONG)
    await engine.execute(Workflow("order").wait("approved"), id="o")
    assert ((await engine.get("o")).deadline, (await engine.diagnose("o")).due_at) == (None, None)


async def test_s16_in_time_nothing_happens(open_engine: OpenEngine) -> None:
    """An instance that has ended by then is not touched any more."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    did: list[str] = []
    await engine.execute(order_of(did), id="o")
    before = await engine.get("o")
    clock.advance(61)
    await engine.execute(Workflow("other").step("b", noting("b", [])))
    assert (await engine.get("o"), did) == (before, ["a"])


# A handler that runs


async def late_in(
    engine: FluxEngine, clock: ManualClock, handler: Any, did: list[Any], **options: Any
) -> FluxResult:
    """The result of an instance whose deadline passed while its step "b" ran."""
    begun = asyncio.Event()

    async def b(ctx: WorkflowContext) -> Any:
        begun.set()
        return await handler(ctx)

    async def undo_b(ctx: Any) -> None:
        did.append(f"undo b {ctx.outcome}")

    order = order_of(did).step("b", b, compensate=undo_b, **options)
    await engine.start(order.step("c", noting("c", did)), id="o")
    await begun.wait()
    clock.advance(60)
    return await ended(engine, clock=clock)


@pytest.mark.parametrize("options", [{}, {"timeout": 3600}, {"retries": Retry(3, initial=0)}])
async def test_s16_a_running_handler_is_cancelled(
    open_engine: OpenEngine, options: dict[str, Any]
) -> None:
    """Its outcome is unknown; what was done is undone, and no other attempt or step follows."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    result = await late_in(engine, clock, hangs, did, **options)
    assert (result.status, did) == (ROLLED_BACK, ["a", "undo b unknown", "undo a"])
    assert str(result.error) == (
        "DeadlineExceededError: instance 'o' had not ended by its deadline, "
        "2026-01-01 00:01:00+00:00"
    )
    assert (step_of(result, "b").attempt_count, result.data) == (1, {})


async def test_s16_a_result_in_the_grace_counts(open_engine: OpenEngine) -> None:
    """A handler that ends well although it was cancelled is undone as completed."""

    async def ends_well(ctx: WorkflowContext) -> str:
        with suppress(asyncio.CancelledError):
            await hangs(ctx)
        return "saved"

    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    result = await late_in(engine, clock, ends_well, did)
    assert (missed(result), did) == (True, ["a", "undo b completed", "undo a"])


async def test_s16_a_heedless_handler_is_left_behind(open_engine: OpenEngine) -> None:
    """It ignores its cancellation: after the grace the rollback begins without it."""

    async def ignores(ctx: WorkflowContext) -> None:
        await heedless(0.4)
        did.append("late")

    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG, grace=0.02)
    result = await late_in(engine, clock, ignores, did)
    assert (missed(result), did) == (True, ["a", "undo b unknown", "undo a"])
    await until(lambda: "late" in did)


async def test_s16_the_cause_is_the_deadline(open_engine: OpenEngine) -> None:
    """Also where an at-most-once handler ignored it, of which nobody knows whether it acted."""
    clock, b = ManualClock(), HeldThread()
    engine = await open_engine(clock=clock, **LONG, grace=0.02)
    await engine.start(order_of([]).step("b", b, at_most_once=True), id="o")
    await b.has_begun()
    clock.advance(60)
    result = await ended(engine, clock=clock)
    b.go_on.set()
    assert (result.status, missed(result)) == (ROLLED_BACK, True)


async def test_s16_a_plain_handler_is_told(open_engine: OpenEngine) -> None:
    """It sees `ctx.cancelled()`; what it returns in the grace counts."""
    clock, b, did = ManualClock(), HeldThread(heeds=True), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await engine.start(order_of(did).step("b", b).step("c", noting("c", did)), id="o")
    await b.has_begun()
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (missed(result), b.told, did) == (True, [True], ["a", "undo a"])
    assert step_of(result, "b").outcome == "completed"


async def test_s16_after_the_last_step(open_engine: OpenEngine) -> None:
    """The last step ends, well but late: the instance had not ended by then."""

    async def ends_well(ctx: WorkflowContext) -> None:
        with suppress(asyncio.CancelledError):
            clock.advance(60)
            await asyncio.sleep(0)

    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    result = await engine.execute(order_of(did).step("b", ends_well))
    assert (missed(result), did) == (True, ["a", "undo a"])


async def test_s16_between_two_steps(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """It passes between the intent and the handler: that is not called."""
    clock, did, moments = ManualClock(), list[str](), Moments(storage)
    engine = await open_engine(moments, clock=clock, **LONG)

    async def time_passes() -> None:
        clock.advance(60)

    moments.after(about_to_run("b"), time_passes)
    result = await engine.execute(order_of(did).step("b", noting("b", did)))
    assert (missed(result), did) == (True, ["a", "undo a"])


async def test_s16_while_the_end_is_saved(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """It passes while the completion is being saved: that was in time."""
    clock, did, moments = ManualClock(), list[str](), Moments(storage)
    engine = await open_engine(moments, clock=clock, **LONG)

    async def time_passes() -> None:
        clock.advance(60)

    moments.before(resting_as("completed"), time_passes)
    result = await engine.execute(order_of(did))
    assert (result.status, did) == (COMPLETED, ["a"])


# Whatever the instance is doing


Reach = Callable[[FluxEngine, Workflow], Awaitable[object]]


async def waiting(engine: FluxEngine, order: Workflow) -> None:
    await engine.execute(order.wait("approved"), id="o")


async def waiting_for_longer(engine: FluxEngine, order: Workflow) -> None:
    await engine.execute(order.wait("approved", timeout=3600, on_timeout="continue"), id="o")


async def sleeping(engine: FluxEngine, order: Workflow) -> None:
    await engine.execute(order.step("nap", lambda ctx: sleep(3600)), id="o")


async def paused(engine: FluxEngine, order: Workflow) -> None:
    await waiting(engine, order)
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)


async def backing_off(engine: FluxEngine, order: Workflow) -> None:
    later = Retry(1, delay=lambda error, failed: 3600)
    await engine.start(order.step("pay", fail, retries=later), id="o")
    await becomes(engine, backs_off("pay"))


RESTING = [waiting, waiting_for_longer, sleeping, paused, backing_off]


@pytest.mark.parametrize("lease", [30, LONG["lease"]])
@pytest.mark.parametrize("reach", RESTING)
async def test_s16_whatever_it_waits_for(
    open_engine: OpenEngine, reach: Reach, lease: float
) -> None:
    """It fails at its deadline by itself, and what was done is undone."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, lease=lease)
    await reach(engine, order_of(did))
    for _ in range(6):
        clock.advance(10)
        await asyncio.sleep(0)
    result = await ended(engine, clock=clock)
    assert (result.status, missed(result), did) == (ROLLED_BACK, True, ["a", "undo a"])


@pytest.mark.parametrize("reach", RESTING)
async def test_s16_nothing_to_undo_is_failed(open_engine: OpenEngine, reach: Reach) -> None:
    """Without a compensator it ends as `failed`."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await reach(engine, Workflow("order", **MINUTE))
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, missed(result)) == (FAILED, True)


async def test_s16_a_suspended_step_is_undone(open_engine: OpenEngine) -> None:
    """A step that waits has acted: it is compensated, with the outcome unknown."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)

    async def unask(ctx: Any) -> None:
        did.append(f"undo ask {ctx.outcome}")

    order = order_of(did).step("ask", lambda ctx: wait("approved"), compensate=unask)
    await engine.execute(order, id="o")
    clock.advance(60)
    await ended(engine, clock=clock)
    assert did == ["a", "undo ask unknown", "undo a"]


async def test_s16_a_timeout_before_the_deadline(open_engine: OpenEngine) -> None:
    """The wait times out first, as if there were no deadline, and the next one misses it."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", **MINUTE).wait("a", timeout=30, on_timeout="continue").wait("b")
    await engine.execute(order, id="o")
    clock.advance(30)
    await becomes(engine, lambda state: state.current_step == "b", clock=clock)
    clock.advance(30)
    result = await ended(engine, clock=clock)
    assert (missed(result), step_of(result, "a").status) == (True, "completed")


async def test_s16_a_signal_before_the_deadline(open_engine: OpenEngine) -> None:
    """What comes in time is taken, and the instance completes."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await waiting(engine, Workflow("order", **MINUTE))
    clock.advance(59)
    result = await engine.signal("o", "approved")
    assert result is not None
    assert result.status is COMPLETED


async def test_s16_one_that_waits_for_room(open_engine: OpenEngine) -> None:
    """An instance that nobody drove by its deadline fails without a step being run."""
    clock, busy, did = ManualClock(), Held(), list[str]()
    engine = await open_engine(clock=clock, **LONG, max_instances=1)
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await engine.start(order_of(did), id="o")
    clock.advance(60)
    busy.go_on.set()
    result = await ended(engine, clock=clock)
    assert (result.status, missed(result), did) == (FAILED, True, [])


async def test_s16_one_that_is_parked(open_engine: OpenEngine, lives: Lives) -> None:
    """Parked or not, at its deadline it fails, and what was done is undone."""
    did: list[str] = []
    order = order_of(did, deadline=FAR["lease"] * 10).step("poison", lives.dying(2, hangs))
    await lives.start(order, id="o")
    await lives.next(order, max_recoveries=1)
    await lives.died()
    engine = await lives.next(order, max_recoveries=1)
    await becomes(engine, lambda state: state.status is PARKED)
    lives.clock.advance(FAR["lease"] * 10)
    await becomes(engine, lambda state: state.status.is_ended)
    result = await ended(engine)
    assert (missed(result), did) == (True, ["a", "undo a"])


# Durable


@pytest.mark.parametrize("reach", RESTING)
async def test_s16_the_deadline_is_durable(open_engine: OpenEngine, reach: Reach) -> None:
    """It passed while no process lived: the next one ends the instance."""
    clock, did = ManualClock(), list[str]()
    order = order_of(did)
    first = await open_engine(clock=clock, **LONG)
    await reach(first, order)
    await first.close()
    clock.advance(61)
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    result = await ended(second, clock=clock)
    assert (missed(result), did) == (True, ["a", "undo a"])


async def test_s16_a_cancel_in_time_counts(open_engine: OpenEngine) -> None:
    """It was accepted before the deadline, though somebody looks only after it."""
    clock, did = ManualClock(), list[str]()
    order = order_of(did)
    first = await open_engine(clock=clock, **LONG)
    await waiting(first, order)
    await first.close()
    await (await open_engine(clock=clock, **LONG)).cancel("o")
    clock.advance(61)
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    result = await ended(second, clock=clock)
    assert (result.status, missed(result), did) == ("cancelled", False, ["a", "undo a"])


async def test_s16_a_crash_before_the_deadline(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The process died in a step, and the deadline passed before another one took over."""
    clock, saves, b, did = ManualClock(), Saves(storage), Held(), list[str]()
    order = order_of(did).step("b", b, compensate=noting("undo b", did))
    first = await open_engine(saves, clock=clock)
    await first.start(order, id="o")
    await b.began.wait()
    saves.die()
    clock.advance(61)
    second = await open_engine(workflows=[order], clock=clock)
    result = await ended(second, clock=clock)
    assert (missed(result), did, b.calls) == (True, ["a", "undo b", "undo a"], 1)


async def test_s16_an_interrupted_rollback_stays_late(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The process dies in the rollback: the next one goes on with it, and keeps the cause."""
    clock, did = ManualClock(), list[str]()
    order = order_of(did).wait("approved")
    saves = Saves(storage, die_after=4)
    first = await open_engine(saves, clock=clock)
    await first.execute(order, id="o")
    clock.advance(60)
    await until_dead(saves, clock)
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await ended(second, clock=clock)
    assert (result.status, missed(result), did) == (ROLLED_BACK, True, ["a", "undo a"])


async def until_dead(saves: Saves, clock: ManualClock) -> None:
    """Let time pass until the process is dead."""
    async with asyncio.timeout(30):
        while not saves.is_dead:
            clock.advance(0.01)
            await asyncio.sleep(0.001)


# What it does not touch


async def test_s16_a_rollback_has_no_deadline(open_engine: OpenEngine) -> None:
    """A compensator that takes longer than the deadline goes on, and the first cause is kept."""
    clock, undo = ManualClock(), Held()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", **MINUTE).step("a", noting("a", []), compensate=undo)
    await engine.start(order.step("pay", fail), id="o")
    await undo.began.wait()
    clock.advance(600)
    undo.go_on.set()
    result = await ended(engine, clock=clock)
    assert (result.status, str(result.error)) == (ROLLED_BACK, "RuntimeError: declined")
    assert undo.calls == 1


async def test_s16_a_failed_rollback_has_no_deadline(open_engine: OpenEngine) -> None:
    """An instance whose rollback failed waits for a person, however long."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", **MINUTE).step("a", noting("a", []), compensate=fail)
    await engine.execute(order.step("pay", fail), id="o")
    assert (await engine.diagnose("o")).due_at is None
    clock.advance(600)
    assert (await engine.retry_rollback("o")).status is WorkflowStatus.ROLLBACK_FAILED


async def test_s16_a_cancel_comes_first(open_engine: OpenEngine) -> None:
    """Cancelled before its deadline, it ends as cancelled, however long that takes."""
    clock, undo = ManualClock(), Held()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", **MINUTE).step("a", noting("a", []), compensate=undo)
    await engine.execute(order.wait("approved"), id="o")
    await engine.cancel("o")
    await undo.began.wait()
    clock.advance(600)
    undo.go_on.set()
    result = await ended(engine, clock=clock)
    assert (result.status, missed(result)) == (WorkflowStatus.CANCELLED, False)


# A person lets it go on


async def test_s16_resumed_it_has_no_deadline(open_engine: OpenEngine) -> None:
    """A failed instance that a person resumes has all the time that it needs."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await waiting(engine, Workflow("order", **MINUTE))
    clock.advance(60)
    await ended(engine, clock=clock)
    result = await engine.resume("o")
    assert (result.status, result.state.deadline, result.error) == (SUSPENDED, None, None)
    clock.advance(600)
    assert (await engine.diagnose("o")).due_at is None
    answer = await engine.signal("o", "approved")
    assert answer is not None
    assert answer.status is COMPLETED


async def test_s16_resumed_before_its_first_step(open_engine: OpenEngine) -> None:
    """One that missed its deadline without a step being run runs its steps when resumed."""
    clock, busy, did = ManualClock(), Held(), list[str]()
    engine = await open_engine(clock=clock, **LONG, max_instances=1)
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await engine.start(order_of(did), id="o")
    clock.advance(60)
    busy.go_on.set()
    await ended(engine, clock=clock)
    assert ((await engine.resume("o")).status, did) == (COMPLETED, ["a"])


async def test_s16_restarted_it_has_no_deadline(open_engine: OpenEngine) -> None:
    """So has one that was rolled back and is restarted."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await waiting(engine, order_of(did))
    clock.advance(60)
    await ended(engine, clock=clock)
    result = await engine.restart("o", "a")
    assert (result.status, result.state.deadline) == (SUSPENDED, None)
    assert did == ["a", "undo a", "a"]


async def test_s16_a_pause_does_not_stop_the_deadline(open_engine: OpenEngine) -> None:
    """Resumed in time, an instance has no more time than without the pause."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, Workflow("order", **MINUTE))
    clock.advance(59)
    result = await engine.resume("o")
    assert (result.status, result.state.deadline) == (SUSPENDED, NOW + timedelta(seconds=60))
    clock.advance(1)
    assert missed(await ended(engine, clock=clock))
