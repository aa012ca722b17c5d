"""No end over a signal that its driver has not seen."""

import asyncio

from flux.errors import (
    StaleInstanceError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.storage import Entry, WorkflowStorage
from flux.testing.conformance.expecting import refused, same
from flux.testing.conformance.looking import head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record, signal


@rule
async def end_is_refused(storage: WorkflowStorage) -> None:
    """A save that would end an instance with an unseen signal is refused, nothing written."""
    await storage.create(record(unique_key="key"), entries=[Entry(number=1, body=b"1")])
    for name in ("x", "y"):
        await storage.send_signal("order-7", signal(name))
    before = (await storage.load("order-7"), await storage.signals("order-7"))
    end = checkpoint(
        status="completed",
        ended_at=START,
        lease=None,
        seen=1,
        consumed={1: "x"},
        entries=(Entry(number=1, body=b"x"), Entry(number=2, body=b"2")),
    )
    for _ in range(2):
        with refused(UnseenSignalsError) as caught:
            await storage.save(end)
        same((caught.error.id, caught.error.last), ("order-7", 2))
    same((await storage.load("order-7"), await storage.signals("order-7")), before)
    same(await ids(storage, status="completed"), [])
    with refused(UniqueKeyTakenError):
        await storage.create(record("other", unique_key="key"))


@rule
async def end_when_seen(storage: WorkflowStorage) -> None:
    """Once the driver has seen the signal, the same save succeeds, and so does a repetition."""
    await storage.create(record())
    await storage.send_signal("order-7", signal())
    with refused(UnseenSignalsError):
        await storage.save(checkpoint(ended_at=START, lease=None))
    for _ in range(2):
        same(await storage.save(checkpoint(ended_at=START, lease=None, seen=1)), 1)
    same((await head(storage)).revision, 2)


@rule
async def repetition_after_a_later_signal(storage: WorkflowStorage) -> None:
    """A repeated end has succeeded, although a signal has come since."""
    await storage.create(record())
    await storage.save(checkpoint(ended_at=START, lease=None))
    await storage.send_signal("order-7", signal())
    same(await storage.save(checkpoint(ended_at=START, lease=None)), 1)


@rule
async def stale_comes_first(storage: WorkflowStorage) -> None:
    """Who has lost the instance is told so, whatever it has not seen."""
    await storage.create(record())
    await storage.send_signal("order-7", signal())
    for stale in ({"expected": 5}, {"owner": "two"}):
        with refused(StaleInstanceError):
            await storage.save(checkpoint(ended_at=START, **{"expected": 1} | stale))


@rule
async def leased_at_its_end(storage: WorkflowStorage) -> None:
    """A save that ends the instance and keeps the lease is refused alike."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal())
    with refused(UnseenSignalsError):
        await storage.save(checkpoint(ended_at=START))


@rule
async def at_the_same_time(storage: WorkflowStorage) -> None:
    """Whichever comes first, signal or end: no signal is in an ended instance unseen."""
    for number in range(20):
        await storage.create(record(str(number)), lease=30)
    acts = []
    for number in range(20):
        end = storage.save(checkpoint(str(number), ended_at=START, lease=None, status="x"))
        sent = storage.send_signal(str(number), signal(), refused=["x"])
        acts += [end, sent] if number % 2 else [sent, end]
    await asyncio.gather(*acts, return_exceptions=True)
    heads = [await head(storage, str(number)) for number in range(20)]
    unseen = [one.id for one in heads if (one.ended_at is None) != (one.last_signal == 1)]
    same(unseen, [])
