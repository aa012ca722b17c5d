"""What does a step cost while 10,000, while 100,000 instances lie at rest in the storage?

All of Flux, on storages that hold none, many and very many suspended instances besides; the ratio
is to the storage that holds none.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from attrs import evolve

from benchmarks import work
from benchmarks.contender import Entry
from benchmarks.interleaved import Field, Team, compare, rows
from benchmarks.table import Row, micros
from benchmarks.worker import Stage

AT_REST = (0, 10_000, 100_000)
STEPS = 10


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    counts = [count and field.pace.sized(count) for count in AT_REST]
    for (entry,) in field.asked("at_rest").values():
        filled = {_holding(entry, count).key: count for count in counts}

        async def prepare(its: Team, entry: Entry, filled: Mapping[str, int] = filled) -> None:
            await its.ask(entry, fill, count=filled[entry.key])

        entries = [_holding(entry, count) for count in counts]
        measured = await compare(field, entries, run, prepare=prepare, seconds=field.pace.slice)
        found += rows("cost of a step beside instances at rest", measured, "cost", micros)
    return found


def _holding(entry: Entry, count: int) -> Entry:
    return evolve(
        entry,
        key=f"{entry.key}-{count}",
        name=f"Flux, {count:,} at rest",
        is_baseline=count == 0,
        is_fresh_each_time=False,
    )


async def fill(stage: Stage, *, count: int) -> None:
    if count:
        await stage.contender.fill(count)


async def run(stage: Stage, *, seconds: float) -> Mapping[str, float]:
    gaps: list[float] = []
    until = time.perf_counter() + seconds
    while not gaps or time.perf_counter() < until:
        stamps = work.watched()
        await stage.contender.sequence(STEPS)
        work.unwatched()
        gaps += [(after - before) * 1e6 for before, after in pairwise(stamps)]
    return {"cost": median(gaps)}
