"""When time may pass: a clock that knows its next sleeper, and whether anything is at work."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from flux.testing.clock import ManualClock

_TURNS = 30
"""So many turns of the loop without a call of a storage or a handler: nothing more happens."""

_SLACK = 0.001
"""Seconds; times are kept to the microsecond, so that what is due exactly now may not be yet."""


class ExplorerClock(ManualClock):
    """A clock that the explorer alone advances, from one sleeper to the next."""

    def __init__(self) -> None:
        super().__init__()
        self._wakes: dict[object, float] = {}

    async def sleep(self, seconds: float) -> None:
        me = object()
        self._wakes[me] = self.monotonic() + seconds
        try:
            await super().sleep(seconds)
        finally:
            del self._wakes[me]

    @property
    def next_in(self) -> float | None:
        """Seconds until the first sleeper wakes; None if nobody sleeps."""
        return max(0.0, min(self._wakes.values()) - self.monotonic()) if self._wakes else None

    def pass_by(self, seconds: float) -> None:
        """Let these seconds pass, and a little more."""
        self.advance(seconds + _SLACK)


class Pulse:
    """Counts what is at work: calls of the storage, and of the users' functions."""

    def __init__(self) -> None:
        self._at_work = 0
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Something is at work here."""
        self._begun += 1
        self._at_work += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._idle.set()

    async def quiet(self) -> None:
        """Return when nothing is at work, and nothing begins by itself."""
        turns, begun = 0, self._begun
        while turns < _TURNS:
            await self._idle.wait()
            await asyncio.sleep(0)
            turns = turns + 1 if self._begun == begun else 0
            begun = self._begun
