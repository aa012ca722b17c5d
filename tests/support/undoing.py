"""Workflows that can be undone, and processes that die one after the other.

`lives` opens engines on the test's storage: each `next()` is a new process that finds the leases of
the one before run out, each `die()` is the death of the present one (see `saves`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from flux import FluxEngine, Workflow, WorkflowContext, WorkflowState, WorkflowStorage
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import noting, until
from saves import DiedError, Saves
from settling import passing, watched


def undoable(*names: str, did: list[str], **options: Any) -> Workflow:
    """A workflow "order" of steps that note their name in `did`, and "undo NAME" when undone."""
    order = Workflow("order")
    for name in names:
        order.step(name, noting(name, did), compensate=noting(f"undo {name}", did), **options)
    return order


async def fail(ctx: WorkflowContext) -> None:
    """A handler that always raises."""
    raise RuntimeError("declined")


async def rested(engine: FluxEngine, id: str) -> WorkflowState:
    """The instance once nobody drives it any more; nothing is driven by looking."""
    async with asyncio.timeout(30):
        while not (state := await engine.get(id)).status.is_rest:  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)
    return state


class Lives:
    """Engines on one storage and one clock, of which only the last one lives."""

    def __init__(self, storage: WorkflowStorage, open_engine: OpenEngine) -> None:
        self.clock = JumpingClock()
        self._storage = watched(storage)
        self._open_engine = open_engine
        self._saves: Saves | None = None

    async def next(
        self, *workflows: Workflow, die_after: int | None = None, **config: Any
    ) -> FluxEngine:
        """Open an engine; it finds by itself what the ones before left behind."""
        # What the dead one still asked for happens before its leases run out, not after.
        await passing(self.clock, 0)
        self.clock.advance(FAR["lease"])
        self._saves = Saves(self._storage, die_after=die_after)
        return await self._open_engine(
            self._saves, workflows=workflows, clock=self.clock, **FAR | config
        )

    def die(self) -> None:
        """Let the present process die: what it does from now on is not saved."""
        assert self._saves is not None
        self._saves.die()

    async def start(self, order: Workflow, *, id: str, die_after: int | None = None) -> None:
        """Start an instance in a new process, and wait for the death of that."""
        with contextlib.suppress(DiedError):
            await (await self.next(order, die_after=die_after)).start(order, id=id)
        await self.died()

    async def died(self) -> None:
        """Wait until the present process is dead."""
        await until(lambda: self._saves is not None and self._saves.is_dead)

    def dying(self, times: int, handler: Callable[[WorkflowContext], Any]) -> Callable[..., Any]:
        """A handler in which the process dies the first `times` times, and then `handler`."""
        deaths = 0

        async def die_or_act(ctx: WorkflowContext) -> Any:
            nonlocal deaths
            deaths += 1
            if deaths <= times:
                self.die()
            return await handler(ctx)

        return die_or_act


@pytest.fixture
def lives(storage: WorkflowStorage, open_engine: OpenEngine) -> Lives:
    return Lives(storage, open_engine)
