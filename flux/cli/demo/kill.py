"""Let worker processes do the work, and kill them on the way."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Sequence

from attrs import frozen

from flux import FluxEngine, WorkflowFilter
from flux.cli.demo.place import Place

KILLS = 5
LOOK = 0.02
"""Seconds between two looks at how far a worker is."""
ENDED = ("completed", "failed", "rolled_back", "cancelled")
LIVE = ("pending", "running", "rolling_back")


class WorkerFailedError(Exception):
    """A worker ended by itself without having done its work."""


@frozen(kw_only=True)
class Kill:
    """One kill: how many orders had ended by then, and which were in flight."""

    ended: int
    in_flight: Sequence[str]


async def fulfil_with_kills(
    place: Place,
    *,
    count: int,
    concurrency: int,
    told: Callable[[int], None],
    killed: Callable[[Kill], None],
) -> None:
    """Drive the first `count` orders to their ends, by workers that are killed `KILLS` times.

    `told` is called with the number of orders that have ended, `killed` after each kill.
    """
    place.worker_log.unlink(missing_ok=True)
    async with FluxEngine(place.url) as watcher:  # it knows no workflow, so it only looks
        for moment in moments(await _ended(watcher), count):
            async with _worker(place, count, concurrency) as worker:
                if not await _reaches(moment, worker, watcher, told):
                    break
            live = await watcher.list(WorkflowFilter(status=LIVE, limit=count))
            kill = Kill(ended=await _ended(watcher), in_flight=[head.id for head in live])
            killed(kill)
        async with _worker(place, count, concurrency) as worker:
            while await _reaches(count, worker, watcher, told):
                await asyncio.sleep(LOOK)


def moments(ended: int, count: int) -> list[int]:
    """When to kill: so many orders have ended. Each moment is another one, none is the end."""
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
        raise WorkerFailedError(place.worker_log.read_text(errors="replace").strip())


async def _reaches(
    moment: int, worker: Process, watcher: FluxEngine, told: Callable[[int], None]
) -> bool:
    """Wait until so many orders have ended and others are in flight; False if the worker ends."""
    while worker.returncode is None:
        ended = await _ended(watcher)
        told(ended)
        if ended >= moment and await watcher.count(WorkflowFilter(status=LIVE)):
            return True
        await asyncio.sleep(LOOK)
    return False


async def _ended(watcher: FluxEngine) -> int:
    return await watcher.count(WorkflowFilter(status=ENDED))
