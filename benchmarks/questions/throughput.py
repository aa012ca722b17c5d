"""How many steps a second, with one client, with 64 and with 512 at once?

Each client runs five-step instances one after the other, for the length of a round. The CPU time
that the process spends on a step is told as well: busy neighbours change it least.
"""

import time
from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row, amount, micros
from benchmarks.worker import Stage

STEPS = 5


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    clients = field.pace.clients
    for entries in field.asked("throughput").values():
        counts = {entry.key: entry.count("throughput", max(clients)) for entry in entries}
        seconds = field.pace.slice
        measured = await compare(
            field, entries, run, counts=counts, clients=clients, seconds=seconds
        )
        for one in measured:
            one.note = ""
        for at_once in clients:
            able = [one for one in measured if at_once <= counts[one.entry.key]]
            asked = "one client" if at_once == 1 else f"{at_once} at once"
            found += rows(f"steps a second, {asked}", able, f"rate of {at_once}", amount)
            found += rows(f"CPU time of a step, {asked}", able, f"CPU of {at_once}", micros)
    return found


async def run(
    stage: Stage, *, count: int, clients: Sequence[int], seconds: float
) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for at_once in clients:
        if at_once <= count:
            found |= await _figures(stage, at_once, seconds)
    return found


async def _figures(stage: Stage, at_once: int, seconds: float) -> Mapping[str, float]:
    done = 0

    async def instance() -> None:
        nonlocal done
        await stage.contender.sequence(STEPS)
        done += STEPS

    spent = time.process_time()
    rate = STEPS * await work.rate(instance, at_once, seconds)
    spent = time.process_time() - spent
    return {f"rate of {at_once}": rate, f"CPU of {at_once}": spent / done * 1e6}
