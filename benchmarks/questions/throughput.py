"""How many steps a second, with one client, with 64 and with 512 at once?

Each client runs five-step instances one after the other, for the length of a round.
"""

from collections.abc import Mapping, Sequence

from benchmarks import work
from benchmarks.interleaved import Field, compare, rows
from benchmarks.table import Row
from benchmarks.worker import Stage

STEPS = 5


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for clients in field.pace.clients:
        asked = "steps a second, " + ("one client" if clients == 1 else f"{clients} at once")
        for able in field.asked("throughput").values():
            entries = [entry for entry in able if entry.count("throughput", clients) == clients]
            seconds = field.pace.slice
            measured = await compare(field, entries, run, clients=clients, seconds=seconds)
            found += rows(asked, measured, "rate", "{:,.0f}".format)
    return found


async def run(stage: Stage, *, clients: int, seconds: float) -> Mapping[str, float]:
    async def instance() -> None:
        await stage.contender.sequence(STEPS)

    return {"rate": STEPS * await work.rate(instance, clients, seconds)}
