"""The way to a Redis: scripts sent many at a time, and its errors put in words.

This module alone imports the driver.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from attrs import frozen

from flux.errors import (
    DriverMissingError,
    NotARedisError,
    StorageAccessError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from flux_storages.redis_place import Place

try:
    from redis import exceptions as raised
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ModuleNotFoundError as error:
    raise DriverMissingError("redis", "redis") from error

Argument = str | bytes | int
Command = Sequence[bytes]

LARGEST_GROUP = 256
"""How many calls are sent together at most."""

IDLE = 30
"""Seconds after which a connection is tried out before it is used."""


@frozen
class Script:
    """A script as the server gets it, and the name by which it knows it afterwards."""

    text: bytes
    digest: bytes


def read_scripts() -> Mapping[str, Script]:
    """The scripts of the folder by name, each with the prelude in front."""
    texts = {
        file.name.removesuffix(".lua"): file.read_bytes()
        for file in (files("flux_storages") / "redis_scripts").iterdir()
        if file.name.endswith(".lua")
    }
    prelude = texts.pop("prelude")
    whole = {name: prelude + b"\n" + text for name, text in texts.items()}
    digests = {
        name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in whole.items()
    }
    return {name: Script(text, digests[name].encode()) for name, text in whole.items()}


SCRIPTS = read_scripts()


_KINDS: Sequence[tuple[type[BaseException], str]] = (
    (raised.OutOfMemoryError, "OOM"),
    (raised.ReadOnlyError, "READONLY"),
    (raised.NoPermissionError, "NOPERM"),
    (raised.AuthenticationError, "NOAUTH"),
    (raised.AuthenticationWrongNumberOfArgsError, "NOAUTH"),
    (raised.InvalidResponse, "garbled"),
    (raised.BusyLoadingError, "LOADING"),
    (raised.AskError, "MOVED"),
    (raised.ClusterCrossSlotError, "MOVED"),
    (raised.MasterDownError, "MASTERDOWN"),
    (raised.ClusterDownError, "CLUSTERDOWN"),
    (raised.TryAgainError, "TRYAGAIN"),
    (raised.TimeoutError, "down"),
    (raised.ConnectionError, "down"),
    (OSError, "down"),
)

_DENIED = {"NOAUTH", "NOPERM", "WRONGPASS"}

_TRANSIENT = {
    "BUSY": "it is busy with a script of somebody's",
    "CLUSTERDOWN": "its cluster is down",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica that has lost its master",
    "MISCONF": "it cannot write to its disk and takes no writes: see its log",
    "NOREPLICAS": "it has too few replicas to take writes",
    "TRYAGAIN": "its cluster is moving keys",
    "down": "",
}


class Link:
    """An open connection to a Redis, made anew whenever it broke."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._groups = _Groups(place)
        self._tag = place.tag.encode()

    async def run(self, name: str, now: str, arguments: Iterable[Argument]) -> Any:
        """Run a script, whole; once it is under way, even for a cancelled caller."""
        script = SCRIPTS[name]
        try:
            rest = (b"1", self._tag, *map(_bytes, (now, *arguments)))
        except UnicodeError as error:
            why = f"{self._place.name} cannot keep this value, nothing was saved: {error}"
            raise StorageError(why) from error
        return await self._groups.call((b"EVALSHA", script.digest, *rest), script.text)

    async def ask(self, *command: Argument) -> Any:
        """The answer to a plain command."""
        return await self._groups.call(tuple(map(_bytes, command)))

    async def facts(self) -> Mapping[str, str]:
        """What the server tells of itself; nothing if it does not tell everybody."""
        try:
            told = await self.ask("INFO")
        except StorageAccessError as error:
            if isinstance(error.__cause__, raised.NoPermissionError):
                return {}
            raise
        lines = (line.partition(":") for line in told.decode().splitlines())
        return {name: value for name, _, value in lines}

    async def listen(self, channel: str, heard: Callable[[bytes], None]) -> None:
        """Pass on what is published, on a connection of its own; return when that has broken."""
        is_listening = False
        client = _client(self._place, socket_timeout=None)
        async with client, client.pubsub() as inbox:
            try:
                await inbox.subscribe(channel)
                while True:
                    message = await inbox.get_message(timeout=IDLE)
                    is_listening = True
                    if message is not None and message["type"] == "message":
                        heard(message["data"])
            except raised.RedisError as error:
                if not (is_listening and isinstance(error, raised.ConnectionError)):
                    raise in_words(error, self._place) from error

    async def close(self) -> None:
        """Wait for the answers to all that was sent, and hang up."""
        await self._groups.close()


class _Groups:
    """The calls that come while others are under way are sent together, in one round trip."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._wire = _Wire(place)
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(self, command: Command, text: bytes | None = None) -> Any:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(command, text, outcome))
        if self._sending is None:
            self._begin()
        return await outcome

    async def close(self) -> None:
        """Wait until everything that was begun is answered, and hang up."""
        while self._sending is not None:
            await asyncio.wait([self._sending])
        await self._wire.hang_up()

    def _begin(self) -> None:
        self._sending = asyncio.create_task(self._send_all())
        self._sending.add_done_callback(self._go_on)

    def _go_on(self, ended: asyncio.Task[None]) -> None:
        # There is something left to do if somebody has cancelled the task itself.
        self._sending = None
        if self._left():
            self._begin()

    async def _send_all(self) -> None:
        while self._left():
            group = self._waiting[:LARGEST_GROUP]
            del self._waiting[:LARGEST_GROUP]
            await self._send(group)

    def _left(self) -> bool:
        """Whether anybody waits, those apart who were cancelled before their call was sent."""
        self._waiting = [call for call in self._waiting if not call.outcome.done()]
        return bool(self._waiting)

    async def _send(self, group: "Sequence[_Call]") -> None:
        try:
            answers = await self._wire.exchange([call.command for call in group])
            unknown = [n for n, one in enumerate(answers) if isinstance(one, raised.NoScriptError)]
            if unknown:
                again = await self._wire.exchange([group[n].with_text() for n in unknown])
                for n, answer in zip(unknown, again, strict=True):
                    answers[n] = answer
            if any(_is_read_only(answer) for answer in answers):
                # After a fail-over the name may lead to another server: look where, next time.
                await self._wire.hang_up()
        except BaseException as error:
            for call in group:
                call.fail(error, self._place)
            if not isinstance(error, Exception):
                raise
        else:
            for call, answer in zip(group, answers, strict=True):
                call.end(answer, self._place)


class _Wire:
    """One connection of the driver's; its pool and its pipelines would cost as much as the save."""

    def __init__(self, place: Place) -> None:
        pool: Any = _client(place, socket_timeout=place.timeout).connection_pool
        self._connection = connection = pool.make_connection()
        # Before release 8 of the driver it had the other name.
        self._has_unread = getattr(connection, "can_read", None) or connection.can_read_destructive

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands; those that are errors of the server are among them."""
        connection = self._connection
        # What can be read before a question is the end of the connection.
        if connection.is_connected and await self._has_unread():
            await connection.disconnect()
        if not connection.is_connected:
            await connection.connect()
        await connection.send_packed_command(b"".join(map(_packed, commands)))
        return [await self._answer() for _ in commands]

    async def hang_up(self) -> None:
        await self._connection.disconnect()

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except raised.ResponseError as error:
            return error


@frozen
class _Call:
    """A command that waits for its answer, and the caller that waits with it."""

    command: Command
    text: bytes | None
    outcome: asyncio.Future[Any]

    def with_text(self) -> Command:
        """The same with the script itself, for a server that does not know it."""
        return (b"EVAL", self.text or b"", *self.command[2:])

    def end(self, answer: object, place: Place) -> None:
        if isinstance(answer, Exception):
            self.fail(answer, place)
        elif not self.outcome.done():
            self.outcome.set_result(answer)

    def fail(self, error: BaseException, place: Place) -> None:
        if isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        elif not self.outcome.done():
            # Each caller gets an error of its own, which may get a traceback of its own.
            told = in_words(error, place)
            told.__cause__ = error
            self.outcome.set_exception(told)


def in_words(error: BaseException, place: Place) -> BaseException:
    """The error of Flux for one of the driver's or the server's."""
    if not isinstance(error, raised.RedisError | OSError):
        return error
    said = str(error) or type(error).__name__
    code = _code(error, said)
    if code == "OOM":
        return StorageFullError(place.name)
    if code == "READONLY":
        return StorageReadOnlyError(place.name)
    if code in _DENIED:
        return StorageAccessError(place.name, said)
    if code == "garbled" or isinstance(error.__context__, ssl.SSLError):
        return NotARedisError(place.name, said)
    if code in _TRANSIENT:
        return StorageUnavailableError(place.name, _TRANSIENT[code] or said)
    if code == "MOVED":
        why = "the keys of this prefix are kept by another node of its cluster: connect to that one"
        return StorageError(f"{place.name} says {said!r}; {why}")
    return StorageError(f"{place.name} says {said!r}; nothing of this call was saved")


def _is_read_only(answer: object) -> bool:
    return isinstance(answer, raised.RedisError) and _code(answer, str(answer)) == "READONLY"


def _code(error: BaseException, said: str) -> str:
    """By what an error is known: the code of the server, or a word for the driver's own."""
    for kind, code in _KINDS:
        if isinstance(error, kind):
            return code
    # Servers before 7 wrap what a script has met, and the driver knows some codes only.
    wrapped = re.search(r"(?:^|\s-)([A-Z]{3,})\s", said)
    return wrapped.group(1) if wrapped else ""


def _client(place: Place, *, socket_timeout: float | None) -> Redis:
    settings: dict[str, Any] = {
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": place.timeout,
        "socket_keepalive": True,
        "health_check_interval": IDLE,
        **place.connection,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    return Redis(**settings)


def _packed(command: Command) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def _bytes(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return argument.encode() if isinstance(argument, str) else b"%d" % argument
