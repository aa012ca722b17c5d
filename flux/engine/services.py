"""What all drivers of one engine share."""

import asyncio
import logging

from attrs import frozen

from flux.clock import Clock
from flux.config import FluxConfig
from flux.engine.attempt import Attempts
from flux.engine.lease import Leases
from flux.engine.threads import Threads
from flux.observe.observers import Observers
from flux.storage import WorkflowStorage


@frozen(kw_only=True)
class Services:
    """The engine's storage, clock and settings, and its rooms that act."""

    storage: WorkflowStorage
    clock: Clock
    config: FluxConfig
    threads: Threads
    attempts: Attempts
    leases: Leases
    observers: Observers
    logger: logging.Logger
    stopping: asyncio.Event
    """Set once the engine closes: drivers end at their next save."""

    async def sleep(self, seconds: float, *, or_until: asyncio.Event | None = None) -> None:
        """Sleep by the engine's clock, or until the engine closes, or until that happens."""
        ends = [self.clock.sleep(seconds), self.stopping.wait()]
        if or_until is not None:
            ends.append(or_until.wait())
        tasks = {asyncio.ensure_future(end) for end in ends}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
