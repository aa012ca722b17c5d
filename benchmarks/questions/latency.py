"""How much time passes from one step to the next, with one client?

From the call of a step's function to the call of the next one's in the same instance: the steps do
next to nothing, so this is what is added to each.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median, quantiles

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row, micros
from benchmarks.worker import Stage

STEPS = 5


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("latency").values():
        measured = await compare(field, entries, run, seconds=field.pace.slice)
        found += rows("added to a step: median", measured, "median", micros)
        found += rows("added to a step: 99th percentile", measured, "99th", micros)
    return found


async def run(stage: Stage, *, seconds: float) -> Mapping[str, float]:
    gaps: list[float] = []
    until = time.perf_counter() + seconds
    while not gaps or time.perf_counter() < until:
        stamps = work.watched()
        await stage.contender.sequence(STEPS)
        work.unwatched()
        gaps += [(after - before) * 1e6 for before, after in pairwise(stamps)]
    return {"median": median(gaps), "99th": quantiles(gaps, n=100)[98]}
