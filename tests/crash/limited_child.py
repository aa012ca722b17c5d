"""The program that the crash tests of limits start and kill: one order is served at a time.

    python limited_child.py FOLDER URL start ID...    start these, wait for their ends
    python limited_child.py FOLDER URL watch          drive what is due, until killed

FOLDER holds `effects.jsonl`: who came ("in") and was served ("out"). With `--hold ID` a process
stands still when it serves that one for the first time, and says so.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path

from flux import FluxConfig, FluxEngine, Workflow, WorkflowContext


def order(folder: Path, held: str | None) -> Workflow:
    """One step, at which only one instance may be at work."""
    effects = os.open(folder / "effects.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(what: str, ctx: WorkflowContext) -> None:
        line = {"what": what, "id": ctx.id, "step": ctx.step, "attempt": ctx.attempt}
        os.write(effects, json.dumps(line).encode() + b"\n")

    async def serve(ctx: WorkflowContext) -> None:
        note("in", ctx)
        if ctx.id == held and ctx.attempt == 1:
            note("holding", ctx)
            await asyncio.sleep(3600)
        await asyncio.sleep(0.01)
        note("out", ctx)

    return Workflow("order").limit(concurrency=1).step("serve", serve)


async def main(arguments: argparse.Namespace) -> None:
    workflow = order(arguments.folder, arguments.hold)
    config = FluxConfig(lease=0.5, poll=0.1)
    async with FluxEngine(arguments.url, workflows=[workflow], config=config) as flux:
        if arguments.verb == "watch":
            await asyncio.sleep(3600)
        await asyncio.gather(*(flux.execute(workflow, id=id) for id in arguments.ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("verb", choices=["start", "watch"])
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--hold")
    asyncio.run(main(parser.parse_args()))
