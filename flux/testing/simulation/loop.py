"""An event loop whose time is virtual, and whose order of ready callbacks a seed chooses.

The idea is that of FoundationDB's simulator: many processes in one thread, every turn of chance
drawn from one seed, so that each run can be repeated.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar
from random import Random
from typing import Any, TypeVar

from attrs import Factory, define

T = TypeVar("T")

_LONGEST_MOMENT = 100_000
"""So many callbacks without any time going by are taken for a loop that never ends."""


class NothingLeftError(RuntimeError):
    """Everything waits for something that nothing will ever bring about."""


@define(eq=False)
class Process:
    """What runs together, stands still together and dies together."""

    name: str
    is_dead: bool = False
    is_stalled: bool = False
    parked: "deque[Callback | TimedCallback]" = Factory(deque)
    """What became ready while it stood still."""


RUNS_IN: ContextVar[Process | None] = ContextVar("flux_simulated_process", default=None)
"""The process whose code is running."""


class Callback(asyncio.Handle):
    """A callback that belongs to a process."""

    __slots__ = ("process",)

    process: Process | None

    def go(self) -> None:
        self._run()


class TimedCallback(asyncio.TimerHandle):
    """A callback with a time that belongs to a process."""

    __slots__ = ("process",)

    process: Process | None

    def go(self) -> None:
        self._run()


class NumberedTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, coro: Coroutine[Any, Any, T], *, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)
        # One whose process is dead is left pending, and that is meant.
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self.number


class NumberedFuture(asyncio.Future[T]):
    """A future whose place in a set does not depend on its address."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


Batch = deque[Callback | TimedCallback]


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks one at a time; when none is ready, time jumps to the next timer.

    What one callback schedules keeps its order, as asyncio promises; what several schedule is mixed
    by `chance`, or with `in_order` left as it came. It has no threads, no files and no sockets.
    """

    def __init__(self, chance: Random, *, in_order: bool = False) -> None:
        self.errors: list[str] = []
        """What callbacks raised that nobody waits for."""
        self._chance = chance.random
        self._in_order = in_order
        self._now = 0.0
        self._number = 0
        self._batch: Batch = deque()
        self._ready: list[Batch] = []
        self._timers: list[tuple[float, int, TimedCallback]] = []
        self._tasks: list[NumberedTask[Any]] = []
        self._keeps = 1000
        self._is_running = False
        self._is_over = False
        self._is_stopping = False

    # Running

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future`, or the task made of a coroutine, is done, or `stop` is called."""
        main = asyncio.ensure_future(future, loop=self)
        self._run(main.done)
        return main.result() if main.done() else None

    def run_forever(self) -> None:
        self._run(lambda: False)

    def _run(self, is_done: Callable[[], bool]) -> None:
        self._is_running, self._is_stopping = True, False
        asyncio._set_running_loop(self)  # noqa: SLF001 - made for event loops
        moment, began = self._now, 0
        try:
            while not is_done() and not self._is_stopping:
                self._turn()
                began += 1
                if self._now > moment:
                    moment, began = self._now, 0
                elif began > _LONGEST_MOMENT:
                    raise NothingLeftError(f"something spins at {moment:.3f} s")
        finally:
            self._is_running = False
            asyncio._set_running_loop(None)  # noqa: SLF001

    def _turn(self) -> None:
        if self._batch:
            self._ready.append(self._batch)
            self._batch = deque()
        ready = self._ready
        if not ready:
            self._jump()
            return
        place = 0 if self._in_order else int(self._chance() * len(ready))
        callback = ready[place].popleft()
        if not ready[place]:
            del ready[place]
        process = callback.process
        if process is not None and process.is_dead:
            return
        if process is not None and process.is_stalled:
            process.parked.append(callback)
        elif not callback.cancelled():
            callback.go()

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise NothingLeftError(f"nothing is left to happen at {self._now:.3f} s")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(deque((heapq.heappop(timers)[2],)))

    def thaw(self, process: Process) -> None:
        """Let a process that stood still go on."""
        process.is_stalled = False
        if process.parked:
            self._ready.append(process.parked)
            process.parked = deque()

    def stop(self) -> None:
        self._is_stopping = True

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return self._is_over

    def close(self) -> None:
        """End: what still runs is closed, in the order in which it began."""
        self._is_over = True
        asyncio._set_running_loop(self)  # noqa: SLF001 - what ends may still ask for it
        try:
            for task in self._tasks:  # what ends may begin another
                coroutine: Any = task.get_coro()
                # One that awaits in its `finally` says so; it is over all the same.
                with suppress(RuntimeError):
                    coroutine.close()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
        self._tasks.clear()
        self._timers.clear()
        self._ready.clear()
        self._batch.clear()

    # Scheduling

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = Callback(callback, args, self, context)
        handle.process = _process_of(context)
        if not self._is_over:
            self._batch.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = TimedCallback(when, callback, args, self, context)
        handle.process = _process_of(context)
        self._number += 1
        if not self._is_over:
            heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by `TimerHandle.cancel`; it is left where it is until its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        self._number += 1
        return NumberedFuture(number=self._number, loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        self._number += 1
        task: NumberedTask[Any] = NumberedTask(
            coro, number=self._number, loop=self, name=name, context=context
        )
        self._keep(task)
        return task

    def _keep(self, task: NumberedTask[Any]) -> None:
        # A task of a dead process must not be collected at a moment that chance has not chosen.
        self._tasks.append(task)
        if len(self._tasks) > self._keeps:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
            self._keeps = 1000 + 2 * len(self._tasks)

    # What asyncio asks of a loop besides

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        message, error = context.get("message", ""), context.get("exception")
        # What nobody has looked at is told when it is collected, at any moment.
        if "never retrieved" not in message and not self._is_over:
            self.errors.append(f"{message}: {error!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        raise RuntimeError(
            f"{func!r} would run in a thread, whose order no seed chooses; "
            "in a simulation handlers and storages await"
        )


def _process_of(context: Context | None) -> Process | None:
    return RUNS_IN.get() if context is None else context.get(RUNS_IN)
