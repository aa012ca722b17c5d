"""Storages broken on purpose, one fault each, at an edge; `breaks` names the rule."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve

from flux.errors import StaleInstanceError
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
from flux_storages import MemoryStorage
from flux_storages.memory import _Instance

MOMENT = timedelta(microseconds=1)


class TakenOverTooEarly(MemoryStorage):
    """A lease has run out a microsecond before its end."""

    breaks = "claiming.to_the_microsecond"

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        found = await self.load(id, history=False)
        until = None if found is None else found[0].lease_until
        if found is not None and until is not None and until - MOMENT <= self._clock.now():
            held = found[0].owner
        return await super().claim(id, owner=owner, lease=lease, held=held)


class EndedIsOver(MemoryStorage):
    """What has ended cannot be claimed."""

    breaks = "claiming.ended"

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        found = await self.load(id, history=False)
        if found is not None and found[0].ended_at is not None:
            return None
        return await super().claim(id, owner=owner, lease=lease, held=held)


class LimitBeforeNames(MemoryStorage):
    """The limit counts what is due, before the names of the workflows are looked at."""

    breaks = "due.limit_after_workflows"

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        due = self._agenda.take_due(self._clock.now(), limit, None)
        for instance in due:
            self._agenda.note(instance)
        fitting = [one for one in due if workflows is None or one.first.workflow in workflows]
        claims = [await self.claim(one.first.id, owner=owner, lease=lease) for one in fitting]
        return tuple(one for one in claims if one is not None)


class OldWakeStays(MemoryStorage):
    """A save without wake time writes none."""

    breaks = "saving.nothing_stays"

    async def save(self, checkpoint: Checkpoint) -> int:
        found = await self.load(checkpoint.id, history=False)
        wake_at = None if found is None else found[0].wake_at
        if checkpoint.wake is None and wake_at is not None:
            wake = (wake_at - self._clock.now()).total_seconds()
            checkpoint = evolve(checkpoint, wake=wake)
        return await super().save(checkpoint)


class OwnUpdateTime(MemoryStorage):
    """When it was updated is when it was written."""

    breaks = "saving.updated_at"

    async def save(self, checkpoint: Checkpoint) -> int:
        return await super().save(evolve(checkpoint, updated_at=self._clock.now()))


class WholeSeconds(MemoryStorage):
    """A lease has whole seconds."""

    breaks = "saving.fractions"

    async def save(self, checkpoint: Checkpoint) -> int:
        lease = None if checkpoint.lease is None else float(int(checkpoint.lease))
        return await super().save(evolve(checkpoint, lease=lease))


class RefusedButKept(MemoryStorage):
    """A save that is refused has extended the lease."""

    breaks = "saving.stale_leaves_nothing"

    async def save(self, checkpoint: Checkpoint) -> int:
        try:
            return await super().save(checkpoint)
        except StaleInstanceError:
            await self.renew([Lease(id=checkpoint.id, owner=checkpoint.owner)], lease=99)
            raise


class RepeatedAndTaken(MemoryStorage):
    """A repeated save takes the lease that was given back."""

    breaks = "saving.repetition_after_a_release"

    async def save(self, checkpoint: Checkpoint) -> int:
        last = await super().save(checkpoint)
        instance = self._instances[checkpoint.id]
        if checkpoint.lease is not None and instance.lease_until is None:
            instance.lease_until = self._clock.now() + timedelta(seconds=checkpoint.lease)
        return last


class AllOrNone(MemoryStorage):
    """One lost lease keeps the others from being renewed."""

    breaks = "renewing.beside_lost_ones"

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        if any(self._held(one) is None for one in leases):
            return {}
        return await super().renew(leases, lease=lease)


class NeverShorter(MemoryStorage):
    """A renewal adds to a lease, and takes nothing away."""

    breaks = "renewing.from_now"

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        held = [self._held(one) for one in leases]
        before = [(one, one.lease_until) for one in held if one is not None]
        renewed = await super().renew(leases, lease=lease)
        for instance, until in before:
            assert until is not None
            instance.lease_until = max(until, instance.lease_until or until)
        return renewed


class FirstOfThem(MemoryStorage):
    """A call renews a thousand leases."""

    breaks = "renewing.a_thousand"

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        return await super().renew(leases[:1000], lease=lease)


class PageOfTheInbox(MemoryStorage):
    """The inbox is read by a query that gives a thousand rows."""

    breaks = "signals.a_thousand"

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        return (await super().signals(id, after=after))[:1000]


class LastTaker(MemoryStorage):
    """Who consumes a signal is written beside all that were consumed."""

    breaks = "signals.takers_stay"

    async def save(self, checkpoint: Checkpoint) -> int:
        consumed = dict(checkpoint.consumed)
        for one in await self.signals(checkpoint.id):
            if one.consumed_by is not None and consumed:
                consumed[one.number] = next(iter(checkpoint.consumed.values()))
        return await super().save(evolve(checkpoint, consumed=consumed))


class EndedIsDeaf(MemoryStorage):
    """A signal to an instance that has ended wakes nobody."""

    breaks = "wake_ups.ended"

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        receipt = await super().send_signal(id, signal, refused=refused)
        instance = self._instances.get(id)
        if instance is not None and instance.ended_at is not None:
            instance.wake_at = None
        return receipt


class OneConditionIsEnough(MemoryStorage):
    """Name and labels are joined by `or`."""

    breaks = "listing.by_all_conditions"

    def _fitting(self, filter: WorkflowFilter) -> "Iterable[_Instance]":
        both = filter.name is not None and filter.labels
        for instance in super()._fitting(evolve(filter, name=None, labels={}) if both else filter):
            has_labels = filter.labels.items() <= instance.first.labels.items()
            if not both or has_labels or instance.first.workflow == filter.name:
                yield instance


class AtMostAThousand(MemoryStorage):
    """A list ends at a thousand, whatever was asked for."""

    breaks = "listing.as_many_as_asked"

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        return await super().list(evolve(filter, limit=min(filter.limit, 1000)))


class Milliseconds(MemoryStorage):
    """Times are kept in milliseconds."""

    breaks = "creating.microseconds"

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        cut = evolve(record, created_at=_cut(record.created_at))
        return await super().create(cut, entries=entries, lease=lease, wake=wake)


class CaseIgnored(MemoryStorage):
    """The server's collation takes capitals and small letters for the same."""

    breaks = "creating.texts_are_told_apart"

    def _take_key(self, id: str, key: str | None, *, live: bool) -> None:
        super()._take_key(id, None if key is None else key.lower(), live=live)


class EmptyIsNone(MemoryStorage):
    """An empty key is none."""

    breaks = "unique_keys.empty"

    def _take_key(self, id: str, key: str | None, *, live: bool) -> None:
        super()._take_key(id, key or None, live=live)


def _cut(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


BROKEN_EDGES = (
    TakenOverTooEarly,
    EndedIsOver,
    LimitBeforeNames,
    OldWakeStays,
    OwnUpdateTime,
    WholeSeconds,
    RefusedButKept,
    RepeatedAndTaken,
    AllOrNone,
    NeverShorter,
    FirstOfThem,
    PageOfTheInbox,
    LastTaker,
    EndedIsDeaf,
    OneConditionIsEnough,
    AtMostAThousand,
    Milliseconds,
    CaseIgnored,
    EmptyIsNone,
)
