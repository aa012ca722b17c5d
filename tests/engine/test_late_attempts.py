"""S7: attempts that end too late see what they began with; `ctx.data` compares as a dict does."""

import asyncio
import threading
from typing import Any

import pytest

from flux import FluxEngine, Retry, Workflow, WorkflowContext
from opening import OpenEngine
from sagas import step_of, until

ONCE_MORE = Retry(1, initial=0)


class Late:
    """A plain step whose first attempt outlives its timeout, and looks at its data after that."""

    def __init__(self, *, reads_first: bool) -> None:
        self.go_on = threading.Event()
        self.seen: list[Any] = []
        self._reads_first = reads_first

    def __call__(self, ctx: WorkflowContext) -> None:
        if ctx.attempt > 1:
            return
        data = ctx.data if self._reads_first else None
        self.go_on.wait(5)
        data = ctx.data if data is None else data
        self.seen.append([data.get("kept"), data.get("changed"), data.get("new")])


def begin(ctx: WorkflowContext) -> None:
    ctx.data.update(kept=1, changed=1)


def change(ctx: WorkflowContext) -> None:
    del ctx.data["kept"]
    ctx.data.update(changed=2, new=2)


@pytest.mark.parametrize("reads_first", [True, False])
async def test_s07_a_late_attempt_sees_its_own_data(
    open_engine: OpenEngine, reads_first: bool
) -> None:
    """Nothing that later steps changed, whenever it looks."""
    late = Late(reads_first=reads_first)
    engine = await open_engine(grace=0.01)
    order = Workflow("order").step("begin", begin)
    order.step("late", late, timeout=0.02, retries=ONCE_MORE).step("change", change)
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    late.go_on.set()
    await until(lambda: late.seen)
    assert late.seen == [[1, 1, None]]
    assert result.data == {"changed": 2, "new": 2}


async def test_s07_a_kept_context_sees_its_own_data(engine: FluxEngine) -> None:
    """A context that outlives its step shows the data that the step began with."""
    kept: list[WorkflowContext] = []

    async def keep(ctx: WorkflowContext) -> None:
        kept.append(ctx)

    order = Workflow("order").step("begin", begin).step("keep", keep).step("change", change)
    await engine.execute(order)
    assert kept[0].data == {"kept": 1, "changed": 1}


@pytest.mark.parametrize(
    ("other", "equal"),
    [({"kept": 1, "changed": 1}, True), ({"kept": 1}, False), ({}, False), (7, False)],
)
async def test_s07_data_compares_both_ways(engine: FluxEngine, other: Any, equal: bool) -> None:
    """`!=` is the opposite of `==`, before a value was looked at and afterwards."""

    def compare(ctx: WorkflowContext) -> list[bool]:
        unread = [ctx.data != other, other != ctx.data, ctx.data == other, other == ctx.data]
        dict(ctx.data)
        return [*unread, ctx.data != other, ctx.data == other]

    order = Workflow("order").step("begin", begin).step("compare", compare)
    result = await engine.execute(order)
    expected = [not equal, not equal, equal, equal, not equal, equal]
    assert step_of(result, "compare").output == expected
