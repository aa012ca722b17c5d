"""OpenStack's TaskFlow with its SQLite persistence: flows of tasks, reverted when one fails.

It is a library of blocking calls; each instance runs in a thread, by the serial engine. It leaves
SQLite as it finds it (a rollback journal, FULL). Its connections wait 100 s for the lock instead of
5, or it fails with several instances at once.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

from taskflow import engines, task
from taskflow.patterns import linear_flow
from taskflow.persistence import backends
from taskflow.utils import persistence_utils

from benchmarks import work
from benchmarks.contender import Place

Execute = Callable[..., int]

THREADS = 64
LOCK_TIMEOUT = 100


class TaskFlowContender:
    """Its database is a file."""

    def __init__(self, journal_mode: str | None = None) -> None:
        self._journal_mode = journal_mode

    async def open(self, place: Place) -> None:
        path = place.folder / "taskflow.db"
        if self._journal_mode is not None:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute(f"PRAGMA journal_mode = {self._journal_mode}")
        url = f"sqlite:///{path}?timeout={LOCK_TIMEOUT}"
        self._backend = backends.fetch({"connection": url})
        with closing(self._backend.get_connection()) as connection:
            connection.upgrade()
        self._threads = ThreadPoolExecutor(THREADS)

    async def close(self) -> None:
        self._threads.shutdown()
        self._backend.close()

    async def sequence(self, steps: int) -> None:
        flow = linear_flow.Flow("sequence")
        for number in range(steps):
            flow.add(_task(_count, number))
        assert await self._run(flow) == "SUCCESS"

    async def saga(self) -> None:
        flow = linear_flow.Flow("saga")
        for number in range(work.SAGA_STEPS - 1):
            flow.add(_task(_count, number, _count_back))
        flow.add(task.FunctorTask(_fail, name="last"))
        assert await self._run(flow) == "REVERTED"

    async def _run(self, flow: Any) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run_here, flow)

    def _run_here(self, flow: Any) -> str:
        book, detail = persistence_utils.temporary_flow_detail(self._backend)
        engine = engines.load(
            flow, flow_detail=detail, book=book, backend=self._backend, engine="serial",
            store={"start": 0},
        )  # fmt: skip
        with suppress(work.StepFailedError):
            engine.run()
        return str(engine.storage.get_flow_state())


def _task(execute: Execute, number: int, revert: Callable[..., None] | None = None) -> Any:
    """A task that takes the count of the one before it."""
    before = "start" if number == 0 else f"count-{number - 1}"
    return task.FunctorTask(
        execute, name=f"step-{number}", provides=f"count-{number}", rebind=[before], revert=revert
    )


def _count(count: int) -> int:
    data = {"count": count}
    work.count(data)
    return data["count"]


def _count_back(**state: Any) -> None:
    work.count_back({"count": state["result"]})


def _fail() -> None:
    work.fail()
