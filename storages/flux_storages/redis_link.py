"""The way to a Redis: scripts sent many at a time, and its errors put in words.

This module alone imports the driver.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from flux.errors import (
    DriverMissingError,
    NotARedisError,
    StorageAccessError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from flux_storages.redis_inbox import Inbox
from flux_storages.redis_lua import SCRIPTS, Argument, command
from flux_storages.redis_pipeline import Pipeline
from flux_storages.redis_place import Place
from flux_storages.redis_replies import GarbledReplyError, RefusalError

try:
    from redis import exceptions as raised
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ModuleNotFoundError as error:
    raise DriverMissingError("redis", "redis") from error

IDLE = 30
"""Seconds of silence after which one who listens asks whether the server is still there."""


_KINDS: Sequence[tuple[type[BaseException], str]] = (
    (raised.OutOfMemoryError, "OOM"),
    (raised.ReadOnlyError, "READONLY"),
    (raised.NoPermissionError, "NOPERM"),
    (raised.AuthenticationError, "NOAUTH"),
    (raised.AuthenticationWrongNumberOfArgsError, "NOAUTH"),
    (raised.InvalidResponse, "garbled"),
    (GarbledReplyError, "garbled"),
    (raised.BusyLoadingError, "LOADING"),
    (raised.MasterDownError, "MASTERDOWN"),
    (raised.ClusterDownError, "CLUSTERDOWN"),
    (raised.TimeoutError, "down"),
    (raised.ConnectionError, "down"),
    (OSError, "down"),
)

_FAILURES = raised.RedisError, RefusalError, GarbledReplyError, OSError
"""What the driver raises, what the server answers, and what else can happen to a connection."""

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
        self._driver = _Driver(place)
        self._pipeline = Pipeline(
            self._driver.dial, timeout=place.timeout, in_words=lambda error: in_words(error, place)
        )

    def run(self, name: str, arguments: Iterable[Argument]) -> Awaitable[Any]:
        """Run a script, whole; once it is under way, even for a cancelled caller."""
        script = SCRIPTS[name]
        try:
            call = script.call(self._place.tag, arguments)
        except UnicodeError as error:
            why = f"{self._place.name} cannot keep this value, nothing was saved: {error}"
            raise StorageError(why) from error
        return self._pipeline.ask(call, script)

    def ask(self, *parts: Argument) -> Awaitable[Any]:
        """The answer to a plain command."""
        return self._pipeline.ask(command(*parts))

    async def facts(self) -> Mapping[str, str]:
        """What the server tells of itself; nothing if it does not tell everybody."""
        try:
            told = await self.ask("INFO")
        except StorageAccessError as error:
            if str(error.__cause__).startswith("NOPERM"):
                return {}
            raise
        lines = (line.partition(":") for line in told.decode().splitlines())
        return {name: value for name, _, value in lines}

    async def listen(self, channel: str, heard: Callable[[bytes], None]) -> None:
        """Pass on what is published, on a connection of its own; return when that has broken."""
        driver, inbox = _Driver(self._place), Inbox(heard)
        try:
            await inbox.listen(await driver.dial(inbox), channel, silence=IDLE)
        except _FAILURES as error:
            raise in_words(error, self._place) from error
        finally:
            await driver.let_go()

    async def close(self) -> None:
        """Wait for the answers to all that was sent, and hang up."""
        await self._pipeline.close()
        await self._driver.let_go()


class _Driver:
    """Makes connections by the driver, which knows of TLS, names, passwords and sockets."""

    def __init__(self, place: Place) -> None:
        pool: Any = _client(place).connection_pool
        self._connection = pool.make_connection()
        self._timeout = place.timeout

    async def dial(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        # The driver's own timeouts may swallow a cancellation: before Python 3.12 `wait_for` does.
        async with asyncio.timeout(self._timeout):
            await self.let_go()
            await self._connection.connect()
        # From here on the driver is passed by: the tasks and timers that it makes for each answer
        # would double what a save costs its client.
        transport: asyncio.WriteTransport = self._connection._writer.transport  # noqa: SLF001
        transport.set_protocol(protocol)
        return transport

    async def let_go(self) -> None:
        await self._connection.disconnect(nowait=True)


def in_words(error: Exception, place: Place) -> Exception:
    """The error of Flux for one of the driver's or the server's, which is its cause."""
    if not isinstance(error, _FAILURES):
        return error
    told = _told(error, place)
    told.__cause__ = error
    return told


def _told(error: Exception, place: Place) -> StorageError:
    said = str(error).removeprefix("ERR ") or type(error).__name__
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


def _code(error: BaseException, said: str) -> str:
    """By what an error is known: the code of the server, or a word for the driver's own."""
    for kind, code in _KINDS:
        if isinstance(error, kind):
            return code
    if said == "max number of clients reached":
        return "down"
    # Servers before 7 wrap what a script has met.
    found = re.search(r"(?:^|\s-)([A-Z]{3,})\s", said)
    code = found.group(1) if found else ""
    return "MOVED" if code in ("ASK", "CROSSSLOT") else code


def _client(place: Place) -> Redis:
    settings: dict[str, Any] = {
        "socket_connect_timeout": place.timeout,
        "socket_keepalive": True,
        **place.connection,
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    return Redis(**settings)
