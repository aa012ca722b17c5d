"""The attempts of one driver that run beside each other, each in a task of its own."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Crew(Generic[T]):
    """Runs them, and says which have ended, in the order in which they did.

    `told` is set whenever one has ended.
    """

    def __init__(self, told: asyncio.Event) -> None:
        self._told = told
        self._running: dict[str, asyncio.Task[T]] = {}
        self._ended: list[str] = []
        self._called_off: dict[str, asyncio.Event] = {}

    @property
    def names(self) -> Collection[str]:
        """Those whose end was not taken note of yet."""
        return self._running.keys()

    def begin(self, name: str, work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> None:
        """Let it run from here on; it is given what is set when it is called off."""
        self._called_off[name] = called_off = asyncio.Event()
        task = asyncio.create_task(work(called_off))
        self._running[name] = task
        task.add_done_callback(lambda _: self._note(name))

    def take_ended(self) -> Sequence[tuple[str, T]]:
        """What those came to that have ended since; raises what they raised."""
        names, self._ended = self._ended, []
        for name in names:
            del self._called_off[name]
        return [(name, self._running.pop(name).result()) for name in names]

    def call_off(self, is_meant: Callable[[str], bool] = lambda name: True) -> None:
        """Let those of these names that wait for their next attempt not make it."""
        for name, called_off in self._called_off.items():
            if is_meant(name):
                called_off.set()

    async def cancel(self) -> None:
        """Cancel all and wait for their ends, however long that takes."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        # What they raise is nobody's any more.
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, name: str) -> None:
        self._ended.append(name)
        self._told.set()
