"""Storages broken on purpose, one fault each, in whom they give what; `breaks` names the rule."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import evolve

from flux.storage import Lease, Notice, Record, Signal, SignalReceipt
from flux_storages import MemoryStorage


class ClaimedTwice(MemoryStorage):
    """Who may claim is found out a moment before it is written down."""

    breaks = "claiming.one_of_many"

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        found = await self.load(id, history=False)
        if found is not None and found[0].lease_until is None:
            await asyncio.sleep(0)
            self._instances[id].lease_until = None
        return await super().claim(id, owner=owner, lease=lease, held=held)


class DueTwice(MemoryStorage):
    """What is due is given to everybody who asks at that moment."""

    breaks = "due.two_claimers"

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        found = await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)
        self._lease(found, given=False)
        await asyncio.sleep(0)
        self._lease(found, given=True)
        return found

    def _lease(self, claimed: Sequence[Record], *, given: bool) -> None:
        for one in claimed:
            self._instances[one.id].lease_until = one.lease_until if given else None
            self._agenda.note(self._instances[one.id])


class SameRevision(MemoryStorage):
    """A claim leaves the revision as it is."""

    breaks = "claiming.at_rest"

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        claimed = await super().claim(id, owner=owner, lease=lease, held=held)
        if claimed is None:
            return None
        self._instances[id].revision -= 1
        return evolve(claimed, revision=claimed.revision - 1)


class LeaseForEver(MemoryStorage):
    """A lease that ran out still keeps others out."""

    breaks = "time.lease_runs_out"

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        found = await self.load(id, history=False)
        is_leased = found is not None and found[0].lease_until is not None
        if found is not None and is_leased and held != found[0].owner:
            return None
        return await super().claim(id, owner=owner, lease=lease, held=held)


class ByTheNewest(MemoryStorage):
    """What is due comes in the order of its ids."""

    breaks = "due.longest_due_first"

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        found = await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)
        return tuple(sorted(found, key=lambda one: one.id))


class GivenBackRenewed(MemoryStorage):
    """A renewal takes a lease anew that was given back."""

    breaks = "renewing.given_back"

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        for one in leases:
            instance = self._instances.get(one.id)
            if instance is not None and instance.owner == one.owner:
                instance.lease_until = self._clock.now()
        return await super().renew(leases, lease=lease)


class OnItsOwnClock(MemoryStorage):
    """The time is the machine's, whatever clock it is opened with."""

    breaks = "creating.lease_and_wake"

    def _check_open(self) -> None:
        super()._check_open()
        self._clock = _Machine()


class WrongTimeTold(MemoryStorage):
    """The time that it tells is not that by which it counts."""

    breaks = "time.told"

    async def time(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC)


class UnheardSignal(MemoryStorage):
    """A signal to an instance at rest leaves it there."""

    breaks = "wake_ups.signal_after_rest"

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        wake_at = self._instances[id].wake_at if id in self._instances else None
        receipt = await super().send_signal(id, signal, refused=refused)
        if receipt is not None:
            self._instances[id].wake_at = wake_at
        return receipt


class EverybodyIsDue(MemoryStorage):
    """Every notice says that something is due."""

    breaks = "notices.signal_to_a_driver"
    tell: Callable[[Notice], None] = staticmethod(lambda notice: None)

    async def notices(self, tell: Callable[[Notice], None]) -> None:
        self.tell = tell
        await asyncio.Event().wait()

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        receipt = await super().send_signal(id, signal, refused=refused)
        self.tell(Notice(id, is_due=True))
        return receipt


class NoNotices(MemoryStorage):
    """It offers notices, and gives none."""

    breaks = "notices.until_cancelled"

    async def notices(self, tell: Callable[[Notice], None]) -> None:
        return


class _Machine:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


BROKEN_CLAIMS = (
    ClaimedTwice,
    DueTwice,
    SameRevision,
    LeaseForEver,
    ByTheNewest,
    GivenBackRenewed,
    OnItsOwnClock,
    WrongTimeTold,
    UnheardSignal,
    EverybodyIsDue,
    NoNotices,
)
