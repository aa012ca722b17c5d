"""An order that fails, and whose process dies while it is undone.

As in `dying`: on SQLite a child process is killed with SIGKILL, on memory the engine is abandoned
and the storage object kept. What was done, and undone, is written down in a journal.
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

from flux import FluxConfig, FluxEngine, Workflow, WorkflowContext, WorkflowStorage
from opening import OpenEngine
from saves import DiedError, Saves

LEASE = 0.25


class Turned:
    """Lets the order die in its rollback, and opens the engine that comes after."""

    def __init__(self, storage: WorkflowStorage, folder: Path, open_engine: OpenEngine) -> None:
        self._storage = storage
        self._folder = folder
        self._open_engine = open_engine
        self._journal = folder / "journal"

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Who acted, in order: `who` is a step or "undo" and a step; with attempt and key."""
        return [json.loads(line) for line in self._journal.read_text().splitlines()]

    @property
    def did(self) -> list[str]:
        """Who acted, in order."""
        return [line["who"] for line in self.journal]

    async def run(self, die_in: str) -> FluxEngine:
        """Run "order-1" until its process dies in `die_in`, and open an engine after it."""
        if "SQLite" in type(self._storage).__name__:
            await asyncio.to_thread(self._kill_child, die_in)
        else:
            saves = Saves(self._storage)
            order = order_of(self._journal, die_in=die_in, die=saves.die)
            engine = await self._open_engine(saves, workflows=[order], lease=LEASE)
            with pytest.raises(DiedError):
                await engine.execute(order, id="order-1")
        order = order_of(self._journal)
        return await self._open_engine(workflows=[order], lease=LEASE, poll=0.02)

    def _kill_child(self, die_in: str) -> None:
        child = subprocess.run(
            [sys.executable, __file__, str(self._folder / "flux.db"), str(self._journal), die_in],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr


@pytest.fixture
def turned(storage: WorkflowStorage, tmp_path: Path, open_engine: OpenEngine) -> Turned:
    return Turned(storage, tmp_path, open_engine)


def order_of(
    journal: Path, *, die_in: str | None = None, die: Callable[[], None] = lambda: None
) -> Workflow:
    """Steps "a", "b" and "c", which can be undone, and "pay", which fails."""

    def writing(who: str) -> Callable[[WorkflowContext], Any]:
        async def write(ctx: WorkflowContext) -> str:
            line = {"who": who, "attempt": ctx.attempt, "key": ctx.idempotency_key}
            with journal.open("a") as file:
                file.write(json.dumps(line) + "\n")
            if who == die_in:
                die()
            if who == "pay":
                raise RuntimeError("declined")
            return who

        return write

    order = Workflow("order")
    for name in "abc":
        order.step(name, writing(name), compensate=writing(f"undo {name}"))
    return order.step("pay", writing("pay")).step("ship", writing("ship"))


async def die_in(database: str, journal: str, die_in: str) -> None:
    """What the child process does."""
    from flux_storages import SQLiteStorage

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    order = order_of(Path(journal), die_in=die_in, die=die)
    config = FluxConfig(lease=LEASE)
    async with FluxEngine(SQLiteStorage(database), workflows=[order], config=config) as engine:
        await engine.execute(order, id="order-1")


if __name__ == "__main__":
    asyncio.run(die_in(*sys.argv[1:]))
