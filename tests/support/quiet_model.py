"""An event loop that knows when nothing happens any more, and on which waiting takes no time.

The idea of a loop whose time is its own is that of looptime and of trio's autojump clock.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class StuckError(AssertionError):
    """Everybody waits for something that will never happen."""


class QuietLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to its next timer when all tasks wait, and tells `quiet` before it does.

    Other threads and servers are waited for in `working`, by the real time.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._works = 0
        self._waiting: list[asyncio.Future[None] | None] = []
        """Who waits for the others; None for one who waits for a timer."""
        super().__init__(_Patient(self._idle))

    def time(self) -> float:
        return self._time

    async def quiet(self) -> None:
        """Return when all others wait; of several who wait for that, the last one returns first."""
        waiting = self.create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def ended(self, work: Awaitable[object]) -> None:
        """Wait for what ends in the course of time: who waited before does not find it quiet."""
        self._waiting.append(None)
        try:
            await work
        finally:
            self._waiting.reverse()
            self._waiting.remove(None)
            self._waiting.reverse()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Something is done elsewhere: nobody is idle."""
        self._works += 1
        try:
            yield
        finally:
            self._works -= 1

    def _idle(self, seconds: float | None) -> bool:
        """Nothing is left to do for so many seconds; whether that is to be waited for."""
        if self._works:
            return True
        last = self._waiting[-1] if self._waiting else None
        if last is not None:
            self._waiting.pop()
            last.set_result(None)
        elif seconds is None:
            raise StuckError([task.get_stack(limit=1) for task in asyncio.all_tasks(self)])
        else:
            self._time += seconds
        return False


class _Patient(selectors.DefaultSelector):
    """Asks before it waits."""

    def __init__(self, idle: Callable[[float | None], bool]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0) or not self._idle(timeout):
            return ready
        return super().select(60)


def quiet_loop() -> QuietLoop:
    """The loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, QuietLoop)
    return loop
