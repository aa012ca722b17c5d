"""The virtual loop: time that jumps, an order that a seed chooses, processes that stand still."""

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from random import Random
from typing import Any

import pytest

from flux.testing.simulation.loop import RUNS_IN, NothingLeftError, Process, VirtualLoop


def run(coroutine: Coroutine[Any, Any, Any], *, seed: int = 1, in_order: bool = False) -> Any:
    """What a coroutine comes to in a loop of this seed."""
    loop = VirtualLoop(Random(seed), in_order=in_order)  # type: ignore[abstract]
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


async def order_of(tasks: int) -> list[int]:
    """In which order so many tasks go on that wait for the same moment."""
    seen: list[int] = []

    async def see(number: int) -> None:
        await asyncio.sleep(1)
        seen.append(number)

    await asyncio.gather(*map(see, range(tasks)))
    return seen


def test_time_jumps() -> None:
    """A day of sleep is over at once, and the loop's time is a day later."""

    async def day() -> float:
        await asyncio.sleep(86400)
        return asyncio.get_running_loop().time()

    assert run(day()) == 86400


def test_a_seed_chooses_the_order() -> None:
    """Tasks that become ready at one moment run in an order that is the seed's own."""
    orders = [run(order_of(6), seed=seed) for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert sorted(orders[2]) == list(range(6))


def test_order_may_be_kept() -> None:
    """Without mixing, they run as they would in asyncio's own loop."""
    assert run(order_of(6), in_order=True) == list(range(6))


def test_what_one_callback_schedules_keeps_its_order() -> None:
    """As `call_soon` promises, whatever the seed."""

    async def calls() -> list[int]:
        seen: list[int] = []
        for number in range(10):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(1)
        return seen

    assert all(run(calls(), seed=seed) == list(range(10)) for seed in range(5))


def test_waiting_for_nothing_is_told() -> None:
    """Where nothing will ever happen, the run ends with an error."""
    with pytest.raises(NothingLeftError, match="nothing is left to happen"):
        run(asyncio.Event().wait())


def test_spinning_is_told() -> None:
    """A task that goes on for ever without any time going by ends the run."""

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - it is to spin
            await asyncio.sleep(0)

    with pytest.raises(NothingLeftError, match="something spins"):
        run(spin())


def test_threads_are_refused() -> None:
    """Their order is nobody's to choose."""
    with pytest.raises(RuntimeError, match="would run in a thread"):
        run(asyncio.to_thread(print))


@pytest.mark.parametrize(("dies", "ended"), [(True, []), (False, [50.0])])
def test_a_process_stands_still_or_dies(dies: bool, ended: list[float]) -> None:
    """A dead one does nothing any more; one that stood still goes on as if nothing had been."""
    process, seen = Process("one"), list[float]()

    async def work() -> None:
        await asyncio.sleep(10)
        seen.append(asyncio.get_running_loop().time())

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        context = copy_context()
        context.run(RUNS_IN.set, process)
        working = loop.create_task(work(), context=context)
        await asyncio.sleep(5)
        process.is_stalled, process.is_dead = not dies, dies
        await asyncio.sleep(45)
        loop.thaw(process)
        await asyncio.sleep(1)
        assert working.done() is not dies

    run(watch())
    assert seen == ended
