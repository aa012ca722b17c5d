"""What does `import flux` cost, beside importing what it stands on alone?

CPU time of the import in a fresh process, the least of eight.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from benchmarks.interleaved import Field
from benchmarks.table import Row

ROUNDS = 8
BASELINE = "asyncio, attrs, cattrs, orjson"
CONTENDERS: Mapping[str, str] = {
    BASELINE: "asyncio, attrs, cattrs, orjson",
    "Flux": "flux",
    "DBOS": "dbos",
    "LangGraph": "langgraph.graph, langgraph.checkpoint.sqlite.aio",
    "TaskFlow": "taskflow.engines, taskflow.patterns.linear_flow",
}
_CHILD = """
import time
began = time.process_time()
import {modules}
print(time.process_time() - began)
"""


async def measure(field: Field) -> Sequence[Row]:
    asked = {
        name: modules
        for name, modules in CONTENDERS.items()
        if find_spec(modules.partition(",")[0].partition(".")[0]) is not None
    }
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(max(ROUNDS if field.pace.size == 1.0 else 2, 1)):
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
        sys.executable, "-c", _CHILD.format(modules=modules), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await child.communicate()
    return float(told)
