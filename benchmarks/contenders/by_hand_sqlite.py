"""By hand, in SQLite's WAL mode.

Once as most people would write it, a transaction a step through aiosqlite; and once with grouped
commits: one writer takes all the steps that wait into one transaction.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence

import aiosqlite

from benchmarks.contender import Place
from benchmarks.contenders import by_hand_rows as rows
from benchmarks.contenders.by_hand import ByHand
from benchmarks.contenders.by_hand_rows import Statement


def one_by_one(synchronous: str) -> ByHand:
    return ByHand(_OneByOne(synchronous))


def grouped(synchronous: str) -> ByHand:
    return ByHand(_Grouped(synchronous))


class _OneByOne:
    """A transaction for each save; the lock keeps those of others out of it."""

    def __init__(self, synchronous: str) -> None:
        self._synchronous = synchronous
        self._lock = asyncio.Lock()

    async def open(self, place: Place) -> None:
        path = place.folder / "by_hand.db"
        is_new = not path.exists()
        self._connection = await aiosqlite.connect(path, isolation_level=None)
        await self._connection.execute("PRAGMA journal_mode = WAL")
        await self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        if is_new:
            await self._connection.executescript(rows.SCHEMA)

    async def close(self) -> None:
        await self._connection.close()

    async def write(self, id: str, statements: Sequence[Statement]) -> None:
        async with self._lock:
            await self._connection.execute("BEGIN IMMEDIATE")
            for text, terms in statements:
                await self._connection.execute(text, terms)
            await self._connection.commit()

    async def load(self, id: str) -> tuple[int, Sequence[str]]:
        fetch, named = self._connection.execute_fetchall, {"id": id}
        ((revision, _),) = await fetch(rows.SELECT_INSTANCE, named)
        await fetch(rows.SELECT_SIGNALS, named)
        return revision, [body for _, body in await fetch(rows.SELECT_HISTORY, named)]

    async def unfinished(self) -> Sequence[str]:
        return [id for (id,) in await self._connection.execute_fetchall(rows.SELECT_UNFINISHED)]


class _Grouped(_OneByOne):
    """One transaction for all saves that wait, in one hop to the connection's thread."""

    async def open(self, place: Place) -> None:
        await super().open(place)
        self._waiting: list[tuple[Sequence[Statement], asyncio.Future[None]]] = []
        self._called = asyncio.Event()
        self._writing = asyncio.create_task(self._write_all())

    async def close(self) -> None:
        self._writing.cancel()
        await asyncio.wait([self._writing])
        await super().close()

    async def write(self, id: str, statements: Sequence[Statement]) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((statements, written))
        self._called.set()
        await written

    async def load(self, id: str) -> tuple[int, Sequence[str]]:
        return await self._hop(_load, self._connection._conn, id)  # noqa: SLF001

    async def _write_all(self) -> None:
        connection = self._connection._conn  # noqa: SLF001
        while await self._called.wait():
            self._called.clear()
            group, self._waiting = self._waiting, []
            try:
                await self._hop(_commit, connection, [statements for statements, _ in group])
            except sqlite3.Error as error:
                for _, written in group:
                    written.set_exception(error)
            else:
                for _, written in group:
                    written.set_result(None)

    @property
    def _hop(self) -> Callable[..., Awaitable[tuple[int, Sequence[str]]]]:
        # What aiosqlite's own methods call; none of them runs several statements in one hop.
        return self._connection._execute  # noqa: SLF001


def _commit(connection: sqlite3.Connection, group: Iterable[Sequence[Statement]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statements in group:
        for text, terms in statements:
            connection.execute(text, terms)
    connection.execute("COMMIT")


def _load(connection: sqlite3.Connection, id: str) -> tuple[int, Sequence[str]]:
    named = {"id": id}
    revision, _ = connection.execute(rows.SELECT_INSTANCE, named).fetchone()
    connection.execute(rows.SELECT_SIGNALS, named).fetchall()
    return revision, [body for _, body in connection.execute(rows.SELECT_HISTORY, named)]
