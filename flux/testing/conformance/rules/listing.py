"""Lists, filters, pages, counts."""

import asyncio
from datetime import timedelta
from typing import Any

from flux.storage import WorkflowFilter, WorkflowStorage
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record


@rule
async def newest_first(storage: WorkflowStorage) -> None:
    """Heads come newest first, those of one moment by id, the greatest first."""
    for id, second in (("a", 1), ("c", 2), ("b", 2), ("d", 0)):
        await storage.create(record(id, created_at=START + timedelta(seconds=second)))
    same(await ids(storage), ["c", "b", "a", "d"])


@rule
async def summary(storage: WorkflowStorage) -> None:
    """A summary is the head without data; the first step intended is the current one."""
    await storage.create(record(labels={"a": "b"}, intent=("x", "y"), ended_at=START))
    (one,) = await storage.list(WorkflowFilter())
    same((one.id, one.name, one.version, one.status), ("order-7", "order", "1", "running"))
    same((one.current_step, one.labels), ("x", {"a": "b"}))
    same((one.created_at, one.updated_at, one.ended_at), (START, START, START))


@rule
async def no_current_step(storage: WorkflowStorage) -> None:
    """Where no step is intended, none is current."""
    await storage.create(record())
    (one,) = await storage.list(WorkflowFilter())
    same((one.current_step, one.ended_at), (None, None))


@rule
async def by_name_and_status(storage: WorkflowStorage) -> None:
    """Name and status must both fit; of several statuses, one."""
    for id, workflow, status in (
        ("1", "a", "x"),
        ("2", "a", "y"),
        ("3", "b", "x"),
        ("4", "a", "z"),
    ):
        await storage.create(record(id, workflow=workflow, status=status))
    same(await ids(storage, name="a"), ["4", "2", "1"])
    same(await ids(storage, status="x"), ["3", "1"])
    same(await ids(storage, status=["x", "y"]), ["3", "2", "1"])
    same(await ids(storage, name="a", status=("x", "z")), ["4", "1"])
    same(await ids(storage, status=[]), ["4", "3", "2", "1"])


@rule
async def by_new_status(storage: WorkflowStorage) -> None:
    """A save moves the instance from one status to the other."""
    await storage.create(record(status="x"))
    await storage.save(checkpoint(status="y"))
    same((await ids(storage, status="x"), await ids(storage, status="y")), ([], ["order-7"]))


@rule
async def by_labels(storage: WorkflowStorage) -> None:
    """All labels asked for must be there with these values."""
    await storage.create(record("1", labels={"city": "Oslo", "size": "L"}))
    await storage.create(record("2", labels={"city": "Oslo", "size": "M"}))
    await storage.create(record("3", labels={"city": "Bergen", "size": "L"}, status="paused"))
    same(await ids(storage, labels={"city": "Oslo"}), ["2", "1"])
    same(await ids(storage, labels={"city": "Oslo", "size": "L"}), ["1"])
    same(await ids(storage, labels={"size": "L"}, status="paused", name="order"), ["3"])
    same(await ids(storage, labels={"size": "Oslo"}), [])


@rule
async def by_all_conditions(storage: WorkflowStorage) -> None:
    """All conditions must hold: what fails one of them is neither listed nor counted."""
    fits: dict[str, Any] = {
        "workflow": "order",
        "status": "failed",
        "labels": {"city": "Oslo", "size": "L"},
        "ended_at": START,
    }
    await storage.create(record("fits", **fits))
    others: list[dict[str, Any]] = [
        {"workflow": "refund"},
        {"status": "completed"},
        {"labels": {"city": "Oslo", "size": "M"}},
        {"labels": {"city": "Bergen", "size": "L"}},
        {"ended_at": START + timedelta(seconds=1)},
        {"ended_at": None},
    ]
    for number, other in enumerate(others):
        await storage.create(record(str(number), **(fits | other)))
    asked = WorkflowFilter(
        name="order", status="failed", labels=fits["labels"],
        ended_before=START + timedelta(seconds=1),
    )  # fmt: skip
    same([one.id for one in await storage.list(asked)], ["fits"])
    same(await storage.count(asked), 1)


@rule
async def limit_and_offset(storage: WorkflowStorage) -> None:
    """`offset` skips, `limit` ends the list."""
    for number in range(5):
        await storage.create(record(str(number)))
    same(await ids(storage, limit=2), ["4", "3"])
    same(await ids(storage, limit=2, offset=3), ["1", "0"])
    same(await ids(storage, limit=2, offset=5), [])
    same(await ids(storage, limit=0), [])


@rule
async def default_limit(storage: WorkflowStorage) -> None:
    """A list has at most a hundred heads unless more are asked for."""
    for number in range(101):
        await storage.create(record(str(number)))
    same((len(await ids(storage)), len(await ids(storage, limit=200))), (100, 101))


@rule
async def as_many_as_asked(storage: WorkflowStorage) -> None:
    """A list is no shorter than its limit says, if there is more than a thousand."""
    await asyncio.gather(*(storage.create(record(str(number))) for number in range(1_100)))
    same(len(await ids(storage, limit=2_000)), 1_100)
    same(await storage.count(WorkflowFilter()), 1_100)


@rule
async def pages(storage: WorkflowStorage) -> None:
    """Page by page, each from after the last, everything comes once."""
    for number in range(7):
        created_at = START + timedelta(seconds=number // 3)
        await storage.create(record(str(number), created_at=created_at))
    pages = [await ids(storage, limit=3)]
    while pages[-1]:
        pages.append(await ids(storage, limit=3, after=pages[-1][-1]))
    same(pages, [["6", "5", "4"], ["3", "2", "1"], ["0"], []])


@rule
async def pages_with_filter(storage: WorkflowStorage) -> None:
    """`after` goes with other conditions and with `offset`, and need not fit itself."""
    for number in range(8):
        status, labels = (("x", "y")[number % 2], {"a": "b"} if number < 6 else {})
        await storage.create(record(str(number), status=status, labels=labels))
    same(await ids(storage, status="x", after="5"), ["4", "2", "0"])
    same(await ids(storage, labels={"a": "b"}, after="7", offset=4), ["1", "0"])


@rule
async def pages_under_changes(storage: WorkflowStorage) -> None:
    """New and deleted instances neither repeat nor hide others on later pages."""
    for id in "bcdefg":
        await storage.create(record(id))
    same(await ids(storage, limit=2), ["g", "f"])
    for id in "hi":
        await storage.create(record(id))
    same(await ids(storage, limit=2, after="f"), ["e", "d"])
    for id in "iheg":
        await storage.delete(id, revision=1)
    same(await ids(storage, limit=1, after="d"), ["c"])
    await storage.create(record("a"))
    same(await ids(storage, limit=2, after="c"), ["b", "a"])


@rule
async def after_a_deleted_one(storage: WorkflowStorage) -> None:
    """After an instance that is not stored the list is empty."""
    await storage.create(record("a"))
    same(await ids(storage, after="b"), [])


@rule
async def count(storage: WorkflowStorage) -> None:
    """A count obeys the conditions, whatever limit, after and offset say."""
    for number in range(5):
        labels = {"a": "b"} if number else {}
        await storage.create(record(str(number), status="xyz"[number % 3], labels=labels))
    same(await storage.count(WorkflowFilter()), 5)
    same(await storage.count(WorkflowFilter(limit=1, after="nobody", offset=9)), 5)
    same(await storage.count(WorkflowFilter(status=["x", "y", "x"], name="order")), 4)
    same(await storage.count(WorkflowFilter(labels={"a": "b"}, status="x")), 1)
