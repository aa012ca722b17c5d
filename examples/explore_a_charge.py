"""Explore a charge: does the customer pay once, wherever the process dies?

    python examples/explore_a_charge.py

The explorer runs the workflow whole, and then once for every way in which its process may die at a
save: before it, after it, or alive but with an error in place of the answer. What the bank holds
afterwards must be what it holds without a crash. `charge` by itself fails that: its process may die
between the payment and the save. With the idempotency key the bank knows the second call for the
first one. The refund is struck as well: the explorer also lets the workflow fail at its end.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from flux import CompensationContext, Workflow, WorkflowContext
from flux.testing import explore, signal

BANK: list[dict[str, Any]] = []  # the world outside: what was booked
ORDER = {"order": "W-10231", "cents": 8900}


async def reserve(ctx: WorkflowContext) -> None:
    ctx.data["reserved"] = ctx.input["order"]


async def charge(ctx: WorkflowContext) -> None:
    book({"cents": ctx.input["cents"]})


async def charge_once(ctx: WorkflowContext) -> None:
    book({"cents": ctx.input["cents"]}, key=ctx.idempotency_key)


async def refund(ctx: CompensationContext) -> None:
    book({"cents": -ctx.input["cents"]}, key=ctx.idempotency_key)


async def ship(ctx: WorkflowContext) -> str:
    return f"{ctx.data['reserved']} to {ctx.output('address')['city']}"


def book(entry: dict[str, Any], key: str | None = None) -> None:
    """What a bank does: a key that it knows it has booked already."""
    if key is None or all(booked.get("key") != key for booked in BANK):
        BANK.append(entry if key is None else {**entry, "key": key})


def order(pay: Callable[[WorkflowContext], Any]) -> Workflow:
    flow = Workflow("order").step("reserve", reserve)
    flow.commit("charge", pay, compensate=refund)
    return flow.wait("address", timeout=86_400).step("ship", ship)


async def main() -> None:
    address = signal("address", {"city": "Delft"})
    for pay in (charge, charge_once):
        report = await explore(order(pay), ORDER, effects=BANK, script=[address])
        print(f"with {pay.__name__}:\n")
        print(report, "\n")


if __name__ == "__main__":
    asyncio.run(main())
