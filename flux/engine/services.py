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

    async def sleep(self, seconds: float) -> None:
        """Sleep by the engine's clock, or until the engine closes."""
        sleeping = asyncio.ensure_future(self.clock.sleep(seconds))
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
