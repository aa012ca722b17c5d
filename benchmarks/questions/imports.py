"""What does `import flux` cost, beside importing what it stands on alone?

CPU time of the import in a fresh process, the least of eight.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence

from benchmarks.interleaved import Field
from benchmarks.table import Row
from benchmarks.worker import environment

ROUNDS = 8
BASELINE = "asyncio, attrs, cattrs, orjson"
IMPORTS: Mapping[str, str] = {BASELINE: BASELINE, "Flux": "flux"}
PEERS: Mapping[str, str] = {
    "dbos": "dbos",
    "langgraph": "langgraph.graph, langgraph.checkpoint.sqlite.aio",
    "taskflow": "taskflow.engines, taskflow.patterns.linear_flow",
}
_CHILD = """
import time
began = time.process_time()
import {modules}
print(time.process_time() - began)
"""


async def measure(field: Field) -> Sequence[Row]:
    taking_part = {entry.key for entry in field.entries}
    peers = {key: modules for key, modules in PEERS.items() if key in taking_part}
    asked = {**IMPORTS, **peers}
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS if field.pace.size == 1.0 else field.pace.rounds):
        for name, modules in asked.items():
            found[name].append(await _seconds(modules))
    least = {name: min(seconds) for name, seconds in found.items()}
    return [_row(name, least, len(found[name])) for name in asked]


def _row(name: str, least: Mapping[str, float], rounds: int) -> Row:
    return Row(
        "CPU time of an import, least",
        name,
        "",
        f"{least[name] * 1e3:.0f} ms",
        f"{least[name] / least[BASELINE]:.2f}",
        f"{least['Flux'] / least[name]:.2f}" if name != "Flux" else "",
        str(rounds),
    )


async def _seconds(modules: str) -> float:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD.format(modules=modules),
        stdout=asyncio.subprocess.PIPE, env=environment(),
    )  # fmt: skip
    told, _ = await child.communicate()
    return float(told)
