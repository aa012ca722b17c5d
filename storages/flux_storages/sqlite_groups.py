"""Group commit: calls that come while others are under way share the next hop, and its sync."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from flux.clock import Clock
from flux_storages.sqlite_times import Moment

T = TypeVar("T")
Act = TypeVar("Act", bound=Callable[..., Any])

Reading = Callable[[sqlite3.Connection], Any]
Writing = Callable[[sqlite3.Connection, Moment], Any]


class Groups(Generic[Act]):
    """The calls of one connection; those that come during a group wait and are the next group.

    `post` lets the connection's thread call a function, whose end is told to the future; `do` is
    what it is to do with a group: the results of all acts, an exception for one that failed.
    """

    def __init__(
        self,
        post: Callable[[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]], None],
        do: Callable[[Sequence[Act], sqlite3.Connection], Sequence[object]],
    ) -> None:
        self._post = post
        self._do = do
        self._waiting: list[tuple[Act, asyncio.Future[Any]]] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def call(self, act: Act) -> asyncio.Future[Any]:
        """Do `act`, whole; once it waits here even for a cancelled caller."""
        outcome = asyncio.get_running_loop().create_future()
        self._waiting.append((act, outcome))
        if self._idle.is_set():
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._begin)
        return outcome

    async def settle(self) -> None:
        """Wait until everything that was asked for is done."""
        await self._idle.wait()

    # A group is begun and ended by plain callbacks: a task for each is dear to a lone client. The
    # next one is begun a turn of the loop later, so that whoever is told of the end of this one may
    # join: with 64 clients that makes one group of them all, in place of two that take turns.
    def _begin(self) -> None:
        if not self._waiting:
            self._idle.set()
            return
        group, self._waiting = self._waiting, []
        end = _End(self._end, [outcome for _, outcome in group])
        self._post(partial(self._do, [act for act, _ in group]), end)

    def _end(self, waiting: Sequence[asyncio.Future[Any]], results: Sequence[object]) -> None:
        for outcome, result in zip(waiting, results, strict=True):
            if outcome.done():
                continue
            if isinstance(result, BaseException):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)
        asyncio.get_running_loop().call_soon(self._begin)


class _End(asyncio.Future[Any]):
    """Told of the end of a group, tells those who wait: a callback would come a turn later."""

    def __init__(
        self,
        tell: Callable[[Sequence[asyncio.Future[Any]], Sequence[object]], None],
        waiting: Sequence[asyncio.Future[Any]],
    ) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._tell = tell
        self._waiting = waiting

    def set_result(self, result: Sequence[object]) -> None:
        self._tell(self._waiting, result)

    def set_exception(self, exception: type | BaseException) -> None:
        self._tell(self._waiting, [exception] * len(self._waiting))


def read_together(acts: Sequence[Reading], connection: sqlite3.Connection) -> Sequence[object]:
    """Let all acts read what was committed at one moment; for each its result or its error."""
    connection.execute("BEGIN")
    try:
        return [_read(act, connection) for act in acts]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _read(act: Reading, connection: sqlite3.Connection) -> object:
    try:
        return act(connection)
    except Exception as error:
        return error


def commit_together(
    clock: Clock, acts: Sequence[Writing], connection: sqlite3.Connection
) -> Sequence[object]:
    """Do all acts in one transaction; for each its result, or the error for which it was undone."""
    try:
        return _commit(_write, clock, acts, connection)
    except _HalfDoneError:
        # Rare enough to do all again: a savepoint an act costs a tenth of a save.
        return _commit(_write_alone, clock, acts, connection)


def _commit(
    write: Callable[[Writing, Moment, sqlite3.Connection], object],
    clock: Clock,
    acts: Sequence[Writing],
    connection: sqlite3.Connection,
) -> Sequence[object]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        now = Moment(clock.now())
        outcomes = [write(act, now, connection) for act in acts]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


class _HalfDoneError(Exception):
    """An act has failed after it wrote something, and nothing can undo it but a rollback."""


def _write(act: Writing, now: Moment, connection: sqlite3.Connection) -> object:
    changes = connection.total_changes
    try:
        return act(connection, now)
    except Exception as error:
        # Some errors, a full disk among them, have ended the whole transaction.
        if not connection.in_transaction:
            raise
        if connection.total_changes > changes:
            raise _HalfDoneError from error
        return error


def _write_alone(act: Writing, now: Moment, connection: sqlite3.Connection) -> object:
    connection.execute("SAVEPOINT alone")
    try:
        outcome = act(connection, now)
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO alone")
        outcome = error
    connection.execute("RELEASE alone")
    return outcome
