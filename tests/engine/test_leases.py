"""Leases: who drives an instance, for how long, and who takes it when that time is over."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from flux import (
    FluxConfig,
    Lease,
    Retry,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, as_time_passes, passing, sequence, step_of, until
from saves import DiedError, Saves


class Line(Saves):
    """A storage whose renewals can be counted, and cut off as if the network were gone."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.renewed: list[list[str]] = []
        self.is_cut = False
        self.failures = 0
        """So many of the next renewals fail."""

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        self.failures -= 1
        if self.is_cut or self.failures >= 0:
            raise StorageError("the line is cut")
        self.renewed.append([one.id for one in leases])
        return await super().renew(leases, lease=lease)


class Held:
    """An order whose first step waits until it is let go; it notes who ran."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.ran: list[str] = []
        self.order = Workflow("order")

        @self.order.step
        async def pay(ctx: WorkflowContext) -> str:
            attempt = f"pay {ctx.attempt}"
            self.ran.append(attempt)
            if ctx.attempt == 1:
                await self.go_on.wait()
            self.ran.append(f"{attempt} ended")
            return attempt


# Renewing


async def test_a_long_step_keeps_its_lease(open_engine: OpenEngine) -> None:
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


async def test_a_blocked_thread_keeps_its_lease(open_engine: OpenEngine) -> None:
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


async def test_all_leases_are_renewed_in_one_call(
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


async def test_what_rests_is_not_renewed(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An engine that drives nothing renews nothing."""
    clock, line = ManualClock(), Line(storage)
    engine = await open_engine(line, clock=clock, lease=30, poll=300)
    await engine.execute(sequence("pay"))
    await passing(clock, 10)
    assert line.renewed == []


# Taking over


async def test_a_lease_is_waited_for(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """`resume` of an instance leased to a dead process takes it when the lease has run out."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    engine = await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    resuming = asyncio.create_task(engine.resume("order-1"))
    await passing(clock, 29)
    assert (ran, resuming.done()) == ([], False)
    result = await as_time_passes(clock, resuming)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay"])


async def test_execute_takes_over_as_well(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """`execute` of a run whose process is dead goes on with it when the lease has run out."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=2), list[str]()
    order = sequence("pay", "ship", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, {"sku": "A1"}, id="order-1")
    engine = await open_engine(clock=clock, lease=30, poll=1)
    executing = asyncio.create_task(engine.execute(order, {"sku": "A1"}, id="order-1"))
    await passing(clock, 29)
    assert not executing.done()
    assert (await as_time_passes(clock, executing)).status is WorkflowStatus.COMPLETED
    assert ran == ["pay", "ship"]


async def test_nobody_need_ask(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An engine finds an instance whose lease has run out by itself."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await passing(clock, 29)
    assert ran == []
    await passing(clock, 2)
    await until(lambda: ran == ["pay"])


async def test_an_engine_leaves_what_it_does_not_know(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An abandoned instance of a workflow that is not registered is left to other engines."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    stranger = Workflow("other").step("a", lambda ctx: None)
    engine = await open_engine(workflows=[stranger], clock=clock, lease=30, poll=1)
    await passing(clock, 60)
    assert (await engine.get("order-1")).status is WorkflowStatus.RUNNING
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await until(lambda: ran == ["pay"])


async def test_two_engines_take_it_once(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Of several engines that find an abandoned instance one drives it."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", "ship", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    engines = [await open_engine(workflows=[order], clock=clock, lease=30) for _ in range(3)]
    clock.advance(31)
    resuming = [asyncio.create_task(engine.resume("order-1")) for engine in engines]
    results = [await as_time_passes(clock, task) for task in resuming]
    assert {result.status for result in results} == {WorkflowStatus.COMPLETED}
    assert ran == ["pay", "ship"]


# Losing


async def test_a_late_driver_is_dropped(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An engine that could not renew loses the instance: its late result counts for nothing."""
    clock, line, held = ManualClock(), Line(storage), Held()
    first = await open_engine(line, clock=clock, lease=30, poll=3000)
    executing = asyncio.create_task(first.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    line.is_cut = True
    clock.advance(31)
    second = await open_engine(workflows=[held.order], clock=clock, lease=30)
    result = await second.resume("order-1")
    held.go_on.set()
    assert step_of(await as_time_passes(clock, executing), "pay").output == "pay 2"
    assert held.ran[-1] == "pay 1 ended"
    assert await second.get("order-1") == result.state


async def test_who_waited_is_not_told(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Whoever called `execute` on the engine that lost the instance gets the new one's result."""
    clock, line, held = ManualClock(), Line(storage), Held()
    first = await open_engine(line, clock=clock, lease=30, poll=3000)
    executing = asyncio.create_task(first.execute(held.order, id="order-1"))
    await until(lambda: held.ran)
    line.is_cut = True
    clock.advance(31)
    second = await open_engine(workflows=[held.order], clock=clock, lease=30)
    await second.resume("order-1")
    line.is_cut = False
    result = await as_time_passes(clock, executing)
    assert (result.status, step_of(result, "pay").output) == ("completed", "pay 2")


async def test_a_lost_handler_is_cancelled(
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


async def test_a_lease_that_nobody_took_is_still_good(
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


async def test_a_lease_that_ran_out_is_renewed_before_a_handler_is_called(
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
    assert (pay.attempts, len(line.renewed)) == ([1, 2], 1)


async def test_a_failed_renewal_is_logged_and_repeated(
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


# After a failed save


async def test_after_a_failed_save_the_instance_is_free(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An instance whose save failed is resumed at once by the engine that still holds its lease."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(Saves(storage, fail_before=2), clock=clock, lease=30)
    with pytest.raises(StorageError):
        await engine.execute(sequence("pay", "ship", ran=ran), id="order-1")
    result = await asyncio.wait_for(engine.resume("order-1"), 2)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay", "pay", "ship"])


async def test_a_save_that_was_written_counts(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A save that was written although it raised is not forgotten: its step does not run again."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(Saves(storage, fail_after=2), clock=clock, lease=30)
    with pytest.raises(StorageError):
        await engine.execute(sequence("pay", "ship", ran=ran), id="order-1")
    result = await asyncio.wait_for(engine.resume("order-1"), 2)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay", "ship"])


async def test_a_failed_save_frees_it_for_others_in_time(
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


# Room


async def test_an_engine_drives_as_many_as_it_may(open_engine: OpenEngine) -> None:
    """What is started beyond `max_instances` is saved, and driven when there is room."""
    held, ran = Held(), list[str]()
    engine = await open_engine(max_instances=1)
    await engine.start(held.order, id="order-1")
    other = Workflow("other").step("a", lambda ctx: ran.append("a"))
    state = await engine.start(other, id="other-1")
    assert (state.status, ran) == (WorkflowStatus.PENDING, [])
    held.go_on.set()
    assert (await engine.result("other-1", timeout=5)).status is WorkflowStatus.COMPLETED
    assert ran == ["a"]


async def test_the_lease_may_be_a_timedelta(open_engine: OpenEngine) -> None:
    """Settings take seconds or a `timedelta`, and refuse what is no duration."""
    assert FluxConfig(lease=timedelta(minutes=1)).lease == 60
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"lease|duration"):
            FluxConfig(lease=wrong)
