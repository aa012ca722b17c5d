"""What a delete removes, and what it leaves."""

from flux.storage import Entry, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import bodies, due, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import checkpoint, record, signal


@rule
async def all_of_it(storage: WorkflowStorage) -> None:
    """A delete removes head, entries, inbox and labels."""
    await storage.create(record(labels={"a": "b"}), entries=[Entry(number=1, body=b"1")])
    await storage.send_signal("order-7", signal(signal_id="e-1"))
    same(await storage.delete("order-7", revision=1), True)
    same(await storage.load("order-7"), None)
    same((await storage.signals("order-7"), await ids(storage, labels={"a": "b"})), ((), []))


@rule
async def made_anew(storage: WorkflowStorage) -> None:
    """An id that was deleted begins anew, with nothing left of the first."""
    await storage.create(record(labels={"a": "b"}), entries=[Entry(number=1, body=b"1")], wake=0)
    await storage.send_signal("order-7", signal(signal_id="e-1"))
    await storage.delete("order-7", revision=1)
    same(await storage.create(record(owner="two")), True)
    same(await storage.load("order-7"), (record(owner="two"), ()))
    same(await ids(storage, labels={"a": "b"}), [])
    same(await storage.save(checkpoint(owner="two")), 0)
    same(await due(storage), [])


@rule
async def other_revision(storage: WorkflowStorage) -> None:
    """A delete that expects another revision leaves all as it is."""
    await storage.create(record(), entries=[Entry(number=1, body=b"1")])
    same(await storage.delete("order-7", revision=2), False)
    same(await bodies(storage), {1: b"1"})


@rule
async def leased(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A leased instance is not deleted, not even when the lease has run out."""
    await storage.create(record(), lease=30)
    clock.advance(100)
    same(await storage.delete("order-7", revision=1), False)


@rule
async def unknown(storage: WorkflowStorage) -> None:
    """There is nothing to delete of an instance that is not stored."""
    same(await storage.delete("nobody", revision=1), False)


@rule
async def neighbours_stay(storage: WorkflowStorage) -> None:
    """A delete leaves other instances, also those with the same labels."""
    for id in ("a", "b"):
        await storage.create(record(id, labels={"x": "y"}), entries=[Entry(number=1, body=b"1")])
        await storage.send_signal(id, signal())
    await storage.delete("a", revision=1)
    same((await ids(storage, labels={"x": "y"}), await bodies(storage, "b")), (["b"], {1: b"1"}))
    same(len(await storage.signals("b")), 1)
