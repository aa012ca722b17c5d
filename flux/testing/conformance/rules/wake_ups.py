"""No lost wake-up: a signal finds its instance due or driven."""

import asyncio
from datetime import timedelta

from flux.storage import WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal


@rule
async def signal_after_rest(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A signal to an instance at rest makes it due at once."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint(lease=None, wake=60))
    clock.advance(3)
    await storage.send_signal("order-7", signal())
    same((await head(storage)).wake_at, clock.now())
    same(await due(storage), ["order-7"])


@rule
async def signal_before_rest(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A save to rest that has not seen the last signal leaves the instance due at once."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    clock.advance(3)
    same(await storage.save(checkpoint(lease=None, wake=60, seen=0)), 1)
    same((await head(storage)).wake_at, clock.now())
    same(await due(storage), ["order-7"])


@rule
async def signal_seen(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A save to rest that has seen the last signal rests."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    await storage.save(checkpoint(lease=None, wake=60, seen=1))
    same((await head(storage)).wake_at, START + timedelta(seconds=60))


@rule
async def unseen_but_driven(storage: WorkflowStorage) -> None:
    """A driver that keeps its lease is told of the signal, not woken."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    same(await storage.save(checkpoint(seen=0)), 1)
    same((await head(storage)).wake_at, None)


@rule
async def ended(storage: WorkflowStorage, clock: ManualClock) -> None:
    """An instance that has ended is due for a signal as any other at rest."""
    await storage.create(record(), lease=30)
    await storage.save(checkpoint(lease=None, ended_at=START))
    clock.advance(3)
    await storage.send_signal("order-7", signal())
    same((await head(storage)).wake_at, clock.now())
    same(await due(storage), ["order-7"])


@rule
async def due_already(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A signal to an instance that is due already leaves its place in the order."""
    await storage.create(record(), wake=1)
    clock.advance(3)
    await storage.send_signal("order-7", signal())
    same((await head(storage)).wake_at, START + timedelta(seconds=1))


@rule
async def at_the_same_time(storage: WorkflowStorage) -> None:
    """Whichever comes first, signal or rest, the instance is due."""
    for number in range(20):
        await storage.create(record(str(number)), lease=30)
    acts = []
    for number in range(20):
        rest = storage.save(checkpoint(str(number), lease=None))
        sent = storage.send_signal(str(number), signal())
        acts += [rest, sent] if number % 2 else [sent, rest]
    await asyncio.gather(*acts)
    same(len(await due(storage, limit=100)), 20)
