"""Claiming what is due."""

import asyncio
from datetime import timedelta

from flux.storage import WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record


@rule
async def lease_ran_out(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What is leased is due when its lease has run out, whatever its wake time."""
    await storage.create(record(), lease=30, wake=1)
    clock.advance(29.999)
    same(await due(storage), [])
    clock.advance(0.001)
    same(await due(storage), ["order-7"])


@rule
async def wake_time_came(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What is at rest is due when its wake time has come."""
    await storage.create(record(), wake=60)
    clock.advance(59.999)
    same(await due(storage), [])
    clock.advance(0.001)
    same(await due(storage), ["order-7"])


@rule
async def to_the_microsecond(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Nothing is due a microsecond too early, neither by lease nor by wake time."""
    await storage.create(record("leased"), lease=60)
    await storage.create(record("resting"), wake=60)
    clock.advance(59.999999)
    same(await due(storage), [])
    clock.advance(0.000001)
    same(await due(storage), ["leased", "resting"])


@rule
async def new_heads(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A claim of what is due gives whole heads of a new revision, and leaves `wake_at`."""
    await storage.create(record(fixed=b"[1]"), wake=0)
    clock.advance(5)
    (claimed,) = await storage.claim_due(owner="two", lease=30, limit=10)
    same(claimed, await head(storage))
    same(
        claimed,
        record(
            revision=2,
            owner="two",
            lease_until=START + timedelta(seconds=35),
            wake_at=START,
            fixed=b"[1]",
        ),
    )


@rule
async def claimed_once(storage: WorkflowStorage) -> None:
    """What was claimed is not due until that lease has run out."""
    await storage.create(record(), wake=0)
    same(await due(storage), ["order-7"])
    same(await due(storage), [])


@rule
async def longest_due_first(storage: WorkflowStorage, clock: ManualClock) -> None:
    """The longest due come first, be it by lease or by wake time."""
    await storage.create(record("b"), wake=20)
    await storage.create(record("a"), lease=30)
    await storage.create(record("d"), lease=10)
    await storage.create(record("c"), wake=25)
    clock.advance(100)
    same(await due(storage), ["d", "b", "c", "a"])


@rule
async def limit(storage: WorkflowStorage, clock: ManualClock) -> None:
    """No more than `limit` are claimed; the others stay due."""
    for number in range(5):
        await storage.create(record(str(number)), wake=number)
    clock.advance(10)
    same(await due(storage, limit=0), [])
    same(await due(storage, limit=-1), [])
    same(await due(storage, limit=2), ["0", "1"])
    same(await due(storage, limit=9), ["2", "3", "4"])


@rule
async def tie(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Those due since the same moment come in the order of their ids."""
    for id in ("b", "c", "a", "B", "ä"):
        await storage.create(record(id), wake=0)
    same(await due(storage), ["B", "a", "b", "c", "ä"])


@rule
async def workflows(storage: WorkflowStorage) -> None:
    """Only instances of the named workflows are claimed; the others stay due."""
    for id in ("order", "refund", "other"):
        await storage.create(record(id, workflow=id), wake=0)
    names = ["refund", "order", "nothing", "order"]
    claimed = await storage.claim_due(owner="two", lease=30, limit=10, workflows=names)
    same([(one.id, one.revision) for one in claimed], [("order", 2), ("refund", 2)])
    same(await storage.claim_due(owner="two", lease=30, limit=10, workflows=[]), ())
    same(await due(storage), ["other"])


@rule
async def limit_over_workflows(storage: WorkflowStorage) -> None:
    """The limit counts over all workflows; whose instance is due longest comes first."""
    for number, workflow in enumerate(["refund", "order", "refund", "order"]):
        await storage.create(record(str(number), workflow=workflow), wake=number - 10)
    both = ["order", "refund"]
    claimed = await storage.claim_due(owner="two", lease=30, limit=3, workflows=both)
    same([one.id for one in claimed], ["0", "1", "2"])
    same(await due(storage, limit=1), ["3"])


@rule
async def limit_after_workflows(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What does not fit, however long it is due, takes nothing of the limit."""
    for number in range(3):
        await storage.create(record(str(number), workflow="refund"), wake=number)
    await storage.create(record("order-7"), wake=3)
    clock.advance(10)
    claimed = await storage.claim_due(owner="two", lease=30, limit=1, workflows=["order"])
    same([one.id for one in claimed], ["order-7"])


@rule
async def due_time_put_off(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A save puts the due time off, and another draws it near."""
    await storage.create(record(), lease=10)
    await storage.save(checkpoint(lease=60))
    clock.advance(20)
    same(await due(storage), [])
    await storage.save(checkpoint(expected=2, lease=1))
    clock.advance(1)
    same(await due(storage), ["order-7"])


@rule
async def never(storage: WorkflowStorage, clock: ManualClock) -> None:
    """An instance at rest without wake time is due never."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint(lease=None))
    clock.advance(10**9)
    same(await due(storage), [])


@rule
async def two_claimers(storage: WorkflowStorage) -> None:
    """Two who claim at once share what is due, and get nothing twice."""
    for number in range(20):
        await storage.create(record(str(number)), wake=0)
    claims = [storage.claim_due(owner=str(n), lease=30, limit=7) for n in range(4)]
    claimed = [one.id for part in await asyncio.gather(*claims) for one in part]
    same(sorted(claimed), sorted(map(str, range(20))))
