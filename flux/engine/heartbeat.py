"""Notices that something blocked the event loop, and so kept the leases from being renewed."""

import asyncio
import logging

from flux.clock import Clock
from flux.engine.context import WorkflowContext


class Heartbeat:
    """Ticks in the loop; a gap of more than `longest` seconds between two ticks is logged.

    A step is a suspect if its handler, in the loop, ran at that time: one that still runs, or one
    that took longer than `longest`.
    """

    def __init__(self, longest: float, clock: Clock, logger: logging.Logger) -> None:
        self.longest = longest
        self._logger = logger
        self._monotonic = clock.monotonic
        self._running: dict[WorkflowContext, float] = {}
        self._ended: list[WorkflowContext] = []

    def begins(self, ctx: WorkflowContext) -> None:
        """The handler with this context is called now, in the loop."""
        self._running[ctx] = self._monotonic()

    def ends(self, ctx: WorkflowContext) -> None:
        """It has returned or raised."""
        if self._monotonic() - self._running.pop(ctx) > self.longest:
            self._ended.append(ctx)

    async def run(self) -> None:
        """Tick for ever, by the loop's own clock: one that somebody sets has no gaps."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(self.longest / 4)
            now = loop.time()
            if now - last > self.longest:
                self._tell(now - last)
            self._ended.clear()
            last = now

    def _tell(self, seconds: float) -> None:
        now = self._monotonic()
        running = (ctx for ctx, began in self._running.items() if now - began > self.longest)
        suspects = [f"{ctx.id}: {ctx.step}" for ctx in (*self._ended, *running)]
        self._logger.warning(
            "loop.blocked", extra={"seconds": round(seconds, 3), "steps": suspects}
        )
