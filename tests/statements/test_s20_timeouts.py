"""S20: a timed-out wait is a result: it is saved, and a late signal does not undo it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InstanceEndedError,
    Workflow,
    WorkflowStatus,
    WorkflowStorage,
    sleep,
    wait,
)
from flux.testing import ManualClock
from flux_storages import RedisStorage
from opening import OpenEngine
from sagas import step_of
from saves import DiedError, Saves
from waits import LONG, Moments, asking, becomes, ended

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED
PAUSED = WorkflowStatus.PAUSED


def order_of(did: list[str], on_timeout: Any = "continue", **options: Any) -> Workflow:
    """The order that waits; for a minute, and then goes on with "nobody" or fails."""
    default = "nobody" if on_timeout == "continue" else None
    return asking(did, lambda: wait("approved", 60, on_timeout, default), **options)


class Nobody:
    """An order that waits for a minute while no process lives that could go on with it."""

    def __init__(self, open_engine: OpenEngine) -> None:
        self.clock = ManualClock()
        self.did: list[str] = []
        self._open_engine = open_engine

    async def suspended(self, **options: Any) -> FluxEngine:
        """The instance "o" waits; the engine that can send to it knows no workflow."""
        self._order = order_of(self.did, **options)
        first = await self._open_engine(clock=self.clock, **LONG)
        await first.execute(self._order, id="o")
        await first.close()
        return await self._open_engine(clock=self.clock, **LONG)

    async def worker(self) -> FluxEngine:
        """An engine that finds the instance by itself."""
        return await self._open_engine(workflows=[self._order], clock=self.clock, **LONG)


@pytest.fixture
def nobody(open_engine: OpenEngine) -> Nobody:
    return Nobody(open_engine)


# The result


async def test_s20_fail_fails_the_step(open_engine: OpenEngine) -> None:
    """By default the step fails for good with a `WaitTimeoutError`, and what was done is undone."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(order_of(did, "fail"), id="o")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, did) == ("rolled_back", ["reserve", "ask", "undo reserve"])
    assert str(result.error) == (
        "WaitTimeoutError: step 'ask': the signal 'approved' did not come in time"
    )
    assert step_of(result, "ask").error == result.error


@pytest.mark.parametrize("default", [None, "nobody", {"by": None}, [1]])
async def test_s20_continue_goes_on(open_engine: OpenEngine, default: Any) -> None:
    """The step completes with the default as its output, and the next one runs."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    order = asking(did, lambda: wait("approved", 60, "continue", default))
    await engine.execute(order, id="o")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, did) == (COMPLETED, ["reserve", "ask", "ship"])
    assert (step_of(result, "ask").output, result.error) == (default, None)


async def test_s20_not_before_its_time(open_engine: OpenEngine) -> None:
    """A signal in the last instant is taken, and the timeout does nothing after that."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = order_of([]).sleep("nap", 600)
    await engine.execute(order, id="o")
    clock.advance(59)
    result = await engine.signal("o", "approved", "kim")
    assert result is not None
    assert result.state.current_step == "nap"
    clock.advance(600)
    assert step_of(await ended(engine, clock=clock), "ask").output == "kim"


async def test_s20_no_time_at_all(engine: FluxEngine) -> None:
    """A timeout of 0 takes a signal that is there already, and does not wait for one."""
    order = Workflow("order").wait("first")
    for name in "ab":
        order.wait(name, "paid", timeout=0, on_timeout="continue", default="none")
    await engine.execute(order, id="o")
    await engine.signal("o", "paid", 1)
    result = await engine.signal("o", "first")
    assert result is not None
    assert (result.status, step_of(result, "b").output) == (COMPLETED, "none")


# A late signal


async def test_s20_a_late_signal_does_not_undo_it(open_engine: OpenEngine) -> None:
    """It goes on with the default, and the signal that comes later waits for the next wait."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(order_of([]).wait("again", "approved"), id="o")
    clock.advance(60)
    await becomes(engine, lambda state: state.current_step == "again", clock=clock)
    result = await engine.signal("o", "approved", "late")
    assert result is not None
    assert [step_of(result, name).output for name in ("ask", "again")] == ["nobody", "late"]


async def test_s20_a_late_signal_revives_nothing(open_engine: OpenEngine) -> None:
    """The wait has failed and the instance ended: the signal is refused."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(order_of([], "fail"), id="o")
    clock.advance(60)
    await ended(engine, clock=clock)
    with pytest.raises(InstanceEndedError):
        await engine.signal("o", "approved", "late")
    assert (await engine.get("o")).status is WorkflowStatus.ROLLED_BACK


@pytest.mark.parametrize("death", [{"die_before": 4}, {"die_after": 4}])
async def test_s20_the_timeout_is_saved(
    storage: WorkflowStorage, open_engine: OpenEngine, death: dict[str, Any]
) -> None:
    """The process dies at that save: a signal that comes after it finds the same result."""
    clock, did = ManualClock(), list[str]()
    order = order_of(did)
    first = await open_engine(Saves(storage, **death), clock=clock, **LONG)
    await first.execute(order, id="o")
    clock.advance(60)
    with pytest.raises(DiedError):
        await ended(first, clock=clock)
    sender = await open_engine(clock=clock, **LONG)
    await sender.signal("o", "approved", "late", wait=False)
    clock.advance(LONG["lease"])
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    result = await ended(second, clock=clock)
    assert (step_of(result, "ask").output, did) == ("nobody", ["reserve", "ask", "ship"])


async def test_s20_a_signal_while_the_timeout_is_saved(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The signal comes too late by an instant: the timeout stands, the signal is kept."""
    clock, moments = ManualClock(), Moments(storage)
    engine = await open_engine(moments, clock=clock, **LONG)
    sender = await open_engine(clock=clock, **LONG)
    await engine.execute(order_of([]), id="o")
    moments.before(
        lambda save: save.intent == ("ship",),
        lambda: sender.signal("o", "approved", "late", wait=False),
    )
    clock.advance(60.5)
    result = await ended(engine, clock=clock)
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "nobody")
    assert [one.taken_by for one in (await engine.diagnose("o")).signals] == [None]


# Nobody drove the instance when its time was over


@pytest.mark.parametrize("on_timeout", ["fail", "continue"])
@pytest.mark.parametrize("sent_at", [0, 59, 60])
async def test_s20_a_signal_in_time_counts(nobody: Nobody, sent_at: float, on_timeout: str) -> None:
    """It was sent in time, though somebody looks only after the timeout: it is taken."""
    sender = await nobody.suspended(on_timeout=on_timeout)
    nobody.clock.advance(sent_at)
    await sender.signal("o", "approved", "in time", wait=False)
    nobody.clock.advance(3600)
    result = await ended(await nobody.worker(), clock=nobody.clock)
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "in time")


@pytest.mark.parametrize(("on_timeout", "output"), [("fail", None), ("continue", "nobody")])
async def test_s20_a_signal_too_late_does_not_count(
    nobody: Nobody, on_timeout: str, output: str | None
) -> None:
    """It was sent after the timeout, though nobody had noticed that yet: it is not taken."""
    sender = await nobody.suspended(on_timeout=on_timeout)
    nobody.clock.advance(60.5)
    await sender.signal("o", "approved", "late", wait=False)
    worker = await nobody.worker()
    result = await ended(worker, clock=nobody.clock)
    assert (step_of(result, "ask").output, nobody.did[-1]) == (
        output,
        "ship" if output else "undo reserve",
    )
    assert [one.taken_by for one in (await worker.diagnose("o")).signals] == [None]


async def test_s20_late_for_one_and_in_time_for_the_next(nobody: Nobody) -> None:
    """Of two signals the one in time is taken, whichever wait the other one is left for."""
    sender = await nobody.suspended()
    await sender.signal("o", "approved", "in time", wait=False)
    nobody.clock.advance(61)
    await sender.signal("o", "approved", "late", wait=False)
    worker = await nobody.worker()
    assert step_of(await ended(worker, clock=nobody.clock), "ask").output == "in time"
    assert [one.taken_by for one in (await worker.diagnose("o")).signals] == ["ask", None]


async def test_s20_whoever_signals_late_sees_the_timeout(open_engine: OpenEngine) -> None:
    """A late signal may be what wakes the instance up: its sender gets the timed-out result."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(order_of([]), id="o")
    clock.advance(61)
    result = await engine.signal("o", "approved", "late")
    assert result is not None
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "nobody")


# A paused instance's deadlines run on


async def paused(engine: FluxEngine, order: Workflow) -> None:
    """The instance "o" was paused while it waited."""
    await engine.execute(order, id="o")
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is PAUSED)


@pytest.mark.parametrize(
    ("on_timeout", "status"), [("fail", "rolled_back"), ("continue", "completed")]
)
async def test_s20_a_pause_does_not_stop_the_time(
    open_engine: OpenEngine, on_timeout: str, status: str
) -> None:
    """A wait that timed out while the instance was paused has timed out when it is resumed."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, order_of(did, on_timeout))
    clock.advance(61)
    result = await engine.resume("o")
    assert (result.status, step_of(result, "ask").attempt_count) == (status, 1)
    assert did[-1] == ("ship" if status == "completed" else "undo reserve")


async def test_s20_nothing_goes_on_in_a_pause(open_engine: OpenEngine) -> None:
    """The timeout alone does not end the pause; it waits for somebody to resume."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, order_of(did))
    assert (await engine.diagnose("o")).due_at is None
    result = await engine.signal("o", "approved", "kim")
    assert result is not None
    assert (result.status, did) == (PAUSED, ["reserve", "ask"])


async def test_s20_a_signal_in_a_pause_counts(open_engine: OpenEngine) -> None:
    """One that came in time while the instance was paused is taken at its resume."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, order_of([], "fail"))
    await engine.signal("o", "approved", "kim")
    clock.advance(61)
    result = await engine.resume("o")
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "kim")


async def test_s20_a_late_signal_in_a_pause_does_not(open_engine: OpenEngine) -> None:
    """One that came after the timeout, while the instance was paused, is not taken."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, order_of([]))
    clock.advance(61)
    await engine.signal("o", "approved", "late")
    result = await engine.resume("o")
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "nobody")


async def test_s20_the_rest_of_the_time_is_left(open_engine: OpenEngine) -> None:
    """Resumed before its timeout, the wait ends when it would have ended without the pause."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, order_of([]))
    clock.advance(45)
    assert (await engine.resume("o")).status is SUSPENDED
    due = (await engine.diagnose("o")).due_at
    assert due == ManualClock().now() + timedelta(seconds=60)
    clock.advance(15)
    assert (await ended(engine, clock=clock)).status is COMPLETED


async def test_s20_a_sleep_ends_in_a_pause(open_engine: OpenEngine) -> None:
    """A sleep that was over while the instance was paused is over when it is resumed."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await paused(engine, asking([], lambda: sleep(60)))
    clock.advance(61)
    assert (await engine.resume("o")).status is COMPLETED


# Races


async def test_s20_signal_and_timeout_at_one_instant(open_engine: OpenEngine) -> None:
    """Whichever is first, the step has one result, and goes on once."""
    clock, did = ManualClock(), list[str]()
    order = order_of(did)
    engines = [await open_engine(workflows=[order], clock=clock, **LONG) for _ in range(2)]
    await engines[0].execute("order", id="o")
    sends = [engine.signal("o", "approved", n, wait=False) for n, engine in enumerate(engines)]
    sent = asyncio.gather(*sends)
    clock.advance(60)
    await sent
    result = await ended(engines[0], clock=clock)
    assert step_of(result, "ask").output in (0, 1)
    assert did == ["reserve", "ask", "ship"]


async def test_s20_the_clocks_of_two_hosts(redis_url: str) -> None:
    """On Redis its server's time counts: a host whose clock is fast still signals in time."""
    fast = ManualClock(ManualClock().now() + timedelta(minutes=5))
    storages = [RedisStorage.from_url(redis_url) for _ in range(2)]
    async with (
        FluxEngine(storages[0], clock=ManualClock()) as worker,
        FluxEngine(storages[1], clock=fast) as sender,
    ):
        await worker.execute(order_of([], "fail"), id="o")
        await sender.signal("o", "approved", "in time", wait=False)
        assert (await ended(worker)).status is COMPLETED
