"""A write that happened although its caller saw an error: to repeat it is always right."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from flux.errors import StaleInstanceError, UniqueKeyTakenError
from flux.storage import Entry, WorkflowStorage
from flux.testing.conformance.expecting import holds, refused, same, there
from flux.testing.conformance.looking import bodies, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal

ENTRY = Entry(number=1, body=b"1")
TURNS = 12
"""So many turns of the loop, at most, lie between the beginning of a call and its cancellation."""

T = TypeVar("T")


async def cut_off(call: Awaitable[T], turns: int) -> None:
    """Begin a call, and cancel it after so many turns of the loop, whatever has become of it."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _parts(storage: WorkflowStorage, id: str) -> tuple[bool, bool, bool]:
    """Which parts of the save are there: head, entry, consumed signal; all seen at one revision.

    What was cut off may still be under way.
    """
    while True:
        found, entries = there(await storage.load(id))
        (inbox,) = await storage.signals(id)
        if (await head(storage, id)).revision == found.revision:
            return found.revision == 2, len(entries) == 1, inbox.consumed_by is not None


@rule
async def create(storage: WorkflowStorage) -> None:
    """A create that was cut off has happened or not; repeated, it succeeds, and once."""
    for turns in range(TURNS):
        made = record(str(turns), unique_key=str(turns), labels={"n": str(turns)})
        await cut_off(storage.create(made, entries=[ENTRY]), turns)
        same(await storage.create(made, entries=[ENTRY]), True)
        same(await storage.load(made.id), (made, (ENTRY,)))
        same(await ids(storage, labels=made.labels), [made.id])
        with refused(UniqueKeyTakenError):
            await storage.create(record("other", unique_key=made.unique_key))


@rule
async def save(storage: WorkflowStorage) -> None:
    """A save that was cut off has happened whole or not at all; repeated, it succeeds, and once."""
    for turns in range(TURNS):
        id = str(turns)
        await storage.create(record(id))
        await storage.send_signal(id, signal())
        given = checkpoint(id, payload=b"1", entries=(ENTRY,), consumed={1: "pay"}, seen=1)
        await cut_off(storage.save(given), turns)
        parts = await _parts(storage, id)
        same(len(set(parts)), 1)
        same(await storage.save(given), 1)
        same(((await head(storage, id)).revision, await bodies(storage, id)), (2, {1: b"1"}))
        same([one.consumed_by for one in await storage.signals(id)], ["pay"])


@rule
async def save_that_ends(storage: WorkflowStorage) -> None:
    """The save that ends an instance can be repeated, although another holds its key by now."""
    await storage.create(record("first", unique_key="key"))
    end = checkpoint("first", status="completed", ended_at=START, lease=None)
    same(await storage.save(end), 0)
    await storage.create(record("second", unique_key="key"))
    same(await storage.save(end), 0)
    same((await head(storage, "first")).revision, 2)


@rule
async def save_of_another(storage: WorkflowStorage) -> None:
    """A repetition that finds the claim of another is none, and changes nothing."""
    await storage.create(record())
    await storage.claim("order-7", owner="two", lease=30)
    before = await storage.load("order-7")
    with refused(StaleInstanceError):
        await storage.save(checkpoint(entries=(ENTRY,)))
    same(await storage.load("order-7"), before)


@rule
async def signal_with_an_id(storage: WorkflowStorage) -> None:
    """A signal that was cut off can be sent again under its id, and is in the inbox once."""
    await storage.create(record())
    for turns in range(TURNS):
        sent = signal(signal_id=str(turns), payload=b"%d" % turns)
        await cut_off(storage.send_signal("order-7", sent), turns)
        receipt = await storage.send_signal("order-7", sent)
        same(receipt and receipt.number, turns + 1)
    found = [one.signal.payload for one in await storage.signals("order-7")]
    same(found, [b"%d" % turns for turns in range(TURNS)])


@rule
async def claim(storage: WorkflowStorage) -> None:
    """A claim that was cut off has happened or not: with its own token as `held` it succeeds."""
    for turns in range(TURNS):
        id = str(turns)
        await storage.create(record(id))
        await cut_off(storage.claim(id, owner="two", lease=30), turns)
        found = await head(storage, id)
        holds(
            (found.owner, found.revision) in (("one", 1), ("two", 2)),
            f"owner and revision of the head changed together: {found.owner}, {found.revision}",
        )
        claimed = await storage.claim(id, owner="two", lease=30, held="two")
        same(claimed and claimed.owner, "two")


@rule
async def delete(storage: WorkflowStorage) -> None:
    """A delete that was cut off can be repeated, and nothing is left."""
    for turns in range(TURNS):
        id = str(turns)
        await storage.create(record(id, unique_key="key", labels={"a": "b"}), entries=[ENTRY])
        await cut_off(storage.delete(id, revision=1), turns)
        await storage.delete(id, revision=1)
        same((await storage.load(id), await ids(storage)), (None, []))
