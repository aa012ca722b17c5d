"""Opening and closing."""

import asyncio
from datetime import timedelta

from flux.errors import (
    StorageClosedError,
)
from flux.storage import WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import refused, same
from flux.testing.conformance.looking import due, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, record
from flux.testing.conformance.time import Time


@rule
async def calls_before_init(closed: WorkflowStorage) -> None:
    """Nothing can be asked of a storage that is not open."""
    with refused(StorageClosedError):
        await closed.load("order-7")


@rule
async def calls_after_close(closed: WorkflowStorage, time: Time) -> None:
    """Nothing can be asked after the last close."""
    await closed.init(time.clock)
    await closed.close()
    with refused(StorageClosedError):
        await closed.create(record())


@rule
async def close_without_init(closed: WorkflowStorage) -> None:
    """What was not opened cannot be closed."""
    with refused(StorageClosedError):
        await closed.close()


@rule
async def first_of_two_closes(storage: WorkflowStorage, time: Time) -> None:
    """When one of two engines closes the storage, the other goes on."""
    await storage.init(time.clock)
    await storage.close()
    same(await storage.create(record()), True)


@rule
async def open_again(closed: WorkflowStorage, time: Time) -> None:
    """Who opens the same storage later finds what was saved."""
    await closed.init(time.clock)
    await closed.create(record())
    await closed.close()
    await closed.init(time.clock)
    same(await ids(closed), ["order-7"])
    await closed.close()


@rule
async def clock_of_the_opener(closed: WorkflowStorage, clock: ManualClock) -> None:
    """After a new opening time is that of the new opener."""
    await closed.init(clock)
    await closed.create(record(), lease=30)
    await closed.close()
    await closed.init(ManualClock(START + timedelta(seconds=30)))
    same(await due(closed), ["order-7"])
    await closed.close()


@rule
async def writes_begun_are_finished(closed: WorkflowStorage, time: Time) -> None:
    """A close lets the writes come to their end that were begun before it."""
    await closed.init(time.clock)
    writes = [asyncio.create_task(closed.create(record(str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    await closed.close()
    same(await asyncio.gather(*writes), [True] * 20)
