"""Shared values that end."""

import asyncio
import math

from flux.errors import (
    StorageError,
)
from flux.storage import SharedValues
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import refused, same
from flux.testing.conformance.rule import rule


@rule
async def gone_after_it(values: SharedValues, clock: ManualClock) -> None:
    """A value is there until its time has come, and then it is not."""
    await values.set_value("rate", b"1", ttl=2.5)
    clock.advance(2.499)
    same(await values.get_value("rate"), b"1")
    clock.advance(0.001)
    same(await values.get_value("rate"), None)
    same(await values.delete_value("rate"), False)


@rule
async def set_again_without(values: SharedValues, clock: ManualClock) -> None:
    """A value that is set anew without a ttl stays."""
    await values.set_value("rate", b"1", ttl=1)
    await values.set_value("rate", b"2")
    clock.advance(10)
    same(await values.get_value("rate"), b"2")


@rule
async def set_again_with_another(values: SharedValues, clock: ManualClock) -> None:
    """The last ttl counts, from when it was given, longer or shorter."""
    await values.set_value("longer", b"1", ttl=1)
    await values.set_value("shorter", b"1", ttl=60)
    clock.advance(0.5)
    await values.set_value("longer", b"2", ttl=60)
    await values.set_value("shorter", b"2", ttl=1)
    clock.advance(59)
    await values.set_value("other", b"1")
    same(await values.get_value("longer"), b"2")
    same(await values.get_value("shorter"), None)


@rule
async def deleted_and_set_again(values: SharedValues, clock: ManualClock) -> None:
    """The ttl of a value that was deleted does not touch the next one of its key."""
    await values.set_value("rate", b"1", ttl=1)
    await values.delete_value("rate")
    await values.set_value("rate", b"2")
    clock.advance(10)
    same(await values.get_value("rate"), b"2")


@rule
async def many_expired(values: SharedValues, clock: ManualClock) -> None:
    """However many have expired, none of them is seen, and the others stay."""
    for number in range(60):
        await values.set_value(str(number), b"1", ttl=None if number % 2 else 1 + number)
    clock.advance(40)
    await values.set_value("new", b"1")
    found = [await values.get_value(str(number)) for number in range(60)]
    same([number for number in range(60) if found[number] is None], list(range(0, 40, 2)))


@rule
async def invalid(values: SharedValues) -> None:
    """What is no time to live is refused, and nothing is changed."""
    await values.set_value("rate", b"1")
    for ttl in (0, -1, math.nan, math.inf):
        with refused(ValueError):
            await values.set_value("rate", b"2", ttl=ttl)
        with refused(ValueError):
            await values.compare_and_set_value("rate", b"1", b"2", ttl=ttl)
    same(await values.get_value("rate"), b"1")


@rule
async def beyond_the_calendar(values: SharedValues) -> None:
    """An end that no calendar has is refused, and nothing is changed."""
    for never in (1e12, 1e20):
        answers = await asyncio.gather(
            values.set_value("rate", b"2", ttl=never),
            values.compare_and_set_value("rate", None, b"2", ttl=never),
            return_exceptions=True,
        )
        same([isinstance(one, StorageError) for one in answers], [True] * 2)
    same(await values.get_value("rate"), None)
