"""The program that the crash tests start and kill. It needs Flux and nothing of the tests.

    python child.py FOLDER WORKFLOW start ID... [--hold PLACE]   start these, wait for their ends
    python child.py FOLDER WORKFLOW watch       [--hold PLACE]   drive what is due, until killed

FOLDER holds the storage, `flux.db`, and `effects.jsonl`, the outside world: what a handler has
written there has happened, whatever becomes of the process. At the place to hold (`before ship`,
`after ship`: before and after the effect of that step) a process says so and stands still, so that
the test can kill it exactly there.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from flux import (
    CompensationContext,
    FluxConfig,
    FluxEngine,
    Retry,
    Workflow,
    WorkflowContext,
    done,
    not_done,
)

BACK_OFF = 1.2
"""Longer than a lease of half a second: the process gives the instance back while it waits."""

Handler = Callable[[WorkflowContext], Awaitable[Any]]


class World:
    """What the handlers act upon: a file that outlives every process."""

    def __init__(self, folder: Path, held: str | None) -> None:
        self.folder = folder
        self._effects = os.open(folder / "effects.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._held = held

    def note(self, what: str, ctx: WorkflowContext, **more: Any) -> None:
        """Write a line and wait until it is on the disk."""
        line = {"what": what, "id": ctx.id, "step": ctx.step, "pid": os.getpid()} | more
        line |= {"key": ctx.idempotency_key, "attempt": ctx.attempt}
        os.write(self._effects, json.dumps(line).encode() + b"\n")
        os.fsync(self._effects)

    def has_done(self, key: str) -> bool:
        """Whether an effect with this key has happened."""
        lines = (self.folder / "effects.jsonl").read_text().splitlines()
        return any(e["what"] == "did" and e["key"] == key for e in map(json.loads, lines))

    async def hold(self, place: str, ctx: WorkflowContext) -> None:
        """Stand still if this is where the process shall be killed."""
        if place == self._held:
            self.note("holding", ctx)
            await asyncio.sleep(3600)

    def acting(self, step: str) -> Handler:
        """A handler with one effect."""

        async def act(ctx: WorkflowContext) -> dict[str, int]:
            await self.hold(f"before {step}", ctx)
            self.note("did", ctx)
            await self.hold(f"after {step}", ctx)
            return {"pid": os.getpid()}

        return act

    def undoing(self, step: str) -> Callable[[CompensationContext], Awaitable[None]]:
        """A compensator with one effect."""

        async def undo(ctx: CompensationContext) -> None:
            await self.hold(f"before undoing {step}", ctx)
            self.note("undid", ctx, step_key=ctx.step_key, outcome=str(ctx.outcome))
            await self.hold(f"after undoing {step}", ctx)

        return undo


def order(world: World) -> Workflow:
    """Reserve, charge (a commit), ship; a shipment to nowhere fails."""
    ship = world.acting("ship")

    async def ship_somewhere(ctx: WorkflowContext) -> Any:
        if ctx.input["nowhere"]:
            raise ValueError("no courier goes there")
        return await ship(ctx)

    workflow = Workflow("order")
    workflow.step("reserve", world.acting("reserve"), compensate=world.undoing("reserve"))
    workflow.commit("charge", world.acting("charge"), compensate=world.undoing("charge"))
    return workflow.step("ship", ship_somewhere)


def once(world: World) -> Workflow:
    """A step that runs at most once, and nobody can tell whether it has acted."""
    pay, undo = world.acting("pay"), world.undoing("pay")
    return Workflow("once").step("pay", pay, at_most_once=True, compensate=undo)


def asked(world: World) -> Workflow:
    """A step that runs at most once, whose receiver can be asked."""

    async def verify(ctx: WorkflowContext) -> Any:
        world.note("asked", ctx)
        return done("found") if world.has_done(ctx.idempotency_key) else not_done

    workflow = Workflow("asked")
    return workflow.step("pay", world.acting("pay"), at_most_once=True, verify=verify)


def patient(world: World) -> Workflow:
    """A step that fails at first and is tried again after a while."""
    call = world.acting("call")

    async def fail_at_first(ctx: WorkflowContext) -> Any:
        if ctx.attempt == 1:
            world.note("failed", ctx)
            raise ConnectionError("nobody there yet")
        return await call(ctx)

    policy = Retry(1, initial=BACK_OFF, jitter=False)
    return Workflow("patient").step("call", fail_at_first, retries=policy)


def deaf(world: World) -> Workflow:
    """A step that keeps the whole process busy until the file `gate` is there."""

    async def block(ctx: WorkflowContext) -> dict[str, int]:
        world.note("did", ctx)
        while not (world.folder / "gate").exists():
            time.sleep(0.01)  # noqa: ASYNC251
        return {"pid": os.getpid()}

    return Workflow("deaf").step("block", block)


async def start(flux: FluxEngine, workflow: Workflow, ids: list[str]) -> None:
    """Start these instances unless they exist, and wait for their ends."""
    nowhere = {id: id.endswith("-nowhere") for id in ids}
    for id in ids:
        await flux.start(workflow, {"nowhere": nowhere[id]}, id=id)
    for id in ids:
        result = await flux.result(id)
        print(id, result.status, file=sys.stderr)  # noqa: T201


async def main(arguments: argparse.Namespace) -> None:
    world = World(arguments.folder, arguments.hold)
    workflow = {"order": order, "once": once, "asked": asked, "patient": patient, "deaf": deaf}[
        arguments.workflow
    ](world)
    config = FluxConfig(lease=arguments.lease, poll=0.1, max_recoveries=100)
    url = f"sqlite:///{arguments.folder / 'flux.db'}"
    async with FluxEngine(url, workflows=[workflow], config=config) as flux:
        if arguments.verb == "start":
            await start(flux, workflow, arguments.ids)
        else:
            await asyncio.sleep(3600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("workflow")
    parser.add_argument("verb", choices=["start", "watch"])
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--hold")
    parser.add_argument("--lease", type=float, default=0.5)
    asyncio.run(main(parser.parse_args()))
