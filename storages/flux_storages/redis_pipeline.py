"""Calls that come together are sent down one connection together; answers come in their order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from attrs import define

from flux_storages.redis_lua import Script
from flux_storages.redis_replies import GarbledReplyError, RefusalError, Replies

PIECE = 16
"""So many calls make it worth while to send them at once: with 64 callers half as much again."""

Dial = Callable[[asyncio.Protocol], Awaitable[asyncio.WriteTransport]]
"""Connects, and lets the protocol hear what comes."""


@define(eq=False)
class _Call:
    """What is sent, and the caller that waits for the answer."""

    packed: bytes
    script: Script | None
    outcome: asyncio.Future[Any]


class Pipeline:
    """A connection for many callers, made anew whenever it broke.

    What is asked for in one turn of the event loop is sent in one piece at its end; what is asked
    for while answers are on their way is sent in one piece when they are there. So one caller waits
    for nobody, and the more there are, the more of them share a system call on each side. `PIECE`
    of them are sent at once, whatever is on its way: the server works while the next are asked for.
    """

    def __init__(
        self, dial: Dial, *, timeout: float, in_words: Callable[[Exception], Exception]
    ) -> None:
        self._dial = dial
        self._timeout = timeout
        self._in_words = in_words
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Call] = []
        self._wire: _Wire | None = None
        self._dialling: asyncio.Task[_Wire] | None = None
        self._sends_soon = False
        self._quiet: asyncio.Future[None] | None = None

    def ask(self, packed: bytes, script: Script | None = None) -> asyncio.Future[Any]:
        """The answer to come; a call under way happens, even for a cancelled caller."""
        call = _Call(packed, script, self._loop.create_future())
        self._waiting.append(call)
        if len(self._waiting) < PIECE:
            self.send_soon()
        else:
            self._send()
        return call.outcome

    def ask_again(self, call: _Call) -> None:
        """Send the script itself, for a server that does not know it by name."""
        if call.script is not None:
            call.packed = call.script.call_in_full(call.packed)
        self._waiting.append(call)

    def send_soon(self) -> None:
        """Send what waits when all who have got an answer just now have had their turn."""
        if not self._sends_soon:
            self._sends_soon = True
            self._loop.call_soon(self._send)

    def fail(self, calls: Iterable[_Call], error: Exception) -> None:
        for call in calls:
            if not call.outcome.done():
                # Each caller gets an error of its own, which may get a traceback of its own.
                call.outcome.set_exception(self._in_words(error))

    async def close(self) -> None:
        """Wait until everything that was begun is answered, and hang up."""
        self._quiet = self._loop.create_future()
        self.send_soon()
        await self._quiet
        if self._wire is not None:
            await self._wire.hang_up()

    def _send(self) -> None:
        self._sends_soon = False
        if self._dialling is not None or (self.is_busy and len(self._waiting) < PIECE):
            return
        # Whoever was cancelled before the call was sent is not served.
        calls = [call for call in self._waiting if not call.outcome.done()]
        self._waiting = []
        if calls and self._wire is not None and self._wire.is_open:
            self._wire.send(calls)
        elif calls:
            self._waiting = calls
            self._dialling = self._loop.create_task(self._connect())
            self._dialling.add_done_callback(self._dialled)
        elif self._quiet is not None and not (self.is_busy or self._quiet.done()):
            self._quiet.set_result(None)

    @property
    def is_busy(self) -> bool:
        """Whether answers are still to come."""
        return self._wire is not None and self._wire.is_busy

    async def _connect(self) -> "_Wire":
        wire = _Wire(self, self._timeout)
        wire.transport = await self._dial(wire)
        return wire

    def _dialled(self, dialling: "asyncio.Task[_Wire]") -> None:
        self._dialling = None
        if not dialling.cancelled():
            error = dialling.exception()
            if error is None:
                self._wire = dialling.result()
            elif isinstance(error, Exception):
                failed, self._waiting = self._waiting, []
                self.fail(failed, error)
        self.send_soon()


class _Wire(asyncio.Protocol):
    """One connection, until it breaks."""

    transport: asyncio.WriteTransport

    def __init__(self, pipeline: Pipeline, timeout: float) -> None:
        self._pipeline = pipeline
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._asked: deque[_Call] = deque()
        self._replies = Replies()
        self._heard_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._why_broken: Exception | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._is_left = False

    @property
    def is_open(self) -> bool:
        return not (self._is_left or self.transport.is_closing())

    @property
    def is_busy(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._asked)

    def send(self, calls: Iterable[_Call]) -> None:
        if not self._asked:
            self._heard_at = self._loop.time()
        self._asked.extend(calls)
        self.transport.write(b"".join([call.packed for call in calls]))
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._timeout, self._look)

    async def hang_up(self) -> None:
        self.transport.close()
        await self._ended

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            for answer in self._replies.feed(data):
                self._answered(self._asked.popleft(), answer)
        except GarbledReplyError as error:
            self._break(error)
        except IndexError:
            self._break(GarbledReplyError("an answer to no question"))
        self._pipeline.send_soon()

    def connection_lost(self, error: Exception | None) -> None:
        why = self._why_broken or error or ConnectionError("the server has hung up")
        self._pipeline.fail(self._asked, why)
        self._asked.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        if not self._ended.done():
            self._ended.set_result(None)
        self._pipeline.send_soon()

    def _answered(self, call: _Call, answer: object) -> None:
        if not isinstance(answer, RefusalError):
            if not call.outcome.done():
                call.outcome.set_result(answer)
        elif str(answer).startswith("NOSCRIPT"):
            self._pipeline.ask_again(call)
        else:
            # After a fail-over the name may lead to another server: look where, next time.
            self._is_left = self._is_left or "READONLY" in str(answer)
            self._pipeline.fail([call], answer)

    def _look(self) -> None:
        """Give up a server that has been asked and says nothing."""
        self._alarm = None
        silent = self._loop.time() - self._heard_at
        if self._asked and silent >= self._timeout:
            self._break(TimeoutError(f"Timeout: no answer for {self._timeout:g} s"))
        elif self._asked:
            self._alarm = self._loop.call_later(self._timeout - silent, self._look)

    def _break(self, why: Exception) -> None:
        self._why_broken = why
        self.transport.abort()
