"""Storages broken on purpose, one fault each, in what they write; `breaks` names the rule."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve

from flux.errors import StaleInstanceError, UnseenSignalsError
from flux.storage import Checkpoint, Entry, Record
from flux_storages import MemoryStorage


class LostUpdate(MemoryStorage):
    """Whoever saves last wins: nobody looks at the revision."""

    breaks = "saving.stale_revision"

    async def save(self, checkpoint: Checkpoint) -> int:
        found = await self.load(checkpoint.id, history=False)
        if found is not None:
            checkpoint = evolve(checkpoint, expected=found[0].revision)
        return await super().save(checkpoint)


class AnyOwner(MemoryStorage):
    """The revision alone counts, whoever has claimed the instance."""

    breaks = "saving.stale_owner"

    async def save(self, checkpoint: Checkpoint) -> int:
        found = await self.load(checkpoint.id, history=False)
        if found is not None:
            checkpoint = evolve(checkpoint, owner=found[0].owner or "")
        return await super().save(checkpoint)


class HalfCheckpoint(MemoryStorage):
    """The head is written first, the entries a moment later."""

    breaks = "together.nothing_halfway"

    async def save(self, checkpoint: Checkpoint) -> int:
        last = await super().save(evolve(checkpoint, entries=()))
        await asyncio.sleep(0)
        for entry in checkpoint.entries:
            self._instances[checkpoint.id].entries[entry.number] = entry
        return last


class HalfWhenCutOff(MemoryStorage):
    """The signals are consumed by a write of its own, which a cancelled caller does not make."""

    breaks = "lost_answers.save"

    async def save(self, checkpoint: Checkpoint) -> int:
        last = await super().save(evolve(checkpoint, consumed={}))
        await asyncio.sleep(0)
        for number, taker in checkpoint.consumed.items():
            self._instances[checkpoint.id].consume(number, taker)
        return last


class RefusedRepetition(MemoryStorage):
    """A save that is repeated after a lost answer is stale."""

    breaks = "saving.repetition"

    async def save(self, checkpoint: Checkpoint) -> int:
        found = await self.load(checkpoint.id, history=False)
        if found is not None and found[0].revision != checkpoint.expected:
            raise StaleInstanceError(checkpoint.id, checkpoint.expected)
        return await super().save(checkpoint)


class EntriesAdded(MemoryStorage):
    """An entry under an old number does not replace the old one."""

    breaks = "saving.entries"

    async def save(self, checkpoint: Checkpoint) -> int:
        known = self._instances[checkpoint.id].entries if checkpoint.id in self._instances else {}
        new = tuple(entry for entry in checkpoint.entries if entry.number not in known)
        return await super().save(evolve(checkpoint, entries=new))


class CallersTime(MemoryStorage):
    """A lease is counted from the time that the caller wrote into its save."""

    breaks = "time.not_that_of_the_records"

    async def save(self, checkpoint: Checkpoint) -> int:
        last = await super().save(checkpoint)
        if checkpoint.lease is not None:
            until = checkpoint.updated_at + timedelta(seconds=checkpoint.lease)
            self._instances[checkpoint.id].lease_until = until
        return last


class EndOverSignal(MemoryStorage):
    """An instance ends although a signal has come that its driver has not seen."""

    breaks = "unseen_signals.end_is_refused"

    async def save(self, checkpoint: Checkpoint) -> int:
        try:
            return await super().save(checkpoint)
        except UnseenSignalsError as unseen:
            return await super().save(evolve(checkpoint, seen=unseen.last))


class LostWake(MemoryStorage):
    """A save that goes to rest does not look at the inbox."""

    breaks = "wake_ups.signal_before_rest"

    async def save(self, checkpoint: Checkpoint) -> int:
        seen = 10**9 if checkpoint.ended_at is None else checkpoint.seen
        return await super().save(evolve(checkpoint, seen=seen))


class KeyStaysTaken(MemoryStorage):
    """Nobody gives a unique key free when its instance ends."""

    breaks = "unique_keys.freed_at_the_end"

    def _take_key(self, id: str, key: str | None, *, live: bool) -> None:
        if live:
            super()._take_key(id, key, live=live)


class KeyNeverTaken(MemoryStorage):
    """Two live instances may hold one key."""

    breaks = "unique_keys.taken"

    def _take_key(self, id: str, key: str | None, *, live: bool) -> None:
        pass


class CreatedTwice(MemoryStorage):
    """A second create of an id writes over the first."""

    breaks = "creating.id_exists"

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        self._instances.pop(record.id, None)
        return await super().create(record, entries=entries, lease=lease, wake=wake)


class NumberedAnew(MemoryStorage):
    """Entries get their numbers from their places in the history."""

    breaks = "loading.entries_by_number"

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        found = await super().load(id, history=history)
        if found is None:
            return None
        head, entries = found
        return head, tuple(Entry(number=n, body=one.body) for n, one in enumerate(entries, 1))


class RoundedTime(MemoryStorage):
    """Times are kept in whole seconds."""

    breaks = "creating.round_trip"

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        if record.ended_at is not None:
            record = evolve(record, ended_at=record.ended_at.replace(microsecond=0))
        return await super().create(record, entries=entries, lease=lease, wake=wake)


BROKEN_SAVES = (
    LostUpdate,
    AnyOwner,
    HalfCheckpoint,
    HalfWhenCutOff,
    RefusedRepetition,
    EntriesAdded,
    CallersTime,
    EndOverSignal,
    LostWake,
    KeyStaysTaken,
    KeyNeverTaken,
    CreatedTwice,
    NumberedAnew,
    RoundedTime,
)
