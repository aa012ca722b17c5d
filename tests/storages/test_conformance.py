"""Flux's own storages under the kit that others use for theirs."""

from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from flux.storage import WorkflowStorage
from flux.testing import StorageConformance
from flux.testing.conformance import Address
from flux_storages import MemoryStorage, RedisStorage, SQLiteStorage
from redis_on_clock import RedisOnClock
from redis_server import RedisServer


class TestMemory(StorageConformance):
    """Nobody but its process can open it."""

    def storage(self) -> WorkflowStorage:
        return MemoryStorage()


class TestSQLite(StorageConformance):
    """A file for each storage."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def storage(self) -> WorkflowStorage:
        return SQLiteStorage(self.folder / f"{uuid4()}.db", synchronous="normal")

    def address(self, storage: WorkflowStorage) -> Address:
        (path,) = self.folder.glob("*.db")
        return partial(SQLiteStorage, path, synchronous="normal")


class TestRedis(StorageConformance):
    """A prefix for each storage, on a clock that is set."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.url = redis_server.url

    def storage(self) -> WorkflowStorage:
        self.prefix = uuid4().hex
        return RedisOnClock(self.url, prefix=self.prefix)

    def address(self, storage: WorkflowStorage) -> Address:
        return partial(RedisOnClock, self.url, prefix=self.prefix)


class TestRedisOnItsOwnTime(TestRedis):
    """The time is the server's, and is waited for."""

    real_time = True

    def storage(self) -> WorkflowStorage:
        self.prefix = uuid4().hex
        return RedisStorage(self.url, prefix=self.prefix)

    def address(self, storage: WorkflowStorage) -> Address:
        return partial(RedisStorage, self.url, prefix=self.prefix)
