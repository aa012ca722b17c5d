"""Records as they stand in Redis: texts, times as ISO texts or microseconds, JSON as it came."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from flux.errors import StorageError
from flux.storage import (
    Checkpoint,
    Entry,
    Record,
    Signal,
    StoredSignal,
    WorkflowSummary,
)
from flux_storages.redis_lua import Argument

Reply = Sequence[bytes]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_A_DAY = 86400
_FARTHEST = timedelta(days=2_500_000)
"""Nobody waits longer; added to any time of this millennium it stays in the calendar."""


def created(record: Record, lease: float | None, wake: float | None) -> list[Argument]:
    """The arguments for a new head; its entries are to follow."""
    fields: list[Argument] = [
        "version", record.version, "revision", record.revision, "updated_at",
        iso(record.updated_at), "intent", orjson.dumps(record.intent), "payload", record.payload,
        "fixed", record.fixed,
    ]  # fmt: skip
    if record.owner is not None:
        fields += "owner", record.owner
    if record.unique_key is not None:
        fields += "unique_key", record.unique_key
    return [
        record.id, optional(record.owner), record.workflow, record.status, iso(record.created_at),
        iso(record.ended_at), micros(lease), micros(wake), optional(record.unique_key),
        orjson.dumps(dict(record.labels)), len(fields), *fields,
    ]  # fmt: skip


def saved(checkpoint: Checkpoint) -> list[Argument]:
    """The arguments for a save."""
    return [
        checkpoint.id, checkpoint.owner, checkpoint.expected, checkpoint.status,
        micros(checkpoint.lease), micros(checkpoint.wake), checkpoint.seen,
        iso(checkpoint.updated_at), iso(checkpoint.ended_at), orjson.dumps(checkpoint.intent),
        checkpoint.payload, len(checkpoint.entries), *numbered(checkpoint.entries),
        *(part for taken in checkpoint.consumed.items() for part in taken),
    ]  # fmt: skip


def numbered(entries: Iterable[Entry]) -> list[Argument]:
    """Numbers and bodies in turn."""
    return [part for entry in entries for part in (entry.number, entry.body)]


def described(signal: Signal) -> bytes:
    """All of a signal but its payload, as JSON."""
    fields = {"name": signal.name, "sent_at": iso(signal.sent_at), "signal_id": signal.signal_id}
    return orjson.dumps(fields)


def head(id: str, flat: Reply) -> Record:
    """The head from names and values in turn."""
    field = _pairs(flat)
    owner, unique_key = field.get(b"owner"), field.get(b"unique_key")
    return Record(
        id=id,
        workflow=field[b"workflow"].decode(),
        version=field[b"version"].decode(),
        status=field[b"status"].decode(),
        revision=int(field[b"revision"]),
        owner=None if owner is None else owner.decode(),
        lease_until=_moment(field[b"lease_until"]),
        wake_at=_moment(field[b"wake_at"]),
        labels=orjson.loads(field[b"labels"]),
        unique_key=None if unique_key is None else unique_key.decode(),
        created_at=_time(field[b"created_at"]),
        updated_at=_time(field[b"updated_at"]),
        ended_at=_maybe_time(field[b"ended_at"]),
        intent=tuple(orjson.loads(field[b"intent"])),
        fixed=field[b"fixed"],
        payload=field[b"payload"],
        last_signal=int(field[b"last_signal"]),
    )


def history(flat: Reply) -> Sequence[Entry]:
    """The entries by number, from numbers and bodies in turn."""
    bodies = {int(number): body for number, body in _pairs(flat).items()}
    return tuple(Entry(number=number, body=bodies[number]) for number in sorted(bodies))


def summary(row: Reply) -> WorkflowSummary:
    id, workflow, version, status, intent, labels, created_at, updated_at, ended_at = row
    steps = orjson.loads(intent)
    return WorkflowSummary(
        id=id.decode(),
        name=workflow.decode(),
        version=version.decode(),
        status=status.decode(),
        current_step=steps[0] if steps else None,
        labels=orjson.loads(labels),
        created_at=_time(created_at),
        updated_at=_time(updated_at),
        ended_at=_maybe_time(ended_at),
    )


def signal(description: bytes, payload: bytes) -> Signal:
    fields: dict[str, Any] = orjson.loads(description)
    sent_at = datetime.fromisoformat(fields["sent_at"])
    return Signal(
        name=fields["name"], payload=payload, sent_at=sent_at, signal_id=fields["signal_id"]
    )


def stored_signal(row: Sequence[Any]) -> StoredSignal:
    number, description, payload, taker = row
    return StoredSignal(
        number=number,
        signal=signal(description, payload),
        consumed_by=None if taker is None else taker.decode(),
    )


def optional(text: str | bytes | None) -> bytes:
    """The text with a `=` in front, so that an empty one is told from none."""
    if text is None:
        return b""
    return b"=" + (text if isinstance(text, bytes) else text.encode())


def iso(moment: datetime | None) -> str:
    """A text in UTC, always of one length, so that its order is that of the times."""
    if moment is None:
        return ""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def micros(seconds: float | None) -> str | int:
    """Whole microseconds; nothing for None."""
    if seconds is None:
        return ""
    if 0 <= seconds <= _A_DAY:
        # The rule, in a quarter of the time.
        return round(seconds * 1_000_000)
    try:
        duration = timedelta(seconds=seconds)
    except OverflowError as error:
        raise _beyond(f"{seconds} seconds") from error
    if duration > _FARTHEST:
        raise _beyond(f"{seconds:g} seconds")
    return duration // _MICROSECOND


def since_epoch(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def _beyond(what: str) -> StorageError:
    return StorageError(f"Redis cannot keep this value, nothing was saved: {what} is too far away")


def _pairs(flat: Reply) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _moment(text: bytes) -> datetime | None:
    return None if text == b"" else _EPOCH + timedelta(microseconds=int(text))


def _maybe_time(text: bytes) -> datetime | None:
    return None if text == b"" else _time(text)


def _time(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode())
