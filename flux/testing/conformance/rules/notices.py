"""Notices, where they are offered. They are hints: a rule tries until one has come."""

import asyncio
from collections.abc import Awaitable, Callable

from flux.storage import Lease, Notice, Notices, WorkflowStorage
from flux.testing.conformance.expecting import holds, same
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import checkpoint, record, signal
from flux.testing.conformance.trial import Another

TRIES = 25
PATIENCE = 0.2
"""Seconds that a try waits for its notice."""

Act = Callable[[str], Awaitable[object]]


async def heard(notices: Notices, act: Act) -> Notice:
    """The first notice of an act that is done, each time to another id, until one is heard of."""
    came: asyncio.Queue[Notice] = asyncio.Queue()
    listening = asyncio.create_task(notices.notices(came.put_nowait))
    try:
        for number in range(TRIES):
            await act(str(number))
            try:
                return await asyncio.wait_for(came.get(), PATIENCE)
            except TimeoutError:
                holds(not listening.done(), "it tells until it is cancelled")
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    raise AssertionError(f"no notice of {TRIES} changes was told")


@rule
async def due_at_once(storage: WorkflowStorage, notices: Notices) -> None:
    """A signal to an instance at rest is told as something that is due."""
    for number in range(TRIES):
        await storage.create(record(str(number)))
    told = await heard(notices, lambda one: storage.send_signal(one, signal()))
    same(told.is_due, True)


@rule
async def signal_to_a_driver(storage: WorkflowStorage, notices: Notices) -> None:
    """A signal to a driven instance is told as a signal: the instance is not due."""
    for number in range(TRIES):
        await storage.create(record(str(number)), lease=60)
    told = await heard(notices, lambda one: storage.send_signal(one, signal()))
    same(told.is_due, False)


@rule
async def come_to_rest(storage: WorkflowStorage, notices: Notices) -> None:
    """A save and a release that go to rest are told; a wake time to come makes nothing due."""
    for number in range(TRIES):
        await storage.create(record(str(number)), lease=60)
    saved = await heard(notices, lambda one: storage.save(checkpoint(one, lease=None, wake=60)))
    same(saved.is_due, False)


@rule
async def given_back(storage: WorkflowStorage, notices: Notices) -> None:
    """A release that leaves the instance due is told as something that is due."""
    for number in range(TRIES):
        await storage.create(record(str(number)), lease=60)
        await storage.send_signal(str(number), signal())
    told = await heard(notices, lambda one: storage.release(Lease(id=one, owner="one")))
    same(told.is_due, True)


@rule
async def by_others(storage: WorkflowStorage, notices: Notices, another: Another) -> None:
    """What another process does is told here."""
    other = await another()
    for number in range(TRIES):
        await storage.create(record(str(number)))
    told = await heard(notices, lambda one: other.send_signal(one, signal()))
    same(told.is_due, True)


@rule
async def until_cancelled(notices: Notices) -> None:
    """It goes on until it is cancelled, and then ends as cancelled."""
    listening = asyncio.create_task(notices.notices(lambda notice: None))
    for _ in range(10):
        await asyncio.sleep(0)
    same(listening.done(), False)
    listening.cancel()
    (ended,) = await asyncio.gather(listening, return_exceptions=True)
    same(type(ended), asyncio.CancelledError)
