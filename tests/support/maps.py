"""Workflows that map over a list, handlers of items that a test steers, and what they cost."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from flux import FluxResult, Workflow, WorkflowContext, WorkflowState
from sagas import step_of

Over = Callable[[Any], Any]


def mapping(handler: Any, items: Any = ("a", "b", "c"), **options: Any) -> Workflow:
    """A workflow "order" with the map "pack" over these items (a function gives them itself)."""
    over: Over = items if callable(items) else lambda ctx: list(items)
    return Workflow("order").map("pack", over, handler, **options)


class Packer:
    """The handler of a map: packs all items but the `broken` ones, and notes what it did.

    `undo` is its compensator; both note what they saw in the order of the calls.
    """

    def __init__(self, *broken: Any) -> None:
        self.broken = set(broken)
        self.packed: list[Any] = []
        self.attempts: defaultdict[Any, list[int]] = defaultdict(list)
        self.keys: defaultdict[Any, list[str]] = defaultdict(list)
        self.undone: list[Any] = []
        self.outcomes: list[tuple[Any, str]] = []
        self.undo_keys: dict[Any, str] = {}
        self.step_keys: dict[Any, str] = {}
        self.outputs: dict[Any, Any] = {}

    async def __call__(self, ctx: WorkflowContext) -> str:
        self.packed.append(ctx.item)
        self.attempts[ctx.item].append(ctx.attempt)
        self.keys[ctx.item].append(ctx.idempotency_key)
        if ctx.item in self.broken:
            raise ValueError(f"{ctx.item} is broken")
        return f"packed {ctx.item}"

    async def undo(self, ctx: Any) -> None:
        self.undone.append(ctx.item)
        self.outcomes.append((ctx.item, str(ctx.outcome)))
        self.undo_keys[ctx.item] = ctx.idempotency_key
        self.step_keys[ctx.item] = ctx.step_key
        self.outputs[ctx.item] = ctx.output(ctx.step)


class HeldItems:
    """The handler of a map each of whose items goes on when the test says so."""

    def __init__(self, *ends_at_once: int) -> None:
        self.began: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.go_on: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.running: set[int] = set()
        self.most = 0
        self.calls: list[int] = []
        self.undone: list[tuple[int, str]] = []
        for index in ends_at_once:
            self.go_on[index].set()

    async def __call__(self, ctx: WorkflowContext) -> Any:
        self.calls.append(ctx.index)
        self.running.add(ctx.index)
        self.most = max(self.most, len(self.running))
        self.began[ctx.index].set()
        try:
            await self.go_on[ctx.index].wait()
        finally:
            self.running.discard(ctx.index)
        return ctx.item

    async def undo(self, ctx: Any) -> None:
        self.undone.append((ctx.index, str(ctx.outcome)))


def output_of(seen: FluxResult | WorkflowState, name: str = "pack") -> Any:
    """What the map came to."""
    return step_of(seen, name).output


def results_of(seen: FluxResult | WorkflowState, name: str = "pack") -> Any:
    """The results of the map's items."""
    return output_of(seen, name)["results"]


def statuses(seen: FluxResult | WorkflowState) -> dict[str, str]:
    """By name, the status of what was reached, in the order of the history."""
    return {entry.name: str(entry.status) for entry in seen.history}


class Work:
    """How many calls of functions this thread makes meanwhile; each turn of a generator is one.

    It stands for the time that is needed, and is the same on a slow machine.
    """

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        self.calls += event == "call"
