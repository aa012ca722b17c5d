"""The kit's heads, saves and signals, and a storage that is open as long as a block lasts.

async with opened(storage):
    await storage.create(record("order-7", labels={"city": "Oslo"}), lease=30)
    await storage.save(checkpoint("order-7", expected=1, status="completed", lease=None))
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flux.clock import Clock
from flux.storage import WorkflowStorage
from flux.testing import ManualClock
from flux.testing.conformance.sample import START, checkpoint, record, signal

__all__ = ["START", "checkpoint", "opened", "record", "signal"]


@asynccontextmanager
async def opened(
    storage: WorkflowStorage, *, clock: Clock | None = None
) -> AsyncIterator[WorkflowStorage]:
    """The storage, open for as long as the block lasts."""
    await storage.init(clock or ManualClock())
    try:
        yield storage
    finally:
        await storage.close()
