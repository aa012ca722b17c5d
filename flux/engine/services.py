"""What all drivers of one engine share."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from attrs import Factory

from flux.clock import Clock
from flux.config import FluxConfig
from flux.engine.attempt import Attempts
from flux.engine.heartbeat import Heartbeat
from flux.engine.lease import Leases
from flux.engine.shared import SharedStorage
from flux.engine.threads import Threads
from flux.errors import (
    StorageAccessError,
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from flux.frozen import frozen
from flux.observe.observers import Observers
from flux.storage import WorkflowStorage

T = TypeVar("T")

PASSING = (
    StorageUnavailableError,
    StorageBusyError,
    StorageReadOnlyError,
    StorageFullError,
    StorageAccessError,
)
"""What may pass while somebody mends it, as in a fail-over: worth waiting with a result in hand."""


@frozen(kw_only=True)
class Services:
    """The engine's storage, clock and settings, and its rooms that act."""

    storage: WorkflowStorage
    clock: Clock
    config: FluxConfig
    threads: Threads
    heartbeat: Heartbeat
    attempts: Attempts
    leases: Leases
    shared: SharedStorage
    observers: Observers
    logger: logging.Logger
    stopping: asyncio.Event
    """Set once the engine closes: drivers end at their next save."""
    gate_locks: WeakValueDictionary[str, asyncio.Lock] = Factory(WeakValueDictionary)
    """By shared value, whose turn it is in this engine to change a gate of limits."""

    async def sleep(self, seconds: float, *, or_until: asyncio.Event | None = None) -> None:
        """Sleep by the engine's clock, or until the engine closes, or until that happens."""
        ends = [self._sleep_until(self.clock.monotonic() + seconds), self.stopping.wait()]
        if or_until is not None:
            ends.append(or_until.wait())
        tasks = {asyncio.ensure_future(end) for end in ends}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _sleep_until(self, moment: float) -> None:
        # Its task begins a turn later: what a clock that somebody sets has done by then, counts.
        await self.clock.sleep(moment - self.clock.monotonic())

    async def patiently(
        self,
        act: Callable[[], Awaitable[T]],
        *,
        instance: str,
        failed: StorageError | None = None,
    ) -> T:
        """Do `act`, a call of the storage that may be repeated, once the storage can be reached.

        It is tried again, and that is logged, for as long as the engine is patient. `failed` is
        the error of a first try that was made already.
        """
        gives_up_at = self.clock.monotonic() + self.config.storage_patience
        pause = _FIRST_PAUSE
        while True:
            if failed is None:
                try:
                    return await act()
                except PASSING as error:
                    failed = error
            left = gives_up_at - self.clock.monotonic()
            if left <= 0 or self.stopping.is_set():
                raise failed
            told = {"instance": instance, "retry_in": pause, "gives_up_in": left}
            self.logger.warning("storage.unavailable", extra={**told, "why": str(failed)})
            failed = None
            await self.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
