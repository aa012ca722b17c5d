"""A handler with a timeout begins a turn of the loop after the last look at its instance."""

import asyncio
import gc
import warnings
from collections.abc import Callable

import pytest

from flux import Cache, FluxTraceEvent, Workflow, WorkflowContext
from flux.testing import ManualClock
from flux_storages import MemoryStorage
from opening import OpenEngine, open_engine
from sagas import noting, step_of
from undoing import fail

__all__ = ["open_engine"]

LEASE = 30.0
STARTS = ("step:start", "step:compensate_start")


@pytest.fixture
def storage() -> MemoryStorage:
    """One that answers at once: nothing happens while it is asked."""
    return MemoryStorage()


class InBetween:
    """A sink by which something happens once, in the turn before the first line of `act`."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = [happens]

    def emit(self, event: FluxTraceEvent) -> None:
        if event.type in STARTS and event.step_name == "act" and self._happens:
            asyncio.get_running_loop().call_soon(self._happens.pop())


@pytest.mark.parametrize("undoes", [False, True], ids=["run", "undo"])
async def test_s13_a_lease_that_ran_out_is_seen(
    storage: MemoryStorage, open_engine: OpenEngine, undoes: bool
) -> None:
    """The handler, or the compensator, is called once the lease is sure to hold again."""
    clock, held = ManualClock(), list[tuple[int, bool]]()

    async def act(ctx: WorkflowContext) -> None:
        found = await storage.load(ctx.id, history=False)
        until = None if found is None else found[0].lease_until
        held.append((ctx.attempt, until is not None and until > clock.now()))

    order = Workflow("order")
    if undoes:
        order.step("act", noting("act", []), compensate=act, compensate_timeout=5)
        order.step("fail", fail)
    else:
        order.step("act", act, timeout=5)
    between = InBetween(lambda: clock.advance(LEASE + 1))
    engine = await open_engine(clock=clock, lease=LEASE, poll=10 * LEASE, trace=between)
    await engine.execute(order, id="order-1")
    assert held == [(1, True)]


async def test_s13_a_lease_that_ran_out_in_a_cache_is_seen(open_engine: OpenEngine) -> None:
    """A step whose cache was slow to answer is called once the lease holds again (232)."""
    clock, held = ManualClock(), list[bool]()

    class Slow(MemoryStorage):
        async def get_value(self, key: str) -> bytes | None:
            if not held:
                held.append(True)
                clock.advance(LEASE + 1)
            return await super().get_value(key)

    storage = Slow()

    async def act(ctx: WorkflowContext) -> None:
        found = await storage.load(ctx.id, history=False)
        until = None if found is None else found[0].lease_until
        held.append(until is not None and until > clock.now())

    order = Workflow("order").step("act", act, pure=True, cache=Cache())
    engine = await open_engine(storage, clock=clock, lease=LEASE, poll=10 * LEASE)
    await engine.execute(order)
    assert held == [True, True]


async def test_s09_a_handler_is_cancelled_before_it_begins(open_engine: OpenEngine) -> None:
    """It never runs, its attempt counts as cancelled, and Python has nothing to complain of."""
    did, before = list[str](), set[asyncio.Task[object]]()

    def cancel() -> None:
        for task in asyncio.all_tasks() - before:
            task.cancel()

    async def first(ctx: WorkflowContext) -> None:
        before.update(asyncio.all_tasks())

    order = Workflow("order").step("first", first).step("act", noting("act", did), timeout=5)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        engine = await open_engine(trace=InBetween(cancel))
        result = await engine.execute(order)
        gc.collect()
    assert [attempt.ended for attempt in step_of(result, "act").attempts] == ["cancelled"]
    assert (did, [str(warning.message) for warning in told]) == ([], [])
