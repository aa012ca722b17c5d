"""An engine for tests: it runs workflows, and time costs nothing."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flux import FluxConfig, Retry, Workflow, WorkflowContext, wait
from flux.testing import NothingHappensError, TestEngine
from flux_storages import MemoryStorage, RedisStorage, SQLiteStorage
from shop_flow import BIG, nothing, order_of, setup_of


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., TestEngine]:
    def make(*workflows: Workflow) -> TestEngine:
        storage = (
            MemoryStorage()
            if request.param == "memory"
            else SQLiteStorage(tmp_path / "flux.db", synchronous="normal")
        )
        return TestEngine(*workflows, storage=storage)

    return make


async def test_run_goes_to_its_end(make: Callable[..., TestEngine]) -> None:
    """A run without a wait comes back completed."""
    async with make() as t:
        run = await t.run(order_of(), {"sku": "A1"}, id="order-1")
    run.status("completed").ran("reserve", "charge", "ship").did_not_run("approval")
    assert (run.id, run.status, run.data) == ("order-1", "completed", {"sku": "A1"})


async def test_run_rests_at_a_signal(make: Callable[..., TestEngine]) -> None:
    """No time passes for a wait: the run stays there until the test sends the signal."""
    async with make() as t:
        begun = t.now
        run = await t.run(order_of(), BIG)
        assert t.now == begun
        run.waits_for("approved").did_not_run("ship")
        await run.signal("approved", {"by": "kim"})
    run.status("completed").output("ship", {"by": "kim"})


async def test_advance_lets_a_wait_time_out(make: Callable[..., TestEngine]) -> None:
    """After two days of the clock, and no time at all, the wait has timed out."""
    async with make() as t:
        run = await t.run(order_of(), BIG)
        await t.advance(days=1, hours=23)
        run.waits_for("approved")
        await t.advance(timedelta(hours=1))
    run.status("rolled_back").compensated("charge", "reserve")


async def test_back_offs_and_sleeps_cost_nothing(make: Callable[..., TestEngine]) -> None:
    """Time jumps to the end of a back-off and of a sleep, and no further."""
    flow = Workflow("flow").step("a", nothing, retries=Retry(5, initial=60, jitter=False))
    flow.sleep("night", timedelta(days=365)).step("b", nothing)
    async with make(flow) as t:
        t.fail("a", ConnectionError("no"), attempt=(1, 2))
        begun, real = t.now, time.monotonic()
        run = await t.run(flow)
        run.status("completed").retried("a", times=2)
        assert t.now - begun == timedelta(days=365, minutes=2)
        assert time.monotonic() - real < 5


async def test_what_is_due_earlier_happens_earlier() -> None:
    """In a long advance everything falls due at its own time."""
    times: list[datetime] = []
    flow = Workflow("flow")
    for hours in (3, 1, 2):
        flow.sleep(f"sleep{hours}", timedelta(hours=hours))
        flow.step(f"note{hours}", lambda ctx: times.append(ctx.now()))
    async with TestEngine(flow) as t:
        begun = t.now
        run = await t.start(flow)
        await t.advance(hours=5)
        run.status("suspended").did_not_run("note2")
        await t.advance(hours=1)
        run.status("completed")
    assert [(time - begun).total_seconds() / 3600 for time in times] == [3, 4, 6]


async def test_a_deadline_comes_by_advance() -> None:
    """The deadline of a run that waits for a signal is for the test to let come."""
    flow = Workflow("flow", deadline=timedelta(days=1)).wait("go", "go")
    async with TestEngine() as t:
        run = await t.run(flow)
        run.waits_for("go")
        await t.advance(days=1)
    run.status("failed")
    assert run.error is not None
    assert run.error.type == "DeadlineExceededError"


async def test_a_deadline_ends_a_longer_sleep() -> None:
    """Time jumps to the deadline of a run that only sleeps."""
    flow = Workflow("flow", deadline=timedelta(days=1)).sleep("long", timedelta(days=3))
    async with TestEngine() as t:
        begun = t.now
        run = await t.run(flow)
        assert t.now - begun == timedelta(days=1)
    run.status("failed")


async def test_a_sleep_beside_a_wait_ends_first() -> None:
    """Time jumps over a sleep that ends before the timeout of a wait, and stays there."""
    flow = Workflow("flow").wait("go", "go", timeout=timedelta(hours=2), after=())
    flow.sleep("short", 3600, after=()).sleep("long", timedelta(hours=3))
    async with TestEngine() as t:
        begun = t.now
        run = await t.run(flow)
        run.waits_for("go").ran("long")
        assert t.now - begun == timedelta(hours=1)


async def test_real_work_takes_no_time_of_the_clock() -> None:
    """While a handler works, in the loop or in a thread, the clock stands still."""

    async def in_loop(ctx: WorkflowContext) -> None:
        await asyncio.sleep(0.03)

    def in_thread(ctx: WorkflowContext) -> None:
        time.sleep(0.03)

    flow = Workflow("flow", deadline=1).step("loop", in_loop).step("thread", in_thread)
    async with TestEngine() as t:
        begun = t.now
        (await t.run(flow)).status("completed")
        assert t.now == begun


async def test_plain_handlers_run_in_threads() -> None:
    """As in any engine: a plain handler may block, and does not block the loop."""
    threads: list[threading.Thread] = []
    flow = Workflow("flow").step("a", lambda ctx: threads.append(threading.current_thread()))
    async with TestEngine() as t:
        (await t.run(flow)).status("completed")
    assert threads != [threading.current_thread()]


async def test_the_clock_forgets_who_waits_no_more() -> None:
    """The next moment is that of a sleeper that is still there."""
    clock = TestEngine().clock
    gone, there = (asyncio.ensure_future(clock.sleep(seconds)) for seconds in (5, 9))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert clock.next_in == 9
    clock.advance(9)
    await there


async def test_children_are_runs_too() -> None:
    """A run rests where its child waits, and the child takes the signal."""
    setup = setup_of()
    async with TestEngine(setup) as t:
        run = await t.run(setup)
        run.status("suspended").did_not_run("announce")
        [child] = await t.children(run)
        await child.waits_for("ready").signal("ready")
        child.status("completed").order("net", "ready", "vm")
    run.status("completed")


async def test_verbs_of_a_run() -> None:
    """A run is cancelled, or resumed, and goes on to its rest."""
    async with TestEngine() as t:
        run = await t.run(order_of(), BIG)
        await run.cancel(reason="changed my mind")
        run.status("cancelled").compensated("charge", "reserve")
        await run.restart("reserve")
        run.waits_for("approved")
        await run.pause()
        run.status("paused")
        await run.resume()
        run.waits_for("approved")


async def test_failed_steps_are_retried_by_hand() -> None:
    """A failed step runs again, as somebody let it."""
    flow = Workflow("flow").step("a", nothing).step("b", nothing)
    async with TestEngine(flow) as t:
        t.fail("b", ValueError("no"))
        run = await t.run(flow)
        run.failed_with(ValueError, "no").status("failed")
        await run.retry_step("b")
        run.status("completed")


async def test_failed_compensations_are_settled_by_hand() -> None:
    """A rollback goes on once what failed in it is tried again, or skipped."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("ship", raises=RuntimeError("lost"))
        t.mock_compensation("charge", raises=ConnectionError("down"))
        t.fail_compensation("reserve", ConnectionError("down"))
        run = await t.run(order)
        run.status("rollback_failed").compensated()
        await run.skip_compensation("charge", reason="paid back by hand")
        run.status("rollback_failed")
        await run.retry_rollback()
        run.status("rolled_back").compensated("reserve")


async def test_other_verbs_are_driven() -> None:
    """Any verb of the engine is awaited while time jumps."""
    flow = Workflow("flow").sleep("a", timedelta(days=3)).step("b", nothing)
    async with TestEngine(flow) as t:
        run = await t.start(flow)
        result = await t.drive(t.engine.result(run.id))
        assert result.status == "completed"
        run.status("completed")


async def test_runs_are_found() -> None:
    """What another part of the test has started is a run as well."""
    flow = Workflow("flow").step("a", nothing)
    async with TestEngine(flow) as t:
        await t.engine.start(flow, id="one")
        run = await t.find("one")
        await t.settle()
        run.status("completed")
        assert t.runs == (run,)


async def test_what_can_never_come_is_said() -> None:
    """A run that can go no further by itself is an error with the history, and no hanging test."""
    flow = Workflow("flow").step("a", nothing)
    async with TestEngine(flow) as t:
        t.mock("a", takes=float("inf"))
        with pytest.raises(NothingHappensError, match=r"(?s)nothing can happen.*a +running"):
            await t.run(flow)


async def test_it_is_used_with_async_with() -> None:
    """Before it is open, it says how it is opened."""
    with pytest.raises(RuntimeError, match="async with"):
        await TestEngine().settle()


@pytest.mark.parametrize("timeout", [60, None])
async def test_queued_runs_wait_for_the_test(timeout: float | None) -> None:
    """No time passes for a run that waits for the turn of one that waits for a signal."""
    flow = Workflow("flow").limit(concurrency=1)
    flow.wait("go", "go", timeout=timeout).step("b", nothing)
    async with TestEngine(flow) as t:
        begun = t.now
        first, second = await t.run(flow), await t.run(flow)
        second.status("pending")
        first.waits_for("go")
        assert t.now == begun
        await first.signal("go")
        second.waits_for("go")


async def test_time_jumps_to_the_turn_of_a_rate() -> None:
    """A run that a rate lets begin in an hour begins in an hour."""
    flow = Workflow("flow").limit(rate="1/h").step("a", nothing)
    async with TestEngine(flow) as t:
        begun = t.now
        for _ in range(3):
            (await t.run(flow)).status("completed")
        assert t.now - begun == timedelta(hours=2)


async def test_a_storage_with_its_own_time_is_refused() -> None:
    """No test can move the time of a server."""
    with pytest.raises(ValueError, match="keeps a time of its own"):
        TestEngine(storage=RedisStorage.from_url("redis://localhost:1/0"))


async def test_settings_of_the_engine_are_kept() -> None:
    """The test's own settings count, but for lease and poll."""
    config = FluxConfig(default_retries=2, lease=1)
    flow = Workflow("flow").step("a", nothing)
    async with TestEngine(flow, config=config) as t:
        t.fail("a", ValueError(), attempt=(1, 2))
        (await t.run(flow)).status("completed").retried("a", times=2)


async def test_handlers_may_wait() -> None:
    """What a handler does before its wait is kept."""
    flow = Workflow("flow")

    @flow.step
    def ask(ctx: WorkflowContext) -> object:
        ctx.data["asked"] = True
        return wait("answer")

    async with TestEngine() as t:
        run = await t.run(flow)
        assert run.data == {"asked": True}
        await run.signal("answer", 42)
    run.output("ask", 42)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"workflows": ["order"]}, TypeError, "'order' is no workflow; give a Workflow"),
        ({"start": datetime(2026, 1, 1)}, ValueError, "give an aware datetime"),  # noqa: DTZ001
        ({"start": "2026"}, ValueError, "start='2026': give an aware datetime"),
        ({"config": {}}, TypeError, r"config=\{\}: give a FluxConfig"),
    ],
)
def test_engines_that_make_no_sense(given: Any, error: type[Exception], told: str) -> None:
    """What a `TestEngine` cannot work with is refused when it is made."""
    workflows = given.pop("workflows", [])
    with pytest.raises(error, match=told):
        TestEngine(*workflows, **given)


@pytest.mark.parametrize("days", [math.inf, math.nan, 10**9])
async def test_time_that_no_calendar_has(days: float) -> None:
    """Time does not pass beyond the calendar, and stays where it is."""
    async with TestEngine() as t:
        with pytest.raises(ValueError, match="a time that no calendar has"):
            await t.advance(days=days)
        assert t.now == datetime(2026, 1, 1, tzinfo=UTC)
