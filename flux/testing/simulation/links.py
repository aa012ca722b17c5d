"""The way of one process to the storage: slow, failing, or cut where the seed says so."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from flux.clock import Clock
from flux.errors import StorageError, StorageUnavailableError
from flux.storage import (
    Checkpoint,
    Entry,
    Lease,
    Record,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
)
from flux.testing.simulation.faults import Strike
from flux.testing.simulation.hosts import Host
from flux.testing.simulation.ledger import Ledger, ViolationError
from flux.testing.simulation.trace import Trace

T = TypeVar("T")

_LOST_FOR_GOOD = 0.25
"""The share of errors after which the engine does not try again."""


_MOST_AT_A_MOMENT = 5_000
"""So many calls without any time going by are taken for a loop that never ends."""


class Net:
    """What all links of one storage share: the storage, its books and clock, and the strikes."""

    def __init__(
        self,
        storage: WorkflowStorage,
        clock: Clock,
        *,
        chance: Random,
        strikes: dict[int, Strike],
        latency: float,
        longest: float,
        trace: Trace,
        violated: Callable[[str], None],
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.ledger = Ledger(trace.time)
        self.calls = 0
        self.is_calm = False
        self._chance = chance
        self._strikes = strikes
        self._latency = latency
        self._longest = longest
        self._moment, self._calls_at_moment = 0.0, 0
        self._trace = trace
        self._violated = violated

    async def reach(
        self, host: Host, what: str, id: str, act: Callable[[], Awaitable[T]], *, counts: bool
    ) -> T:
        """Do `act` for a process, with whatever strikes it."""
        strike: Strike | None = None
        self._look_for_spinning(host, what, id)
        if counts:
            self.calls += 1
            strike = None if self.is_calm else self._strikes.pop(self.calls, None)
        latency = self._latency
        if latency:
            await asyncio.sleep(self._chance.random() * latency)
        if strike is not None:
            await self._strike_before(host, what, id, strike)
        answer = await act()
        if strike is not None:
            await self._strike_after(host, what, id, strike)
        if latency:
            await asyncio.sleep(self._chance.random() * latency)
        return answer

    def _look_for_spinning(self, host: Host, what: str, id: str) -> None:
        now = self._trace.time()
        if now > self._moment:
            self._moment, self._calls_at_moment = now, 0
        self._calls_at_moment += 1
        if self._calls_at_moment > _MOST_AT_A_MOMENT:
            self._violated(f"S24: {host} spins at {now:.3f} s: {what} {id}")
            raise StorageError("the simulation is over")

    def book(self, write: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Let the ledger know of a write that was done."""
        try:
            return write(*arguments, **options)
        except ViolationError as violation:
            self._violated(str(violation))
            return None

    def note(self, host: Host, what: str, *details: object) -> None:
        self._trace.note(host.name, what, *details)

    async def _strike_before(self, host: Host, what: str, id: str, strike: Strike) -> None:
        if strike in _BEFORE:
            self.note(host, f"FAULT {strike} {what}", id)
        if strike is Strike.CRASH_BEFORE:
            host.die()
            await asyncio.sleep(0)
        elif strike is Strike.ERROR_BEFORE:
            raise self._error()
        elif strike is Strike.LONG_BEFORE:
            await asyncio.sleep(self._chance.uniform(0.2, 1) * self._longest)
        elif strike is Strike.STALL_BEFORE:
            host.stall(self._chance.uniform(0.5, 1) * self._longest)
            await asyncio.sleep(0)

    async def _strike_after(self, host: Host, what: str, id: str, strike: Strike) -> None:
        if strike in _AFTER:
            self.note(host, f"FAULT {strike} {what}", id)
        if strike is Strike.CRASH_AFTER:
            host.die()
            await asyncio.sleep(0)
        elif strike is Strike.ERROR_AFTER:
            raise self._error()
        elif strike is Strike.LONG_AFTER:
            await asyncio.sleep(self._chance.uniform(0.2, 1) * self._longest)
        elif strike is Strike.STALL_AFTER:
            host.stall(self._chance.uniform(0.5, 1) * self._longest)
            await asyncio.sleep(0)

    def _error(self) -> StorageError:
        if self._chance.random() < _LOST_FOR_GOOD:
            return StorageError("the simulation lets this call fail")
        return StorageUnavailableError("the storage", "the simulation lets this call fail")


_BEFORE = (Strike.CRASH_BEFORE, Strike.ERROR_BEFORE, Strike.LONG_BEFORE, Strike.STALL_BEFORE)
_AFTER = (Strike.CRASH_AFTER, Strike.ERROR_AFTER, Strike.LONG_AFTER, Strike.STALL_AFTER)


class Link:
    """A `WorkflowStorage` for one process, in front of the one that all share."""

    def __init__(self, net: Net, host: Host) -> None:
        self._net = net
        self._host = host

    def __repr__(self) -> str:
        return f"the link of {self._host}"

    async def init(self, clock: Clock) -> None:
        pass

    async def close(self) -> None:
        pass

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        async def create() -> bool:
            net = self._net
            made = await net.storage.create(record, entries=entries, lease=lease, wake=wake)
            net.note(self._host, "create", record.id, record.status, *record.intent, made)
            if made:
                net.book(
                    net.ledger.created,
                    self._host,
                    record,
                    entries,
                    now=net.clock.now(),
                    lease=lease,
                    wake=wake,
                )
            return made

        return await self._reach("create", record.id, create)

    async def save(self, checkpoint: Checkpoint) -> int:
        async def save() -> int:
            net = self._net
            try:
                last = await net.storage.save(checkpoint)
            except StorageError as error:
                net.note(self._host, "save refused", checkpoint.id, type(error).__name__)
                raise
            now = net.clock.now()
            written = net.book(net.ledger.saved, self._host, checkpoint, now=now)
            net.note(
                self._host,
                "save" if written else "save again",
                checkpoint.id,
                checkpoint.status,
                *checkpoint.intent,
            )
            return last

        self._net.ledger.tried(checkpoint.id)
        return await self._reach("save", checkpoint.id, save)

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        async def claim() -> Record | None:
            net = self._net
            now = net.clock.now()
            record = await net.storage.claim(id, owner=owner, lease=lease, held=held)
            if record is not None:
                net.note(self._host, "claim", id)
                net.book(net.ledger.claimed, self._host, record, now=now, held=held)
            return record

        return await self._reach("claim", id, claim)

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        async def claim_due() -> Sequence[Record]:
            net = self._net
            now = net.clock.now()
            records = await net.storage.claim_due(
                owner=owner, lease=lease, limit=limit, workflows=workflows
            )
            for record in records:
                net.note(self._host, "claim due", record.id)
                net.book(net.ledger.claimed, self._host, record, now=now, held=None)
            return records

        return await self._reach("claim_due", "", claim_due, counts=self._has_due())

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Any:
        async def renew() -> Any:
            net = self._net
            until = net.clock.now() + timedelta(seconds=lease)
            renewed = await net.storage.renew(leases, lease=lease)
            net.note(self._host, "renew", *sorted(renewed))
            net.book(net.ledger.renewed, leases, renewed, until)
            return renewed

        return await self._reach("renew", "", renew)

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        async def release() -> bool:
            net = self._net
            now = net.clock.now()
            released = await net.storage.release(lease, wake=wake)
            net.note(self._host, "release", lease.id, released)
            if released:
                net.book(net.ledger.released, lease, now=now, wake=wake)
            return released

        return await self._reach("release", lease.id, release)

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        async def send() -> SignalReceipt | None:
            net = self._net
            now = net.clock.now()
            receipt = await net.storage.send_signal(id, signal, refused=refused)
            number = None if receipt is None else receipt.number
            net.note(self._host, "signal", id, signal.name, number)
            if receipt is not None and number is not None:
                net.book(net.ledger.received, id, signal, number, now=now)
            return receipt

        return await self._reach("send_signal", id, send)

    # Looking

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        storage = self._net.storage
        return await self._reach("load", id, lambda: storage.load(id, history=history))

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        storage = self._net.storage
        return await self._reach("signals", id, lambda: storage.signals(id, after=after))

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        storage = self._net.storage
        return await self._look("next_due", lambda: storage.next_due(workflows=workflows))

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        storage = self._net.storage
        return await self._look("list", lambda: storage.list(filter))

    async def count(self, filter: WorkflowFilter) -> int:
        storage = self._net.storage
        return await self._look("count", lambda: storage.count(filter))

    async def delete(self, id: str, *, revision: int) -> bool:
        storage = self._net.storage
        return await self._reach("delete", id, lambda: storage.delete(id, revision=revision))

    # Shared values

    async def get_value(self, key: str) -> bytes | None:
        return await self._reach("get_value", key, lambda: self._values.get_value(key))

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._reach("set_value", key, lambda: self._values.set_value(key, value, ttl=ttl))

    async def delete_value(self, key: str) -> bool:
        return await self._reach("delete_value", key, lambda: self._values.delete_value(key))

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        return await self._reach(
            "compare_and_set_value",
            key,
            lambda: self._values.compare_and_set_value(key, expected, value, ttl=ttl),
        )

    @property
    def _values(self) -> Any:
        return self._net.storage

    def _has_due(self) -> bool:
        now = self._net.clock.now()
        kept = self._net.ledger.kept.values()
        return any((one.lease_until or one.wake_at or now) < now for one in kept)

    async def _reach(
        self, what: str, id: str, act: Callable[[], Awaitable[T]], *, counts: bool = True
    ) -> T:
        return await self._net.reach(self._host, what, id, act, counts=counts)

    async def _look(self, what: str, act: Callable[[], Awaitable[T]]) -> T:
        return await self._net.reach(self._host, what, "", act, counts=False)


class ServerLink(Link):
    """A link to a storage with a server, whose time all go by."""

    async def time(self) -> datetime:
        async def ask() -> datetime:
            return self._net.clock.now()

        return await self._look("time", ask)
