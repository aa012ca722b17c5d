"""Instances in an SQLite file that several processes may share, saved many at a time."""

import asyncio
import math
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl, unquote

import aiosqlite
from attrs import frozen

from flux.clock import Clock
from flux.errors import StorageClosedError, StorageURLError
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
from flux_storages import sqlite_acts as acts
from flux_storages import sqlite_values as values
from flux_storages import ttl as time_to_live
from flux_storages.sqlite_file import (
    Synchronous,
    errors_in_words,
    in_words,
    open_for_reading,
    open_for_writing,
)
from flux_storages.sqlite_groups import Groups, commit_together, read_together
from flux_storages.sqlite_times import Moment
from flux_storages.undivided import undivided

P = ParamSpec("P")
T = TypeVar("T")


class SQLiteStorage:
    """A storage in one file, in WAL mode; reads do not wait for writes.

    `synchronous="normal"` does not wait for the disk: a power failure may then take the last saves
    with it, a crash of the process does not. `busy_timeout` is how many seconds a save waits for
    other processes that write. The clock is that of the engine that opens the storage first.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._path = os.fspath(path)
        why = _why_not(self._path, synchronous, busy_timeout)
        if why is not None:
            raise StorageURLError(self._path, why)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._own_clock = clock
        self._gate = asyncio.Lock()
        self._users = 0
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"SQLiteStorage({self._path!r})"

    @classmethod
    def from_url(cls, url: str) -> "SQLiteStorage":
        """Make one from `sqlite:///orders.db?synchronous=normal&busy_timeout=5`.

        The path is relative after three slashes and absolute after four; `%3F` is a question mark.
        """
        place, _, query = url.partition("?")
        if not place.startswith("sqlite:///"):
            raise StorageURLError(url, "sqlite: is followed by three slashes and a path")
        path = unquote(place.removeprefix("sqlite:///"))
        settings = {"synchronous": "full", "busy_timeout": "10"}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in settings:
                raise StorageURLError(url, f"its settings are {', '.join(settings)}, not {name}")
            settings[name] = value
        synchronous = cast(Synchronous, settings["synchronous"])
        busy_timeout = _number(settings["busy_timeout"])
        why = _why_not(path, synchronous, busy_timeout)
        if why is not None:
            raise StorageURLError(url, why)
        return cls(path, synchronous=synchronous, busy_timeout=busy_timeout)

    async def init(self, clock: Clock) -> None:
        await undivided(self._enter(clock), undo=self.close)

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
        return await self._write(acts.create, record, entries, lease=lease, wake=wake)

    async def save(self, checkpoint: Checkpoint) -> int:
        return await self._write(acts.save, checkpoint)

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        return await self._read(acts.load, id, history=history)

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        return await self._read(acts.list_heads, filter)

    async def count(self, filter: WorkflowFilter) -> int:
        return await self._read(acts.count, filter)

    async def delete(self, id: str, *, revision: int) -> bool:
        return await self._write(acts.delete, id, revision=revision)

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        return await self._write(acts.claim, id, owner=owner, lease=lease, held=held)

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        now = Moment(self._files().clock.now())
        # An engine that polls with nothing to do is not to take the lock of the others.
        if not await self._read(acts.due, now, limit=min(limit, 1), workflows=workflows):
            return ()
        return await self._write(
            acts.claim_due, owner=owner, lease=lease, limit=limit, workflows=workflows
        )

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        now = Moment(self._files().clock.now())
        return await self._read(acts.next_due, now, workflows=workflows)

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        return await self._write(acts.renew, leases, lease=lease)

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        return await self._write(acts.release, lease, wake=wake)

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        return await self._write(acts.send_signal, id, signal, refused=refused)

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        return await self._read(acts.signals, id, after=after)

    async def get_value(self, key: str) -> bytes | None:
        now = Moment(self._files().clock.now())
        return await self._read(values.get_value, now, key)

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._write(values.set_value, key, value, ttl=time_to_live.checked(ttl))

    async def delete_value(self, key: str) -> bool:
        return await self._write(values.delete_value, key)

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        lasts = time_to_live.checked(ttl)
        return await self._write(values.compare_and_set_value, key, expected, value, ttl=lasts)

    async def _enter(self, clock: Clock) -> None:
        async with self._gate:
            if self._opened is None:
                self._opened = await self._open(self._own_clock or clock)
            self._users += 1

    async def _leave(self) -> None:
        async with self._gate:
            files = self._files()
            self._users -= 1
            if self._users == 0:
                self._opened = None
                await files.close()

    async def _open(self, clock: Clock) -> "_Opened":
        path, timeout = self._path, self._busy_timeout
        synchronous = self._synchronous
        with errors_in_words(path, timeout):
            writer = _Connection(partial(open_for_writing, path, synchronous, timeout))
            await writer.open()
            try:
                reader = _Connection(partial(open_for_reading, path, timeout))
                await reader.open()
            except BaseException:
                await writer.close()
                raise
        told = partial(in_words, path=path, busy_timeout=timeout)
        return _Opened(
            clock=clock,
            reader=reader,
            writer=writer,
            reads=Groups(reader.post, read_together, told),
            writes=Groups(writer.post, partial(commit_together, clock), told),
        )

    def _files(self) -> "_Opened":
        if self._opened is None:
            raise StorageClosedError(repr(self))
        return self._opened

    def _read(
        self,
        act: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> asyncio.Future[T]:
        return self._files().reads.call((act, args, kwargs))

    def _write(
        self,
        act: Callable[Concatenate[sqlite3.Connection, Moment, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> asyncio.Future[T]:
        return self._files().writes.call((act, args, kwargs))


@frozen(kw_only=True)
class _Opened:
    """What there is between `init` and `close`."""

    clock: Clock
    reader: "_Connection"
    writer: "_Connection"
    reads: Groups
    writes: Groups

    async def close(self) -> None:
        await self.reads.settle()
        await self.writes.settle()
        await self.reader.close()
        # The last connection to close moves the log into the file; the reader may not write.
        await self.writer.close()


class _Connection(aiosqlite.Connection):
    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A program that ends without a close is to end: SQLite is safe without one. The thread is
        # an attribute in newer releases of aiosqlite, in older ones it is the connection itself.
        thread: Any = getattr(self, "_thread", self)
        thread.daemon = True
        self._stopping: asyncio.Future[Any] | None = None

    async def open(self) -> None:
        """Connect; if that fails, return when the thread has done its last."""
        try:
            await self
        except BaseException:
            if self._stopping is not None:
                await self._stopping
            raise

    def stop(self) -> asyncio.Future[Any] | None:
        self._stopping = super().stop()
        return self._stopping

    def post(self, function: Callable[[sqlite3.Connection], T], end: asyncio.Future[T]) -> None:
        """Let the connection's thread call `function`: one hop, whatever the function does."""
        self._tx.put_nowait((end, partial(function, self._conn)))


def _why_not(path: str, synchronous: str, busy_timeout: float) -> str | None:
    if path in ("", ":memory:"):
        return "it names no file; for a storage in memory write memory:"
    if synchronous not in ("full", "normal"):
        return f"synchronous is full or normal, not {synchronous!r}"
    if not 0 <= busy_timeout <= 86400:
        return "busy_timeout is a number of seconds from 0 to 86400"
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
