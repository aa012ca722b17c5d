"""What an engine does when its tasks are not run as it would expect."""

import asyncio
import gc
import sys
from typing import Any

import pytest

from flux import (
    FluxConfig,
    FluxEngine,
    InstanceNotFoundError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
)


def order() -> Workflow:
    """A workflow of one step."""

    async def pay(ctx: WorkflowContext) -> None:
        ctx.data["paid"] = True

    return Workflow("order").step("pay", pay)


async def test_a_stray_cancel_before_the_first_turn() -> None:
    """A driver that somebody cancelled before it began leaves its place, and nobody waiting."""
    async with FluxEngine(config=FluxConfig(max_instances=1)) as engine:
        waiting = asyncio.create_task(engine.execute(order(), id="o-1"))
        await asyncio.sleep(0)
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "flux o-1")
        task.cancel()
        with pytest.raises(InstanceNotFoundError):
            await asyncio.wait_for(waiting, 10)
        result = await asyncio.wait_for(engine.execute(order(), id="o-2"), 10)
    assert result.status is WorkflowStatus.COMPLETED


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks cannot be eager")
async def test_eager_tasks() -> None:
    """A driver may have ended before its task is known."""
    loop, told = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in Python 3.11
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with FluxEngine() as engine:
        for _ in range(3):
            assert (await engine.execute(order())).status is WorkflowStatus.COMPLETED
    gc.collect()
    assert told == []
