"""How long does it take from the start of a process until an instance of one step has ended?

With a storage that is made anew: the interpreter, the imports, the schema, the first saves.
"""

import time
from collections.abc import Mapping, Sequence

from benchmarks.interleaved import Field, Measured, rows, team
from benchmarks.table import Row
from benchmarks.worker import Stage

ROUNDS = 5


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("cold_start").values():
        measured = [Measured(entry) for entry in entries]
        for _ in range(min(ROUNDS, field.pace.rounds)):
            async with team(field) as its:
                for one in field.left(measured):
                    with one.noting_errors():
                        began = time.perf_counter()
                        await its.begin(one.entry)
                        await its.open(one.entry)
                        await its.ask(one.entry, run)
                        one.add({"seconds": time.perf_counter() - began})
                        await its.end(one.entry)
        found += rows("cold start to the first instance's end", measured, "seconds", _words)
    return found


async def run(stage: Stage) -> Mapping[str, float]:
    await stage.contender.sequence(1)
    return {}


def _words(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"
