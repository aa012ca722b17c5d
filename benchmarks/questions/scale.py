"""What does a storage hold: with 1,000, 10,000 and 100,000 suspended instances, how large is it?

And with that many in it: how many steps a second, how many signals, and what does one look cost by
which an engine finds that nothing is due? All of Flux; the ratio is to the smallest number.
"""

import time
from collections.abc import Mapping, Sequence

from attrs import evolve

from benchmarks import work
from benchmarks.contender import Entry
from benchmarks.interleaved import Field, Team, compare, rows
from benchmarks.table import Row, amount, micros
from benchmarks.worker import Stage

LIVE = (1_000, 10_000, 100_000)
CLIENTS = 64
STEPS = 5
SIGNALS = 200
LOOKS = 25


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    counts = [field.pace.sized(count) for count in LIVE]
    for (entry,) in field.asked("scale").values():
        entries = [_holding(entry, count, is_first=count == counts[0]) for count in counts]
        sized = {one.key: count for one, count in zip(entries, counts, strict=True)}
        bytes_: dict[str, float] = {}

        async def prepare(
            its: Team,
            entry: Entry,
            sized: Mapping[str, int] = sized,
            bytes_: dict[str, float] = bytes_,
        ) -> None:
            bytes_[entry.key] = await its.ask(entry, fill, count=sized[entry.key])

        measured = await compare(field, entries, run, prepare=prepare, seconds=field.pace.slice)
        for one in measured:
            stored = bytes_.get(one.entry.key, 0.0)
            one.rounds = [{**figures, "bytes": stored} for figures in one.rounds]
        found += rows("stored for an instance", measured, "bytes", _kilobytes)
        found += rows("steps a second beside them, 64 at once", measured, "steps", amount)
        found += rows("signals a second that resume, 64 at once", measured, "signals", amount)
        found += rows("a look for what is due", measured, "look", micros)
    return found


def _holding(entry: Entry, count: int, *, is_first: bool) -> Entry:
    return evolve(
        entry,
        key=f"{entry.key}-{count}",
        name=f"Flux, {count:,} suspended",
        is_baseline=is_first,
        is_fresh_each_time=False,
    )


async def fill(stage: Stage, *, count: int) -> float:
    """How many bytes the storage has taken for each."""
    await stage.contender.sequence(STEPS)
    before = await _stored_bytes(stage)
    await stage.contender.fill(count)
    return (await _stored_bytes(stage) - before) / count


async def run(stage: Stage, *, seconds: float) -> Mapping[str, float]:
    contender = stage.contender
    rate = await work.rate(lambda: contender.sequence(STEPS), CLIENTS, seconds)
    first = stage.woken
    stage.woken += SIGNALS
    numbers = range(first, stage.woken)
    await work.each(contender.suspend, range(first + 1, stage.woken + 1), CLIENTS)
    began = time.perf_counter()
    await work.each(contender.wake, numbers, CLIENTS)
    signals = SIGNALS / (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(LOOKS):
        await contender.look()
    look = (time.perf_counter() - began) / LOOKS
    return {"steps": rate * STEPS, "signals": signals, "look": look * 1e6}


async def _stored_bytes(stage: Stage) -> float:
    stored: float | None = await stage.contender.stored_bytes()
    return float(work.resident_bytes()) if stored is None else stored


def _kilobytes(number: float) -> str:
    return f"{number / 1000:.2f} kB"
