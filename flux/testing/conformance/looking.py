"""What a rule looks at: heads, entries, lists, and what is due."""

from typing import Any

from flux.storage import Record, WorkflowFilter, WorkflowStorage
from flux.testing.conformance.expecting import there


async def head(storage: WorkflowStorage, id: str = "order-7") -> Record:
    """The head of an instance."""
    return there(await storage.load(id, history=False))[0]


async def bodies(storage: WorkflowStorage, id: str = "order-7") -> dict[int, bytes]:
    """The entries of an instance by their numbers, in the order in which they came."""
    return {entry.number: entry.body for entry in there(await storage.load(id))[1]}


async def due(storage: WorkflowStorage, *, limit: int = 10) -> list[str]:
    """Claim what is due; the ids in the order in which they came."""
    return [one.id for one in await storage.claim_due(owner="two", lease=30, limit=limit)]


async def ids(storage: WorkflowStorage, **conditions: Any) -> list[str]:
    """The ids that a list with these conditions gives."""
    return [summary.id for summary in await storage.list(WorkflowFilter(**conditions))]
