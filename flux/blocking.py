"""The engine for people without an event loop: the same verbs, and they block.

    with BlockingEngine("sqlite:///orders.db", workflows=[order]) as flux:
        result = flux.execute(order, {"sku": "A1"})

The engine itself runs in one background thread. docs/blocking.md tells of threads and forks.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from flux.clock import Clock
from flux.config import FluxConfig
from flux.definition.builder import Workflow
from flux.definition.workflow import WorkflowDefinition
from flux.engine.engine import FluxEngine
from flux.errors import EngineClosedError
from flux.observe.observers import Observer
from flux.storage import WorkflowStorage

P = ParamSpec("P")
T = TypeVar("T")

LAST = 1.0
"""Seconds that a task which ignores its cancellation has to end when the thread does."""


def _blocking(
    verb: Callable[Concatenate[FluxEngine, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["BlockingEngine", P], T]:
    """The verb of the engine as a method that waits for it."""

    @wraps(verb)
    def blocking(self: "BlockingEngine", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._opened(verb.__name__).wait(verb, self._engine, *args, **kwargs)

    return blocking


class BlockingEngine:
    """A `FluxEngine` whose verbs block; use it with `with`, or call `init` and `close`.

    Any thread may call it, many at once; a thread that runs an event loop may not. Ctrl-C, or
    whatever else interrupts a verb that waits, leaves the instance as it is. An open engine does
    not go through a fork: open it after the fork, in the process that uses it.
    """

    def __init__(
        self,
        storage: str | WorkflowStorage = "memory:",
        *,
        workflows: Iterable[Workflow | WorkflowDefinition] = (),
        config: FluxConfig | None = None,
        clock: Clock | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._engine = FluxEngine(
            storage, workflows=workflows, config=config, clock=clock, observers=observers
        )
        self._changing = threading.RLock()
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        self.init()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def init(self) -> None:
        """Start the thread and open the storage. An open engine stays as it is."""
        _refuse_in_a_loop("init")
        if self._thread is not None:
            self._thread.refuse_after_a_fork("init")
        with self._changing:
            if self._thread is None:
                thread = _LoopThread()
                try:
                    thread.wait(FluxEngine.init, self._engine)
                except BaseException:
                    thread.stop()
                    raise
                self._thread = thread

    def close(self) -> None:
        """Stop gracefully, as `FluxEngine.close` does, and end the thread.

        In a child of a fork it does nothing: the engine is its parent's.
        """
        _refuse_in_a_loop("close")
        if self._thread is None or self._thread.is_a_parents:
            return
        with self._changing:
            thread, self._thread = self._thread, None
            if thread is not None:
                try:
                    thread.wait(FluxEngine.close, self._engine)
                finally:
                    thread.stop()

    execute = _blocking(FluxEngine.execute)
    start = _blocking(FluxEngine.start)
    result = _blocking(FluxEngine.result)

    signal = _blocking(FluxEngine.signal)
    deliver = _blocking(FluxEngine.deliver)

    pause = _blocking(FluxEngine.pause)
    cancel = _blocking(FluxEngine.cancel)
    resume = _blocking(FluxEngine.resume)
    retry_step = _blocking(FluxEngine.retry_step)
    restart = _blocking(FluxEngine.restart)
    retry_rollback = _blocking(FluxEngine.retry_rollback)
    skip_compensation = _blocking(FluxEngine.skip_compensation)

    get = _blocking(FluxEngine.get)
    list = _blocking(FluxEngine.list)
    count = _blocking(FluxEngine.count)
    diagnose = _blocking(FluxEngine.diagnose)
    delete = _blocking(FluxEngine.delete)
    purge = _blocking(FluxEngine.purge)
    children = _blocking(FluxEngine.children)

    def _opened(self, verb: str) -> "_LoopThread":
        _refuse_in_a_loop(verb)
        thread = self._thread
        if thread is None:
            raise EngineClosedError(verb)
        thread.refuse_after_a_fork(verb)
        return thread


class _LoopThread:
    """An event loop in a daemonic thread of its own, until it is stopped."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._submitting = threading.RLock()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="flux-loop", daemon=True)
        self._thread.start()

    @property
    def is_a_parents(self) -> bool:
        """Whether this is a copy that a fork has made: of a thread, which is not there."""
        return self._pid != os.getpid()

    def refuse_after_a_fork(self, verb: str) -> None:
        if self.is_a_parents:
            raise RuntimeError(
                f"{verb}: this engine was opened before a fork, in process {self._pid}; "
                "let each process open an engine of its own, after the fork"
            )

    def wait(
        self,
        verb: Callable[Concatenate[FluxEngine, P], Coroutine[Any, Any, T]],
        engine: FluxEngine,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call the verb in the loop, and wait for what it returns."""
        with self._submitting:
            if self._is_stopped:
                raise EngineClosedError(verb.__name__)
            called = verb(engine, *args, **kwargs)
            future: Future[T] = asyncio.run_coroutine_threadsafe(called, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise EngineClosedError(verb.__name__) from None
        finally:
            # Whoever is interrupted while it waits waits no longer in the loop either.
            future.cancel()

    def stop(self) -> None:
        """End the loop and the thread; what still runs in it is cancelled."""
        with self._submitting:
            self._is_stopped = True
        asyncio.run_coroutine_threadsafe(_end_all_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _end_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LAST)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _refuse_in_a_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{verb}: this thread runs an event loop, which a BlockingEngine would block; "
        f"use FluxEngine and `await engine.{verb}(...)`"
    )
