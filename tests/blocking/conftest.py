"""Blocking engines, each closed when its test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from flux import FluxConfig, Workflow, WorkflowStorage
from flux.blocking import BlockingEngine
from opening import storage

__all__ = ["storage"]

OpenBlocking = Callable[..., BlockingEngine]


@pytest.fixture
def open_blocking(storage: WorkflowStorage) -> Iterator[OpenBlocking]:
    """Opens an engine with these workflows on the storage of the test."""
    with ExitStack() as opened:

        def open_blocking(*workflows: Workflow) -> BlockingEngine:
            config = FluxConfig(grace=0.2, poll=0.05)
            engine = BlockingEngine(storage, workflows=workflows, config=config)
            return opened.enter_context(engine)

        yield open_blocking
