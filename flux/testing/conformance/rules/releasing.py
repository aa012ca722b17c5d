"""Giving leases back."""

from datetime import timedelta

from flux.storage import Lease, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, record, signal


@rule
async def at_rest(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A release gives the lease back; revision, owner and wake time stay."""
    await storage.create(record(), lease=30, wake=60)
    same(await storage.release(Lease(id="order-7", owner="one")), True)
    same(await head(storage), record(wake_at=START + timedelta(seconds=60)))


@rule
async def wake(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A release may say when the instance is due, counted from now."""
    await storage.create(record(), lease=30, wake=60)
    clock.advance(3)
    await storage.release(Lease(id="order-7", owner="one"), wake=2)
    same((await head(storage)).wake_at, START + timedelta(seconds=5))
    clock.advance(2)
    same(await due(storage), ["order-7"])


@rule
async def unseen_signal(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A release that has not seen the last signal leaves the instance due at once."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    clock.advance(3)
    await storage.release(Lease(id="order-7", owner="one", seen=0), wake=60)
    same((await head(storage)).wake_at, clock.now())


@rule
async def seen_signal(storage: WorkflowStorage) -> None:
    """A release that has seen the last signal leaves the wake time."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    await storage.release(Lease(id="order-7", owner="one", seen=1))
    same((await head(storage)).wake_at, None)


@rule
async def not_held(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A lease of another's, or of nobody's, is not given back, and nothing is written."""
    await storage.create(record(), lease=30)
    same(await storage.release(Lease(id="order-7", owner="two"), wake=0), False)
    same(await storage.release(Lease(id="nobody", owner="one")), False)
    same(await head(storage), record(lease_until=START + timedelta(seconds=30)))


@rule
async def twice(storage: WorkflowStorage) -> None:
    """A lease given back is no longer held, so it is given back once."""
    await storage.create(record(), lease=30)
    same(await storage.release(Lease(id="order-7", owner="one")), True)
    same(await storage.release(Lease(id="order-7", owner="one"), wake=0), False)
    same((await head(storage)).wake_at, None)


@rule
async def ran_out(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A lease that ran out but was not taken can be given back."""
    await storage.create(record(), lease=30)
    clock.advance(100)
    same(await storage.release(Lease(id="order-7", owner="one")), True)
    same(await due(storage), [])
