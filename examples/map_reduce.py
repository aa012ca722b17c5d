"""Map-reduce: the words of many files are counted file by file, then summed up.

    python examples/map_reduce.py

The files are counted beside each other, three at a time. Each count is saved and tried again alone;
a file that cannot be read is told of in the end, and does not spoil the others.
"""

import asyncio
import re
from collections import Counter
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

from flux import FluxEngine, Workflow, WorkflowContext

POEMS = Path(__file__).with_name("data") / "poems"

words = Workflow("word-count")


@words.step
def find(ctx: WorkflowContext) -> list[str]:
    return sorted(str(path) for path in Path(ctx.input["folder"]).glob("*.txt"))


def found(ctx: WorkflowContext) -> Any:
    return ctx.output("find")


@words.map("count", over=found, concurrency=3, on_item_failure="continue")
def count(ctx: WorkflowContext) -> dict[str, int]:
    """Runs once for each file, which is `ctx.item`."""
    text = Path(ctx.item).read_text(encoding="utf-8")
    return dict(Counter(re.findall(r"[a-z']+", text.lower())))


@words.step
def reduce(ctx: WorkflowContext) -> None:
    counted = ctx.output("count")
    total: Counter[str] = Counter()
    for counts in counted["results"]:
        total.update(counts or {})  # None for a file that could not be counted
    ctx.data["total"] = total.total()
    ctx.data["most"] = total.most_common(5)
    names = ctx.output("find")
    ctx.data["unread"] = {
        Path(names[error["index"]]).name: error["type"] for error in counted["errors"]
    }


async def main(folder: Path) -> None:
    copytree(POEMS, folder / "poems")
    (folder / "poems" / "damaged.txt").write_bytes(b"The wind is p\xffssing by.")
    async with FluxEngine(workflows=[words]) as flux:
        result = await flux.execute(words, {"folder": str(folder / "poems")})
    print(f"{result.status}: {result.data['total']} words")
    for word, times in result.data["most"]:
        print(f"  {word}: {times}")
    print("could not be read:", result.data["unread"])
    for step in sorted(result.history, key=lambda step: step.name):
        print(f"  {step.name}: {step.status}")


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
