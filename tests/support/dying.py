"""An order whose process dies in the middle, between an effect and the save of its result.

On SQLite a child process runs the order and is killed with SIGKILL; on memory the engine is
abandoned, its storage refuses every call, and the storage object is kept. Then another engine
goes on. What the steps do, they write down in a journal, as they would do it to the world.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flux import FluxConfig, FluxEngine, Workflow, WorkflowContext, WorkflowStorage, done, not_done
from opening import OpenEngine
from saves import DiedError, Saves

LEASE = 0.25
ANSWERS = {"done": done("by verify"), "not_done": not_done}


class Crash:
    """Lets an order die, and opens the engine that comes after."""

    def __init__(self, storage: WorkflowStorage, folder: Path, open_engine: OpenEngine) -> None:
        self._storage = storage
        self._folder = folder
        self._open_engine = open_engine
        self._journal = folder / "journal"

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Who did what: `who` is the step, or `verify` or `undo`; with attempt and key."""
        return [json.loads(line) for line in self._journal.read_text().splitlines()]

    def did(self, who: str) -> list[dict[str, Any]]:
        """The journal's lines of one of them."""
        return [line for line in self.journal if line["who"] == who]

    async def run(self, **options: Any) -> FluxEngine:
        """Start "order-1", let its process die in step `act`, and open an engine after it.

        The options are those of the step `act`; `verify` is "done", "not_done" or "raises".
        """
        if "SQLite" in type(self._storage).__name__:
            await asyncio.to_thread(self._kill_child, options)
        else:
            await self._abandon(options)
        order = order_of(self._journal, die=lambda: None, **options)
        return await self._open_engine(workflows=[order], lease=LEASE, poll=0.02)

    def _kill_child(self, options: dict[str, Any]) -> None:
        told = json.dumps(options)
        child = subprocess.run(
            [sys.executable, __file__, str(self._folder / "flux.db"), str(self._journal), told],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr

    async def _abandon(self, options: dict[str, Any]) -> None:
        saves = Saves(self._storage)
        order = order_of(self._journal, die=saves.die, **options)
        engine = await self._open_engine(saves, workflows=[order], lease=LEASE)
        with pytest.raises(DiedError):
            await engine.execute(order, id="order-1")


@pytest.fixture
def crash(storage: WorkflowStorage, tmp_path: Path, open_engine: OpenEngine) -> Crash:
    return Crash(storage, tmp_path, open_engine)


def order_of(journal: Path, *, die: Callable[[], None], **options: Any) -> Workflow:
    """Three steps, of which the second, `act`, calls `die` once it has acted."""
    order = Workflow("order")

    def write(who: str, ctx: WorkflowContext, **more: Any) -> None:
        line = {"who": who, "attempt": ctx.attempt, "key": ctx.idempotency_key, **more}
        with journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @order.step
    async def before(ctx: WorkflowContext) -> str:
        write("before", ctx)
        ctx.data["before"] = "kept"
        return "result of before"

    async def act(ctx: WorkflowContext) -> str:
        write("act", ctx, data=dict(ctx.data), output=ctx.output("before"))
        die()
        return "acted"

    async def verify(ctx: WorkflowContext) -> Any:
        write("verify", ctx)
        return ANSWERS[options["verify"]]  # "raises": a KeyError

    async def undo(ctx: WorkflowContext) -> None:
        write("undo", ctx, outcome=getattr(ctx, "outcome", None))

    functions = {"verify": verify, "compensate": undo}
    chosen = {name: functions.get(name, option) for name, option in options.items()}
    order.step("act", act, **chosen)

    @order.step
    async def after(ctx: WorkflowContext) -> None:
        write("after", ctx)

    return order


async def die_in(database: str, journal: str, options: str) -> None:
    """What the child process does."""
    from flux_storages import SQLiteStorage

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    order = order_of(Path(journal), die=die, **json.loads(options))
    config = FluxConfig(lease=LEASE)
    async with FluxEngine(SQLiteStorage(database), workflows=[order], config=config) as engine:
        await engine.execute(order, id="order-1")


if __name__ == "__main__":
    asyncio.run(die_in(*sys.argv[1:]))
