"""The work that all contenders do, and those who ask for it."""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

SAGA_STEPS = 5
DOCUMENT_KEYS = 10

stamps: list[float] | None = None
"""When each step was called, if somebody wants to know."""


class StepFailedError(Exception):
    """How the last step of a saga fails."""


def count(data: MutableMapping[str, Any]) -> None:
    """Be a step: change one key."""
    if stamps is not None:
        stamps.append(time.perf_counter())
    data["count"] = data.get("count", 0) + 1


def count_back(data: MutableMapping[str, Any]) -> None:
    """Undo a step."""
    data["count"] -= 1


def fail() -> None:
    """Be the last step of a saga."""
    raise StepFailedError("the last step fails")


def watched() -> list[float]:
    """Note the calls of steps from now on, in a new list."""
    global stamps
    stamps = []
    return stamps


def unwatched() -> None:
    """Note no more."""
    global stamps
    stamps = None


async def rate(job: Callable[[], Awaitable[None]], at_once: int, seconds: float) -> float:
    """Jobs a second: so many clients ask for one after the other; each gets at least one done."""
    began = time.perf_counter()
    until = began + seconds

    async def client() -> int:
        done = 0
        while done == 0 or time.perf_counter() < until:
            await job()
            done += 1
        return done

    if at_once == 1:
        done = await client()
    else:
        done = sum(await asyncio.gather(*(client() for _ in range(at_once))))
    return done / (time.perf_counter() - began)


async def each(job: Callable[[int], Awaitable[None]], numbers: range, at_once: int) -> None:
    """Do the job once for every number."""
    left = iter(numbers)

    async def client() -> None:
        for number in left:
            await job(number)

    await asyncio.gather(*(client() for _ in range(at_once)))


def text(number: int, length: int) -> str:
    """A value of a document; that of another number differs."""
    return f"{number:08}".ljust(length, "x")


def resident_bytes() -> int:
    """The memory of this process that is not swapped out."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Its peak, counted in bytes where there is no /proc.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
