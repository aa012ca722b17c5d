"""Storages broken on purpose, one fault each, in what they give back; `breaks` names the rule."""

import asyncio
from collections.abc import Sequence

from attrs import evolve

from flux.storage import (
    Entry,
    Record,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowSummary,
)
from flux_storages import MemoryStorage


class FalseIsNull(MemoryStorage):
    """`false` is read back as null."""

    breaks = "json_values.entries"

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        found = await super().load(id, history=history)
        if found is None:
            return None
        head, entries = found
        return head, tuple(
            evolve(one, body=b"null" if one.body == b"false" else one.body) for one in entries
        )


class CutShort(MemoryStorage):
    """A column is as wide as it is."""

    breaks = "json_values.large"

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        found = await super().load(id, history=history)
        if found is None:
            return None
        return evolve(found[0], payload=found[0].payload[:65_535]), found[1]


class UnstablePages(MemoryStorage):
    """Those of one moment come now in this order, now in that."""

    breaks = "listing.pages"
    turn = 0

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        self.turn += 1
        found = await super().list(evolve(filter, limit=1000, offset=0))
        backwards = sorted(found, key=lambda one: one.id, reverse=self.turn % 2 == 1)
        ordered = sorted(backwards, key=lambda one: one.created_at, reverse=True)
        return ordered[max(filter.offset, 0) :][: max(filter.limit, 0)]


class PagesByPlace(MemoryStorage):
    """A page begins where the last one ended by number, whatever has come and gone since."""

    breaks = "listing.pages_under_changes"
    places: dict[str, int]

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        self.places = getattr(self, "places", {})
        start = self.places.get(filter.after or "", 0)
        found = await super().list(evolve(filter, after=None, offset=start))
        for place, one in enumerate(found, start + 1):
            self.places[one.id] = place
        return found


class LabelsIgnored(MemoryStorage):
    """A filter by labels gives everything."""

    breaks = "listing.by_labels"

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        return await super().list(evolve(filter, labels={}))


class CountsThePage(MemoryStorage):
    """A count is how many a list gives."""

    breaks = "listing.count"

    async def count(self, filter: WorkflowFilter) -> int:
        return len(await self.list(filter))


class ForgottenId(MemoryStorage):
    """The id of a signal is forgotten when it is consumed."""

    breaks = "signals.known_id_before_refusal"

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        for one in await self.signals(id):
            if one.consumed_by is not None:
                self._instances[id].numbers.pop(one.signal.signal_id or "", None)
        return await super().send_signal(id, signal, refused=refused)


class InboxByName(MemoryStorage):
    """Signals come in the order of their names."""

    breaks = "signals.order_of_arrival"

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        found = await super().signals(id, after=after)
        return tuple(sorted(found, key=lambda one: one.signal.name))


class ConsumedAreGone(MemoryStorage):
    """A consumed signal leaves the inbox."""

    breaks = "signals.consumed_are_kept"

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        found = await super().signals(id, after=after)
        return tuple(one for one in found if one.consumed_by is None)


class InboxStays(MemoryStorage):
    """A delete leaves the inbox to the next instance of the id."""

    breaks = "deleting.made_anew"

    async def delete(self, id: str, *, revision: int) -> bool:
        inbox = await self.signals(id)
        deleted = await super().delete(id, revision=revision)
        if deleted:
            self.left = {**getattr(self, "left", {}), id: list(inbox)}
        return deleted

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        if id in self._instances and id in getattr(self, "left", {}):
            self._instances[id].inbox += self.left.pop(id)
        return await super().load(id, history=history)


class DeletedWhileDriven(MemoryStorage):
    """A delete does not look at the lease."""

    breaks = "deleting.leased"

    async def delete(self, id: str, *, revision: int) -> bool:
        if id in self._instances:
            self._instances[id].lease_until = None
        return await super().delete(id, revision=revision)


class ValuesForEver(MemoryStorage):
    """A shared value has no end."""

    breaks = "values_ttl.gone_after_it"

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await super().set_value(key, value)


class SwappedTwice(MemoryStorage):
    """A shared value is looked at a moment before it is set."""

    breaks = "values_compare.many_at_once"

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        if await self.get_value(key) != expected:
            return False
        await asyncio.sleep(0)
        await self.set_value(key, value, ttl=ttl)
        return True


class NeverClosed(MemoryStorage):
    """After its last close it answers as before."""

    breaks = "opening.calls_after_close"

    async def close(self) -> None:
        pass


BROKEN_READS = (
    FalseIsNull,
    CutShort,
    UnstablePages,
    PagesByPlace,
    LabelsIgnored,
    CountsThePage,
    ForgottenId,
    InboxByName,
    ConsumedAreGone,
    InboxStays,
    DeletedWhileDriven,
    ValuesForEver,
    SwappedTwice,
    NeverClosed,
)
