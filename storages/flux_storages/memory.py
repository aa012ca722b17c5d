"""Instances in the memory of this process: for tests, for a first try, for what may be lost."""

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from attrs import Factory, define

from flux.clock import Clock, SystemClock
from flux.errors import (
    StaleInstanceError,
    StorageClosedError,
    StorageError,
    StorageURLError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
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
from flux_storages import ttl as time_to_live
from flux_storages.memory_values import Values


class MemoryStorage:
    """A storage for the engines of one event loop; what it holds outlives their closing."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._own_clock = clock
        self._clock: Clock = clock or SystemClock()
        self._users = 0
        self._instances: dict[str, _Instance] = {}
        self._holders: dict[str, str] = {}
        self._labelled: dict[tuple[str, str], set[str]] = {}
        self._agenda = _Agenda()
        self._values = Values()

    def __repr__(self) -> str:
        return "MemoryStorage()"

    @classmethod
    def from_url(cls, url: str) -> "MemoryStorage":
        """Make one from `memory:`."""
        if url != "memory:":
            raise StorageURLError(url, "memory: takes no path and no settings")
        return cls()

    async def init(self, clock: Clock) -> None:
        if self._users == 0:
            self._clock = self._own_clock or clock
        self._users += 1

    async def close(self) -> None:
        self._check_open()
        self._users -= 1

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        self._check_open()
        known = self._instances.get(record.id)
        if known is not None:
            return record.owner is not None and (known.revision, known.owner) == (1, record.owner)
        now = self._clock.now()
        instance = _Instance.of(record, entries)
        instance.lease_until = _later(now, lease)
        instance.wake_at = _later(now, wake)
        self._take_key(record.id, record.unique_key, live=record.ended_at is None)
        self._instances[record.id] = instance
        for label in instance.first.labels.items():
            self._labelled.setdefault(label, set()).add(record.id)
        self._agenda.note(instance)
        return True

    async def save(self, checkpoint: Checkpoint) -> int:
        self._check_open()
        instance = self._instances.get(checkpoint.id)
        if instance is None or instance.owner != checkpoint.owner:
            raise StaleInstanceError(checkpoint.id, checkpoint.expected)
        if instance.revision != checkpoint.expected:
            if instance.revision == checkpoint.expected + 1:
                return len(instance.inbox)
            raise StaleInstanceError(checkpoint.id, checkpoint.expected)
        if checkpoint.ended_at is not None and len(instance.inbox) > checkpoint.seen:
            raise UnseenSignalsError(checkpoint.id, len(instance.inbox))
        now = self._clock.now()
        lease_until, wake_at = _later(now, checkpoint.lease), _later(now, checkpoint.wake)
        # What can fail comes first: after it, nothing keeps the save from being whole.
        if instance.first.unique_key is not None:
            live = checkpoint.ended_at is None
            self._take_key(checkpoint.id, instance.first.unique_key, live=live)
        instance.lease_until, instance.wake_at = lease_until, wake_at
        instance.save(checkpoint, now)
        self._agenda.note(instance)
        return len(instance.inbox)

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        self._check_open()
        instance = self._instances.get(id)
        if instance is None:
            return None
        if not history:
            return instance.record(), ()
        return instance.record(), tuple(map(instance.entries.__getitem__, sorted(instance.entries)))

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        self._check_open()
        fitting: Iterable[_Instance] = self._fitting(filter)
        if filter.after is not None:
            last = self._instances.get(filter.after)
            if last is None:
                return ()
            fitting = (instance for instance in fitting if instance.age < last.age)
        start, length = max(filter.offset, 0), max(filter.limit, 0)
        newest = heapq.nlargest(start + length, fitting, key=lambda instance: instance.age)
        return tuple(instance.summary() for instance in newest[start:])

    async def count(self, filter: WorkflowFilter) -> int:
        self._check_open()
        return sum(1 for _ in self._fitting(filter))

    async def delete(self, id: str, *, revision: int) -> bool:
        self._check_open()
        instance = self._instances.get(id)
        if instance is None or instance.revision != revision or instance.lease_until is not None:
            return False
        self._take_key(id, instance.first.unique_key, live=False)
        for label in instance.first.labels.items():
            self._labelled[label].remove(id)
            if not self._labelled[label]:
                del self._labelled[label]
        del self._instances[id]
        self._agenda.forget(instance)
        return True

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        self._check_open()
        instance = self._instances.get(id)
        if instance is None:
            return None
        now = self._clock.now()
        until = instance.lease_until
        if until is not None and until > now and (held is None or instance.owner != held):
            return None
        return self._give(instance, owner, _after(now, lease))

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        self._check_open()
        now = self._clock.now()
        until = _after(now, lease)
        due = self._agenda.take_due(now, limit, workflows)
        return tuple(self._give(instance, owner, until) for instance in due)

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        self._check_open()
        now = self._clock.now()
        first = self._agenda.first_after(now, workflows)
        return None if first is None else (first - now).total_seconds()

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        self._check_open()
        until = _after(self._clock.now(), lease)
        renewed = {}
        for one in leases:
            instance = self._held(one)
            if instance is not None:
                instance.lease_until = until
                self._agenda.note(instance)
                renewed[one.id] = len(instance.inbox)
        return renewed

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        self._check_open()
        instance = self._held(lease)
        if instance is None:
            return False
        now = self._clock.now()
        if wake is not None:
            instance.wake_at = _after(now, wake)
        instance.lease_until = None
        instance.wake_if_signalled(lease.seen, now)
        self._agenda.note(instance)
        return True

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        self._check_open()
        instance = self._instances.get(id)
        if instance is None:
            return None
        earlier = instance.known(signal.signal_id)
        if earlier is not None:
            return SignalReceipt(
                status=instance.status, number=earlier.number, earlier=earlier.signal
            )
        if instance.status in refused:
            return SignalReceipt(status=instance.status, number=None)
        number = instance.receive(signal)
        if instance.lease_until is None:
            instance.wake_if_signalled(number - 1, self._clock.now())
            self._agenda.note(instance)
        return SignalReceipt(status=instance.status, number=number)

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        self._check_open()
        instance = self._instances.get(id)
        return () if instance is None else tuple(instance.inbox[max(after, 0) :])

    async def get_value(self, key: str) -> bytes | None:
        self._check_open()
        return self._values.get(key, self._clock.now())

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        self._check_open()
        now = self._clock.now()
        self._values.set(key, value, now, _later(now, time_to_live.checked(ttl)))

    async def delete_value(self, key: str) -> bool:
        self._check_open()
        return self._values.delete(key, self._clock.now())

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        time_to_live.checked(ttl)
        if await self.get_value(key) != expected:
            return False
        await self.set_value(key, value, ttl=ttl)
        return True

    def _check_open(self) -> None:
        if self._users == 0:
            raise StorageClosedError(repr(self))

    def _take_key(self, id: str, key: str | None, *, live: bool) -> None:
        if key is None:
            return
        holder = self._holders.get(key)
        if not live:
            if holder == id:
                del self._holders[key]
        elif holder is not None and holder != id:
            raise UniqueKeyTakenError(key, holder)
        else:
            self._holders[key] = id

    def _give(self, instance: "_Instance", owner: str, until: datetime) -> Record:
        instance.revision += 1
        instance.owner = owner
        instance.lease_until = until
        self._agenda.note(instance)
        return instance.record()

    def _held(self, lease: Lease) -> "_Instance | None":
        instance = self._instances.get(lease.id)
        if instance is None or instance.owner != lease.owner or instance.lease_until is None:
            return None
        return instance

    def _fitting(self, filter: WorkflowFilter) -> "Iterable[_Instance]":
        statuses = filter.statuses
        for instance in self._candidates(filter.labels):
            if filter.name is not None and instance.first.workflow != filter.name:
                continue
            if not instance.ended_before(filter.ended_before):
                continue
            if not statuses or instance.status in statuses:
                yield instance

    def _candidates(self, labels: Mapping[str, str]) -> "Iterable[_Instance]":
        if not labels:
            return self._instances.values()
        found = [self._labelled.get(label, set()) for label in labels.items()]
        found.sort(key=len)
        return [self._instances[id] for id in set.intersection(*found)]


@define(eq=False)
class _Instance:
    """One instance: `first` for what never changes, the other fields for what does."""

    first: Record
    status: str
    revision: int
    owner: str | None
    updated_at: datetime
    ended_at: datetime | None
    intent: tuple[str, ...]
    payload: bytes
    entries: dict[int, Entry]
    lease_until: datetime | None = None
    wake_at: datetime | None = None
    inbox: list[StoredSignal] = Factory(list)
    numbers: dict[str, int] = Factory(dict)
    noted: datetime | None = None
    """The time under which the agenda has it."""

    @classmethod
    def of(cls, record: Record, entries: Sequence[Entry]) -> "_Instance":
        labels = MappingProxyType(dict(record.labels))
        return cls(
            first=_frozen_with(record, labels),
            status=record.status,
            revision=record.revision,
            owner=record.owner,
            updated_at=record.updated_at,
            ended_at=record.ended_at,
            intent=record.intent,
            payload=record.payload,
            entries={entry.number: entry for entry in entries},
        )

    @property
    def due_at(self) -> datetime | None:
        return self.wake_at if self.lease_until is None else self.lease_until

    @property
    def age(self) -> tuple[datetime, str]:
        return self.first.created_at, self.first.id

    def ended_before(self, moment: datetime | None) -> bool:
        """Whether it has ended before the moment; always for None."""
        return moment is None or (self.ended_at is not None and self.ended_at < moment)

    def save(self, checkpoint: Checkpoint, now: datetime) -> None:
        self.revision += 1
        self.status = checkpoint.status
        self.intent = checkpoint.intent
        self.payload = checkpoint.payload
        self.updated_at = checkpoint.updated_at
        self.ended_at = checkpoint.ended_at
        for entry in checkpoint.entries:
            self.entries[entry.number] = entry
        if checkpoint.consumed:
            for number, taker in checkpoint.consumed.items():
                self.consume(number, taker)
        if self.lease_until is None:
            self.wake_if_signalled(checkpoint.seen, now)

    def wake_if_signalled(self, seen: int, now: datetime) -> None:
        if len(self.inbox) > seen and (self.wake_at is None or self.wake_at > now):
            self.wake_at = now

    def receive(self, signal: Signal) -> int:
        number = len(self.inbox) + 1
        self.inbox.append(StoredSignal(number=number, signal=signal))
        if signal.signal_id is not None:
            self.numbers[signal.signal_id] = number
        return number

    def known(self, signal_id: str | None) -> StoredSignal | None:
        number = None if signal_id is None else self.numbers.get(signal_id)
        return None if number is None else self.inbox[number - 1]

    def consume(self, number: int, taker: str) -> None:
        if 0 < number <= len(self.inbox):
            signal = self.inbox[number - 1].signal
            self.inbox[number - 1] = StoredSignal(number=number, signal=signal, consumed_by=taker)

    def record(self) -> Record:
        first = self.first
        return Record(
            id=first.id,
            workflow=first.workflow,
            version=first.version,
            status=self.status,
            revision=self.revision,
            owner=self.owner,
            lease_until=self.lease_until,
            wake_at=self.wake_at,
            labels=first.labels,
            unique_key=first.unique_key,
            created_at=first.created_at,
            updated_at=self.updated_at,
            ended_at=self.ended_at,
            intent=self.intent,
            fixed=first.fixed,
            payload=self.payload,
            last_signal=len(self.inbox),
        )

    def summary(self) -> WorkflowSummary:
        first = self.first
        return WorkflowSummary(
            id=first.id,
            name=first.workflow,
            version=first.version,
            status=self.status,
            current_step=self.intent[0] if self.intent else None,
            labels=first.labels,
            created_at=first.created_at,
            updated_at=self.updated_at,
            ended_at=self.ended_at,
        )


class _Agenda:
    """Who is due when: a heap in which an instance stands under its due time or an earlier one.

    A save that puts the due time off, as nearly every save does, leaves the heap alone; the
    instance is put where it belongs when its old time has come. What is left behind by a time that
    moved nearer is skipped, and swept out when it is the greater part.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str, int, _Instance]] = []
        self._order = itertools.count()
        self._noted = 0

    def note(self, instance: "_Instance") -> None:
        """Take in that the due time of `instance` may have changed."""
        due = instance.wake_at if instance.lease_until is None else instance.lease_until
        if due is None or (instance.noted is not None and instance.noted <= due):
            return
        if instance.noted is None:
            self._noted += 1
        instance.noted = due
        heapq.heappush(self._heap, (due, instance.first.id, next(self._order), instance))
        if len(self._heap) > 64 + 2 * self._noted:
            self._sweep()

    def forget(self, instance: "_Instance") -> None:
        if instance.noted is not None:
            instance.noted = None
            self._noted -= 1

    def take_due(
        self, now: datetime, limit: int, workflows: Sequence[str] | None
    ) -> "Sequence[_Instance]":
        """Take out up to `limit` instances that are due, the longest due first."""
        taken: list[_Instance] = []
        passed: list[_Instance] = []
        while len(taken) < limit and self._heap and self._heap[0][0] <= now:
            instance = self._pop()
            if instance is not None:
                fits = workflows is None or instance.first.workflow in workflows
                (taken if fits else passed).append(instance)
        for instance in passed:
            self.note(instance)
        return taken

    def first_after(self, now: datetime, workflows: Sequence[str] | None) -> datetime | None:
        """When the first is due of those that are not due yet; None for none."""
        passed: list[_Instance] = []
        found: datetime | None = None
        while found is None and self._heap:
            instance = self._pop()
            if instance is not None:
                passed.append(instance)
                fits = workflows is None or instance.first.workflow in workflows
                if fits and instance.due_at is not None and instance.due_at > now:
                    found = instance.due_at
        for instance in passed:
            self.note(instance)
        return found

    def _pop(self) -> "_Instance | None":
        """Take out the first; None, with its place put right, if that is not its due time."""
        time, _, _, instance = heapq.heappop(self._heap)
        if time != instance.noted:
            return None
        self.forget(instance)
        if instance.due_at == time:
            return instance
        self.note(instance)
        return None

    def _sweep(self) -> None:
        self._heap = [place for place in self._heap if place[0] == place[-1].noted]
        heapq.heapify(self._heap)


@lru_cache(maxsize=64)
def _duration(seconds: float) -> timedelta:
    # Leases are all of one length; making it anew would be a fifth of a save.
    return timedelta(seconds=seconds)


def _later(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else _after(now, seconds)


def _after(now: datetime, seconds: float) -> datetime:
    try:
        return now + _duration(seconds)
    except OverflowError as error:
        why = f"memory cannot keep this value, nothing was saved: {error}"
        raise StorageError(why) from error


def _frozen_with(record: Record, labels: Mapping[str, str]) -> Record:
    return Record(
        id=record.id,
        workflow=record.workflow,
        version=record.version,
        status=record.status,
        labels=labels,
        unique_key=record.unique_key,
        created_at=record.created_at,
        updated_at=record.updated_at,
        fixed=record.fixed,
    )
