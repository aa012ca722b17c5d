"""What an instance that has ended leaves in memory: nothing that has to be looked for."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from flux import FluxEngine, Workflow, WorkflowContext, WorkflowStorage

INSTANCES = 20


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    """Nothing is collected but by the test."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.parametrize("fails", [False, True])
async def test_an_end_leaves_no_cycles(storage: WorkflowStorage, fails: bool) -> None:
    """The collector finds cycles of references by a look at all that is there, which is dear."""
    order = Workflow("order")

    @order.step
    async def reserve(ctx: WorkflowContext) -> dict[str, Any]:
        ctx.data["reserved"] = True
        return {"by": ctx.idempotency_key}

    @reserve.compensate
    async def release(ctx: WorkflowContext) -> None:
        ctx.data["reserved"] = False

    @order.step
    async def ship(ctx: WorkflowContext) -> None:
        if ctx.input["fails"]:
            raise ValueError("no ship")

    async with FluxEngine(storage) as flux:
        for _ in range(INSTANCES):
            await flux.execute(order, {"fails": fails})
        gc.collect()
        for _ in range(INSTANCES):
            await flux.execute(order, {"fails": fails})
        assert gc.collect() < INSTANCES
