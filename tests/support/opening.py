"""The fixtures of tests that run on every storage; a `conftest.py` imports them.

`storage` is the storage itself, `open_engine` opens an engine on it (or on what a test puts in
front of it), and `engine` is such an engine. All that was opened is closed when the test ends.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from flux import Clock, FluxConfig, FluxEngine, Workflow, WorkflowStorage


class OpenEngine(Protocol):
    """Opens an engine; keyword arguments that it does not know go to `FluxConfig`."""

    async def __call__(
        self,
        storage: WorkflowStorage | None = None,
        *,
        workflows: Iterable[Workflow] = (),
        clock: Clock | None = None,
        **config: Any,
    ) -> FluxEngine: ...


def memory(request: pytest.FixtureRequest) -> WorkflowStorage:
    from flux_storages import MemoryStorage

    return MemoryStorage()


def sqlite(request: pytest.FixtureRequest) -> WorkflowStorage:
    from flux_storages import SQLiteStorage

    folder: Path = request.getfixturevalue("tmp_path")
    return SQLiteStorage(folder / "flux.db", synchronous="normal")


def redis(request: pytest.FixtureRequest) -> WorkflowStorage:
    from redis_on_clock import RedisOnClock

    return RedisOnClock.from_url(request.getfixturevalue("redis_url"))


@pytest.fixture(params=[memory, sqlite, redis], ids=["memory", "sqlite", "redis"])
def storage(request: pytest.FixtureRequest) -> WorkflowStorage:
    make: Callable[[pytest.FixtureRequest], WorkflowStorage] = request.param
    return make(request)


@pytest.fixture
async def open_engine(storage: WorkflowStorage) -> AsyncIterator[OpenEngine]:
    async with AsyncExitStack() as opened:
        default = storage

        async def open_engine(
            storage: WorkflowStorage | None = None,
            *,
            workflows: Iterable[Workflow] = (),
            clock: Clock | None = None,
            **config: Any,
        ) -> FluxEngine:
            engine = FluxEngine(
                storage or default,
                workflows=workflows,
                clock=clock,
                config=FluxConfig(**{"grace": 0.2, "poll": 0.05} | config),
            )
            return await opened.enter_async_context(engine)

        yield open_engine


@pytest.fixture
async def engine(open_engine: OpenEngine) -> FluxEngine:
    return await open_engine()
