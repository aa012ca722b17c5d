"""Many tasks of one process at once."""

import asyncio

from flux.errors import StaleInstanceError
from flux.storage import Entry, Lease, Record, WorkflowStorage
from flux.testing.conformance.expecting import same, there
from flux.testing.conformance.looking import due, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal


@rule
async def nothing_halfway(storage: WorkflowStorage) -> None:
    """Who loads while another saves finds head and entries of the same save."""
    await storage.create(record(payload=b"1"), entries=[Entry(number=1, body=b"1")])

    async def save() -> None:
        for revision in range(1, 40):
            body = b"%d" % (revision + 1)
            entries = tuple(Entry(number=n, body=body) for n in (1, revision + 1))
            await storage.save(checkpoint(expected=revision, payload=body, entries=entries))

    saving = asyncio.create_task(save())
    try:
        while not saving.done():
            found, entries = there(await storage.load("order-7"))
            same((found.payload, entries[0].body), (b"%d" % found.revision,) * 2)
            same(len(entries), found.revision)
            await asyncio.sleep(0)
    finally:
        # Where the rule is broken, the saves need not go on.
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
    same((await head(storage)).revision, 40)


@rule
async def no_lost_update(storage: WorkflowStorage) -> None:
    """Who saves what it read, and begins anew when told that it is stale, loses nothing."""
    await storage.create(record(payload=b"0"))

    async def add() -> None:
        while True:
            found = await head(storage)
            number = b"%d" % (int(found.payload) + 1)
            if await saved(found, number):
                return

    async def saved(found: Record, number: bytes) -> bool:
        # A token a save: without one, another's save passes for a repetition of one's own.
        await asyncio.sleep(0)
        claimed = await storage.claim("order-7", owner=f"add {number!r}", lease=30)
        if claimed is None:
            return False
        token = claimed.owner or ""
        new = b"%d" % (int(claimed.payload) + 1)
        await storage.save(
            checkpoint(expected=claimed.revision, owner=token, payload=new, lease=None)
        )
        return True

    await asyncio.gather(*(add() for _ in range(10)))
    same((await head(storage)).payload, b"10")


@rule
async def one_save_a_revision(storage: WorkflowStorage) -> None:
    """Of many saves of one revision, one is written, and the others change nothing of it."""
    await storage.create(record())
    saves = [
        storage.save(checkpoint(payload=b"%d" % n, entries=(Entry(number=n, body=b"%d" % n),)))
        for n in range(1, 11)
    ]
    await asyncio.gather(*saves)
    found, entries = there(await storage.load("order-7"))
    same(found.revision, 2)
    same([entry.body for entry in entries], [found.payload])


@rule
async def claim_against_save(storage: WorkflowStorage) -> None:
    """A save and a claim at once: the save came first, or it was refused and left nothing."""
    for number in range(20):
        await storage.create(record(str(number)), lease=0)
        save = storage.save(checkpoint(str(number), payload=b"saved", lease=None))
        claim = storage.claim(str(number), owner="two", lease=30)
        acts = (save, claim) if number % 2 else (claim, save)
        answers = await asyncio.gather(*acts, return_exceptions=True)
        is_stale = any(isinstance(one, StaleInstanceError) for one in answers)
        found = await head(storage, str(number))
        same((found.owner, found.revision), ("two", 2 if is_stale else 3))
        same(found.payload, b"{}" if is_stale else b"saved")


@rule
async def renewal_against_claim(storage: WorkflowStorage) -> None:
    """A renewal and a claim at once: one of the two holds the lease, and knows."""
    for number in range(20):
        await storage.create(record(str(number)), lease=0)
        lease = Lease(id=str(number), owner="one")
        renewed, claimed = await asyncio.gather(
            storage.renew([lease], lease=30),
            storage.claim(str(number), owner="two", lease=30),
        )
        owner = (await head(storage, str(number))).owner
        same(owner, "one" if claimed is None else "two")
        same(claimed is None and not renewed, False)


@rule
async def signals_while_saving(storage: WorkflowStorage) -> None:
    """Signals that come between saves are all kept, and the saves all succeed."""
    await storage.create(record(), lease=30)

    async def save() -> None:
        for revision in range(1, 21):
            await storage.save(checkpoint(expected=revision))

    sent = [storage.send_signal("order-7", signal(str(n))) for n in range(20)]
    await asyncio.gather(save(), *sent)
    found = await head(storage)
    same((found.revision, found.last_signal), (21, 20))
    names = sorted(int(one.signal.name) for one in await storage.signals("order-7"))
    same(names, list(range(20)))


@rule
async def one_holder_of_a_key(storage: WorkflowStorage) -> None:
    """Of many instances that want a key at once, one gets it."""
    made = [storage.create(record(str(n), unique_key="key")) for n in range(10)]
    answers = await asyncio.gather(*made, return_exceptions=True)
    same(sum(answer is True for answer in answers), 1)
    same(len(await ids(storage)), 1)


@rule
async def release_against_signal(storage: WorkflowStorage) -> None:
    """Whichever comes first, signal or release, the instance is due."""
    for number in range(20):
        await storage.create(record(str(number)), lease=30)
        release = storage.release(Lease(id=str(number), owner="one"))
        sent = storage.send_signal(str(number), signal())
        await asyncio.gather(*((release, sent) if number % 2 else (sent, release)))
    same(sorted(await due(storage, limit=100)), sorted(map(str, range(20))))


@rule
async def deletes_against_creates(storage: WorkflowStorage) -> None:
    """An id that is deleted and made anew at once is there whole, or not at all."""
    for number in range(10):
        id = str(number)
        await storage.create(record(id, ended_at=START), entries=[Entry(number=1, body=b"1")])
        anew = storage.create(record(id, owner="two"), entries=[Entry(number=2, body=b"2")])
        _, is_new = await asyncio.gather(storage.delete(id, revision=1), anew)
        found = await storage.load(id)
        wanted = (record(id, owner="two"), (Entry(number=2, body=b"2"),))
        same(found, wanted if is_new else None)
