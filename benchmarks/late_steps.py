"""Does the 10,000th step of an instance cost what the first cost?

One instance of 10,000 steps. A save is timed from the call of the storage to its return, a step
from the end of one save to the end of the next. The medians of the last thousand are held against
those of the first thousand, once with steps that all change one key of `data`, once with a key of
its own for each step, so that `data` grows to 10,000 keys.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.storages import fresh_storages
from benchmarks.table import Row
from flux import Checkpoint, FluxEngine, Workflow, WorkflowContext, WorkflowStorage

STEPS = 10_000
EDGE = 1_000


class TimedStorage:
    """A storage whose saves are timed; all else is passed on."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage
        self.saves: list[float] = []
        self.ends: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def save(self, checkpoint: Checkpoint) -> int:
        began = time.perf_counter()
        answer = await self._storage.save(checkpoint)
        self.ends.append(time.perf_counter())
        self.saves.append(self.ends[-1] - began)
        return answer


async def measure() -> list[Row]:
    """Run both instances on each storage."""
    rows: list[Row] = []
    for kind, key_of in _KEYS.items():
        with fresh_storages() as storages:
            for name, storage in storages.items():
                timed = await _run(storage, key_of)
                steps = [b - a for a, b in zip(timed.ends, timed.ends[1:], strict=False)]
                rows.append(Row(f"save, {kind}", name, _edges(timed.saves)))
                rows.append(Row(f"step, {kind}", name, _edges(steps)))
    return rows


_KEYS: dict[str, Callable[[int], str]] = {
    "one key for all steps": lambda number: "count",
    "a key of its own a step": lambda number: f"key-{number}",
}


async def _run(storage: WorkflowStorage, key_of: Callable[[int], str]) -> TimedStorage:
    long = Workflow("long")
    for number in range(STEPS):
        long.step(f"step-{number}", _setting(key_of(number)))
    timed: Any = TimedStorage(storage)
    async with FluxEngine(timed, workflows=[long]) as flux:
        result = await flux.execute(long)
    assert result.status == "completed", result.error
    assert isinstance(timed, TimedStorage)
    return timed


def _setting(key: str) -> Callable[[WorkflowContext], Any]:
    async def set_key(ctx: WorkflowContext) -> None:
        ctx.data[key] = ctx.data.get(key, 0) + 1

    return set_key


def _edges(seconds: Sequence[float]) -> str:
    first, last = median(seconds[:EDGE]) * 1e6, median(seconds[-EDGE:]) * 1e6
    return f"first {EDGE}: {first:6.0f} µs   last {EDGE}: {last:6.0f} µs   ratio {last / first:.2f}"
