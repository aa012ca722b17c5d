"""How much memory do 10,000 suspended instances take, in the process that suspended them?

What the process has more of when all wait than before the first, an instance. In memory that is
also what is stored. Where the memory was in use before, for other things, nothing may be added.
"""

import gc
from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row
from benchmarks.worker import Stage

SUSPENDED = 10_000
CLIENTS = 64


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    count = field.pace.sized(SUSPENDED)
    for entries in field.asked("suspended").values():
        counts = {entry.key: entry.count("suspended", count) for entry in entries}
        measured = await compare(field, entries, run, rounds=1, counts=counts)
        asked = "memory of a suspended instance"
        found += rows(asked, measured, "bytes", _words)
    return found


async def run(stage: Stage, *, count: int) -> Mapping[str, float]:
    await stage.contender.sequence(5)
    before = work.resident_bytes()
    await work.each(stage.contender.suspend, range(count), CLIENTS)
    gc.collect()
    return {"bytes": (work.resident_bytes() - before) / count}


def _words(number: float) -> str:
    return f"{number / 1000:.2f} kB"
