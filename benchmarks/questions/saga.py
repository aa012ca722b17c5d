"""How many sagas a second, of five steps, where the last fails and the four before are undone?"""

from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row, amount
from benchmarks.worker import Stage

ASKED = "sagas a second that fail in the last of five steps, one client"


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("saga").values():
        measured = await compare(field, entries, run, seconds=field.pace.slice)
        found += rows(ASKED, measured, "rate", amount)
    return found


async def run(stage: Stage, *, seconds: float) -> Mapping[str, float]:
    return {"rate": await work.rate(stage.contender.saga, 1, seconds)}
