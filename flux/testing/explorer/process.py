"""A process in a run: its calls of users' functions, its saves, and its death."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from flux.definition.step import is_async
from flux.definition.wait import Wait
from flux.errors import StorageError, StorageUnavailableError
from flux.storage import Checkpoint, Entry, Record
from flux.testing.explorer.points import CrashPoint, When
from flux.testing.explorer.pulse import Pulse
from flux.testing.explorer.story import Kind, Made, Saved, Story

T = TypeVar("T")


class DiedError(StorageError):
    """The process is dead: nothing that it still does reaches the storage."""

    def __init__(self) -> None:
        super().__init__("the process that used this storage is dead")


class Process:
    """One life, from the opening of an engine to its end or its death.

    What a dead process was doing is dropped where it stood: its coroutines are never resumed, and
    what they were waiting for is cancelled. A plain handler cannot be stopped in its thread; it is
    taken to have ended before the death.
    """

    def __init__(self, story: Story, pulse: Pulse, point: CrashPoint | None) -> None:
        self.story = story
        self.is_dead = False
        self._pulse = pulse
        self._point = point
        self._tasks: dict[asyncio.Task[Any], int] = {}
        self._threads: set[asyncio.Future[Any]] = set()
        self._dropped: list[Any] = []

    # Calls of users' functions

    def calling(self, kind: Kind, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The function as this process calls it: noted, in the loop or in a thread."""
        act = self._in_loop if is_async(function) else self._in_thread

        async def call(ctx: Any) -> Any:
            self.check_alive(asyncio.CancelledError)
            key = ctx.step_key if kind == "undo" else ctx.idempotency_key
            made = Made(kind=kind, id=ctx.id, step=ctx.step, attempt=ctx.attempt, key=key)
            self.story.told.append(made)
            with self._at_work():
                return await act(function, ctx)

        return call

    def asking(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function without effects as this process calls it; a plain one stays as it is."""
        if not is_async(function):
            return function

        async def ask(ctx: Any) -> Any:
            self.check_alive(asyncio.CancelledError)
            with self._at_work():
                return await self._in_loop(function, ctx)

        return ask

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = self._tasks.get(task, 0) + 1
        try:
            with self._pulse.working():
                yield
        finally:
            self._tasks[task] -= 1
            if not self._tasks[task]:
                del self._tasks[task]

    async def _in_loop(self, function: Callable[[Any], Any], ctx: Any) -> Any:
        return await _Mortal(function(ctx), self)

    async def _in_thread(self, function: Callable[[Any], Any], ctx: Any) -> Any:
        running = asyncio.ensure_future(asyncio.to_thread(_outcome, function, ctx))
        self._threads.add(running)
        running.add_done_callback(self._threads.discard)
        value, error = await self._ended(running)
        if error is not None:
            raise error
        if inspect.isawaitable(value) and not isinstance(value, Wait):
            return await _Mortal(value, self)
        return value

    async def _ended(self, running: "asyncio.Future[tuple[Any, BaseException | None]]") -> Any:
        while True:
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                # As in a thread of the engine: its end counts, unless nobody waits for it.
                if self.is_dead:
                    raise

    # Death

    def die(self) -> None:
        """Let nothing that this process does from now on come through."""
        self.is_dead = True
        for task in self._tasks:
            task.cancel()

    async def end(self) -> None:
        """After the engine was closed: wait for what still runs in threads."""
        while self._threads:
            await asyncio.wait(self._threads)

    def forget(self) -> None:
        """Let go of what was dropped, once nobody looks at what its ends may do."""
        for dropped in self._dropped:
            with suppress(BaseException):
                dropped.close()

    def drop(self, coroutine: Any) -> None:
        """Resume this no more."""
        self._dropped.append(coroutine)

    def check_alive(self, error: type[BaseException] = DiedError) -> None:
        """Raise the error if the process is dead."""
        if self.is_dead:
            raise error

    # Saves

    async def through(self, call: Coroutine[Any, Any, T]) -> T:
        """The answer of the storage, if the process lives to hear it."""
        if self.is_dead:
            call.close()
            raise DiedError
        with self._pulse.working():
            answer = await call
        self.check_alive()
        return answer

    async def written(
        self,
        save: Record | Checkpoint,
        entries: tuple[Entry, ...],
        write: Callable[[], Awaitable[T]],
        is_made: Callable[[T], bool],
    ) -> T:
        """The answer of the storage to a save, unless the process is struck there."""
        self.check_alive()
        self.story.tried += 1
        saved = Saved.of(self.story.tried, save, entries)
        point = self._point
        strikes = point is not None and point.number == saved.number
        if strikes:
            self.story.struck = saved
        if strikes and point is not None and point.when is When.BEFORE:
            self.die()
            raise DiedError
        with self._pulse.working():
            answer = await write()
        if is_made(answer):
            self.story.told.append(saved)
        if strikes and point is not None and point.when is When.ERROR:
            raise StorageUnavailableError("the storage", "the explorer lost its answer")
        if strikes:
            self.die()
        self.check_alive()
        return answer


class _Mortal:
    """Awaits for a process, and resumes nothing once that is dead."""

    def __init__(self, awaited: Awaitable[Any], process: Process) -> None:
        self._awaited = awaited
        self._process = process

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._awaited.__await__()
        go_on, given = inner.send, None
        while True:
            try:
                waits_for = go_on(given)
            except StopIteration as end:
                return end.value
            try:
                given = yield waits_for
                go_on = inner.send
            except BaseException as error:
                if self._process.is_dead:
                    if waits_for is not None:
                        waits_for.cancel()
                    self._process.drop(inner)
                    raise
                given, go_on = error, inner.throw
            if self._process.is_dead:
                self._process.drop(inner)
                raise asyncio.CancelledError


def _outcome(function: Callable[[Any], Any], ctx: Any) -> tuple[Any, BaseException | None]:
    # A StopIteration, say, cannot be set on a future.
    try:
        return function(ctx), None
    except BaseException as error:
        return None, error
