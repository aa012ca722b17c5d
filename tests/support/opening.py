"""The fixtures of tests that run on both storages; a `conftest.py` imports them.

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


def memory(folder: Path) -> WorkflowStorage:
    from flux_storages import MemoryStorage

    return MemoryStorage()


def sqlite(folder: Path) -> WorkflowStorage:
    from flux_storages import SQLiteStorage

    return SQLiteStorage(folder / "flux.db", synchronous="normal")


@pytest.fixture(params=[memory, sqlite], ids=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> WorkflowStorage:
    make: Callable[[Path], WorkflowStorage] = request.param
    return make(tmp_path)


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
