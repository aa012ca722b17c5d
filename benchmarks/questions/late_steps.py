"""Does the 1,000th, the 10,000th step of an instance cost what the 10th costs?

Right after each other, so that the weather is the same: an instance of 10,000 steps, of which the
last hundred count; one of 1,000; and ten of 20, of which steps 6 to 15 count.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row, micros
from benchmarks.worker import Stage

STEPS = 10_000
LAST = 100
SHORT, SHORT_ONES = 20, 10
ROUNDS = 3


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    steps = field.pace.sized(STEPS)
    for entries in field.asked("late_steps").values():
        counts = {entry.key: entry.count("late_steps", steps) for entry in entries}
        measured = await compare(field, entries, run, rounds=ROUNDS, counts=counts)
        found += rows("cost of the 10th step", measured, "10th", micros)
        for number in (steps // 10, steps):
            able = [one for one in measured if one.has(str(number))]
            asked = f"cost of the {number:,}th step"
            found += rows(asked, able, str(number), micros)
            found += rows(f"{asked} to that of the 10th", able, f"{number} to 10th", _quotient)
    return found


_quotient = "{:.2f}".format


async def run(stage: Stage, *, count: int) -> Mapping[str, float]:
    late = {number: await _late(stage, number) for number in (count, count // 10) if number >= 50}
    early = median([gap for _ in range(SHORT_ONES) for gap in (await _gaps(stage, SHORT))[5:15]])
    costs = {str(number): cost for number, cost in late.items()}
    quotients = {f"{number} to 10th": cost / early for number, cost in late.items()}
    return {"10th": early, **costs, **quotients}


async def _late(stage: Stage, steps: int) -> float:
    return median((await _gaps(stage, steps))[-LAST:])


async def _gaps(stage: Stage, steps: int) -> Sequence[float]:
    """Microseconds from each step to the next."""
    stamps = work.watched()
    await stage.contender.sequence(steps)
    work.unwatched()
    return [(after - before) * 1e6 for before, after in pairwise(stamps)]
