"""Notices that something blocked the event loop, and so kept the leases from being renewed."""

import asyncio
import logging


class Heartbeat:
    """Ticks in the loop; a gap of more than `longest` seconds between two ticks is logged.

    A step is a suspect if its handler, in the loop, ran at that time: one that still runs, or one
    that took longer than `longest`.
    """

    def __init__(self, longest: float, logger: logging.Logger) -> None:
        self.longest = longest
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._running: dict[object, tuple[str, float]] = {}
        self._ended: list[str] = []

    def begins(self, handler: object, what: str) -> None:
        """This handler is called now, in the loop."""
        self._running[handler] = what, self._loop.time()

    def ends(self, handler: object) -> None:
        """It has returned or raised."""
        what, began = self._running.pop(handler)
        if self._loop.time() - began > self.longest:
            self._ended.append(what)

    async def run(self) -> None:
        """Tick for ever, by the loop's own clock."""
        last = self._loop.time()
        while True:
            await asyncio.sleep(self.longest / 4)
            now = self._loop.time()
            if now - last > self.longest:
                self._tell(now, now - last)
            self._ended.clear()
            last = now

    def _tell(self, now: float, seconds: float) -> None:
        running = (what for what, began in self._running.values() if now - began > self.longest)
        suspects = [*self._ended, *running]
        self._logger.warning(
            "loop.blocked", extra={"seconds": round(seconds, 3), "steps": suspects}
        )
