"""What a Redis publishes, heard on a connection of its own."""

import asyncio
from collections.abc import Callable

from flux_storages.redis_lua import command
from flux_storages.redis_replies import GarbledReplyError, RefusalError, Replies


class Inbox(asyncio.Protocol):
    """Passes on the messages of a channel until the connection breaks.

    Every rest of an instance is such a message to each engine, its own included; heard by way of
    the driver, one would cost as much as a save.
    """

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._replies = Replies()
        self._is_listening = False
        self._is_silent = False
        self._ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def listen(
        self, transport: asyncio.WriteTransport, channel: str, *, silence: float
    ) -> None:
        """Return when the connection has broken; raise what has kept it from being listened to.

        It has broken, too, if the server says nothing for twice as many seconds as `silence`.
        """
        transport.write(command("SUBSCRIBE", channel))
        while not self._ended.done():
            await asyncio.wait([self._ended], timeout=silence)
            if self._is_silent:
                transport.abort()
            else:
                self._is_silent = True
                transport.write(command("PING"))
        error = self._ended.result()
        if error is not None:
            raise error

    def data_received(self, data: bytes) -> None:
        self._is_silent = False
        try:
            for said in self._replies.feed(data):
                self._take(said)
        except (GarbledReplyError, RefusalError) as error:
            self._end(error)

    def connection_lost(self, error: Exception | None) -> None:
        lost = error or ConnectionError("the server has hung up")
        self._end(None if self._is_listening else lost)

    def _take(self, said: object) -> None:
        match said:
            case [b"message", _, bytes(message)]:
                self._heard(message)
            case [b"subscribe", *_]:
                self._is_listening = True
            case RefusalError():
                raise said

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)
