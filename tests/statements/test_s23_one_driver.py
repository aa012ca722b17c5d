"""S23: one driver at a time, under a lease; whoever lost it can save nothing more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from flux import (
    FluxConfig,
    FluxEngine,
    FluxResult,
    Retry,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from leasing import Held, Line, head_of
from opening import OpenEngine
from sagas import Flaky, as_time_passes, noting, sequence, step_of, until
from saves import Saves
from settling import passing, watched

LONG: dict[str, Any] = {"lease": 30, "poll": 3000}
"""A poll that plays no part."""


@pytest.fixture
def storage(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for whose answers `passing` waits."""
    return watched(storage)


# A lease and a token


async def test_s23_a_claim_is_told_from_a_renewal(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A claim raises the revision and writes a token of its own; a renewal only moves the end."""
    clock, line, held = ManualClock(), Line(storage), Held()
    first = await open_engine(line, clock=clock, **LONG)
    await first.start(held.order, id="order-1")
    begun = await head_of(storage, "order-1")
    await passing(clock, 10)
    renewed = await head_of(storage, "order-1")
    assert begun.lease_until is not None
    assert renewed == evolve(begun, lease_until=begun.lease_until + timedelta(seconds=10))
    line.is_cut = True
    await passing(clock, 31)
    saves = Saves(storage)
    second = await open_engine(saves, workflows=[held.order], clock=clock, **LONG)
    await second.result("order-1", timeout=5)
    claimed = await head_of(storage, "order-1")
    assert claimed.revision == begun.revision + 1 + len(saves.made)
    assert claimed.owner != begun.owner


async def test_s23_every_save_extends_the_lease(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An engine whose renewals fail keeps an instance whose steps are shorter than the lease."""
    clock, line, ran = ManualClock(), Line(storage), list[str]()
    line.is_cut = True

    async def work(ctx: WorkflowContext) -> None:
        await passing(clock, 20)
        ran.append(ctx.step)

    order = Workflow("order")
    for name in "abcd":
        order.step(name, work)
    first = await open_engine(line, clock=clock, **LONG)
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    assert (await first.execute(order)).status is WorkflowStatus.COMPLETED
    assert ran == ["a", "b", "c", "d"]


async def test_s23_each_driver_has_its_own_token(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Two instances, and two runs of one instance, are driven under different tokens."""
    engine = await open_engine()
    order = sequence("pay")
    for id in ("order-1", "order-2"):
        await engine.execute(order, id=id)
    owners = [(await head_of(storage, id)).owner for id in ("order-1", "order-2")]
    await engine.restart("order-1", "pay")
    owners.append((await head_of(storage, "order-1")).owner)
    assert len(set(owners)) == 3


async def test_s23_the_lease_may_be_a_timedelta(open_engine: OpenEngine) -> None:
    """Settings take seconds or a `timedelta`, and refuse what is no duration."""
    assert FluxConfig(lease=timedelta(minutes=1)).lease == 60
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"lease|duration"):
            FluxConfig(lease=wrong)


# Renewing


async def test_s23_a_long_step_keeps_its_lease(open_engine: OpenEngine) -> None:
    """While a step runs on and on its lease is renewed, and no other engine takes it."""
    clock, held = ManualClock(), Held()
    driving = await open_engine(clock=clock, lease=30, poll=1)
    await open_engine(workflows=[held.order], clock=clock, lease=30, poll=1)
    await driving.start(held.order, id="order-1")
    for _ in range(12):
        await passing(clock, 10)
    held.go_on.set()
    result = await driving.result("order-1", timeout=5)
    assert (result.status, held.ran) == (WorkflowStatus.COMPLETED, ["pay 1", "pay 1 ended"])


async def test_s23_a_blocked_thread_keeps_its_lease(open_engine: OpenEngine) -> None:
    """A plain handler that blocks does not keep the engine from renewing."""
    go_on, ran = asyncio.Event(), list[int]()
    loop, clock = asyncio.get_running_loop(), ManualClock()

    def block(ctx: WorkflowContext) -> None:
        ran.append(ctx.attempt)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

    order = Workflow("order").step("block", block)
    driving = await open_engine(clock=clock, lease=30)
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await driving.start(order, id="order-1")
    await until(lambda: ran)
    for _ in range(6):
        await passing(clock, 10)
    go_on.set()
    assert (await driving.result("order-1", timeout=5)).status is WorkflowStatus.COMPLETED
    assert ran == [1]


async def test_s23_all_leases_are_renewed_in_one_call(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Every third of the lease one call renews the leases of all instances of an engine."""
    clock, line, held = ManualClock(), Line(storage), Held()
    engine = await open_engine(line, clock=clock, lease=30, poll=300)
    for number in range(5):
        await engine.start(held.order, id=f"order-{number}")
    for _ in range(3):
        await passing(clock, 10)
    assert [sorted(ids) for ids in line.renewed] == [[f"order-{n}" for n in range(5)]] * 3
    held.go_on.set()


async def test_s23_what_rests_is_not_renewed(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An engine that drives nothing renews nothing."""
    clock, line = ManualClock(), Line(storage)
    engine = await open_engine(line, clock=clock, lease=30, poll=300)
    await engine.execute(sequence("pay"))
    await passing(clock, 10)
    assert line.renewed == []


# The inbox

ASKS: dict[str, Callable[[FluxEngine], Awaitable[object]]] = {
    "signal": lambda engine: engine.signal("order-1", "ok", wait=False),
    "pause": lambda engine: engine.pause("order-1"),
    "cancel": lambda engine: engine.cancel("order-1"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_s23_who_asks_leaves_the_head_alone(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    ask: Callable[[FluxEngine], Awaitable[object]],
) -> None:
    """A signal, a pause and a cancel to a driven instance change nothing but its inbox."""
    clock, held = ManualClock(), Held()
    driving = await open_engine(Line(storage), clock=clock, **LONG)
    asking = await open_engine(clock=clock, **LONG)
    await driving.start(held.order, id="order-1")
    await until(lambda: held.ran)
    before = await head_of(storage, "order-1")
    await ask(asking)
    assert await head_of(storage, "order-1") == evolve(before, last_signal=1)
    held.go_on.set()


@pytest.mark.parametrize(
    ("verb", "status", "ran"),
    [
        ("signal", WorkflowStatus.COMPLETED, ["pay 1", "pay 1 ended", "ship"]),
        ("pause", WorkflowStatus.PAUSED, ["pay 1", "pay 1 ended"]),
        ("cancel", WorkflowStatus.CANCELLED, ["pay 1", "pay 1 ended"]),
    ],
)
async def test_s23_told_in_the_answer_to_a_save(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    verb: str,
    status: WorkflowStatus,
    ran: list[str],
) -> None:
    """A driver learns from the save of a step what was asked for meanwhile, before the next one."""
    clock, line, held = ManualClock(), Line(storage), Held()
    held.order.wait("ok").step("ship", noting("ship", held.ran))
    driving = await open_engine(line, clock=clock, **LONG)
    asking = await open_engine(clock=clock, **LONG)
    executing = asyncio.create_task(driving.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    await ASKS[verb](asking)
    held.go_on.set()
    result = await asyncio.wait_for(executing, 30)
    assert (result.status, held.ran, line.renewed) == (status, ran, [])
    assert "suspended" not in [saved.status for saved in line.made]


async def test_s23_told_in_the_answer_to_a_renewal(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A driver whose handler runs on learns of a cancel when its lease is renewed."""
    clock, line, held = ManualClock(), Line(storage), Held()
    driving = await open_engine(line, clock=clock, **LONG)
    asking = await open_engine(clock=clock, **LONG)
    executing = asyncio.create_task(driving.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    await asking.cancel("order-1")
    await passing(clock, 9)
    assert not executing.done()
    await passing(clock, 1)
    assert (await asyncio.wait_for(executing, 5)).status is WorkflowStatus.CANCELLED
    assert (held.ran, len(line.renewed)) == (["pay 1"], 1)


# Losing


async def test_s23_a_lost_handler_is_cancelled(
    storage: WorkflowStorage, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that learns, when it renews, that it has lost an instance stops driving it."""
    clock, line, held = ManualClock(), Line(storage), Held()
    first = await open_engine(line, clock=clock, lease=30, poll=3000)
    await first.start(held.order, id="order-1")
    await until(lambda: held.ran)
    line.is_cut = True
    await passing(clock, 31)
    second = await open_engine(workflows=[held.order], clock=clock, lease=30)
    await second.resume("order-1")
    line.is_cut = False
    with caplog.at_level(logging.WARNING, "flux"):
        await passing(clock, 10)
    held.go_on.set()
    await passing(clock, 0)
    assert held.ran == ["pay 1", "pay 2", "pay 2 ended"]
    assert "instance.lost" in caplog.messages


async def test_s23_a_zombie_cannot_save(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A process that lost its lease stops at its next save: nothing of it is kept, nothing runs.

    Whoever called `execute` there is not told, and gets what the other process has made of it.
    """
    clock, line, held = ManualClock(), Line(storage), Held()
    held.order.step("ship", noting("ship", held.ran))
    zombie = await open_engine(line, clock=clock, **LONG)
    executing = asyncio.create_task(zombie.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    line.is_cut = True
    clock.advance(31)
    second = await open_engine(workflows=[held.order], clock=clock, **LONG)
    result = await second.resume("order-1")
    before, held.ran[:] = await head_of(storage, "order-1"), []
    held.go_on.set()
    assert (await as_time_passes(clock, executing)).state == result.state
    assert (held.ran, line.tried, len(line.made)) == (["pay 1 ended"], 2, 1)
    assert await head_of(storage, "order-1") == before


async def test_s23_a_zombie_cannot_save_a_failure(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Nor does its failure turn back what another process has taken further."""
    clock, line, go_on, ran = ManualClock(), Line(storage), asyncio.Event(), list[str]()

    async def pay(ctx: WorkflowContext) -> None:
        ran.append(f"pay {ctx.attempt}")
        if ctx.attempt == 1:
            await go_on.wait()
            raise RuntimeError("declined")

    order = Workflow("order").step("pay", pay, compensate=noting("undo", ran)).wait("ok")
    zombie = await open_engine(line, clock=clock, **LONG)
    await zombie.start(order, id="order-1")
    await until(lambda: ran)
    line.is_cut = True
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    assert (await second.resume("order-1")).status is WorkflowStatus.SUSPENDED
    go_on.set()
    await until(lambda: line.tried == 2)
    await passing(clock, 0)
    assert (await second.get("order-1")).status is WorkflowStatus.SUSPENDED
    assert ran == ["pay 1", "pay 2"]


WAITS: dict[str, Callable[[FluxEngine, Workflow], Awaitable[FluxResult | None]]] = {
    "execute": lambda engine, order: engine.execute(order, id="order-1"),
    "resume": lambda engine, order: engine.resume("order-1"),
    "result": lambda engine, order: engine.result("order-1"),
    "signal": lambda engine, order: engine.signal("order-1", "ok"),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_s23_who_waits_waits_for_the_new_driver(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    wait: Callable[[FluxEngine, Workflow], Awaitable[FluxResult | None]],
) -> None:
    """Whoever waits on the engine that lost the instance gets what became of it elsewhere."""
    clock, line, held = ManualClock(), Line(storage), Held()
    first = await open_engine(line, clock=clock, **LONG)
    await first.start(held.order, id="order-1")
    await until(lambda: held.ran)
    waiting = asyncio.ensure_future(wait(first, held.order))
    await passing(clock, 0)
    line.is_cut = True
    clock.advance(31)
    second = await open_engine(workflows=[held.order], clock=clock, **LONG)
    await second.resume("order-1")
    line.is_cut = False
    async with asyncio.timeout(30):
        while not waiting.done():
            await passing(clock, 1000)
    result = waiting.result()
    assert result is not None
    assert (result.status, step_of(result, "pay").output) == ("completed", "pay 2")


# Not losing


async def test_s23_a_lease_that_nobody_took_is_still_good(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A step that ends after its lease ran out is saved, if nobody has taken the instance."""
    clock, line, held = ManualClock(), Line(storage), Held()
    engine = await open_engine(line, clock=clock, lease=30, poll=3000)
    executing = asyncio.create_task(engine.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    line.is_cut = True
    await passing(clock, 100)
    held.go_on.set()
    assert step_of(await executing, "pay").output == "pay 1"
    assert held.ran == ["pay 1", "pay 1 ended"]


async def test_s23_a_lease_that_ran_out_is_renewed_before_a_handler_is_called(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An engine that finds its own lease run out, and not taken, renews it and goes on."""
    clock, line, pay = ManualClock(), Line(storage), Flaky(1)
    order = Workflow("order").step("pay", pay, retries=Retry(1, initial=20))
    engine = await open_engine(line, clock=clock, lease=30, poll=3000)
    executing = asyncio.create_task(engine.execute(order))
    await until(lambda: len(line.made) == 2)
    await passing(clock, 0)
    line.failures = 1
    clock.advance(100)
    assert (await executing).status is WorkflowStatus.COMPLETED
    assert (pay.attempts, bool(line.renewed)) == ([1, 2], True)


async def test_s23_a_failed_renewal_is_logged_and_repeated(
    storage: WorkflowStorage, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """One renewal that fails costs nothing: the next one comes in time."""
    clock, line, held = ManualClock(), Line(storage), Held()
    engine = await open_engine(line, clock=clock, lease=30)
    await open_engine(workflows=[held.order], clock=clock, lease=30, poll=1)
    await engine.start(held.order, id="order-1")
    await until(lambda: held.ran)
    line.is_cut = True
    await passing(clock, 10)
    assert "lease.renewal_failed" in caplog.messages
    line.is_cut = False
    for _ in range(5):
        await passing(clock, 10)
    held.go_on.set()
    await engine.result("order-1", timeout=5)
    assert held.ran == ["pay 1", "pay 1 ended"]


# A save that failed


async def test_s23_after_a_failed_save_the_instance_is_free(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An instance whose save failed is resumed at once by the engine that still holds its lease."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(Saves(storage, fail_before=2), clock=clock, lease=30)
    with pytest.raises(StorageError):
        await engine.execute(sequence("pay", "ship", ran=ran), id="order-1")
    result = await asyncio.wait_for(engine.resume("order-1"), 30)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay", "pay", "ship"])


async def test_s23_a_save_that_was_written_counts(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A save that was written although it raised is not forgotten: its step does not run again."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(Saves(storage, fail_after=2), clock=clock, lease=30)
    with pytest.raises(StorageError):
        await engine.execute(sequence("pay", "ship", ran=ran), id="order-1")
    result = await asyncio.wait_for(engine.resume("order-1"), 30)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay", "ship"])


async def test_s23_a_failed_save_frees_it_for_others_in_time(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The engine whose save failed renews that lease no more: another one takes it in time."""
    clock, ran = ManualClock(), list[str]()
    order = sequence("pay", ran=ran)
    engine = await open_engine(Saves(storage, fail_before=2), clock=clock, lease=30, poll=3000)
    with pytest.raises(StorageError):
        await engine.execute(order, id="order-1")
    other = await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    waiting = asyncio.create_task(other.result("order-1"))
    await passing(clock, 29)
    assert not waiting.done()
    assert (await as_time_passes(clock, waiting)).status is WorkflowStatus.COMPLETED
