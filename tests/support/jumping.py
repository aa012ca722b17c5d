"""A clock for which waiting takes no time."""

from typing import Any

from flux.testing import ManualClock

DAY = 86_400.0


class JumpingClock(ManualClock):
    """A `ManualClock` on which short sleeps end at once, and move the time on by what they took.

    Short is all below `far` seconds. Give the engine a lease and a poll of days (`FAR`), so that
    what it does in the background stands still until `advance` is called, while back-offs jump.
    """

    def __init__(self, far: float = DAY) -> None:
        super().__init__()
        self.slept: list[float] = []
        """The sleeps that ended at once, in seconds."""
        self._far = far

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0 or seconds >= self._far:
            await super().sleep(seconds)
            return
        self.slept.append(seconds)
        self.advance(seconds)
        await super().sleep(0)


FAR: dict[str, Any] = {"lease": 4 * DAY, "poll": 4 * DAY}
"""Settings of an engine on such a clock."""
