"""The clock of a `TestEngine`: it stands still, or jumps to the next moment that counts."""

import heapq

from flux.testing.clock import ManualClock

CENTURY = 36_525 * 86_400.0

NEVER = 10 * CENTURY
"""The lease and the poll of an engine on this clock, in seconds: its background stands still."""


class VirtualClock(ManualClock):
    """A `ManualClock` that knows when its next sleeper wakes."""

    @property
    def next_in(self) -> float | None:
        """Seconds until the next sleeper wakes; None if none does within a century."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return None
        left = self._sleepers[0][0] - self._elapsed
        return left if left <= CENTURY else None
