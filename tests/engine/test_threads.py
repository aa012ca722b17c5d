"""The threads for plain handlers, by themselves."""

import logging
import queue
import threading
from typing import Any

from flux.engine.threads import Threads


class Dawdling(queue.SimpleQueue[Any]):
    """A queue whose takers come away from it with a job only when they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.let = threading.Semaphore(0), threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        job = super().get(block, timeout)
        self.taken.release()
        self.let.wait()
        return job


async def test_a_thread_about_to_work_is_not_free() -> None:
    """A second job gets a thread of its own though the first one's has not said that it works."""
    threads = Threads(2, logging.getLogger("threads"))
    jobs = threads._jobs = Dawdling()  # noqa: SLF001 - no other way to hold a thread up there
    both = threading.Barrier(2)
    first = threads.submit(lambda _: both.wait(10), None)
    jobs.taken.acquire()
    second = threads.submit(lambda _: both.wait(10), None)
    jobs.let.set()
    for job in (first, second):
        assert (await job.finished)[1] is None
    threads.close()
