"""The time that hosts on one storage share, between two looks at the storage's clock."""

from datetime import UTC, datetime, timedelta

from flux.engine.shared_time import SharedTime
from flux.testing import ManualClock

THEIRS = datetime(2026, 5, 1, tzinfo=UTC)


class Jumpy(ManualClock):
    """A host's clock whose date somebody sets."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


class Server:
    """A server that says how late it is."""

    async def time(self) -> datetime:
        return THEIRS


async def test_a_date_that_jumps_changes_nothing() -> None:
    """Once the server was asked, time goes on as the host's seconds do."""
    clock = Jumpy()
    shared = SharedTime(clock, Server())
    await shared.set()
    clock.ahead = timedelta(days=3)
    clock.advance(10)
    assert shared.now() == THEIRS + timedelta(seconds=10)
    clock.ahead = timedelta(days=-3)
    clock.advance(10)
    assert shared.now() == THEIRS + timedelta(seconds=20)


async def test_it_never_goes_back() -> None:
    """A server that was ahead, as after a fail-over, holds the time up until it is reached."""
    clock = ManualClock()
    shared = SharedTime(clock, Server())
    clock.advance(365 * 86400)
    before = shared.now()
    await shared.set()
    assert shared.now() == before
