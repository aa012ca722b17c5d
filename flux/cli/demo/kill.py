"""Let worker processes do the work, and kill them on the way."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable

from flux import FluxEngine, WorkflowFilter, WorkflowStatus
from flux.cli.demo.place import Place
from flux.frozen import frozen

KILLS = 5
LOOK = 0.02
"""Seconds between two looks at how far a worker is."""
MANY = 10_000
ENDED = [status for status in WorkflowStatus if status.is_ended]
LIVE = [status for status in WorkflowStatus if not status.is_ended]


class WorkerFailedError(Exception):
    """A worker ended by itself without having done its work."""


@frozen(kw_only=True)
class Kill:
    """One kill: how many orders had ended by then, and which were in flight."""

    ended: int
    in_flight: set[str]


async def fulfil_with_kills(
    place: Place,
    *,
    count: int,
    concurrency: int,
    told: Callable[[int], None],
    killed: Callable[[Kill], None],
) -> set[str]:
    """Drive the first `count` orders to their ends, by workers that are killed up to `KILLS` times.

    `told` is called with the number of orders that have ended, `killed` after each kill. Returns
    the orders that are still in flight.
    """
    place.worker_log.unlink(missing_ok=True)
    async with FluxEngine(place.url) as watcher:  # it knows no workflow, so it only looks
        for moment in moments(await _ended(watcher), count):
            some = await _ended(watcher) + 1  # a worker is killed at work, not before it
            async with _worker(place, count, concurrency) as worker:
                await _reaches(max(moment, some), worker, watcher, told)
            if worker.returncode == 0:  # its work was done before the signal came
                break
            killed(Kill(ended=await _ended(watcher), in_flight=await _in_flight(watcher)))
        async with _worker(place, count, concurrency) as worker:
            await _reaches(None, worker, watcher, told)
        return await _in_flight(watcher)


def moments(ended: int, count: int) -> list[int]:
    """When to kill: so many orders have ended. No two moments are the same, none is the end."""
    share = (count - ended) / (KILLS + 1)
    return sorted({ended + round(share * (number + 0.5)) for number in range(KILLS)} - {count})


@contextlib.asynccontextmanager
async def _worker(place: Place, count: int, concurrency: int) -> AsyncIterator[Process]:
    """A worker process; if it still runs at the end of the block, it is killed with SIGKILL."""
    arguments = [str(place.folder), str(count), str(concurrency)]
    with place.worker_log.open("ab") as log:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flux.cli.demo.worker", *arguments, stdout=DEVNULL, stderr=log
        )
    try:
        yield worker
    finally:
        killed = worker.returncode is None
        if killed:
            worker.kill()
        await worker.wait()
    if worker.returncode and not killed:
        lines = place.worker_log.read_text(errors="replace").splitlines() or ["it said nothing"]
        raise WorkerFailedError(f"{lines[-1]} (all of it is in {place.worker_log})")


async def _reaches(
    moment: int | None, worker: Process, watcher: FluxEngine, told: Callable[[int], None]
) -> None:
    """Wait until so many orders have ended and others are in flight, or the worker has ended.

    A `moment` of None is never reached.
    """
    while worker.returncode is None:
        ended = await _ended(watcher)
        told(ended)
        is_time = moment is not None and ended >= moment
        if is_time and await watcher.count(WorkflowFilter(status=LIVE)):
            return
        await asyncio.sleep(LOOK)


async def _ended(watcher: FluxEngine) -> int:
    return await watcher.count(WorkflowFilter(status=ENDED))


async def _in_flight(watcher: FluxEngine) -> set[str]:
    heads = await watcher.list(WorkflowFilter(status=LIVE, limit=MANY))
    return {head.id for head in heads}
