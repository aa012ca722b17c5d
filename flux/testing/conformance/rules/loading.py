"""What is loaded."""

from flux.storage import Entry, WorkflowStorage
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import bodies
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import record


@rule
async def unknown(storage: WorkflowStorage) -> None:
    """There is nothing to load of an instance that is not stored."""
    same(await storage.load("nobody"), None)
    same(await storage.load("nobody", history=False), None)


@rule
async def entries_by_number(storage: WorkflowStorage) -> None:
    """Entries come in the order of their numbers."""
    given = [Entry(number=number, body=b"%d" % number) for number in (10, 9, 1, 2**40)]
    await storage.create(record(), entries=given)
    same(list(await bodies(storage)), [1, 9, 10, 2**40])


@rule
async def without_history(storage: WorkflowStorage) -> None:
    """Without history there are no entries."""
    await storage.create(record(), entries=[Entry(number=1, body=b"1")])
    same(await storage.load("order-7", history=False), (record(), ()))
