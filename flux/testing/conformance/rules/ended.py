"""Lists of what has ended before a moment."""

from datetime import timedelta, timezone

from flux.storage import WorkflowFilter, WorkflowStorage
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record


@rule
async def ended_before(storage: WorkflowStorage) -> None:
    """Only what has ended before the moment fits, whenever it was created."""
    for number in range(5):
        created_at = START + timedelta(seconds=number)
        await storage.create(record(str(number), created_at=created_at))
    for number in (0, 1, 4):
        ended_at = START + timedelta(seconds=number % 4)
        await storage.save(checkpoint(str(number), ended_at=ended_at, status="completed"))
    moment = START + timedelta(seconds=1)
    same(await ids(storage, ended_before=moment), ["4", "0"])
    same(await ids(storage, ended_before=moment, limit=1, offset=1), ["0"])
    same(await ids(storage, ended_before=moment, after="4"), ["0"])
    same(await ids(storage, ended_before=moment, status="running"), [])
    same(await ids(storage, ended_before=START), [])
    later = moment + timedelta(microseconds=1)
    same(await storage.count(WorkflowFilter(ended_before=later, status="completed")), 3)
    same(await storage.count(WorkflowFilter(ended_before=later, name="other")), 0)
    same(await storage.count(WorkflowFilter(ended_before=moment)), 2)


@rule
async def ended_before_it_was_created(storage: WorkflowStorage) -> None:
    """One whose end lies before its beginning, as where clocks differ, is found as well."""
    late = START + timedelta(days=1)
    await storage.create(record("early", created_at=late, ended_at=START))
    await storage.create(record("live", created_at=late))
    await storage.create(record("later", created_at=late, ended_at=late))
    moment = START + timedelta(seconds=1)
    same(await ids(storage, ended_before=moment), ["early"])
    same(await ids(storage, ended_before=moment, after="live"), ["early"])
    same(await ids(storage, ended_before=moment, after="early"), [])


@rule
async def ended_early_among_others(storage: WorkflowStorage) -> None:
    """One that ended before it was created does not hide those created after it."""
    for id, created, ended in (("a", 2, 1), ("b", 3, 4), ("c", 20, 1), ("d", 30, 31)):
        created_at, ended_at = (START + timedelta(seconds=n) for n in (created, ended))
        await storage.create(record(id, created_at=created_at, ended_at=ended_at))
    moment = START + timedelta(seconds=10)
    same(await ids(storage, ended_before=moment), ["c", "b", "a"])
    await storage.delete("c", revision=1)
    same(await ids(storage, ended_before=moment), ["b", "a"])


@rule
async def ended_before_in_another_zone(storage: WorkflowStorage) -> None:
    """The moment is an instant, in whatever zone it is written."""
    await storage.create(record(ended_at=START))
    far_east = timezone(timedelta(hours=9))
    same(await ids(storage, ended_before=START.astimezone(far_east)), [])
    moment = (START + timedelta(seconds=1)).astimezone(far_east)
    same(await ids(storage, ended_before=moment), ["order-7"])


@rule
async def live_again(storage: WorkflowStorage) -> None:
    """What was made live again has not ended."""
    await storage.create(record(ended_at=START))
    await storage.save(checkpoint())
    same(await ids(storage, ended_before=START + timedelta(days=1)), [])
