"""When the next instance is due."""

from flux.storage import WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import due
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record


@rule
async def first_of_those_to_come(storage: WorkflowStorage, clock: ManualClock) -> None:
    """It is told how long it takes until the first instance becomes due, by wake or lease."""
    await storage.create(record("a"), wake=60)
    await storage.create(record("b"), lease=30, wake=1)
    await storage.create(record("c"), wake=45.25)
    clock.advance(0.75)
    same(await storage.next_due(), 29.25)
    await storage.delete("b", revision=1)
    await storage.save(checkpoint("b", lease=90))
    same(await storage.next_due(), 44.5)


@rule
async def nothing_to_come(storage: WorkflowStorage) -> None:
    """Where nothing will become due, there is no time to tell."""
    same(await storage.next_due(), None)
    await storage.create(record("resting"))
    same(await storage.next_due(), None)


@rule
async def due_already(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What is due already does not count, and stays due."""
    await storage.create(record("a"), wake=0)
    await storage.create(record("b"), lease=10)
    await storage.create(record("c"), wake=20)
    clock.advance(10)
    same(await storage.next_due(), 10)
    clock.advance(10)
    same(await storage.next_due(), None)
    same(await due(storage), ["a", "b", "c"])


@rule
async def workflows(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Only instances of the named workflows count."""
    for second, name in enumerate(("order", "refund", "other"), 1):
        await storage.create(record(name, workflow=name), wake=second)
    same(await storage.next_due(workflows=["refund", "other", "nothing"]), 2)
    same(await storage.next_due(workflows=["nothing"]), None)
    same(await storage.next_due(workflows=[]), None)


@rule
async def ended_and_deleted(storage: WorkflowStorage) -> None:
    """What went to rest for ever, or was deleted, does not count."""
    await storage.create(record("a"), lease=30)
    await storage.create(record("b"), wake=30)
    await storage.save(checkpoint("a", lease=None, ended_at=START))
    await storage.delete("b", revision=1)
    same(await storage.next_due(), None)
