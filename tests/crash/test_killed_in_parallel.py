"""A process is killed while three steps of its instance run beside each other.

The file is the program as well: `python test_killed_in_stage.py FOLDER URL VERB`, see `children`.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flux import CompensationContext, FluxConfig, FluxEngine, Workflow, WorkflowContext

if __name__ != "__main__":
    from children import Stage
    from flux import Outcome, WorkflowStatus


class World:
    """What the handlers act upon: a file that outlives every process."""

    def __init__(self, folder: Path, held: str) -> None:
        self._effects = os.open(folder / "effects.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._held = held.split(",")

    def note(self, what: str, ctx: WorkflowContext, **more: str) -> None:
        """Write a line and wait until it is on the disk."""
        line = {"what": what, "id": ctx.id, "step": ctx.step, "pid": os.getpid()} | more
        line |= {"key": ctx.idempotency_key, "attempt": ctx.attempt}
        os.write(self._effects, json.dumps(line).encode() + b"\n")
        os.fsync(self._effects)

    async def act(self, ctx: WorkflowContext) -> str:
        """A handler with one effect, after which it may stand still, and says so."""
        if ctx.step == "fails":
            raise RuntimeError("declined")
        self.note("did", ctx)
        if ctx.step in self._held:
            self.note("holding", ctx)
            await asyncio.sleep(3600)
        return ctx.step

    async def undo(self, ctx: CompensationContext) -> None:
        self.note("undid", ctx, step_key=ctx.step_key, outcome=str(ctx.outcome))


def workflow(world: World, *sides: str) -> Workflow:
    """A step "first", these beside each other, and "last"."""
    order = Workflow("order").step("first", world.act, compensate=world.undo)
    for side in sides:
        order.step(side, world.act, after="first", compensate=world.undo)
    return order.step("last", world.act, after=sides, compensate=world.undo)


async def main(arguments: argparse.Namespace) -> None:
    order = workflow(World(arguments.folder, arguments.hold), *arguments.sides.split(","))
    config = FluxConfig(lease=0.5, poll=0.1)
    async with FluxEngine(arguments.url, workflows=[order], config=config) as flux:
        await flux.start(order, {}, id="o-1")
        result = await flux.result("o-1")
        print(result.status, file=sys.stderr)  # noqa: T201


def ran(stage: "Stage", *steps: str) -> list[tuple[str, str, int]]:
    """Which of these acted, in order: step, key, attempt."""
    effects = stage.effects("did")
    return [(e["step"], e["key"], e["attempt"]) for e in effects if e["step"] in steps]


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Stage]":
    """A new folder, with this very file to be started in it; no process outlives the test."""
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'flux.db'}" if is_sqlite else request.getfixturevalue("redis_url")
    stage = Stage(Path(__file__), tmp_path, url)
    yield stage
    stage.kill_all()


def kill(stage: "Stage", sides: str, *, hold: str, saved: str = "") -> None:
    """Kill a process when all that it is to hold stand still, and what is named was saved."""
    child = stage.start(sides, hold=hold)
    stage.wait_until(lambda: len(stage.effects("holding")) == len(hold.split(",")))
    for step in filter(None, saved.split(",")):
        stage.wait_until(lambda step=step: is_saved(stage, step))  # type: ignore[misc]
    child.kill()


def is_saved(stage: "Stage", step: str) -> bool:
    """Whether the step has ended, as far as the storage knows."""
    entry = stage.state("o-1").step(step)
    return entry is not None and entry.status in ("completed", "failed")


def test_saved_sibling_stays(stage: "Stage") -> None:
    """The one that was saved does not run again, the others do: same keys, second attempts."""
    kill(stage, "x,y,z", hold="x,z", saved="y")
    assert stage.step("o-1", "y").output == "y"
    stage.run("x,y,z")
    assert ran(stage, "first", "y", "last") == [
        ("first", "o-1:first:1", 1),
        ("y", "o-1:y:1", 1),
        ("last", "o-1:last:1", 1),
    ]
    for side in "xz":
        assert ran(stage, side) == [(side, f"o-1:{side}:1", 1), (side, f"o-1:{side}:1", 2)]
    assert stage.state("o-1").status is WorkflowStatus.COMPLETED


def test_nothing_forward_after_a_failure(stage: "Stage") -> None:
    """One had failed for good: what had begun is unknown, and all that acted is undone."""
    kill(stage, "x,fails,z", hold="x", saved="fails,z")
    stage.run("x,fails,z")
    assert ran(stage, "x", "last") == [("x", "o-1:x:1", 1)]
    undone = [(e["step"], e["outcome"]) for e in stage.effects("undid")]
    assert undone == [("x", "unknown"), ("z", "completed"), ("first", "completed")]
    assert stage.state("o-1").status is WorkflowStatus.ROLLED_BACK
    assert stage.step("o-1", "x").outcome is Outcome.UNKNOWN


def test_all_but_none_was_saved(stage: "Stage") -> None:
    """Three that all stood still run again, and each effect has one key."""
    kill(stage, "x,y,z", hold="x,y,z")
    stage.run("x,y,z")
    attempts = [attempt for _, _, attempt in ran(stage, "x", "y", "z")]
    assert sorted(attempts) == [1, 1, 1, 2, 2, 2]
    assert len({key for _, key, _ in ran(stage, "x", "y", "z")}) == 3


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("sides")
    parser.add_argument("--hold", default="")
    options: Any = parser.parse_args()
    asyncio.run(main(options))
