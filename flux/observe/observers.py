"""Observers watch and never steer: whatever they do, the instance goes its way."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from flux.clock import Clock, SystemClock
from flux.events import Event, InstanceFacts
from flux.frozen import frozen
from flux.observe.trace import FluxTraceEvent, trace_event

DROPS_A_LINE = 1000
"""Deliveries that find the queue full are logged once per so many."""


class FluxTraceSink(Protocol):
    """An outlet of trace events; one that has a `close()`, plain or async, is closed at the end."""

    def emit(self, event: FluxTraceEvent, /) -> Awaitable[None] | None:
        """Take one event, at once or by what is returned, which is awaited in the background."""
        ...


Observer = Callable[[FluxTraceEvent], Awaitable[None] | None] | FluxTraceSink
"""A plain or async function of one event, or a sink."""


@frozen
class _Outlet:
    name: str
    emit: Callable[[FluxTraceEvent], Any]
    close: Callable[[], Any] | None


@frozen
class _Delivery:
    """What an async outlet has returned for an event, still to be awaited."""

    outlet: _Outlet
    event: FluxTraceEvent
    pending: Awaitable[Any]

    def drop(self) -> None:
        if inspect.iscoroutine(self.pending):
            self.pending.close()


class Observers:
    """All that listen to one engine.

    Plain outlets are called at once. What async ones return is awaited by one background task,
    between `start` and `close`, in order; at most `capacity` deliveries wait for it, further ones
    are dropped. An outlet that raises loses that event, no other outlet does, and the next event
    goes to it again. All that is lost is logged. To be used from the thread of the loop only.
    """

    def __init__(
        self,
        outlets: Iterable[Observer],
        *,
        logger: logging.Logger,
        clock: Clock | None = None,
        capacity: int = 10_000,
    ) -> None:
        self._outlets = tuple(_outlet(observer) for observer in outlets)
        self._logger = logger
        self._clock = clock or SystemClock()
        self._capacity = capacity
        self._queue = asyncio.Queue[_Delivery](capacity)
        self._delivering: asyncio.Task[None] | None = None
        self._dropped = 0
        self._is_closed = False

    @property
    def active(self) -> bool:
        """Whether anybody listens; if nobody does, there is no need to make events."""
        return bool(self._outlets) and not self._is_closed

    def tell(self, facts: InstanceFacts, event: Event) -> None:
        """Hand the event to every outlet; never raises."""
        if not self.active:
            return
        try:
            trace = trace_event(facts, event)
        except Exception:
            fields = {"instance": facts.id, "event": type(event).__name__}
            self._logger.exception("observer.event_unreadable", extra=fields)
            return
        if trace is not None:
            for outlet in self._outlets:
                self._hand(outlet, trace)

    async def start(self) -> None:
        """Begin, or after a `close` begin again, to await what async outlets return."""
        self._is_closed = False
        if self._outlets and self._delivering is None:
            delivering = _deliver(self._queue, self._logger)
            self._delivering = asyncio.create_task(delivering, name="flux observers")

    async def close(self, grace: float) -> None:
        """End: deliver what waits, drop what takes longer than `grace` seconds, close the outlets.

        Outlets have `grace` seconds, once more, to close. What comes later is not told to anybody.
        """
        self._is_closed = True
        delivering, self._delivering = self._delivering, None
        try:
            if delivering is not None:
                await self._ended_within(grace, self._queue.join())
        finally:
            ends = [] if delivering is None else [delivering]
            for end in ends:
                end.cancel()
            self._drop_the_rest()
        closings = [self._close(outlet) for outlet in self._outlets]
        if not await self._ended_within(grace, *closings, *ends):
            self._logger.warning("observer.close_timed_out", extra={"grace": grace})

    def _hand(self, outlet: _Outlet, event: FluxTraceEvent) -> None:
        try:
            pending = outlet.emit(event)
        # An outlet that lets a CancelledError out must not look like a cancel of the instance.
        except (Exception, asyncio.CancelledError):
            self._logger.exception("observer.failed", extra=_fields(outlet, event))
            return
        if inspect.isawaitable(pending):
            self._enqueue(_Delivery(outlet, event, pending))

    def _enqueue(self, delivery: _Delivery) -> None:
        try:
            self._queue.put_nowait(delivery)
        except asyncio.QueueFull:
            delivery.drop()
            if self._dropped % DROPS_A_LINE == 0:
                fields = {"dropped": self._dropped + 1, "capacity": self._capacity}
                self._logger.warning("observer.queue_full", extra=fields)
            self._dropped += 1

    def _drop_the_rest(self) -> None:
        rest = self._queue
        self._queue = asyncio.Queue(self._capacity)  # of the loop in which it will be started
        if rest.qsize():
            self._logger.warning("observer.dropped", extra={"dropped": rest.qsize()})
        while rest.qsize():
            rest.get_nowait().drop()

    async def _close(self, outlet: _Outlet) -> None:
        try:
            pending = outlet.close() if outlet.close is not None else None
            if inspect.isawaitable(pending):
                await pending
        except (Exception, asyncio.CancelledError):
            self._logger.exception("observer.close_failed", extra={"observer": outlet.name})

    async def _ended_within(self, grace: float, *ends: Awaitable[Any]) -> bool:
        """Whether all of them ended in time; those that did not are cancelled and left alone."""
        tasks = [asyncio.ensure_future(end) for end in ends]
        timer = asyncio.ensure_future(self._clock.sleep(grace))
        unfinished: set[asyncio.Future[Any]] = set(tasks)
        try:
            while unfinished and not timer.done():
                await asyncio.wait({timer, *unfinished}, return_when=asyncio.FIRST_COMPLETED)
                unfinished = {task for task in tasks if not task.done()}
            return not unfinished
        finally:
            for task in (timer, *tasks):
                task.cancel()


async def _deliver(queue: asyncio.Queue[_Delivery], logger: logging.Logger) -> None:
    while not _is_being_cancelled():
        delivery = await queue.get()
        try:
            await delivery.pending
        except (Exception, asyncio.CancelledError):
            end = "observer.interrupted" if _is_being_cancelled() else "observer.failed"
            logger.exception(end, extra=_fields(delivery.outlet, delivery.event))
        finally:
            queue.task_done()


def _outlet(observer: Observer) -> _Outlet:
    emit = getattr(observer, "emit", observer)
    if not callable(emit) or (isinstance(observer, type) and emit is not observer):
        raise TypeError(
            f"{observer!r} is no observer; give a function of one event, or an object with emit()"
        )
    close = getattr(observer, "close", None)
    name = getattr(observer, "__qualname__", None) or type(observer).__qualname__
    return _Outlet(str(name), emit, close if callable(close) else None)


def _fields(outlet: _Outlet, event: FluxTraceEvent) -> dict[str, str]:
    return {"observer": outlet.name, "instance": event.workflow_id, "event": event.type}


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
