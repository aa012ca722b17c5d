"""Instances in a Redis that several processes and machines may share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flux.clock import Clock
from flux.errors import (
    SchemaTooNewError,
    StaleInstanceError,
    StorageClosedError,
    StorageError,
    StorageUnavailableError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.storage import (
    Checkpoint,
    Entry,
    Lease,
    Notice,
    Record,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowSummary,
)
from flux_storages import redis_listing as listing
from flux_storages import redis_records as records
from flux_storages import ttl as time_to_live
from flux_storages.redis_link import Link
from flux_storages.redis_lua import Argument
from flux_storages.redis_place import Place, place_of
from flux_storages.undivided import undivided

SCHEMA = 1
"""The version of the layout of the keys; docs/redis.md describes it."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 5.0
"""Seconds between two tries to listen to a Redis that is gone: doubled each time."""


class RedisStorage:
    """A storage in a Redis 6.2 or later, or a Valkey; its time is that of the server.

    `target` is a URL, or settings for `redis.asyncio.Redis`. All keys begin with `{prefix}`, so
    several storages fit into one database, and each into one slot of a cluster. A server that does
    not answer for `timeout` seconds is taken to be unavailable. `clock` is for tests: its time
    counts instead of the server's.
    """

    def __init__(
        self,
        target: str | Mapping[str, Any] = "redis://localhost",
        *,
        prefix: str = "flux",
        timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._place = place_of(target, prefix=prefix, timeout=timeout)
        self._clock = clock
        self._gate = asyncio.Lock()
        self._users = 0
        self._opened: Link | None = None

    def __repr__(self) -> str:
        return f"RedisStorage({self._place.name!r}, prefix={self._place.prefix!r})"

    @classmethod
    def from_url(cls, url: str) -> "RedisStorage":
        """Make one from `redis://user:password@host:port/db?prefix=orders&timeout=2`.

        With `rediss:` the connection is encrypted, and `ca_certs` may name a file of certificates.
        """
        return cls(url)

    async def init(self, clock: Clock) -> None:
        await undivided(self._enter(), undo=self.close)

    async def close(self) -> None:
        await undivided(self._leave())

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        new_head = records.created(record, lease, wake)
        made = await self._run("create", *new_head, *records.numbered(entries))
        if isinstance(made, list):
            raise UniqueKeyTakenError(str(record.unique_key), made[0].decode())
        return bool(made)

    async def save(self, checkpoint: Checkpoint) -> int:
        saved = await self._run("save", *records.saved(checkpoint))
        if isinstance(saved, int):
            return saved
        match saved:
            case [b"unseen", last]:
                raise UnseenSignalsError(checkpoint.id, last)
            case [b"taken", key, holder]:
                raise UniqueKeyTakenError(key.decode(), holder.decode())
        raise StaleInstanceError(checkpoint.id, checkpoint.expected)

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        head, entries = await self._run("load", id, int(history))
        return (records.head(id, head), records.history(entries)) if head else None

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        return await listing.list_heads(self._run, filter)

    async def count(self, filter: WorkflowFilter) -> int:
        return await listing.count(self._run, filter)

    async def delete(self, id: str, *, revision: int) -> bool:
        return bool(await self._run("delete", id, revision))

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        terms = id, owner, records.micros(lease), records.optional(held)
        head = await self._run("claim", *terms)
        return None if head is None else records.head(id, head)

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        terms = owner, records.micros(lease), max(limit, 0)
        found = await self._run("claim_due", *terms, *_names(workflows))
        return tuple(
            records.head(id.decode(), head)
            for id, head in zip(found[::2], found[1::2], strict=True)
        )

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        micros = await self._run("next_due", *_names(workflows))
        return None if micros is None else micros / 1_000_000

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        held = [part for one in leases for part in (one.id, one.owner)]
        renewed = await self._run("renew", records.micros(lease), *held)
        pairs = zip(renewed[::2], renewed[1::2], strict=True)
        return {id.decode(): last for id, last in pairs}

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        terms = lease.id, lease.owner, lease.seen, records.micros(wake)
        return bool(await self._run("release", *terms))

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        sent = records.optional(signal.signal_id), records.described(signal), signal.payload
        match await self._run("send_signal", id, *sent, *refused):
            case [status]:
                return SignalReceipt(status=status.decode(), number=None)
            case [status, number]:
                return SignalReceipt(status=status.decode(), number=number)
            case [status, number, *earlier]:
                known = records.signal(*earlier)
                return SignalReceipt(status=status.decode(), number=number, earlier=known)
        return None

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        rows = await self._run("signals", id, after)
        return tuple(map(records.stored_signal, rows))

    async def notices(self, tell: Callable[[Notice], None]) -> None:
        def heard(said: bytes) -> None:
            what, _, id = said.decode().partition(" ")
            tell(Notice(id, is_due=what == "due"))

        pause = SHORTEST_PAUSE
        while True:
            try:
                await self._link().listen(f"{self._place.tag}:notices", heard)
            except StorageUnavailableError:
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = SHORTEST_PAUSE
            await asyncio.sleep(pause)

    async def time(self) -> datetime:
        if self._clock is not None:
            return self._clock.now()
        seconds, micros = await self._link().ask("TIME")
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(micros))

    async def get_value(self, key: str) -> bytes | None:
        value: bytes | None = await self._run("get_value", key)
        return value

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._run("set_value", key, value, records.micros(time_to_live.checked(ttl)))

    async def delete_value(self, key: str) -> bool:
        return bool(await self._run("delete_value", key))

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        lasts = records.micros(time_to_live.checked(ttl))
        terms = key, records.optional(expected), value, lasts
        return bool(await self._run("compare_and_set_value", *terms))

    async def _enter(self) -> None:
        async with self._gate:
            if self._opened is None:
                self._opened = await _open(self._place)
            self._users += 1

    async def _leave(self) -> None:
        async with self._gate:
            link = self._link()
            self._users -= 1
            if self._users == 0:
                self._opened = None
                await link.close()

    def _link(self) -> Link:
        if self._opened is None:
            raise StorageClosedError(repr(self))
        return self._opened

    def _run(self, script: str, *arguments: Argument) -> Awaitable[Any]:
        now = "" if self._clock is None else records.since_epoch(self._clock.now())
        return self._link().run(script, (now, *arguments))


async def _open(place: Place) -> Link:
    link = Link(place)
    try:
        await _check_server(link, place)
        await _check_schema(link, place)
    except BaseException:
        await link.close()
        raise
    return link


async def _check_server(link: Link, place: Place) -> None:
    facts = await link.facts()
    version = facts.get("redis_version", "6.2")
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        raise StorageError(f"{place.name} is Redis {version}; Flux needs 6.2 or later, or Valkey")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys") and facts.get("maxmemory", "0") != "0":
        raise StorageError(
            f"{place.name} throws keys away when its memory is full (maxmemory-policy {policy}), "
            "instances among them; set it to noeviction"
        )


async def _check_schema(link: Link, place: Place) -> None:
    key = f"{place.tag}:schema"
    await link.ask("SET", key, SCHEMA, "NX")
    found = (await link.ask("GET", key)).decode()
    if not found.isdigit():
        why = f"somebody else keeps {found!r} in {key}"
        raise StorageError(f"{place.name}: {why}; use another prefix")
    if int(found) > SCHEMA:
        raise SchemaTooNewError(f"{place.name}, prefix {place.prefix!r},", int(found), SCHEMA)


def _names(workflows: Sequence[str] | None) -> Sequence[str]:
    return ("all",) if workflows is None else ("named", *dict.fromkeys(workflows))
