"""Shared values, once for all storages that offer them."""

import asyncio
import math

import pytest

from flux.errors import StorageClosedError, StorageError
from flux.storage import SharedValues, WorkflowStorage
from flux.testing import ManualClock
from records import record

ODD_KEYS = ["", " ", "o'r\"d;--", "%_*?", "rate/ß/日本/😀", "a\nb", "x" * 2000, "\0nul", "{a}"]


@pytest.fixture
def values(storage: WorkflowStorage) -> SharedValues:
    """The open storage, known for one that offers values."""
    assert isinstance(storage, SharedValues)
    return storage


class TestSet:
    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_round_trip(self, values: SharedValues, key: str) -> None:
        """Any text is a key, and the value comes back byte for byte."""
        text = '{"rate": 1.50,  "city": "Tromsø 😀"}'.encode()
        await values.set_value(key, text)
        assert await values.get_value(key) == text
        assert await values.get_value(f"{key}x") is None

    async def test_set_again(self, values: SharedValues) -> None:
        """The last value counts."""
        await values.set_value("rate", b"1")
        await values.set_value("rate", b"2")
        assert await values.get_value("rate") == b"2"

    async def test_none_there(self, values: SharedValues) -> None:
        """Where nothing was set there is nothing."""
        assert await values.get_value("rate") is None

    async def test_delete(self, values: SharedValues) -> None:
        """A value is deleted once."""
        await values.set_value("rate", b"1")
        assert await values.delete_value("rate")
        assert not await values.delete_value("rate")
        assert await values.get_value("rate") is None

    async def test_apart_from_instances(
        self, storage: WorkflowStorage, values: SharedValues
    ) -> None:
        """A value and an instance of one name have nothing to do with each other."""
        await storage.create(record("rate"))
        await values.set_value("rate", b"1")
        assert await storage.delete("rate", revision=1)
        assert await values.get_value("rate") == b"1"

    async def test_closed(self, closed_storage: WorkflowStorage) -> None:
        """Nothing can be asked of a storage that is not open."""
        assert isinstance(closed_storage, SharedValues)
        for act in (
            closed_storage.get_value("rate"),
            closed_storage.set_value("rate", b"1"),
            closed_storage.delete_value("rate"),
            closed_storage.compare_and_set_value("rate", None, b"1"),
        ):
            with pytest.raises(StorageClosedError):
                await act


class TestTimeToLive:
    async def test_gone_after_it(self, values: SharedValues, clock: ManualClock) -> None:
        """A value is there until its time has come, and then it is not."""
        await values.set_value("rate", b"1", ttl=2.5)
        clock.advance(2.499)
        assert await values.get_value("rate") == b"1"
        clock.advance(0.001)
        assert await values.get_value("rate") is None
        assert not await values.delete_value("rate")

    async def test_set_again_without(self, values: SharedValues, clock: ManualClock) -> None:
        """A value that is set anew without a ttl stays."""
        await values.set_value("rate", b"1", ttl=1)
        await values.set_value("rate", b"2")
        clock.advance(10)
        assert await values.get_value("rate") == b"2"

    async def test_set_again_with_another(self, values: SharedValues, clock: ManualClock) -> None:
        """The last ttl counts, from when it was given, longer or shorter."""
        await values.set_value("longer", b"1", ttl=1)
        await values.set_value("shorter", b"1", ttl=60)
        clock.advance(0.5)
        await values.set_value("longer", b"2", ttl=60)
        await values.set_value("shorter", b"2", ttl=1)
        clock.advance(59)
        await values.set_value("other", b"1")
        assert await values.get_value("longer") == b"2"
        assert await values.get_value("shorter") is None

    async def test_deleted_and_set_again(self, values: SharedValues, clock: ManualClock) -> None:
        """The ttl of a value that was deleted does not touch the next one of its key."""
        await values.set_value("rate", b"1", ttl=1)
        await values.delete_value("rate")
        await values.set_value("rate", b"2")
        clock.advance(10)
        assert await values.get_value("rate") == b"2"

    async def test_many_expired(self, values: SharedValues, clock: ManualClock) -> None:
        """However many have expired, none of them is seen, and the others stay."""
        for number in range(60):
            await values.set_value(str(number), b"1", ttl=None if number % 2 else 1 + number)
        clock.advance(40)
        await values.set_value("new", b"1")
        found = [await values.get_value(str(number)) for number in range(60)]
        assert [number for number in range(60) if found[number] is None] == list(range(0, 40, 2))

    @pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
    async def test_invalid(self, values: SharedValues, ttl: float) -> None:
        """What is no time to live is refused, and nothing is changed."""
        await values.set_value("rate", b"1")
        with pytest.raises(ValueError, match="ttl is a number of seconds above 0"):
            await values.set_value("rate", b"2", ttl=ttl)
        with pytest.raises(ValueError, match="ttl is a number of seconds above 0"):
            await values.compare_and_set_value("rate", b"1", b"2", ttl=ttl)
        assert await values.get_value("rate") == b"1"

    @pytest.mark.parametrize("never", [1e12, 1e20])
    async def test_beyond_the_calendar(self, values: SharedValues, never: float) -> None:
        """An end that no calendar has is refused, and nothing is changed."""
        for act in (
            values.set_value("rate", b"2", ttl=never),
            values.compare_and_set_value("rate", None, b"2", ttl=never),
        ):
            with pytest.raises(StorageError, match="cannot keep this value, nothing was saved"):
                await act
        assert await values.get_value("rate") is None


class TestCompareAndSet:
    async def test_as_expected(self, values: SharedValues) -> None:
        """A value is replaced if it is the very text that was expected."""
        await values.set_value("rate", b"1.5")
        assert await values.compare_and_set_value("rate", b"1.5", b"2")
        assert await values.get_value("rate") == b"2"

    @pytest.mark.parametrize("expected", [b"1.50", b"1", b"", None])
    async def test_other_than_expected(self, values: SharedValues, expected: bytes | None) -> None:
        """Another text, be it the same number, is not what was expected."""
        await values.set_value("rate", b"1.5")
        assert not await values.compare_and_set_value("rate", expected, b"2")
        assert await values.get_value("rate") == b"1.5"

    async def test_none_expected(self, values: SharedValues) -> None:
        """None stands for no value."""
        assert not await values.compare_and_set_value("rate", b"1", b"2")
        assert await values.get_value("rate") is None
        assert await values.compare_and_set_value("rate", None, b"1")
        assert not await values.compare_and_set_value("rate", None, b"2")
        assert await values.get_value("rate") == b"1"

    async def test_expired(self, values: SharedValues, clock: ManualClock) -> None:
        """A value whose time has come is no value."""
        for key in ("rate", "other"):
            await values.set_value(key, b"1", ttl=1)
        clock.advance(1)
        assert await values.compare_and_set_value("other", None, b"3")
        assert not await values.compare_and_set_value("rate", b"1", b"2")
        assert await values.compare_and_set_value("rate", None, b"3")
        assert await values.get_value("rate") == b"3"

    async def test_ttl(self, values: SharedValues, clock: ManualClock) -> None:
        """The ttl given with the new value counts; without one it stays."""
        await values.set_value("rate", b"1", ttl=1)
        assert await values.compare_and_set_value("rate", b"1", b"2", ttl=5)
        clock.advance(4)
        assert await values.compare_and_set_value("rate", b"2", b"3")
        clock.advance(100)
        assert await values.get_value("rate") == b"3"

    async def test_refused_leaves_the_ttl(self, values: SharedValues, clock: ManualClock) -> None:
        """Who expected something else does not change when the value ends."""
        await values.set_value("rate", b"1", ttl=5)
        assert not await values.compare_and_set_value("rate", b"2", b"3", ttl=100)
        clock.advance(5)
        assert await values.get_value("rate") is None

    async def test_many_at_once(self, values: SharedValues) -> None:
        """Of many who expect the same at once, one sets its value."""
        await values.set_value("rate", b"0")
        swaps = [values.compare_and_set_value("rate", b"0", b"%d" % n) for n in range(1, 21)]
        swapped = [n for n, done in enumerate(await asyncio.gather(*swaps), 1) if done]
        assert [await values.get_value("rate")] == [b"%d" % n for n in swapped]

    async def test_counting_together(self, values: SharedValues) -> None:
        """Who repeats until it succeeds loses no count of the others'."""

        async def count() -> None:
            for _ in range(10):
                while True:
                    now = await values.get_value("count")
                    new = b"%d" % (int(now or b"0") + 1)
                    if await values.compare_and_set_value("count", now, new):
                        break

        await asyncio.gather(*(count() for _ in range(5)))
        assert await values.get_value("count") == b"50"
