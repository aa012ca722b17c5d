"""The time by which several hosts on one storage agree: the storage's."""

from datetime import UTC, datetime, timedelta

from flux.clock import Clock
from flux.storage import TimeKeeper


class SharedTime:
    """A `Clock` that shows the storage's time and otherwise goes like the host's.

    It is as exact as half the way to the storage and back, and as the host's clock since the last
    `set`. It never goes back.
    """

    def __init__(self, clock: Clock, keeper: TimeKeeper) -> None:
        self._clock = clock
        self._keeper = keeper
        self._ahead = timedelta(0)
        self._latest = datetime.min.replace(tzinfo=UTC)

    async def set(self) -> None:
        """Ask the storage how late it is."""
        before = self._clock.now()
        theirs = await self._keeper.time()
        self._ahead = theirs - (before + (self._clock.now() - before) / 2)

    def now(self) -> datetime:
        self._latest = max(self._latest, self._clock.now() + self._ahead)
        return self._latest

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
