"""The threads in which plain handlers run: the engine's own, daemonic and bounded."""

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Job:
    """One call of a plain function in a thread.

    `started` and `finished` are futures of the loop that asked. `finished` carries a pair, result
    and error, since not every exception may be set on a future.
    """

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = self.loop.create_future()
        self.finished: asyncio.Future[tuple[Any, BaseException | None]] = self.loop.create_future()
        self.has_begun = False
        self.is_withdrawn = False
        self.is_over = False
        self.is_abandoned = False
        self.is_replaced = False
        self._function = function
        self._argument = argument
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Call the function, in the thread that is at hand."""
        self._tell(self.started, None)
        try:
            outcome: Any = (self._context.run(self._function, self._argument), None)
        except BaseException as error:
            outcome = (None, error)
        self._tell(self.finished, outcome)

    def forget(self) -> None:
        """Let whoever waits for it know that it was withdrawn."""
        self.started.cancel()
        self.finished.cancel()

    def _tell(self, future: asyncio.Future[Any], value: Any) -> None:
        # A late thread may outlive the loop that waited for it.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(_settle, future, value)


class Threads:
    """Daemonic threads, made when they are needed, at most `limit` at work.

    A thread whose job was abandoned ends after it and is replaced meanwhile, so that handlers
    which never return do not starve the others; at most `limit` threads are replaced like this.
    """

    def __init__(self, limit: int, logger: logging.Logger) -> None:
        self._limit = limit
        self._logger = logger
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0
        """Threads without a job, also those that are about to look for one."""
        self._queued = 0
        """Jobs that no thread has said to have taken: the queue alone would not know of these."""
        self._abandoned = 0

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Job:
        """Queue a call for the next free thread."""
        job = Job(function, argument)
        with self._lock:
            self._queued += 1
            self._add_thread_if_needed()
        self._jobs.put(job)
        return job

    def withdraw(self, job: Job) -> bool:
        """Make sure that a job which has not begun never will; False if it has begun."""
        with self._lock:
            job.is_withdrawn = not job.has_begun
            return job.is_withdrawn

    def call_off(self, job: Job) -> None:
        """Withdraw a job that has not begun, and let whoever waits for it know."""
        if self.withdraw(job):
            job.forget()

    def abandon(self, job: Job, what: str) -> None:
        """Wait for this job no longer; another thread takes the place of its thread."""
        with self._lock:
            if job.is_over:
                return
            job.is_abandoned = True
            self._abandoned += 1
            job.is_replaced = self._abandoned <= self._limit
            if job.is_replaced:
                self._threads -= 1
                self._add_thread_if_needed()
        self._logger.warning(
            "thread.abandoned",
            extra={"handler": what, "replaced": job.is_replaced, "abandoned": self._abandoned},
        )

    def close(self) -> None:
        """Let idle threads end; those at work end with their job."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _add_thread_if_needed(self) -> None:
        if self._free >= self._queued or self._threads >= self._limit:
            return
        self._threads += 1
        self._free += 1
        threading.Thread(target=self._work, name="flux-handler", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._begins(job):
                continue
            job.run()
            if self._is_replaced_after(job):
                return

    def _begins(self, job: Job) -> bool:
        with self._lock:
            self._queued -= 1
            self._free -= not job.is_withdrawn
            job.has_begun = not job.is_withdrawn
            return job.has_begun

    def _is_replaced_after(self, job: Job) -> bool:
        with self._lock:
            job.is_over = True
            self._abandoned -= job.is_abandoned
            self._free += not job.is_replaced
            return job.is_replaced


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
