"""Steps that run beside each other, and end when and how the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, define

from flux import FluxEngine, FluxResult, Workflow, WorkflowContext, WorkflowState
from sagas import until
from waits import becomes


@define
class _Gate:
    is_open: asyncio.Event = Factory(asyncio.Event)
    error: Exception | None = None


class Gates:
    """A handler for several steps: each call notes its step in `did` and waits for its gate.

    What was let through returns the name of its step, what was told to fail raises. `undo` is a
    compensator that notes "undo STEP OUTCOME".
    """

    def __init__(self, *open: str) -> None:
        self.did: list[str] = []
        self.calls: list[tuple[str, int, str]] = []
        """Step, attempt and idempotency key of every call."""
        self.cancelled: list[str] = []
        """The steps whose handler was cancelled at its gate."""
        self._gates: dict[str, _Gate] = {}
        self.let(*open)

    async def __call__(self, ctx: WorkflowContext) -> str:
        self.did.append(ctx.step)
        self.calls.append((ctx.step, ctx.attempt, ctx.idempotency_key))
        gate = self._gate(ctx.step)
        try:
            await gate.is_open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(ctx.step)
            raise
        if gate.error is not None:
            raise gate.error
        return ctx.step

    async def undo(self, ctx: Any) -> None:
        self.did.append(f"undo {ctx.step} {ctx.outcome}")

    def let(self, *steps: str) -> None:
        """Let these return, now or as soon as they are called."""
        for step in steps:
            self._gate(step).error = None
            self._gate(step).is_open.set()

    def fail(self, *steps: str, error: Exception | None = None) -> None:
        """Let these raise, now or as soon as they are called."""
        for step in steps:
            self._gate(step).error = error or RuntimeError(f"{step} declined")
            self._gate(step).is_open.set()

    def hold(self, *steps: str) -> None:
        """Let the next calls of these wait at their gates again."""
        for step in steps:
            self._gates.pop(step, None)

    async def begun(self, *steps: str) -> None:
        """Return once these were called."""
        await until(lambda: set(steps) <= set(self.did))

    @property
    def undone(self) -> list[str]:
        """What was undone, in order, each with its outcome."""
        return [done.removeprefix("undo ") for done in self.did if done.startswith("undo ")]

    @property
    def ran(self) -> list[str]:
        """The steps that were called, in order."""
        return [done for done in self.did if not done.startswith("undo ")]

    def _gate(self, step: str) -> _Gate:
        return self._gates.setdefault(step, _Gate())


def graph(
    handler: Callable[[Any], Any], *, fail_fast: bool = False, undo: Any = None, **after: str
) -> Workflow:
    """A workflow "graph" of these steps, each with its sources in one word: `c="ab"`."""
    workflow = Workflow("graph", fail_fast=fail_fast)
    for name, sources in after.items():
        workflow.step(name, handler, after=tuple(sources), compensate=undo)
    return workflow


def diamond(gates: Gates, **options: Any) -> Workflow:
    """A step "a", then "b" and "c" beside each other, and "d" after both; all can be undone."""
    return graph(gates, undo=gates.undo, a="", b="a", c="a", d="bc", **options)


def statuses(seen: FluxResult | WorkflowState) -> dict[str, str]:
    """By step that has an entry, its status."""
    return {entry.name: str(entry.status) for entry in seen.history}


def names(seen: FluxResult | WorkflowState) -> Sequence[str]:
    """The steps that have an entry, in the order of the history."""
    return [entry.name for entry in seen.history]


def writing(**by_step: Any) -> Callable[[WorkflowContext], Any]:
    """A handler that writes what is named for its step to `data["key"]`; None deletes it."""

    async def write(ctx: WorkflowContext) -> None:
        if ctx.step not in by_step:
            return
        if by_step[ctx.step] is None:
            ctx.data.pop("key", None)
        else:
            ctx.data["key"] = by_step[ctx.step]

    return write


async def saved(engine: FluxEngine, step: str, status: str = "completed") -> WorkflowState:
    """The instance "o" once this step of it has this status."""
    return await becomes(engine, lambda state: statuses(state).get(step) == status)


async def signalled(engine: FluxEngine, name: str, payload: Any = None) -> FluxResult:
    """The instance "o" at its next rest after this signal."""
    result = await engine.signal("o", name, payload)
    assert result is not None
    return result
