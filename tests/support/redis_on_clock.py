"""A Redis storage for tests with a clock of their own."""

from flux.clock import Clock, SystemClock
from flux_storages import RedisStorage


class RedisOnClock(RedisStorage):
    """Keeps to the server's time, unless the first who opens it has a clock that a test sets."""

    async def init(self, clock: Clock) -> None:
        if self._opened is None:
            self._clock = None if isinstance(clock, SystemClock) else clock
        await super().init(clock)
