"""DBOS on SQLite: workflows are functions, and what a step returned is saved.

An undo is a step like any other, called by the workflow when a step has raised. As shipped, DBOS
leaves SQLite as it finds it (a rollback journal, FULL) and looks for messages once a second; with
`journal_mode` WAL it is also told to look every 10 ms, which is to its advantage.
"""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks import work
from benchmarks.contender import Place

OFTEN = 0.01
MONTH = 30 * 86400.0

_third_begins: dict[str, asyncio.Event] = {}


class DBOSContender:
    """DBOS is one to a process; its database is a file."""

    def __init__(self, journal_mode: str | None = None) -> None:
        self._journal_mode = journal_mode

    async def open(self, place: Place) -> None:
        self._path = place.folder / "dbos.db"
        config: dict[str, Any] = {
            "name": "benchmark",
            "system_database_url": f"sqlite:///{self._path}",
            "log_level": "ERROR",
            "application_version": "1",
            "executor_id": "local",
        }
        if self._journal_mode is not None:
            with closing(sqlite3.connect(self._path)) as connection:
                connection.execute(f"PRAGMA journal_mode = {self._journal_mode}")
            config["notification_listener_polling_interval_sec"] = OFTEN
        DBOS(config=config)
        DBOS.launch()

    async def close(self) -> None:
        DBOS.destroy()

    async def sequence(self, steps: int) -> None:
        assert await _sequence_workflow(steps) == steps

    async def saga(self) -> None:
        assert await _saga_workflow() == "undone"

    async def suspend(self, number: int) -> None:
        with SetWorkflowID(f"waiting-{number}"):
            await DBOS.start_workflow_async(_waiting_workflow)

    async def wake(self, number: int) -> None:
        await DBOS.send_async(f"waiting-{number}", "go", "go")
        handle = await DBOS.retrieve_workflow_async(f"waiting-{number}")
        assert await handle.get_result(polling_interval_sec=OFTEN) == "go"

    async def abandon(self, number: int) -> None:
        id = f"abandoned-{number}"
        begins = _third_begins[id] = asyncio.Event()
        with SetWorkflowID(id):
            await DBOS.start_workflow_async(_abandoned_workflow)
        await begins.wait()

    async def recover(self, count: int) -> None:
        # Opening it has begun to; whether all have ended is asked as cheaply as can be.
        with closing(sqlite3.connect(self._path)) as connection:
            while connection.execute(_COUNT_ENDED).fetchone()[0] < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


_COUNT_ENDED = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"


async def _count(data: dict[str, Any]) -> dict[str, Any]:
    work.count(data)
    return data


async def _count_back(data: dict[str, Any]) -> dict[str, Any]:
    work.count_back(data)
    return data


async def _fail() -> None:
    work.fail()


async def _third(data: dict[str, Any]) -> dict[str, Any]:
    if DBOS.workflow_id in _third_begins:
        _third_begins[DBOS.workflow_id].set()
        await asyncio.Event().wait()
    return await _count(data)


_count_step = DBOS.step()(_count)
_count_back_step = DBOS.step()(_count_back)
_fail_step = DBOS.step()(_fail)
_third_step = DBOS.step()(_third)


async def _sequence(steps: int) -> int:
    data: dict[str, Any] = {"count": 0}
    for _ in range(steps):
        data = await _count_step(data)
    return int(data["count"])


async def _saga() -> str:
    data: dict[str, Any] = {}
    for _ in range(work.SAGA_STEPS - 1):
        data = await _count_step(data)
    try:
        await _fail_step()
    except work.StepFailedError:
        for _ in range(work.SAGA_STEPS - 1):
            data = await _count_back_step(data)
        return "undone"
    return "done"


async def _waiting() -> Any:
    return await DBOS.recv_async("go", timeout_seconds=MONTH)


async def _abandoned() -> int:
    data: dict[str, Any] = {}
    for step in (_count_step, _count_step, _third_step, _count_step, _count_step):
        data = await step(data)
    return int(data["count"])


_sequence_workflow = DBOS.workflow()(_sequence)
_saga_workflow = DBOS.workflow()(_saga)
_waiting_workflow = DBOS.workflow()(_waiting)
_abandoned_workflow = DBOS.workflow()(_abandoned)
