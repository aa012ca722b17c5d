"""What the kit's other processes do to the storage, each a task by its name."""

import asyncio
import base64
import json
import pickle
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from flux.clock import Clock, SystemClock
from flux.storage import Entry, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.sample import checkpoint, record, signal
from flux.testing.conformance.subject import opened_at

Task = Callable[..., Awaitable[Any]]


async def create(storage: WorkflowStorage, *, me: str, ids: list[str]) -> list[str]:
    """Create these instances; those that were not there before."""
    return [id for id in ids if await storage.create(record(id, owner=me))]


async def count(storage: WorkflowStorage, *, me: str, times: int) -> int:
    """Add one to the number in `order-7` so many times, each under a claim; the tries needed."""
    tries = done = 0
    while done < times:
        tries += 1
        owner = f"{me} {tries}"
        held = await storage.claim("order-7", owner=owner, lease=30)
        if held is None and await storage.load("order-7") is None:
            raise LookupError("the instance that was created before is not there")
        if held is not None:
            number = b"%d" % (int(held.payload) + 1)
            await storage.save(
                checkpoint(expected=held.revision, owner=owner, payload=number, lease=None)
            )
            done += 1
    return tries


async def claim_due(storage: WorkflowStorage, *, me: str) -> list[str]:
    """Claim what is due, a few at a time, until nothing is; the ids."""
    claimed: list[str] = []
    while found := await storage.claim_due(owner=me, lease=30, limit=3):
        claimed += [one.id for one in found]
    return claimed


async def send(storage: WorkflowStorage, *, me: str, number: int) -> None:
    """Send signals: so many of one's own, and so many whose ids all processes share."""
    for n in range(number):
        await storage.send_signal("order-7", signal(f"{me} {n}"))
        await storage.send_signal("order-7", signal("all", signal_id=f"e-{n}"))


async def save(storage: WorkflowStorage) -> None:
    """Save `order-7` for ever, two entries a save; a line is written after some."""
    revision = 1
    while True:
        body = b"%d" % revision
        entries = tuple(Entry(number=2 * revision + n, body=body) for n in range(2))
        await storage.save(checkpoint(expected=revision, payload=body, entries=entries))
        revision += 1
        if revision == 20:
            print("saving", flush=True)  # noqa: T201 - the word to the other process


async def increase(storage: Any, *, key: str, times: int) -> None:
    """Add one to a shared value so many times."""
    for _ in range(times):
        while True:
            now = await storage.get_value(key)
            new = b"%d" % (int(now or b"0") + 1)
            if await storage.compare_and_set_value(key, now, new):
                break


TASKS: dict[str, Task] = {
    task.__name__: task for task in (create, count, claim_due, send, save, increase)
}


def main() -> None:
    """Open the storage, say so, wait for the word to begin, do the task, answer."""
    opening, task, terms = sys.argv[2:]
    asyncio.run(_do(json.loads(opening), TASKS[task], json.loads(terms)))


async def _do(opening: dict[str, Any], task: Task, terms: dict[str, Any]) -> None:
    storage = opened_at(pickle.loads(base64.b64decode(opening["address"])))
    clock: Clock = SystemClock() if opening["real_time"] else ManualClock()
    await storage.init(clock)
    try:
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await task(storage, **terms)), flush=True)  # noqa: T201
    finally:
        await storage.close()
