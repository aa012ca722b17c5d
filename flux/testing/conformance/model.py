"""What a storage is to the kit's state machine: the contract of `flux.storage`, as plain as can be.

Nothing here is fast, and nothing is shared with a storage that could be wrong in the same way:
heads are kept whole, and every question looks at all of them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import Factory, define, evolve

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
from flux.testing.clock import ManualClock


@define
class _Kept:
    head: Record
    entries: dict[int, Entry]
    inbox: list[StoredSignal] = Factory(list)

    def due_at(self) -> datetime | None:
        head = self.head
        return head.wake_at if head.lease_until is None else head.lease_until

    def wake_if_signalled(self, seen: int, now: datetime) -> None:
        wake_at = self.head.wake_at
        if self.head.last_signal > seen and (wake_at is None or wake_at > now):
            self.head = evolve(self.head, wake_at=now)


class Model:
    """Answers as a storage must, at the time of `clock`."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._values: dict[str, tuple[bytes, datetime | None]] = {}

    def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        known = self._kept.get(record.id)
        if known is not None:
            own = record.owner is not None and known.head.owner == record.owner
            return own and known.head.revision == 1
        if record.ended_at is None:
            self._check_key(record.id, record.unique_key)
        head = evolve(record, lease_until=self._later(lease), wake_at=self._later(wake))
        self._kept[record.id] = _Kept(head, {entry.number: entry for entry in entries})
        return True

    def save(self, checkpoint: Checkpoint) -> int:
        kept = self._kept.get(checkpoint.id)
        if kept is None or kept.head.owner != checkpoint.owner:
            raise StaleInstanceError(checkpoint.id, checkpoint.expected)
        last = kept.head.last_signal
        if kept.head.revision == checkpoint.expected + 1:
            return last
        if kept.head.revision != checkpoint.expected:
            raise StaleInstanceError(checkpoint.id, checkpoint.expected)
        if checkpoint.ended_at is None:
            self._check_key(checkpoint.id, kept.head.unique_key)
        elif last > checkpoint.seen:
            raise UnseenSignalsError(checkpoint.id, last)
        self._write(kept, checkpoint)
        return last

    def _write(self, kept: _Kept, checkpoint: Checkpoint) -> None:
        kept.head = evolve(
            kept.head,
            revision=kept.head.revision + 1,
            status=checkpoint.status,
            intent=checkpoint.intent,
            payload=checkpoint.payload,
            updated_at=checkpoint.updated_at,
            ended_at=checkpoint.ended_at,
            lease_until=self._later(checkpoint.lease),
            wake_at=self._later(checkpoint.wake),
        )
        kept.entries |= {entry.number: entry for entry in checkpoint.entries}
        kept.inbox = [
            evolve(one, consumed_by=checkpoint.consumed.get(one.number, one.consumed_by))
            for one in kept.inbox
        ]
        if checkpoint.lease is None:
            kept.wake_if_signalled(checkpoint.seen, self._clock.now())

    def load(self, id: str) -> tuple[Record, Sequence[Entry]] | None:
        kept = self._kept.get(id)
        if kept is None:
            return None
        return kept.head, tuple(kept.entries[number] for number in sorted(kept.entries))

    def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        fitting = self._fitting(filter)
        if filter.after is not None:
            last = self._kept.get(filter.after)
            fitting = [one for one in fitting if last and _age(one) < _age(last.head)]
        start = max(filter.offset, 0)
        return tuple(map(_summary, fitting[start : start + max(filter.limit, 0)]))

    def count(self, filter: WorkflowFilter) -> int:
        return len(self._fitting(filter))

    def delete(self, id: str, *, revision: int) -> bool:
        kept = self._kept.get(id)
        if kept is None or kept.head.revision != revision or kept.head.lease_until is not None:
            return False
        del self._kept[id]
        return True

    def claim(self, id: str, *, owner: str, lease: float, held: str | None = None) -> Record | None:
        kept = self._kept.get(id)
        if kept is None:
            return None
        until = kept.head.lease_until
        is_free = until is None or until <= self._clock.now()
        is_own = held is not None and kept.head.owner == held
        return self._give(kept, owner, lease) if is_free or is_own else None

    def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        now = self._clock.now()
        due = [(at, id) for at, id in self._agenda(workflows) if at <= now]
        return tuple(
            self._give(self._kept[id], owner, lease) for _, id in sorted(due)[: max(limit, 0)]
        )

    def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        now = self._clock.now()
        to_come = [at for at, _ in self._agenda(workflows) if at > now]
        return (min(to_come) - now).total_seconds() if to_come else None

    def renew(self, leases: Sequence[Lease], *, lease: float) -> dict[str, int]:
        renewed = {}
        for kept in filter(None, map(self._held, leases)):
            kept.head = evolve(kept.head, lease_until=self._later(lease))
            renewed[kept.head.id] = kept.head.last_signal
        return renewed

    def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        kept = self._held(lease)
        if kept is None:
            return False
        wake_at = kept.head.wake_at if wake is None else self._later(wake)
        kept.head = evolve(kept.head, lease_until=None, wake_at=wake_at)
        kept.wake_if_signalled(lease.seen, self._clock.now())
        return True

    def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        kept = self._kept.get(id)
        if kept is None:
            return None
        status = kept.head.status
        for one in kept.inbox:
            if signal.signal_id is not None and one.signal.signal_id == signal.signal_id:
                return SignalReceipt(status=status, number=one.number, earlier=one.signal)
        if status in refused:
            return SignalReceipt(status=status, number=None)
        number = len(kept.inbox) + 1
        kept.inbox.append(StoredSignal(number=number, signal=signal))
        kept.head = evolve(kept.head, last_signal=number)
        if kept.head.lease_until is None:
            kept.wake_if_signalled(number - 1, self._clock.now())
        return SignalReceipt(status=status, number=number)

    def signals(self, id: str) -> Sequence[StoredSignal]:
        return tuple(self._kept[id].inbox) if id in self._kept else ()

    def get_value(self, key: str) -> bytes | None:
        text, ends_at = self._values.get(key, (None, None))
        return None if ends_at is not None and ends_at <= self._clock.now() else text

    def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        if ttl is not None and ttl <= 0:
            raise ValueError("no time to live")
        self._values[key] = value, self._later(ttl)

    def delete_value(self, key: str) -> bool:
        was_there = self.get_value(key) is not None
        self._values.pop(key, None)
        return was_there

    def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        if ttl is not None and ttl <= 0:
            raise ValueError("no time to live")
        is_as_expected = self.get_value(key) == expected
        if is_as_expected:
            self.set_value(key, value, ttl=ttl)
        return is_as_expected

    def _later(self, seconds: float | None) -> datetime | None:
        return None if seconds is None else self._clock.now() + timedelta(seconds=seconds)

    def _check_key(self, id: str, key: str | None) -> None:
        for holder in (kept.head for kept in self._kept.values()):
            is_live = holder.ended_at is None and holder.id != id
            if key is not None and is_live and holder.unique_key == key:
                raise UniqueKeyTakenError(key, holder.id)

    def _give(self, kept: _Kept, owner: str, lease: float) -> Record:
        kept.head = evolve(
            kept.head,
            revision=kept.head.revision + 1,
            owner=owner,
            lease_until=self._later(lease),
        )
        return kept.head

    def _held(self, lease: Lease) -> _Kept | None:
        kept = self._kept.get(lease.id)
        is_held = kept and kept.head.owner == lease.owner and kept.head.lease_until is not None
        return kept if is_held else None

    def _agenda(self, workflows: Sequence[str] | None) -> Sequence[tuple[datetime, str]]:
        """When instances of these workflows are due, with their ids."""
        found = [(kept.due_at(), kept.head) for kept in self._kept.values()]
        return [
            (at, head.id)
            for at, head in found
            if at is not None and (workflows is None or head.workflow in workflows)
        ]

    def _fitting(self, asked: WorkflowFilter) -> Sequence[Record]:
        heads = (kept.head for kept in self._kept.values())
        return sorted((head for head in heads if _fits(head, asked)), key=_age, reverse=True)


def _fits(head: Record, asked: WorkflowFilter) -> bool:
    moment = asked.ended_before
    return (
        asked.name in (None, head.workflow)
        and (not asked.statuses or head.status in asked.statuses)
        and asked.labels.items() <= head.labels.items()
        and (moment is None or (head.ended_at is not None and head.ended_at < moment))
    )


def _age(head: Record) -> tuple[datetime, str]:
    return head.created_at, head.id


def _summary(head: Record) -> WorkflowSummary:
    return WorkflowSummary(
        id=head.id,
        name=head.workflow,
        version=head.version,
        status=head.status,
        current_step=head.intent[0] if head.intent else None,
        labels=head.labels,
        created_at=head.created_at,
        updated_at=head.updated_at,
        ended_at=head.ended_at,
    )
