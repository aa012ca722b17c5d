"""Renewing leases."""

import asyncio
from datetime import timedelta

from flux.storage import Lease, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal


@rule
async def all_in_one_call(storage: WorkflowStorage, clock: ManualClock) -> None:
    """One call extends many leases, counted from now, and leaves the revisions."""
    for id in ("a", "b"):
        await storage.create(record(id), lease=30)
    clock.advance(20)
    leases = [Lease(id="a", owner="one"), Lease(id="b", owner="one")]
    same(await storage.renew(leases, lease=30), {"a": 0, "b": 0})
    renewed = await head(storage, "b")
    same((renewed.lease_until, renewed.revision), (START + timedelta(seconds=50), 1))


@rule
async def beside_lost_ones(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What is lost does not keep the others from being renewed."""
    for id in ("a", "b"):
        await storage.create(record(id), lease=30)
    leases = [
        Lease(id=id, owner=owner) for id, owner in (("a", "two"), ("no", "one"), ("b", "one"))
    ]
    clock.advance(20)
    same(await storage.renew(leases, lease=2.25), {"b": 0})
    same((await head(storage, "a")).lease_until, START + timedelta(seconds=30))


@rule
async def from_now(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A renewed lease runs from now for as long as was asked, to the fraction, even if shorter."""
    await storage.create(record(), lease=30)
    clock.advance(20)
    await storage.renew([Lease(id="order-7", owner="one")], lease=2.25)
    same((await head(storage)).lease_until, START + timedelta(seconds=22.25))


@rule
async def a_thousand(storage: WorkflowStorage, clock: ManualClock) -> None:
    """One call renews them all, however many they are."""
    names = [f"{number:04}" for number in range(1_100)]
    await asyncio.gather(*(storage.create(record(id), lease=30) for id in names))
    clock.advance(29)
    leases = [Lease(id=id, owner="one") for id in names]
    same(dict(await storage.renew(leases, lease=30)), dict.fromkeys(names, 0))
    clock.advance(29)
    same(await due(storage), [])


@rule
async def due_after_the_renewal(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A renewed lease runs out later."""
    await storage.create(record(), lease=30)
    clock.advance(20)
    await storage.renew([Lease(id="order-7", owner="one")], lease=30)
    clock.advance(29)
    same(await due(storage), [])
    clock.advance(1)
    same(await due(storage), ["order-7"])


@rule
async def signals(storage: WorkflowStorage) -> None:
    """A renewal tells the number of the last signal."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    await storage.send_signal("order-7", signal())
    same(await storage.renew([Lease(id="order-7", owner="one")], lease=30), {"order-7": 2})


@rule
async def lost(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What another has claimed, or nobody knows, is left out and left alone."""
    await storage.create(record(), lease=30)
    clock.advance(30)
    await storage.claim("order-7", owner="two", lease=10)
    leases = [Lease(id="order-7", owner="one"), Lease(id="nobody", owner="one")]
    same(await storage.renew(leases, lease=30), {})
    same((await head(storage)).lease_until, START + timedelta(seconds=40))


@rule
async def ran_out(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A lease that ran out but was not taken is still held."""
    await storage.create(record(), lease=30)
    clock.advance(100)
    same(await storage.renew([Lease(id="order-7", owner="one")], lease=30), {"order-7": 0})
    same(await due(storage), [])


@rule
async def given_back(storage: WorkflowStorage) -> None:
    """A lease that was given back is not renewed."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint(lease=None))
    same(await storage.renew([Lease(id="order-7", owner="one")], lease=30), {})
    same((await head(storage)).lease_until, None)


@rule
async def nothing(storage: WorkflowStorage) -> None:
    """A renewal of nothing renews nothing."""
    same(await storage.renew([], lease=30), {})
