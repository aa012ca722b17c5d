"""Shared values in memory: what has expired, or was set anew, takes no room for long."""

from datetime import timedelta

from flux_storages.memory_values import Values
from records import START


def test_expired_are_removed_by_writes() -> None:
    """Every write removes some of what has expired, more than it adds."""
    values = Values()
    for number in range(100):
        values.set(str(number), b"1", START, START + timedelta(seconds=1))
    later = START + timedelta(seconds=1)
    for _ in range(10):
        values.set("new", b"1", later, None)
    assert len(values) == 1


def test_set_anew_again_and_again() -> None:
    """A value that is set anew a thousand times with a ttl is still one value, and expires."""
    values = Values()
    for number in range(1000):
        values.set("lock", b"%d" % number, START, START + timedelta(seconds=60 + number))
    later = START + timedelta(seconds=60 + 999)
    assert values.get("lock", later - timedelta(seconds=1)) == b"999"
    values.set("new", b"1", later, None)
    assert (values.get("lock", later), len(values)) == (None, 1)
