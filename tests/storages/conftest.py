"""The storages under one contract, each with a clock that the test sets, and SQLite from inside."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flux.storage import WorkflowStorage
from flux.testing import ManualClock
from flux_storages import MemoryStorage, SQLiteStorage
from redis_on_clock import RedisOnClock


@pytest.fixture
def clock() -> ManualClock:
    """The clock with which `storage` is opened."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def closed_storage(request: pytest.FixtureRequest, tmp_path: Path) -> WorkflowStorage:
    """A storage that nobody has opened."""
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "sqlite":
        return SQLiteStorage(tmp_path / "flux.db", synchronous="normal")
    return RedisOnClock.from_url(request.getfixturevalue("redis_url"))


@pytest.fixture
async def storage(
    closed_storage: WorkflowStorage, clock: ManualClock
) -> AsyncIterator[WorkflowStorage]:
    """An open storage with nothing in it."""
    await closed_storage.init(clock)
    yield closed_storage
    await closed_storage.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test keeps its database."""
    return tmp_path / "orders.db"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that SQLite runs, with their values in them, as they are run."""
    ran: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(ran.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return ran
