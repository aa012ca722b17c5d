"""By hand: what a workflow would be if each save were written where it is needed, and no more.

One save creates the instance, one follows each step, as with Flux; there are no leases to heed, no
signals to look for, no policies and no events.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from benchmarks import work
from benchmarks.contender import Place
from benchmarks.contenders.by_hand_rows import Instance, Statement


class Medium(Protocol):
    """Where rows are kept."""

    async def open(self, place: Place) -> None: ...

    async def close(self) -> None: ...

    async def write(self, id: str, statements: Sequence[Statement]) -> None:
        """Make these true together."""
        ...

    async def load(self, id: str) -> tuple[int, Sequence[bytes | str]]:
        """The revision of the head, and the bodies of the history."""
        ...

    async def unfinished(self) -> Sequence[str]:
        """The ids of instances that were abandoned."""
        ...


class ByHand:
    """Runs the benchmarks' instances on a medium."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium

    async def open(self, place: Place) -> None:
        await self._medium.open(place)

    async def close(self) -> None:
        await self._medium.close()

    async def sequence(self, steps: int) -> None:
        instance = Instance()
        await self._write(instance, instance.created())
        await self._run(instance, first=1, last=steps)

    async def saga(self) -> None:
        instance, last = Instance(), work.SAGA_STEPS
        await self._write(instance, instance.created())
        for number in range(1, last):
            await _count(instance.data)
            await self._write(instance, instance.ended(number, "running"))
        try:
            await _fail()
        except work.StepFailedError:
            await self._write(instance, instance.ended(last, "rolling_back", "failed"))
        for number in range(last - 1, 0, -1):
            await _count_back(instance.data)
            status = "rolled_back" if number == 1 else "rolling_back"
            await self._write(instance, instance.undone(number, status))

    async def suspend(self, number: int) -> None:
        instance = Instance(f"waiting-{number}")
        await self._write(instance, instance.created())
        await self._write(instance, instance.ended(1, "suspended", "suspended"))

    async def wake(self, number: int) -> None:
        instance = Instance(f"waiting-{number}")
        await self._write(instance, instance.sent())
        await self._load(instance)
        await self._write(instance, instance.woken(1))

    async def abandon(self, number: int) -> None:
        instance = Instance(f"abandoned-{number}")
        await self._write(instance, instance.created())
        for step in (1, 2):
            await _count(instance.data)
            await self._write(instance, instance.ended(step, "running"))

    async def recover(self, count: int) -> None:
        ids = await self._medium.unfinished()
        assert len(ids) == count
        await asyncio.gather(*(self._go_on(id) for id in ids))

    async def _go_on(self, id: str) -> None:
        instance = Instance(id)
        done = await self._load(instance)
        await self._run(instance, first=done + 1, last=5)

    async def _run(self, instance: Instance, *, first: int, last: int) -> None:
        for number in range(first, last + 1):
            await _count(instance.data)
            status = "completed" if number == last else "running"
            await self._write(instance, instance.ended(number, status))

    async def _load(self, instance: Instance) -> int:
        """Take up the instance as saved last; how many steps have an entry."""
        instance.revision, bodies = await self._medium.load(instance.id)
        for body in bodies:
            instance.data.update(orjson.loads(body)["set"])
        return len(bodies)

    async def _write(self, instance: Instance, statements: Sequence[Statement]) -> None:
        await self._medium.write(instance.id, statements)


async def _count(data: dict[str, Any]) -> None:
    work.count(data)


async def _count_back(data: dict[str, Any]) -> None:
    work.count_back(data)


async def _fail() -> None:
    work.fail()
