"""A save: compare and set, whole or not at all."""

import asyncio
from datetime import timedelta

from flux.errors import (
    StaleInstanceError,
    StorageError,
)
from flux.storage import Entry, Lease, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import refused, same, there
from flux.testing.conformance.looking import bodies, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal


@rule
async def new_head(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A save replaces what it names, raises the revision and leaves the rest."""
    await storage.create(record(labels={"a": "b"}, fixed=b"[1]", unique_key="key"), lease=30)
    clock.advance(10)
    later = clock.now()
    await storage.save(
        checkpoint(status="failed", intent=("a", "b"), payload=b"[2]", updated_at=later, wake=5)
    )
    expected = record(
        labels={"a": "b"},
        fixed=b"[1]",
        unique_key="key",
        status="failed",
        revision=2,
        intent=("a", "b"),
        payload=b"[2]",
        updated_at=later,
        lease_until=later + timedelta(seconds=30),
        wake_at=later + timedelta(seconds=5),
    )
    same(await head(storage), expected)


@rule
async def ended_at(storage: WorkflowStorage) -> None:
    """A save ends an instance, and another makes it live again."""
    await storage.create(record())
    await storage.save(checkpoint(ended_at=START))
    same((await head(storage)).ended_at, START)
    await storage.save(checkpoint(expected=2))
    same((await head(storage)).ended_at, None)


@rule
async def nothing_stays(storage: WorkflowStorage) -> None:
    """A save without intent, or without wake time, leaves none of those of before."""
    await storage.create(record(intent=("reserve",)), lease=30, wake=60)
    await storage.save(checkpoint(intent=(), wake=None))
    stored = await head(storage)
    same((stored.intent, stored.wake_at), ((), None))


@rule
async def updated_at(storage: WorkflowStorage) -> None:
    """When it was updated is what the save says, not when the storage wrote it."""
    await storage.create(record())
    earlier = START - timedelta(days=1, microseconds=1)
    await storage.save(checkpoint(updated_at=earlier))
    same((await head(storage)).updated_at, earlier)


@rule
async def fractions(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Lease and wake may be fractions of a second."""
    await storage.create(record())
    await storage.save(checkpoint(lease=2.25, wake=1.5))
    stored = await head(storage)
    same(stored.lease_until, START + timedelta(seconds=2.25))
    same(stored.wake_at, START + timedelta(seconds=1.5))


@rule
async def entries(storage: WorkflowStorage) -> None:
    """A save adds entries and replaces those of the same number."""
    await storage.create(record(), entries=[Entry(number=1, body=b"1"), Entry(number=2, body=b"2")])
    await storage.save(
        checkpoint(entries=(Entry(number=3, body=b"3"), Entry(number=2, body=b"22")))
    )
    same(await bodies(storage), {1: b"1", 2: b"22", 3: b"3"})


@rule
async def stale_revision(storage: WorkflowStorage) -> None:
    """A save that expects another revision is refused, whoever makes it."""
    await storage.create(record())
    for expected in (0, 2, 9):
        for owner in ("two",) if expected == 0 else ("one", "two"):
            with refused(StaleInstanceError) as caught:
                await storage.save(checkpoint(expected=expected, owner=owner))
            same((caught.error.id, caught.error.expected), ("order-7", expected))


@rule
async def stale_owner(storage: WorkflowStorage) -> None:
    """A save by another than the owner is refused."""
    await storage.create(record())
    with refused(StaleInstanceError):
        await storage.save(checkpoint(owner="two"))


@rule
async def unknown_instance(storage: WorkflowStorage) -> None:
    """A save of an instance that is not stored is stale."""
    with refused(StaleInstanceError):
        await storage.save(checkpoint("nobody", entries=(Entry(number=1, body=b"1"),)))
    same(await storage.load("nobody"), None)


@rule
async def stale_leaves_nothing(storage: WorkflowStorage) -> None:
    """A refused save writes neither head nor entries nor inbox."""
    first = [Entry(number=1, body=b"1")]
    await storage.create(record(), entries=first, lease=30, wake=60)
    await storage.send_signal("order-7", signal())
    before = (await storage.load("order-7"), await storage.signals("order-7"))
    with refused(StaleInstanceError):
        await storage.save(
            checkpoint(expected=5, entries=(Entry(number=1, body=b"x"),), consumed={1: "taker"})
        )
    same((await storage.load("order-7"), await storage.signals("order-7")), before)


@rule
async def repetition(storage: WorkflowStorage) -> None:
    """A repeated save that finds its own revision and owner has succeeded, once."""
    await storage.create(record())
    await storage.send_signal("order-7", signal())
    same(await storage.save(checkpoint(payload=b"[1]")), 1)
    same(await storage.save(checkpoint(payload=b"[2]")), 1)
    same(((await head(storage)).revision, (await head(storage)).payload), (2, b"[1]"))


@rule
async def repetition_after_the_next(storage: WorkflowStorage) -> None:
    """A save repeated after the next one is stale."""
    await storage.create(record())
    await storage.save(checkpoint())
    await storage.save(checkpoint(expected=2))
    with refused(StaleInstanceError):
        await storage.save(checkpoint())


@rule
async def repetition_after_a_release(storage: WorkflowStorage) -> None:
    """A save repeated after its lease was given back does not take it anew."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint())
    await storage.release(Lease(id="order-7", owner="one"))
    same(await storage.save(checkpoint()), 0)
    same((await head(storage)).lease_until, None)


@rule
async def repetition_after_a_claim(storage: WorkflowStorage) -> None:
    """A claim is no save: who finds its revision under another owner is stale."""
    await storage.create(record())
    await storage.claim("order-7", owner="two", lease=30)
    with refused(StaleInstanceError):
        await storage.save(checkpoint())


@rule
async def zombie(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Whoever held the instance before a claim can save nothing more."""
    await storage.create(record(), lease=30)
    clock.advance(30)
    await storage.claim("order-7", owner="two", lease=30)
    for expected in (1, 2):
        with refused(StaleInstanceError):
            await storage.save(checkpoint(expected=expected))


@rule
async def lease_that_ran_out(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A lease that ran out stays good until somebody claims the instance."""
    await storage.create(record(), lease=30)
    clock.advance(1000)
    same(await storage.save(checkpoint()), 0)


@rule
async def lease_given_back(storage: WorkflowStorage) -> None:
    """A lease given back does not keep its owner from saving."""
    await storage.create(record(), lease=30)
    await storage.release(Lease(id="order-7", owner="one"))
    same(await storage.save(checkpoint()), 0)
    there((await head(storage)).lease_until)


@rule
async def rest(storage: WorkflowStorage) -> None:
    """A save without lease puts the instance to rest; the owner's token stays."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint(lease=None))
    same(((await head(storage)).lease_until, (await head(storage)).owner), (None, "one"))


@rule
async def beyond_the_calendar(storage: WorkflowStorage) -> None:
    """A time that no calendar has is refused, and nothing is written."""
    await storage.create(record(), lease=30)
    before = await storage.load("order-7")
    for never in (1e12, 1e20):
        answers = await asyncio.gather(
            storage.create(record("other"), wake=never),
            storage.save(checkpoint(wake=never)),
            storage.claim("order-7", owner="two", lease=never, held="one"),
            storage.release(Lease(id="order-7", owner="one"), wake=never),
            return_exceptions=True,
        )
        same([isinstance(one, StorageError) for one in answers], [True] * 4)
    same((await storage.load("order-7"), await ids(storage)), (before, ["order-7"]))


@rule
async def last_signal(storage: WorkflowStorage) -> None:
    """A save answers with the number of the last signal, consumed or not."""
    await storage.create(record())
    same(await storage.save(checkpoint()), 0)
    for _ in range(3):
        await storage.send_signal("order-7", signal())
    same(await storage.save(checkpoint(expected=2, consumed={1: "a", 2: "b", 3: "c"})), 3)


@rule
async def one_of_many(storage: WorkflowStorage) -> None:
    """Of many who save the same revision under tokens of their own, the owner does."""
    await storage.create(record(owner="3"))
    saves = [storage.save(checkpoint(owner=str(n), payload=b"%d" % n)) for n in range(8)]
    answers = await asyncio.gather(*saves, return_exceptions=True)
    same([n for n, answer in enumerate(answers) if answer == 0], [3])
    same((await head(storage)).payload, b"3")


@rule
async def many_instances_at_once(storage: WorkflowStorage) -> None:
    """Saves that arrive together succeed and fail each for itself."""
    for number in range(20):
        await storage.create(record(str(number)))
    saves = [storage.save(checkpoint(str(n), expected=1 + n % 2, owner="one")) for n in range(20)]
    answers = await asyncio.gather(*saves, return_exceptions=True)
    stale = [isinstance(answer, StaleInstanceError) for answer in answers]
    same(stale, [False, True] * 10)


@rule
async def cancelled_saves(storage: WorkflowStorage) -> None:
    """A save whose caller is cancelled has happened whole or not at all."""
    for number in range(20):
        await storage.create(record(str(number)))
    entry = Entry(number=1, body=b"1")
    saves = [
        asyncio.create_task(storage.save(checkpoint(str(n), entries=(entry,)))) for n in range(20)
    ]
    await asyncio.sleep(0)
    for save in saves[::2]:
        save.cancel()
    await asyncio.gather(*saves, return_exceptions=True)
    for number in range(20):
        revision = (await head(storage, str(number))).revision
        same(revision - 1, len(await bodies(storage, str(number))))
