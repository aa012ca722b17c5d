"""What each call of a storage does to an SQLite database: plain functions on a connection.

An act that writes runs in a transaction and raises before anything stands that should not; its
caller rolls back what is left. `now` is the time of the transaction.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from flux.errors import StaleInstanceError, UniqueKeyTakenError, UnseenSignalsError
from flux.storage import (
    Checkpoint,
    Entry,
    Lease,
    Record,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowSummary,
)
from flux_storages.sqlite_file import SQL
from flux_storages.sqlite_times import Moment, text, text_or_none, time_or_none


def create(
    connection: sqlite3.Connection,
    now: Moment,
    record: Record,
    entries: Sequence[Entry],
    *,
    lease: float | None,
    wake: float | None,
) -> bool:
    try:
        made = connection.execute(SQL["create"], _head(record, now, lease, wake))
    except sqlite3.IntegrityError as error:
        raise _key_taken(connection, record.id, record.unique_key) from error
    if made.rowcount == 0:
        owned = {"id": record.id, "owner": record.owner}
        return connection.execute(SQL["created_before"], owned).fetchone() is not None
    connection.execute(SQL["create_fixed"], (record.id, record.fixed.decode()))
    if record.labels:
        connection.executemany(SQL["create_label"], _labels(record.id, record.labels))
    _save_entries(connection, record.id, entries)
    return True


def save(connection: sqlite3.Connection, now: Moment, checkpoint: Checkpoint) -> int:
    try:
        last = _save_head(connection, now, checkpoint)
    except sqlite3.IntegrityError as error:
        key = connection.execute(SQL["key_of"], {"id": checkpoint.id}).fetchone()
        raise _key_taken(connection, checkpoint.id, key[0]) from error
    if last is None:
        return _saved_before(connection, checkpoint)
    _save_entries(connection, checkpoint.id, checkpoint.entries)
    if checkpoint.consumed:
        taken = checkpoint.consumed.items()
        rows = [{"id": checkpoint.id, "number": number, "taker": taker} for number, taker in taken]
        connection.executemany(SQL["consume"], rows)
    return last


def _save_head(connection: sqlite3.Connection, now: Moment, checkpoint: Checkpoint) -> int | None:
    """The number of the last signal; None if the head is not the one expected.

    RETURNING would cost a sixth of a save: instead a save that the last signal seen does not
    belong to finds nothing at first.
    """
    seen = checkpoint.seen
    if _goes_on(connection, now, checkpoint) or _leaves(connection, now, checkpoint, last=seen):
        return seen
    found = connection.execute(SQL["unsaved"], _expected(checkpoint)).fetchone()
    if found is None:
        return None
    (last,) = found
    if checkpoint.ended_at is not None and last > seen:
        raise UnseenSignalsError(checkpoint.id, last)
    _leaves(connection, now, checkpoint, last=last)
    return int(last)


def load(
    connection: sqlite3.Connection, id: str, *, history: bool
) -> tuple[Record, Sequence[Entry]] | None:
    row = connection.execute(SQL["load"], {"id": id}).fetchone()
    rows = connection.execute(SQL["load_history"], {"id": id}).fetchall() if history else ()
    entries = tuple(Entry(number=number, body=body.encode()) for number, body in rows)
    return None if row is None else (_record(row), entries)


def list_heads(connection: sqlite3.Connection, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
    conditions, values = _conditions(filter)
    if filter.after is not None:
        conditions.append(SQL["and_after"])
        values.append(filter.after)
    values += max(filter.limit, 0), max(filter.offset, 0)
    rows = connection.execute(" ".join((SQL["list"], *conditions, SQL["page"])), values)
    return tuple(_summary(row) for row in rows)


def count(connection: sqlite3.Connection, filter: WorkflowFilter) -> int:
    conditions, values = _conditions(filter)
    (found,) = connection.execute(" ".join((SQL["count"], *conditions)), values).fetchone()
    return int(found)


def delete(connection: sqlite3.Connection, now: Moment, id: str, *, revision: int) -> bool:
    deleted = connection.execute(SQL["delete"], {"id": id, "revision": revision}).fetchone()
    if deleted is None:
        return False
    connection.executemany(SQL["delete_label"], _labels(id, orjson.loads(deleted[0])))
    for rest in ("delete_fixed", "delete_history", "delete_inbox"):
        connection.execute(SQL[rest], {"id": id})
    return True


def claim(
    connection: sqlite3.Connection,
    now: Moment,
    id: str,
    *,
    owner: str,
    lease: float,
    held: str | None = None,
) -> Record | None:
    until = now.later(lease)
    terms = {"id": id, "owner": owner, "lease_until": until, "now": now.text, "held": held}
    row = connection.execute(SQL["claim"], terms).fetchone()
    return None if row is None else _record(row)


def claim_due(
    connection: sqlite3.Connection,
    now: Moment,
    *,
    owner: str,
    lease: float,
    limit: int,
    workflows: Sequence[str] | None,
) -> Sequence[Record]:
    ids = due(connection, now, limit=limit, workflows=workflows)
    claimed = (claim(connection, now, id, owner=owner, lease=lease) for id in ids)
    return tuple(record for record in claimed if record is not None)


def due(
    connection: sqlite3.Connection, now: Moment, *, limit: int, workflows: Sequence[str] | None
) -> Sequence[str]:
    terms: dict[str, object] = {"now": now.text, "limit": max(limit, 0)}
    statement = "due"
    if workflows is not None:
        statement = "due_of_workflows"
        terms["workflows"] = orjson.dumps(list(workflows)).decode()
    return [id for (id,) in connection.execute(SQL[statement], terms)]


def next_due(
    connection: sqlite3.Connection, now: Moment, *, workflows: Sequence[str] | None
) -> float | None:
    terms: dict[str, object] = {"now": now.text}
    statement = "next_due"
    if workflows is not None:
        statement = "next_due_of_workflows"
        terms["workflows"] = orjson.dumps(list(workflows)).decode()
    row = connection.execute(SQL[statement], terms).fetchone()
    return None if row is None else (datetime.fromisoformat(row[0]) - now.time).total_seconds()


def renew(
    connection: sqlite3.Connection, now: Moment, leases: Sequence[Lease], *, lease: float
) -> Mapping[str, int]:
    until = now.later(lease)
    renewed = {}
    for one in leases:
        terms = {"id": one.id, "owner": one.owner, "lease_until": until}
        row = connection.execute(SQL["renew"], terms).fetchone()
        if row is not None:
            renewed[one.id] = int(row[0])
    return renewed


def release(
    connection: sqlite3.Connection, now: Moment, lease: Lease, *, wake: float | None
) -> bool:
    terms = {
        "id": lease.id,
        "owner": lease.owner,
        "seen": lease.seen,
        "wake_at": now.later(wake),
        "now": now.text,
    }
    return connection.execute(SQL["release"], terms).rowcount == 1


def send_signal(
    connection: sqlite3.Connection,
    now: Moment,
    id: str,
    signal: Signal,
    *,
    refused: Sequence[str],
) -> SignalReceipt | None:
    head = connection.execute(SQL["inbox_of"], {"id": id}).fetchone()
    if head is None:
        return None
    status, last = head
    known = _known_signal(connection, id, signal.signal_id)
    if known is not None:
        return SignalReceipt(status=status, number=known.number, earlier=known.signal)
    if status in refused:
        return SignalReceipt(status=status, number=None)
    connection.execute(SQL["add_signal"], _signal(id, last + 1, signal))
    announced = {"id": id, "number": last + 1, "now": now.text}
    connection.execute(SQL["announce_signal"], announced)
    return SignalReceipt(status=status, number=last + 1)


def signals(connection: sqlite3.Connection, id: str, *, after: int) -> Sequence[StoredSignal]:
    rows = connection.execute(SQL["signals"], {"id": id, "after": after})
    return tuple(_stored_signal(row) for row in rows)


def _known_signal(
    connection: sqlite3.Connection, id: str, signal_id: str | None
) -> StoredSignal | None:
    if signal_id is None:
        return None
    asked = {"id": id, "signal_id": signal_id}
    row = connection.execute(SQL["known_signal"], asked).fetchone()
    return None if row is None else _stored_signal(row)


def _goes_on(connection: sqlite3.Connection, now: Moment, checkpoint: Checkpoint) -> bool:
    """Save the head of an instance that goes on as it was; False if it was not so."""
    if checkpoint.lease is None or checkpoint.wake is not None or checkpoint.ended_at is not None:
        return False
    row = (
        now.later(checkpoint.lease),
        text(checkpoint.updated_at),
        orjson.dumps(checkpoint.intent).decode(),
        checkpoint.payload.decode(),
        checkpoint.id,
        checkpoint.expected,
        checkpoint.owner,
        checkpoint.seen,
        checkpoint.status,
    )
    return connection.execute(SQL["save_and_go_on"], row).rowcount == 1


def _leaves(
    connection: sqlite3.Connection, now: Moment, checkpoint: Checkpoint, *, last: int
) -> bool:
    """Save any head whose last signal is the one named; False if there is no such head."""
    wake_at = now.later(checkpoint.wake)
    if checkpoint.lease is None and last > checkpoint.seen:
        wake_at = now.text if wake_at is None else min(wake_at, now.text)
    row = (
        checkpoint.status,
        now.later(checkpoint.lease),
        wake_at,
        text(checkpoint.updated_at),
        text_or_none(checkpoint.ended_at),
        orjson.dumps(checkpoint.intent).decode(),
        checkpoint.payload.decode(),
        checkpoint.id,
        checkpoint.expected,
        checkpoint.owner,
        last,
    )
    return connection.execute(SQL["save"], row).rowcount == 1


def _saved_before(connection: sqlite3.Connection, checkpoint: Checkpoint) -> int:
    row = connection.execute(SQL["saved_before"], _expected(checkpoint)).fetchone()
    if row is None:
        raise StaleInstanceError(checkpoint.id, checkpoint.expected)
    return int(row[0])


def _save_entries(connection: sqlite3.Connection, id: str, entries: Sequence[Entry]) -> None:
    for entry in entries:
        connection.execute(SQL["save_entry"], (id, entry.number, entry.body.decode()))


def _key_taken(connection: sqlite3.Connection, id: str, key: str | None) -> UniqueKeyTakenError:
    (holder,) = connection.execute(SQL["key_holder"], {"unique_key": key}).fetchone()
    return UniqueKeyTakenError(str(key), holder)


def _conditions(filter: WorkflowFilter) -> tuple[list[str], list[object]]:
    """The source and the conditions of a listing, and the values for their question marks."""
    source, values = SQL["from_all"], list[object]()
    conditions = []
    for number, label in enumerate(filter.labels.items()):
        if number == 0:
            source = SQL["from_label"]
        else:
            conditions.append(SQL["and_label"])
        values += label
    if filter.name is not None:
        conditions.append(SQL["and_workflow"])
        values.append(filter.name)
    if filter.ended_before is not None:
        conditions.append(SQL["and_ended_before"])
        values.append(text(filter.ended_before))
    statuses = filter.statuses
    if len(statuses) == 1:
        conditions.append(SQL["and_status"])
        values.append(statuses[0])
    elif statuses:
        conditions.append(SQL["and_statuses"])
        values.append(orjson.dumps(statuses).decode())
    return [source, *conditions], values


def _head(record: Record, now: Moment, lease: float | None, wake: float | None) -> Sequence[object]:
    return (
        record.id,
        record.workflow,
        record.version,
        record.status,
        record.revision,
        record.owner,
        now.later(lease),
        now.later(wake),
        orjson.dumps(dict(record.labels)).decode(),
        record.unique_key,
        text(record.created_at),
        text(record.updated_at),
        text_or_none(record.ended_at),
        orjson.dumps(record.intent).decode(),
        record.payload.decode(),
    )


def _expected(checkpoint: Checkpoint) -> Mapping[str, object]:
    return {"id": checkpoint.id, "owner": checkpoint.owner, "expected": checkpoint.expected}


def _signal(id: str, number: int, signal: Signal) -> Mapping[str, object]:
    return {
        "id": id,
        "number": number,
        "name": signal.name,
        "payload": signal.payload.decode(),
        "sent_at": text(signal.sent_at),
        "signal_id": signal.signal_id,
    }


def _labels(id: str, labels: Mapping[str, str]) -> Sequence[Mapping[str, object]]:
    return [{"name": name, "value": value, "id": id} for name, value in labels.items()]


def _record(row: Sequence[Any]) -> Record:
    return Record(
        id=row[0],
        workflow=row[1],
        version=row[2],
        status=row[3],
        revision=row[4],
        owner=row[5],
        lease_until=time_or_none(row[6]),
        wake_at=time_or_none(row[7]),
        labels=orjson.loads(row[8]),
        unique_key=row[9],
        created_at=datetime.fromisoformat(row[10]),
        updated_at=datetime.fromisoformat(row[11]),
        ended_at=time_or_none(row[12]),
        intent=tuple(orjson.loads(row[13])),
        payload=row[14].encode(),
        last_signal=row[15],
        fixed=row[16].encode(),
    )


def _summary(row: Sequence[Any]) -> WorkflowSummary:
    intent = orjson.loads(row[4])
    return WorkflowSummary(
        id=row[0],
        name=row[1],
        version=row[2],
        status=row[3],
        current_step=intent[0] if intent else None,
        labels=orjson.loads(row[5]),
        created_at=datetime.fromisoformat(row[6]),
        updated_at=datetime.fromisoformat(row[7]),
        ended_at=time_or_none(row[8]),
    )


def _stored_signal(row: Sequence[Any]) -> StoredSignal:
    number, name, payload, sent_at, signal_id, consumed_by = row
    signal = Signal(
        name=name,
        payload=payload.encode(),
        sent_at=datetime.fromisoformat(sent_at),
        signal_id=signal_id,
    )
    return StoredSignal(number=number, signal=signal, consumed_by=consumed_by)
