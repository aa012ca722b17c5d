"""Shared values: compare and set."""

import asyncio

from flux.storage import SharedValues
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.rule import rule


@rule
async def as_expected(values: SharedValues) -> None:
    """A value is replaced if it is the very text that was expected."""
    await values.set_value("rate", b"1.5")
    same(await values.compare_and_set_value("rate", b"1.5", b"2"), True)
    same(await values.get_value("rate"), b"2")


@rule
async def other_than_expected(values: SharedValues) -> None:
    """Another text, be it the same number, is not what was expected."""
    for expected in (b"1.50", b"1", b"", None):
        await values.set_value("rate", b"1.5")
        same(await values.compare_and_set_value("rate", expected, b"2"), False)
        same(await values.get_value("rate"), b"1.5")


@rule
async def none_expected(values: SharedValues) -> None:
    """None stands for no value."""
    same(await values.compare_and_set_value("rate", b"1", b"2"), False)
    same(await values.get_value("rate"), None)
    same(await values.compare_and_set_value("rate", None, b"1"), True)
    same(await values.compare_and_set_value("rate", None, b"2"), False)
    same(await values.get_value("rate"), b"1")


@rule
async def expired(values: SharedValues, clock: ManualClock) -> None:
    """A value whose time has come is no value."""
    for key in ("rate", "other"):
        await values.set_value(key, b"1", ttl=1)
    clock.advance(1)
    same(await values.compare_and_set_value("other", None, b"3"), True)
    same(await values.compare_and_set_value("rate", b"1", b"2"), False)
    same(await values.compare_and_set_value("rate", None, b"3"), True)
    same(await values.get_value("rate"), b"3")


@rule
async def ttl(values: SharedValues, clock: ManualClock) -> None:
    """The ttl given with the new value counts; without one it stays."""
    await values.set_value("rate", b"1", ttl=1)
    same(await values.compare_and_set_value("rate", b"1", b"2", ttl=5), True)
    clock.advance(4)
    same(await values.compare_and_set_value("rate", b"2", b"3"), True)
    clock.advance(100)
    same(await values.get_value("rate"), b"3")


@rule
async def refused_leaves_the_ttl(values: SharedValues, clock: ManualClock) -> None:
    """Who expected something else does not change when the value ends."""
    await values.set_value("rate", b"1", ttl=5)
    same(await values.compare_and_set_value("rate", b"2", b"3", ttl=100), False)
    clock.advance(5)
    same(await values.get_value("rate"), None)


@rule
async def many_at_once(values: SharedValues) -> None:
    """Of many who expect the same at once, one sets its value."""
    await values.set_value("rate", b"0")
    swaps = [values.compare_and_set_value("rate", b"0", b"%d" % n) for n in range(1, 21)]
    swapped = [n for n, done in enumerate(await asyncio.gather(*swaps), 1) if done]
    same([await values.get_value("rate")], [b"%d" % n for n in swapped])


@rule
async def counting_together(values: SharedValues) -> None:
    """Who repeats until it succeeds loses no count of the others'."""

    async def count() -> None:
        for _ in range(10):
            while True:
                now = await values.get_value("count")
                new = b"%d" % (int(now or b"0") + 1)
                if await values.compare_and_set_value("count", now, new):
                    break

    await asyncio.gather(*(count() for _ in range(5)))
    same(await values.get_value("count"), b"50")
