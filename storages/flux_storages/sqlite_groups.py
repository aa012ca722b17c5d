"""Group commit: calls that come while others are under way share the next hop, and its sync."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flux.clock import Clock
from flux_storages.sqlite_times import Moment

Asked = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""An act, and what it is called with besides the connection and the time."""

Do = Callable[[Sequence[Asked], sqlite3.Connection], Sequence[object]]


class Groups:
    """The calls of one connection; those that come during a group wait and are the next group.

    `post` lets the connection's thread call a function, whose end is told to the future; `do` is
    what it is to do with a group: the results of all acts, an exception for one that failed.
    `in_words` makes of such an exception the one that is raised.
    """

    def __init__(
        self,
        post: Callable[[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]], None],
        do: Do,
        in_words: Callable[[BaseException], BaseException],
    ) -> None:
        self._post = post
        self._do = do
        self._in_words = in_words
        self._waiting: list[tuple[Asked, asyncio.Future[Any]]] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def call(self, asked: Asked) -> asyncio.Future[Any]:
        """Do what is asked, whole; once it waits here even for a cancelled caller."""
        loop = asyncio.get_running_loop()
        outcome = loop.create_future()
        self._waiting.append((asked, outcome))
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(self._begin)
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
        self._post(partial(self._do, [asked for asked, _ in group]), end)

    def _end(self, waiting: Sequence[asyncio.Future[Any]], results: Sequence[object]) -> None:
        for outcome, result in zip(waiting, results, strict=True):
            if outcome.done():
                continue
            if isinstance(result, BaseException):
                outcome.set_exception(self._in_words(result))
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


def read_together(group: Sequence[Asked], connection: sqlite3.Connection) -> Sequence[object]:
    """Let all of a group read what was committed at one moment; for each its result or error."""
    connection.execute("BEGIN")
    try:
        return [_read(asked, connection) for asked in group]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _read(asked: Asked, connection: sqlite3.Connection) -> object:
    act, args, kwargs = asked
    try:
        return act(connection, *args, **kwargs)
    except Exception as error:
        return error


def commit_together(
    clock: Clock, group: Sequence[Asked], connection: sqlite3.Connection
) -> Sequence[object]:
    """Do all of a group in one transaction; for each its result, or the error that undid it."""
    try:
        return _commit(_write, clock, group, connection)
    except _HalfDoneError:
        # Rare enough to do all again: a savepoint an act costs a tenth of a save.
        return _commit(_write_alone, clock, group, connection)


def _commit(
    write: Callable[[Asked, Moment, sqlite3.Connection], object],
    clock: Clock,
    group: Sequence[Asked],
    connection: sqlite3.Connection,
) -> Sequence[object]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        now = Moment(clock.now())
        outcomes = [write(asked, now, connection) for asked in group]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


class _HalfDoneError(Exception):
    """An act has failed after it wrote something, and nothing can undo it but a rollback."""


def _write(asked: Asked, now: Moment, connection: sqlite3.Connection) -> object:
    act, args, kwargs = asked
    changes = connection.total_changes
    try:
        return act(connection, now, *args, **kwargs)
    except Exception as error:
        # Some errors, a full disk among them, have ended the whole transaction.
        if not connection.in_transaction:
            raise
        if connection.total_changes > changes:
            raise _HalfDoneError from error
        return error


def _write_alone(asked: Asked, now: Moment, connection: sqlite3.Connection) -> object:
    act, args, kwargs = asked
    connection.execute("SAVEPOINT alone")
    try:
        outcome = act(connection, now, *args, **kwargs)
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO alone")
        outcome = error
    connection.execute("RELEASE alone")
    return outcome
