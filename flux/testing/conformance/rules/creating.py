"""A new instance."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

from attrs import evolve

from flux.storage import Entry, StoredSignal, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import bodies, due, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import ALIKE, ODD_TEXTS, START, checkpoint, record, signal


@rule
async def round_trip(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What was stored comes back as it was given."""
    given = record(
        labels={"city": "Tromsø", "": "'"},
        unique_key="key",
        ended_at=START + timedelta(microseconds=1),
        intent=("reserve", "charge"),
        fixed='{"input":{"sku":"ß日😀"}}'.encode(),
        payload=b'{"direction": "forward",  "n": 1.50}',
    )
    same(await storage.create(given), True)
    same(await storage.load("order-7"), (given, ()))


@rule
async def microseconds(storage: WorkflowStorage) -> None:
    """Times are kept to the microsecond, and instances are told apart by one."""
    times = [START + timedelta(microseconds=n) for n in (123_456, 123_457, 999_999)]
    given = record("b", created_at=times[0], updated_at=times[2], ended_at=times[1])
    await storage.create(given)
    await storage.create(record("a", created_at=times[1]))
    same(await storage.load("b"), (given, ()))
    same(await ids(storage), ["a", "b"])
    sent = evolve(signal(), sent_at=times[2])
    await storage.send_signal("b", sent)
    same(await storage.signals("b"), (StoredSignal(number=1, signal=sent),))


@rule
async def texts_are_told_apart(storage: WorkflowStorage) -> None:
    """Ids, names, statuses, labels, keys and ids of signals are equal only if each character is."""
    await storage.create(record("inbox", workflow="inbox"))
    for id in ALIKE:
        made = record(id, workflow=id, status=id, labels={"city": id}, unique_key=id)
        same(await storage.create(made), True)
        await storage.send_signal("inbox", signal(signal_id=id))
    for id in ALIKE:
        same(await ids(storage, name=id), [id])
        same(await ids(storage, status=id), [id])
        same(await ids(storage, labels={"city": id}), [id])
    same([one.signal.signal_id for one in await storage.signals("inbox")], list(ALIKE))


@rule
async def large_payloads(storage: WorkflowStorage) -> None:
    """A megabyte in head, entry and signal comes back byte for byte."""
    large = b'"' + "日本語x".encode() * 100_000 + b'"'
    await storage.create(record(fixed=large, payload=large), entries=[Entry(number=1, body=large)])
    await storage.send_signal("order-7", signal(payload=large))
    stored = await head(storage)
    (received,) = await storage.signals("order-7")
    same((stored.fixed, stored.payload), (large, large))
    same(received.signal.payload, large)
    same(await bodies(storage), {1: large})


@rule
async def odd_ids(storage: WorkflowStorage) -> None:
    """Any text is an id, a label, a key, a signal's name."""
    for id in ODD_TEXTS:
        await storage.create(record(id, labels={id: id}, unique_key=id, owner=id))
        await storage.send_signal(id, signal(id, signal_id=id))
        await storage.save(checkpoint(id, owner=id, entries=(Entry(number=1, body=b"1"),)))
        same((await head(storage, id)).labels, {id: id})
        same(await ids(storage, labels={id: id}), [id])
        same(await storage.signals(id), (StoredSignal(number=1, signal=signal(id, signal_id=id)),))


@rule
async def times_of_other_zones(storage: WorkflowStorage) -> None:
    """An instant given in another zone is the same instant."""
    late = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    await storage.create(record("late", created_at=late))
    await storage.create(record("later", created_at=datetime(2026, 1, 1, 4, tzinfo=UTC)))
    same((await head(storage, "late")).created_at, late)
    same(await ids(storage), ["later", "late"])


@rule
async def labels_changed_later(storage: WorkflowStorage) -> None:
    """What the caller does to its labels afterwards does not show."""
    labels = {"city": "Oslo"}
    await storage.create(record(labels=labels))
    labels["city"] = "Bergen"
    same((await head(storage)).labels, {"city": "Oslo"})


@rule
async def entries(storage: WorkflowStorage) -> None:
    """The first entries are stored with the head."""
    await storage.create(record(), entries=[Entry(number=2, body=b"2"), Entry(number=1, body=b"1")])
    same(await bodies(storage), {1: b"1", 2: b"2"})


@rule
async def lease_and_wake(storage: WorkflowStorage, clock: ManualClock) -> None:
    """Lease and wake are counted from now; what the record says of them is ignored."""
    given = record(lease_until=START + timedelta(1), wake_at=START + timedelta(1))
    await storage.create(given, lease=30, wake=2.5)
    stored = await head(storage)
    same(stored.lease_until, START + timedelta(seconds=30))
    same(stored.wake_at, START + timedelta(seconds=2.5))


@rule
async def neither_lease_nor_wake(storage: WorkflowStorage) -> None:
    """Without lease and wake the instance rests and is due never."""
    await storage.create(record(lease_until=START, wake_at=START))
    stored = await head(storage)
    same((stored.lease_until, stored.wake_at), (None, None))
    same(await due(storage), [])


@rule
async def id_exists(storage: WorkflowStorage) -> None:
    """A second create of an id answers False and writes nothing."""
    await storage.create(record(labels={"n": "1"}))
    second = record(owner="two", labels={"n": "2"}, unique_key="key")
    same(await storage.create(second, entries=[Entry(number=1, body=b"1")]), False)
    same(await storage.load("order-7"), (record(labels={"n": "1"}), ()))
    same(await ids(storage, labels={"n": "2"}), [])
    same(await storage.create(record("other", unique_key="key")), True)


@rule
async def repetition(storage: WorkflowStorage) -> None:
    """A repeated create that finds its own owner at revision 1 has succeeded."""
    await storage.create(record(payload=b"1"), lease=30)
    same(await storage.create(record(payload=b"2"), lease=60), True)
    same((await head(storage)).payload, b"1")


@rule
async def repetition_after_a_save(storage: WorkflowStorage) -> None:
    """A create that comes after a save of its own is no repetition."""
    await storage.create(record())
    await storage.save(checkpoint())
    same(await storage.create(record()), False)


@rule
async def repetition_without_owner(storage: WorkflowStorage) -> None:
    """Who gives no owner cannot know the instance for its own."""
    same(await storage.create(record(owner=None)), True)
    same(await storage.create(record(owner=None)), False)


@rule
async def many_creators(storage: WorkflowStorage) -> None:
    """Of many who create an id at once, one does."""
    made = [storage.create(record(owner=str(number))) for number in range(20)]
    same(sorted(await asyncio.gather(*made)), [False] * 19 + [True])
