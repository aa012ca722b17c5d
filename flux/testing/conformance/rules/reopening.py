"""The same storage opened more than once: by another engine, or after its process is gone."""

import asyncio

from flux.errors import StaleInstanceError
from flux.storage import Entry, Lease, WorkflowFilter, WorkflowStorage
from flux.testing.conformance.expecting import refused, same, there
from flux.testing.conformance.looking import due, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import checkpoint, record, signal
from flux.testing.conformance.trial import Another


@rule
async def everything_is_there(storage: WorkflowStorage, another: Another) -> None:
    """Who opens the storage anew finds heads, entries, inbox, labels and keys as they were."""
    await storage.create(
        record(labels={"a": "b"}, unique_key="key"),
        entries=[Entry(number=1, body=b"1")], lease=30, wake=60,
    )  # fmt: skip
    await storage.send_signal("order-7", signal(signal_id="e-1"))
    other = await another()
    same(await other.load("order-7"), await storage.load("order-7"))
    same(await other.signals("order-7"), await storage.signals("order-7"))
    asked = WorkflowFilter(labels={"a": "b"})
    same(await other.list(asked), await storage.list(asked))
    same((await head(other)).unique_key, "key")


@rule
async def own_write_is_read(storage: WorkflowStorage, another: Another) -> None:
    """What one has written, and been told of, the other reads at once."""
    other = await another()
    await storage.create(record())
    for revision in range(1, 20):
        writer, reader = (storage, other) if revision % 2 else (other, storage)
        await writer.save(checkpoint(expected=revision, payload=b"%d" % revision))
        found = await head(reader)
        same((found.revision, found.payload), (revision + 1, b"%d" % revision))


@rule
async def repeated_elsewhere(storage: WorkflowStorage, another: Another) -> None:
    """A save whose answer was lost with its connection can be repeated over another."""
    other = await another()
    given = record()
    await storage.create(given)
    same(await other.create(given), True)
    await storage.save(checkpoint(payload=b"1"))
    same(await other.save(checkpoint(payload=b"1")), 0)
    same((await head(storage)).revision, 2)


@rule
async def taken_over(storage: WorkflowStorage, another: Another) -> None:
    """What the other has claimed cannot be saved, renewed or released any more."""
    other = await another()
    await storage.create(record(), lease=0)
    same(await due(other), ["order-7"])
    lost = Lease(id="order-7", owner="one")
    with refused(StaleInstanceError):
        await storage.save(checkpoint())
    same(await storage.renew([lost], lease=30), {})
    same(await storage.release(lost), False)
    same(there(await other.load("order-7"))[0].owner, "two")


@rule
async def nothing_claimed_twice(storage: WorkflowStorage, another: Another) -> None:
    """Two that claim at once share what is due, and get nothing twice."""
    other = await another()
    for number in range(20):
        await storage.create(record(str(number)), wake=0)
    claims = [(storage, other)[n % 2].claim_due(owner=str(n), lease=30, limit=4) for n in range(8)]
    claimed = [one.id for part in await asyncio.gather(*claims) for one in part]
    same(sorted(claimed), sorted(map(str, range(20))))


@rule
async def signals_from_elsewhere(storage: WorkflowStorage, another: Another) -> None:
    """A signal that the other has sent wakes the instance, or is told to its driver."""
    other = await another()
    await storage.create(record("driven"), lease=30)
    await storage.create(record("resting"))
    for id in ("driven", "resting"):
        await other.send_signal(id, signal())
    same(await storage.save(checkpoint("driven")), 1)
    same(await due(storage), ["resting"])


@rule
async def one_closes(storage: WorkflowStorage, another: Another) -> None:
    """When the other is closed and opened anew, this one goes on."""
    other = await another()
    await other.create(record())
    await another()
    same(await ids(storage), ["order-7"])
    await storage.save(checkpoint())
    same((await head(await another())).revision, 2)
