"""What stops a handler while it runs: a request to cancel its instance, and the deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from flux.engine import waiting
from flux.engine.context import WorkflowContext
from flux.engine.journal import Journal
from flux.engine.services import Services
from flux.state.status import Direction


class Watcher:
    """Watches over one driver. It reads the inbox only to look; the driver takes from it.

    `on_stuck` is called when a handler that was cancelled has not ended in its grace.
    """

    def __init__(
        self, services: Services, journal: Journal, on_stuck: "Callable[[Watcher], None]"
    ) -> None:
        self.is_late = False
        """Whether the deadline has passed, whatever a clock that is set back says since."""
        self.running: dict[WorkflowContext, None] = {}
        """The contexts of the handlers that run."""
        self._services = services
        self._on_stuck = on_stuck
        self._journal = journal
        self.instance = journal.instance
        self._unheard = False
        self._listening = False
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def told(self) -> asyncio.Event:
        """Set when there may be something in the inbox, or the deadline has passed."""
        # Made when it is needed: most instances need none.
        return asyncio.Event()

    def start(self) -> None:
        """Watch for the deadline, if there is one."""
        instance = self.instance
        if instance.deadline is not None and instance.head.direction is Direction.FORWARD:
            self._spawn(self._watch_deadline())

    def close(self) -> None:
        """Watch no more."""
        for task in self._tasks:
            task.cancel()

    def stop(self, is_meant: Callable[[str], bool]) -> None:
        """Cancel the handlers of these steps, by name, since another has failed."""
        for ctx in tuple(self.running):
            if is_meant(ctx.step):
                self._spawn(self._stop(ctx))

    def tell(self, *, is_sure: bool) -> None:
        """There is a signal in the inbox that came to an instance at rest; or there may be one."""
        self._journal.is_stale = True
        self._journal.unread |= is_sure
        self.told.set()
        if not self.running:
            return  # the driver reads the inbox before it calls the next handler
        self.hear()

    def hear(self) -> None:
        """See whether a cancel is there for the handlers that run."""
        self._unheard = True
        if not self._listening:
            self._listening = True
            self._spawn(self._listen())

    async def _listen(self) -> None:
        try:
            while self._unheard and self.running:
                self._unheard = False
                if await self._cancel_is_asked():
                    await self._stop(*self.running)
        except Exception:
            id = self.instance.id
            self._services.logger.exception("inbox.unreadable", extra={"instance": id})
        finally:
            self._listening = False

    async def _cancel_is_asked(self) -> bool:
        instance = self.instance
        if waiting.cancel_asked_for(instance) is not None:
            return True
        signals = await self._services.storage.signals(instance.id, after=instance.seen)
        return any(s.signal.name == waiting.CANCEL and s.consumed_by is None for s in signals)

    async def _watch_deadline(self) -> None:
        instance = self.instance
        while (left := self._seconds_left()) > 0:
            await self._services.clock.sleep(left)
        self.is_late = True
        self.told.set()
        if self.running and instance.head.direction is Direction.FORWARD:
            await self._stop(*self.running)

    def _seconds_left(self) -> float:
        deadline = self.instance.deadline
        assert deadline is not None
        return (deadline - self._services.clock.now()).total_seconds()

    async def _stop(self, *meant: WorkflowContext) -> None:
        for ctx in meant:
            if ctx in self.running and not ctx.was_interrupted:
                ctx.interrupt()
        if not any(ctx in self.running for ctx in meant):
            return
        await asyncio.sleep(self._services.config.grace)
        if any(ctx in self.running for ctx in meant):
            self._on_stuck(self)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
