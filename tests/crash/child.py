"""The program that the crash tests start and kill. It needs Flux and nothing of the tests.

    python child.py FOLDER URL WORKFLOW start ID...    start these, wait for their ends
    python child.py FOLDER URL WORKFLOW watch          drive what is due, until killed
    python child.py FOLDER URL WORKFLOW signal ID...   send "approved" to these, wait for their rest
    python child.py FOLDER URL WORKFLOW send ID...     the same, not knowing the workflow; just send

URL is the storage. FOLDER holds `effects.jsonl`, the outside world: what a handler has written
there has happened, whatever becomes of the process. With `--hold PLACE` a process stands still, and
says so, at that place (`before ship`, `after ship`: before and after the effect of that step), so
that the test can kill it exactly there; of several places, separated by commas, each instance holds
at another one, by the number in its id.
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

PATIENCE = 0.5
"""How long the workflow `brief` waits."""

BACK_OFF = 1.2
"""Longer than a lease of half a second: the process gives the instance back while it waits."""

Handler = Callable[[WorkflowContext], Awaitable[Any]]


class World:
    """What the handlers act upon: a file that outlives every process."""

    def __init__(self, folder: Path, held: str | None) -> None:
        self.folder = folder
        self._effects = os.open(folder / "effects.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._held = held.split(",") if held else []

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
        number = int("".join(filter(str.isdigit, ctx.id)) or 0)
        if self._held and place == self._held[number % len(self._held)]:
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


def shop(world: World) -> Workflow:
    """Reserve, pay at most once (the receiver can be asked), ship; a shipment to nowhere fails."""
    workflow = Workflow("shop")
    workflow.step("reserve", world.acting("reserve"), compensate=world.undoing("reserve"))
    (paid,) = asked(world).build().steps
    undo = world.undoing("pay")
    workflow.step("pay", paid.handler, at_most_once=True, verify=paid.verify, compensate=undo)
    return workflow.step("ship", order(world).build().step("ship").handler)


def approval(world: World) -> Workflow:
    """Reserve, wait for "approved", ship."""
    workflow = Workflow("approval").step("reserve", world.acting("reserve"))
    return workflow.wait("approval", "approved").step("ship", world.acting("ship"))


def brief(world: World) -> Workflow:
    """The same with half a second of patience, after which it ships all the same."""
    workflow = Workflow("brief").step("reserve", world.acting("reserve"))
    workflow.wait("approval", "approved", PATIENCE, on_timeout="continue", default="nobody came")
    return workflow.step("ship", world.acting("ship"))


WORKFLOWS = {
    make.__name__: make for make in (order, once, asked, patient, deaf, shop, approval, brief)
}


async def start(flux: FluxEngine, workflow: Workflow, ids: list[str]) -> None:
    """Start these instances unless they exist, and wait for their ends."""
    nowhere = {id: id.endswith("-nowhere") for id in ids}
    for id in ids:
        await flux.start(workflow, {"nowhere": nowhere[id]}, id=id)
    for id in ids:
        result = await flux.result(id)
        print(id, result.status, file=sys.stderr)  # noqa: T201


async def signal(flux: FluxEngine, ids: list[str], *, wait: bool) -> None:
    """Send each of these its signal, the same one whenever it is sent."""
    for id in ids:
        result = await flux.signal(id, "approved", {"by": "kim"}, signal_id=f"e-{id}", wait=wait)
        print(id, result and result.status, file=sys.stderr)  # noqa: T201


async def main(arguments: argparse.Namespace) -> None:
    world = World(arguments.folder, arguments.hold)
    known = [] if arguments.verb == "send" else [WORKFLOWS[arguments.workflow](world)]
    config = FluxConfig(lease=arguments.lease, poll=0.1, max_recoveries=100)
    async with FluxEngine(arguments.url, workflows=known, config=config) as flux:
        match arguments.verb:
            case "start":
                await start(flux, known[0], arguments.ids)
            case "watch":
                await asyncio.sleep(3600)
            case verb:
                await signal(flux, arguments.ids, wait=verb == "signal")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("workflow", choices=WORKFLOWS)
    parser.add_argument("verb", choices=["start", "watch", "signal", "send"])
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--hold")
    parser.add_argument("--lease", type=float, default=0.5)
    asyncio.run(main(parser.parse_args()))
