"""The time by which several hosts on one storage agree: the storage's."""

from datetime import UTC, datetime, timedelta

from flux.clock import Clock
from flux.storage import TimeKeeper


class SharedTime:
    """A `Clock` that shows the storage's time and otherwise goes like the host's.

    It is as exact as half the way to the storage and back, and as the host's monotonic clock since
    the last `set`: a wall clock that jumps changes nothing. It never goes back.
    """

    def __init__(self, clock: Clock, keeper: TimeKeeper) -> None:
        self._clock = clock
        self._keeper = keeper
        self._set_at = clock.monotonic()
        self._set_to = clock.now()
        self._latest = datetime.min.replace(tzinfo=UTC)

    async def set(self) -> None:
        """Ask the storage how late it is."""
        before = self._clock.monotonic()
        theirs = await self._keeper.time()
        self._set_at = (before + self._clock.monotonic()) / 2
        self._set_to = theirs

    def now(self) -> datetime:
        since = timedelta(seconds=self._clock.monotonic() - self._set_at)
        self._latest = max(self._latest, self._set_to + since)
        return self._latest

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
