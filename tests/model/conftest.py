"""Storages for the model tests: a fresh one for every life."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage
from redis_on_clock import RedisOnClock
from redis_server import RedisServer

Fresh = Callable[[str], WorkflowStorage]


@pytest.fixture(scope="session")
def fresh(redis_server: RedisServer) -> Iterator[Fresh]:
    """Makes an empty storage of the kind asked for."""
    with tempfile.TemporaryDirectory() as folder:

        def made(kind: str) -> WorkflowStorage:
            name = uuid4().hex
            if kind == "sqlite":
                return SQLiteStorage(Path(folder) / f"{name}.db", synchronous="normal")
            if kind == "redis":
                return RedisOnClock(redis_server.url, prefix=name)
            return MemoryStorage()

        yield made
