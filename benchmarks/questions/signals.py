"""How many signals a second, while 10,000 instances are suspended, each resuming one to its end?

64 clients send them; what is counted is instances that have ended.
"""

import time
from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.contender import Entry
from benchmarks.interleaved import Field, Team, compare, rows
from benchmarks.table import Row
from benchmarks.worker import Stage

SUSPENDED = 10_000
SIGNALS = 1_000
"""A round. Those that have ended are made up for, so that as many are suspended in each round."""
CLIENTS = 64


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("signals").values():
        suspended = field.pace.sized(SUSPENDED)
        count = field.pace.sized(SIGNALS)

        async def prepare(team: Team, entry: Entry, suspended: int = suspended) -> None:
            await team.ask(entry, fill, count=suspended)

        measured = await compare(
            field, entries, run, prepare=prepare, may_be_renewed=False, count=count
        )
        asked = f"signals a second that resume, {suspended:,} suspended"
        found += rows(asked, measured, "rate", "{:,.0f}".format)
    return found


async def fill(stage: Stage, *, count: int) -> None:
    """Suspend so many more."""
    first = stage.suspended
    stage.suspended += count
    await work.each(stage.contender.suspend, range(first, first + count), CLIENTS)


async def run(stage: Stage, *, count: int) -> Mapping[str, float]:
    first = stage.woken
    stage.woken += count
    began = time.perf_counter()
    await work.each(stage.contender.wake, range(first, first + count), CLIENTS)
    rate = count / (time.perf_counter() - began)
    await fill(stage, count=count)
    return {"rate": rate}
