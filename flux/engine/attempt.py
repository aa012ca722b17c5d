"""One call of a user's function: in the loop or in a thread, under a time limit."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from attrs import Factory

from flux.clock import Clock
from flux.definition.step import StepDefinition, is_async
from flux.definition.wait import Wait, begin_waits, returned_wait
from flux.engine import waiting
from flux.engine.context import WorkflowContext
from flux.engine.data import LazyData
from flux.engine.heartbeat import Heartbeat
from flux.engine.threads import Job, Threads
from flux.errors import (
    CannotWaitError,
    HandlerCancelledError,
    NotJSONError,
    OutcomeUnknownError,
    StepTimeoutError,
    WaitNotReturnedError,
)
from flux.events import AttemptEnd, DataChanges, Waiting
from flux.frozen import unguarded
from flux.state.strict_json import json_text

Function = Callable[[Any], Any]


class NotBegunError(Exception):
    """The handler was not called: what was looked at before its call does not hold any more."""


@unguarded
class Attempted:
    """How a call went: with `value` and `changes`, or with `ended` and `error`.

    `waiting` is set if the value is a wait, `cached` if the result came from a cache.
    """

    started_at: datetime
    value: Any = None
    output: bytes = b"null"
    waiting: Waiting | None = None
    changes: DataChanges = Factory(DataChanges)
    ended: AttemptEnd | None = None
    error: BaseException | None = None
    cached: bool = False


class Attempts:
    """Calls users' functions."""

    def __init__(
        self,
        *,
        clock: Clock,
        threads: Threads,
        heartbeat: Heartbeat,
        grace: float,
        logger: logging.Logger,
    ) -> None:
        self._clock = clock
        self._heartbeat = heartbeat
        self._threads = threads
        self._grace = grace
        self._logger = logger
        # Keeps abandoned tasks from being collected while they still run.
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def run(
        self,
        step: StepDefinition,
        function: Function,
        ctx: WorkflowContext,
        timeout: float | None,
        may_begin: Callable[[], bool],
        task: asyncio.Task[Any] | None = None,
    ) -> Attempted:
        """Call a handler, verifier or compensator; nothing that it raises gets out.

        A cancellation, whoever asked for it, is how the attempt ended. What does not begin at once
        asks `may_begin` when it does; its error is a `NotBegunError` if it may not. `task` is the
        one that this runs in, where the caller knows it.
        """
        started_at = self._clock.now()
        made = begin_waits()
        awaited = step.is_async if function is step.handler else is_async(function)
        if awaited:
            self._heartbeat.begins(ctx)
        try:
            if awaited and timeout is None:
                # In the task of the driver, and not by way of `_call`: so most steps are called.
                task = task or asyncio.current_task()
                assert task is not None
                ctx.interruptible(task.cancel)
                value = await function(ctx)
            else:
                value = await self._call(function, awaited, ctx, timeout, may_begin)
        except asyncio.CancelledError:
            told = ctx.cancelled()
            ctx.cancel()
            cancelled = HandlerCancelledError(ctx.step, told=told)
            return Attempted(started_at=started_at, ended=AttemptEnd.CANCELLED, error=cancelled)
        except BaseException as error:
            if goes_through(error):
                raise
            ended = how_it_ended(error, step, ctx)
            return Attempted(started_at=started_at, ended=ended, error=error)
        finally:
            ctx.interruptible(None)
            if awaited:
                self._heartbeat.ends(ctx)
        return self._accepted(value, made, ctx, started_at, is_handler=function is step.handler)

    async def ask(self, function: Function, ctx: WorkflowContext, what: str, timeout: float) -> Any:
        """What a function without effects answers; raises what it raises, or `StepTimeoutError`."""
        try:
            return await self._ask(function, ctx, what, timeout)
        except asyncio.CancelledError:
            raise HandlerCancelledError(ctx.step) from None

    def _accepted(
        self,
        value: Any,
        made: Sequence[Wait],
        ctx: WorkflowContext,
        started_at: datetime,
        *,
        is_handler: bool,
    ) -> Attempted:
        waits: Waiting | None = None
        try:
            if made or isinstance(value, Wait):
                waits = self._wait(value, made, ctx, is_handler=is_handler)
            changes = ctx.changes()
            output = output_text(value) if is_handler and waits is None else b"null"
        except (NotJSONError, WaitNotReturnedError, CannotWaitError) as error:
            return Attempted(started_at=started_at, ended=AttemptEnd.REFUSED, error=error)
        # In the order of the fields, as this is on the way of every step.
        return Attempted(started_at, value, output, waits, changes)

    def _wait(
        self, value: object, made: Sequence[Wait], ctx: WorkflowContext, *, is_handler: bool
    ) -> Waiting | None:
        """What the function waits for that it returned, if it did."""
        wait = returned_wait(value, made, f"step {ctx.step!r}")
        if wait is None:
            return None
        if not is_handler:
            raise CannotWaitError(ctx.step)
        return waiting.waiting(wait, self._clock.now())

    async def _ask(
        self, function: Function, ctx: WorkflowContext, what: str, timeout: float
    ) -> Any:
        began = self._clock.monotonic()
        self._heartbeat.begins(ctx)
        try:
            answer = function(ctx)
            if inspect.isawaitable(answer) and not isinstance(answer, Wait):
                answer = await self._within(answer, ctx, what, timeout)
        finally:
            self._heartbeat.ends(ctx)
        # A plain one runs in the loop, where nothing can stop it; it is judged afterwards.
        if self._clock.monotonic() - began > timeout:
            raise StepTimeoutError(what, timeout)
        return answer

    async def _call(
        self,
        function: Function,
        awaited: bool,
        ctx: WorkflowContext,
        timeout: float | None,
        may_begin: Callable[[], bool],
    ) -> Any:
        what = f"step {ctx.step!r}"
        if awaited:
            return await self._within(_begun(function, ctx, may_begin), ctx, what, timeout)
        value = await self._in_thread(function, ctx, what, timeout)
        # A wait has an `__await__` only to say that it is not awaited.
        if inspect.isawaitable(value) and not isinstance(value, Wait):
            value = await self._within(value, ctx, what, timeout)
        return value

    async def _within(
        self, awaitable: Any, ctx: WorkflowContext, what: str, timeout: float | None
    ) -> Any:
        # A task of its own: a handler that ignores its cancellation can be left behind.
        task = asyncio.ensure_future(_held(awaitable))
        ctx.interruptible(task.cancel)
        try:
            await asyncio.wait({task}, timeout=timeout)
            if task.done():
                value, error = task.result()
                if error is not None:
                    raise error
                return value
            ctx.cancel()
            task.cancel()
            await asyncio.wait({task}, timeout=self._grace)
        except asyncio.CancelledError:
            self._leave(task)
            if inspect.iscoroutine(awaitable) and task.cancelled():
                awaitable.close()  # it may never have begun, which Python would complain about
            raise
        if not task.done():
            self._logger.warning("task.abandoned", extra={"handler": what})
        self._leave(task)
        raise StepTimeoutError(what, timeout or 0.0)

    async def _in_thread(
        self, function: Function, ctx: WorkflowContext, what: str, timeout: float | None
    ) -> Any:
        job = self._threads.submit(function, ctx)
        ctx.interruptible(lambda: self._threads.call_off(job))
        try:
            if timeout is not None:
                await job.started
                await self._await_job(job, ctx, what, timeout)
            value, error = await job.finished
        except asyncio.CancelledError:
            ctx.cancel()
            has_begun = not self._threads.withdraw(job)
            if ctx.was_interrupted and not has_begun:
                raise HandlerCancelledError(ctx.step, told=True) from None
            if ctx.was_interrupted:
                # Nobody waits for it any more; another thread takes the place of its thread.
                self._threads.abandon(job, what)
            raise
        if error is not None:
            raise error
        return value

    async def _await_job(self, job: Job, ctx: WorkflowContext, what: str, timeout: float) -> None:
        await asyncio.wait({job.finished}, timeout=timeout)
        if job.finished.done():
            return
        ctx.cancel()
        await asyncio.wait({job.finished}, timeout=self._grace)
        if not job.finished.done():
            self._threads.abandon(job, what)
        raise StepTimeoutError(what, timeout)

    def _leave(self, task: asyncio.Future[Any]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Future[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it


def goes_through(error: BaseException) -> bool:
    """Whether Flux lets an error through: it ends the process, or this very coroutine."""
    if isinstance(error, GeneratorExit):
        # A coroutine that is closed from outside is not run by a task; else the handler raised it.
        return _task_at_work() is None
    return isinstance(error, KeyboardInterrupt)


def _task_at_work() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None


async def _begun(function: Function, ctx: WorkflowContext, may_begin: Callable[[], bool]) -> Any:
    # In a task of its own it begins a turn of the loop later than it was decided.
    if not may_begin():
        raise NotBegunError
    return await function(ctx)


async def _held(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    # A task that lets a SystemExit out would end the loop, and the process with it.
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if goes_through(error):
            raise
        return None, error


def how_it_ended(error: BaseException, step: StepDefinition, ctx: WorkflowContext) -> AttemptEnd:
    """What an error that a function raised says about what it did."""
    if isinstance(error, StepTimeoutError) and ctx.cancelled():
        return AttemptEnd.TIMED_OUT
    if isinstance(error, (OutcomeUnknownError, *step.unknown_on)):
        return AttemptEnd.UNKNOWN
    return AttemptEnd.FAILED


def output_text(value: Any) -> bytes:
    """The JSON text of a step's result, or `NotJSONError`."""
    if value is None:
        return b"null"
    return json_text(value.copy() if isinstance(value, LazyData) else value, "output")
