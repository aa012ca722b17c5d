"""S23: a handler that blocks the event loop is named in the log."""

import asyncio
import logging
import time
from typing import Any

import pytest

from flux import FluxConfig, FluxEngine, Workflow, WorkflowContext


def blocked(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged of a blocked loop."""
    return [vars(record) for record in caplog.records if record.message == "loop.blocked"]


async def test_s23_a_blocked_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that sleeps in the loop for more than a third of the lease is named."""
    order = Workflow("order")

    @order.step
    async def block(ctx: WorkflowContext) -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - the fault that is to be told

    @order.step
    async def innocent(ctx: WorkflowContext) -> None:
        await asyncio.sleep(0.05)

    async with FluxEngine(config=FluxConfig(lease=0.3)) as engine:
        await engine.execute(order, id="order-1")
    (told,) = blocked(caplog)
    assert told["steps"] == ["order-1: block"]
    assert told["seconds"] >= 0.3
    assert told["levelno"] == logging.WARNING


async def test_s23_a_step_that_waits_blocks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """However long it takes, if it lets the loop go on; nor does a plain handler in its thread."""
    order = Workflow("order")
    order.step("thread", lambda ctx: time.sleep(0.4))

    @order.step
    async def wait(ctx: WorkflowContext) -> None:
        await asyncio.sleep(0.4)

    async with FluxEngine(config=FluxConfig(lease=0.9)) as engine:
        await engine.execute(order)
    assert blocked(caplog) == []
