"""Parents and children: workflows that run others as steps, and what became of both."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from flux import (
    FluxEngine,
    InstanceNotFoundError,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStorage,
)
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import noting
from saves import Saves
from settling import passing, watched
from undoing import fail

Act = Callable[[FluxEngine], Awaitable[Any]]

_UNDONE = ("compensating", "compensated")

CHILD = "o:provision:1"
"""The id of the first child of "o"."""


def stack(
    did: list[str],
    *,
    name: str = "stack",
    waits: bool = False,
    vm: Callable[[WorkflowContext], Awaitable[Any]] | None = None,
    **options: Any,
) -> Workflow:
    """A workflow that makes a net, may wait for "ready", and makes a vm; both can be undone."""
    made = Workflow(name, **options)
    made.step("net", noting("net", did), compensate=noting("undo net", did))
    if waits:
        made.wait("ready", "ready")
    return made.step("vm", vm or noting("vm", did), compensate=noting("undo vm", did))


def parent(child: Workflow | str, did: list[str], **options: Any) -> Workflow:
    """An order that reserves, provisions with a child, and ships; `options` are the child's."""
    order = Workflow("order")
    order.step("reserve", noting("reserve", did), compensate=noting("undo reserve", did))
    order.child("provision", child, **options)
    return order.step("ship", noting("ship", did), compensate=noting("undo ship", did))


def turning_back(child: Workflow | str, did: list[str], **options: Any) -> Workflow:
    """The same, but once the child has completed it waits for "go", and then fails."""
    order = Workflow("order")
    order.step("reserve", noting("reserve", did), compensate=noting("undo reserve", did))
    order.child("provision", child, **options)
    return order.wait("go", "go").step("pay", fail)


async def appears(engine: FluxEngine, fits: Callable[[WorkflowState], object], id: str) -> None:
    """Return once there is such an instance and it fits."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(InstanceNotFoundError):
                if fits(await engine.get(id)):
                    return
            await asyncio.sleep(0.001)


async def comes_to(engine: FluxEngine, status: str, *, id: str = "o") -> None:
    """Return once the instance, which need not exist yet, has this status."""
    await appears(engine, lambda state: state.status == status, id)


async def waits_for(engine: FluxEngine, step: str, *, id: str = "o") -> None:
    """Return once the instance, which need not exist yet, is suspended in this step."""

    def waits(state: WorkflowState) -> bool:
        entry = state.step(step)
        return state.status == "suspended" and entry is not None and entry.status == "suspended"

    await appears(engine, waits, id)


async def family(engine: FluxEngine, id: str = "o") -> dict[str, str]:
    """The statuses of an instance and of all below it, by id."""
    statuses = {id: str((await engine.get(id)).status)}
    for child in await engine.children(id):
        statuses |= await family(engine, child.id)
    return statuses


class Heirs:
    """Processes that know one family, on one storage and one clock, of which the last one lives."""

    def __init__(self, storage: WorkflowStorage, open_engine: OpenEngine) -> None:
        self.clock = JumpingClock()
        self.storage = watched(storage)
        self._open_engine = open_engine

    async def next(
        self, *workflows: Workflow, on: WorkflowStorage | None = None, **config: Any
    ) -> FluxEngine:
        """Open an engine, which finds that the leases of those before it have run out."""
        await passing(self.clock, 0)
        self.clock.advance(FAR["lease"])
        return await self._open_engine(
            on or self.storage, workflows=workflows, clock=self.clock, **FAR | config
        )

    async def dying(self, order: Workflow, act: Act, **die: Any) -> None:
        """Let a process do `act` and die at the save that `die` names; return once it is dead.

        How many saves there are depends on who is first: it may also have come to the end alive.
        """
        saves = Saves(self.storage, **die)
        engine = await self.next(order, on=saves)
        with contextlib.suppress(StorageError):
            await act(engine)
            await over(engine)

    async def saved(self, *ids: str) -> list[str]:
        """The steps of these instances whose completion was saved; of an undone one its undoing."""
        found: list[str] = []
        engine = await self.next()
        for id in ids:
            with contextlib.suppress(InstanceNotFoundError):
                history = (await engine.get(id)).history
                found += [step.name for step in history if step.status in ("completed", *_UNDONE)]
                found += [f"undo {step.name}" for step in history if step.status == "compensated"]
        return found


async def over(engine: FluxEngine, id: str = "o") -> WorkflowState:
    """The instance once it has ended; nothing is driven by looking."""
    async with asyncio.timeout(10):
        while not (state := await engine.get(id)).status.is_ended:  # noqa: ASYNC110 - by looking
            await asyncio.sleep(0.001)
    return state
