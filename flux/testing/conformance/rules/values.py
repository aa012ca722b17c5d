"""Shared values, where they are offered."""

import asyncio

from flux.errors import (
    StorageClosedError,
)
from flux.storage import SharedValues, WorkflowStorage
from flux.testing.conformance.expecting import same
from flux.testing.conformance.rule import RuleSkipped, rule
from flux.testing.conformance.sample import ODD_TEXTS, record


@rule
async def round_trip(values: SharedValues) -> None:
    """Any text is a key, and the value comes back byte for byte."""
    for key in ODD_TEXTS:
        text = '{"rate": 1.50,  "city": "Tromsø 😀"}'.encode()
        await values.set_value(key, text)
        same(await values.get_value(key), text)
        same(await values.get_value(f"{key}x"), None)


@rule
async def set_again(values: SharedValues) -> None:
    """The last value counts."""
    await values.set_value("rate", b"1")
    await values.set_value("rate", b"2")
    same(await values.get_value("rate"), b"2")


@rule
async def none_there(values: SharedValues) -> None:
    """Where nothing was set there is nothing."""
    same(await values.get_value("rate"), None)


@rule
async def delete(values: SharedValues) -> None:
    """A value is deleted once."""
    await values.set_value("rate", b"1")
    same(await values.delete_value("rate"), True)
    same(await values.delete_value("rate"), False)
    same(await values.get_value("rate"), None)


@rule
async def apart_from_instances(storage: WorkflowStorage, values: SharedValues) -> None:
    """A value and an instance of one name have nothing to do with each other."""
    await storage.create(record("rate"))
    await values.set_value("rate", b"1")
    same(await storage.delete("rate", revision=1), True)
    same(await values.get_value("rate"), b"1")


@rule
async def not_open(closed: WorkflowStorage) -> None:
    """Nothing can be asked of a storage that is not open."""
    if not isinstance(closed, SharedValues):
        raise RuleSkipped("the storage does not offer shared values")
    answers = await asyncio.gather(
        closed.get_value("rate"),
        closed.set_value("rate", b"1"),
        closed.delete_value("rate"),
        closed.compare_and_set_value("rate", None, b"1"),
        return_exceptions=True,
    )
    same([type(one) for one in answers], [StorageClosedError] * 4)
