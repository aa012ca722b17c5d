"""Blocking engines in programs of their own: what a fork does to them, and the program's end."""

import subprocess
import sys
from pathlib import Path

from flux import SystemClock, open_storage

HEAD = """
import atexit, os, sys, threading, time
from flux import FluxConfig, Workflow
from flux.blocking import BlockingEngine

begun = threading.Event()
order = Workflow("order").step("ship", lambda ctx: "shipped")
endless = Workflow("endless")

@endless.step
async def last(ctx):
    import asyncio
    begun.set()
    await asyncio.sleep(3600)

def engine():
    config = FluxConfig(lease=3600, grace=0.1)
    return BlockingEngine("sqlite:///flux.db", workflows=[order, endless], config=config)
"""


def output_of(program: str, folder: Path) -> list[str]:
    """What the program prints, which ends by itself and well."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HEAD + program]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_an_open_engine_is_not_forked(tmp_path: Path) -> None:
    """A child is told that the engine is its parent's, and cannot harm it; the parent goes on."""
    program = """
with engine() as flux:
    child = os.fork()
    if child == 0:
        for call in (flux.count, flux.init):
            try:
                call()
            except RuntimeError as error:
                print(error, flush=True)
        flux.close()
        sys.stdout.flush()
        os.kill(os.getpid(), 9)  # not os._exit: whatever hooks that may need a lock of the parent
    os.waitpid(child, 0)
    print("parent", flux.execute(order).status)
"""
    *told, parent = output_of(program, tmp_path)
    assert [line.partition(":")[0] for line in told] == ["count", "init"]
    assert all(
        "let each process open an engine of its own, after the fork" in line for line in told
    )
    assert parent == "parent completed"


def test_an_engine_is_opened_after_the_fork(tmp_path: Path) -> None:
    """An engine that was made before, and opened after it, works in both processes."""
    program = """
flux = engine()
child = os.fork()
who = "parent" if child else "child"
if child:
    os.waitpid(child, 0)
with flux:
    print(who, flux.execute(order, id=who).status, flux.count(), flush=True)
os._exit(0)
"""
    assert output_of(program, tmp_path) == ["child completed 1", "parent completed 2"]


def test_a_program_may_end_without_a_close(tmp_path: Path) -> None:
    """An engine that nobody closes does not keep the program from ending."""
    program = """
flux = engine()
flux.init()
flux.start(endless)
begun.wait()
print("the end")
"""
    assert output_of(program, tmp_path) == ["the end"]


async def test_closing_at_the_exit(tmp_path: Path) -> None:
    """`atexit.register(flux.close)` hands back what the program drives when it ends."""
    program = """
flux = engine()
flux.init()
atexit.register(flux.close)
flux.start(endless, id="endless-1")
begun.wait()
"""
    assert output_of(program, tmp_path) == []
    storage = open_storage(f"sqlite:///{tmp_path}/flux.db")
    await storage.init(SystemClock())
    stored = await storage.load("endless-1")
    await storage.close()
    assert stored is not None
    assert (stored[0].lease_until, stored[0].owner is not None) == (None, True)
