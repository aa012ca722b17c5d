"""The app of the tests' workers. What its steps do is told in a file, as `effects.jsonl`."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from flux import Workflow, WorkflowContext

FOLDER = Path(os.environ.get("WORKER_APP_FOLDER", "."))


def note(what: str, ctx: WorkflowContext) -> None:
    """Write down what happens, and in which process."""
    line = {"what": what, "id": ctx.id, "pid": os.getpid(), "attempt": ctx.attempt}
    with (FOLDER / "effects.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


async def pack(ctx: WorkflowContext) -> None:
    """Take as long as there is no file `gate`."""
    note("packing", ctx)
    while not (FOLDER / "gate").exists():  # noqa: ASYNC110 - a test opens it
        await asyncio.sleep(0.01)


async def pack_slowly(ctx: WorkflowContext) -> None:
    """Take long enough for others to begin meanwhile, if they may."""
    note("packing", ctx)
    await asyncio.sleep(0.2)


async def pack_heedlessly(ctx: WorkflowContext) -> None:
    """Never end, whoever asks."""
    note("packing", ctx)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def pack_blocking(ctx: WorkflowContext) -> None:
    """Let nothing else run in this process."""
    note("packing", ctx)
    time.sleep(3600)  # noqa: ASYNC251


async def ship(ctx: WorkflowContext) -> None:
    note("shipped", ctx)


def an_order(name: str, pack: Any) -> Workflow:
    """An order that waits for its payment, is packed, and shipped."""
    order = Workflow(name).wait("payment", signal="paid")
    return order.step("pack", pack).step("ship", ship)


workflows = [
    an_order("order", pack),
    an_order("slow", pack_slowly),
    an_order("heedless", pack_heedlessly),
    an_order("blocking", pack_blocking),
]
