"""Workflows for the tests of the test kit: an order with an approval, and one with a child."""

import asyncio
from datetime import timedelta
from typing import Any

from flux import Workflow, WorkflowContext, wait


def order_of(seen: list[str] | None = None) -> Workflow:
    """Steps "reserve" (undone by "release"), "charge" (by "refund"), "approval" and "ship".

    What really runs is noted in `seen`.
    """
    seen = [] if seen is None else seen
    order = Workflow("order")

    @order.step(retries=3, timeout=5)
    async def reserve(ctx: WorkflowContext) -> dict[str, Any]:
        seen.append("reserve")
        ctx.data["sku"] = ctx.input.get("sku")
        return {"reservation": 1}

    @reserve.compensate
    async def release(ctx: WorkflowContext) -> None:
        seen.append("release")

    @order.commit(retries=2)
    def charge(ctx: WorkflowContext) -> dict[str, Any]:
        seen.append("charge")
        return {"paid": True}

    @charge.compensate(retries=2)
    def refund(ctx: WorkflowContext) -> None:
        seen.append("refund")

    @order.step(when=lambda ctx: ctx.input.get("total", 0) > 500)
    async def approval(ctx: WorkflowContext) -> Any:
        return wait("approved", timeout=timedelta(days=2))

    @order.step
    async def ship(ctx: WorkflowContext) -> Any:
        seen.append("ship")
        return ctx.output("approval")

    return order


BIG = {"sku": "A1", "total": 900}
"""An order that has to be approved."""


def setup_of() -> Workflow:
    """Steps "reserve", "provision" (a child "stack" of "net", a wait and "vm") and "announce"."""
    stack = Workflow("stack")
    stack.step("net", nothing, compensate=nothing)
    stack.wait("ready", "ready")
    stack.step("vm", nothing, compensate=nothing)
    setup = Workflow("setup")
    setup.step("reserve", nothing, compensate=nothing)
    setup.child("provision", stack)
    return setup.step("announce", nothing)


def route_of() -> Workflow:
    """A branch "route" with the cases NL, FR and a default, and then "send"."""
    route = Workflow("customs")
    route.branch(
        "route",
        on=lambda ctx: ctx.input["country"],
        cases={"NL": None, "FR": ("vat", nothing)},
        default=("ask", nothing),
    )
    return route.step("send", nothing)


async def nothing(ctx: WorkflowContext) -> None:
    await asyncio.sleep(0)
