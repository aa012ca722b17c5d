"""How many steps a second, with one client and with 64 at once?

Each instance has five async steps that change one key of `data`; every step is saved.
"""

import asyncio
import time

from benchmarks.storages import fresh_storages
from benchmarks.table import Row
from flux import FluxEngine, Workflow, WorkflowContext

STEPS = 5
SECONDS = 3.0


async def measure() -> list[Row]:
    """Let the clients run for some seconds on each storage, one kind after the other."""
    rows: list[Row] = []
    for clients in (1, 64):
        with fresh_storages() as storages:
            for name, storage in storages.items():
                async with FluxEngine(storage, workflows=[five_steps()]) as flux:
                    rate = await _rate(flux, clients)
                rows.append(Row(f"steps a second, {clients} at once", name, f"{rate:9,.0f}"))
    return rows


def five_steps() -> Workflow:
    """A workflow of five steps that count."""

    async def count(ctx: WorkflowContext) -> None:
        ctx.data["count"] = ctx.data.get("count", 0) + 1

    five = Workflow("five")
    for number in range(STEPS):
        five.step(f"step-{number}", count)
    return five


async def _rate(flux: FluxEngine, clients: int) -> float:
    began = time.perf_counter()
    ran = await asyncio.gather(*(_client(flux, began + SECONDS) for _ in range(clients)))
    return STEPS * sum(ran) / (time.perf_counter() - began)


async def _client(flux: FluxEngine, until: float) -> int:
    ran = 0
    while time.perf_counter() < until:
        await flux.execute("five", {"number": ran})
        ran += 1
    return ran
