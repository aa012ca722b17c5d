"""The time by which the storage under trial goes."""

from flux.clock import Clock
from flux.testing.clock import ManualClock


class Time:
    """Set where it can be, waited for where it cannot."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        """What to open the storage with."""

    async def passes(self, seconds: float) -> None:
        """Return when so many seconds have passed for the storage."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance(seconds)
        else:
            await self.clock.sleep(seconds)
