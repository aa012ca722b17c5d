"""What does it cost that an instance holds 30 KB of data, when a step touches one key of ten?

Ten-step instances in memory, one client, no time limits. The first step sets ten keys, of 30 or of
3,000 bytes; each of the other nine replaces one. The ratio in the row of 30 KB is to 0.3 KB.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row, amount
from benchmarks.worker import Stage

STEPS = 10
SIZES = {"0.3 KB": 30, "30 KB": 3_000}


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("documents").values():
        measured = await compare(field, entries, run, seconds=field.pace.slice / 2)
        for size in SIZES:
            asked = f"ten-step instances, {size} of data: steps a second"
            found += rows(asked, measured, size, amount)
        found += rows("of these, 0.3 KB to 30 KB", measured, "quotient", "{:.2f}".format)
    return found


async def run(stage: Stage, *, seconds: float) -> Mapping[str, float]:
    rates = {
        size: STEPS
        * await work.rate(partial(stage.contender.document, STEPS, key_bytes), 1, seconds)
        for size, key_bytes in SIZES.items()
    }
    return {**rates, "quotient": rates["0.3 KB"] / rates["30 KB"]}
