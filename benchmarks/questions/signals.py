"""How many signals a second, while 10,000 instances are suspended, each resuming one to its end?

64 clients send them; what is counted is instances that have ended.
"""

import time
from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.contender import Entry
from benchmarks.interleaved import Field, Team, compare, rows
from benchmarks.table import Row, amount
from benchmarks.worker import Stage

SUSPENDED = 10_000
PART = 10
"""One in so many gets a signal in a round; afterwards others take their place."""
CLIENTS = 64


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("signals").values():
        counts = {
            entry.key: entry.count("signals", field.pace.sized(SUSPENDED)) for entry in entries
        }

        async def prepare(its: Team, entry: Entry, counts: Mapping[str, int] = counts) -> None:
            await its.ask(entry, fill, count=counts[entry.key])

        measured = await compare(
            field, entries, run, prepare=prepare, counts=counts, may_be_renewed=False
        )
        found += rows("signals a second that resume", measured, "rate", amount)
    return found


async def fill(stage: Stage, *, count: int) -> None:
    """Suspend so many more."""
    first = stage.suspended
    stage.suspended += count
    await work.each(stage.contender.suspend, range(first, first + count), CLIENTS)


async def run(stage: Stage, *, count: int) -> Mapping[str, float]:
    signals = count // PART
    first = stage.woken
    stage.woken += signals
    began = time.perf_counter()
    await work.each(stage.contender.wake, range(first, first + signals), CLIENTS)
    rate = signals / (time.perf_counter() - began)
    await fill(stage, count=signals)
    return {"rate": rate}
