"""`flux explore`: a workflow that dies at every save, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ran, RunFlux

APP = """
from flux import Workflow

charged = []

async def charge(ctx):
    charged.append(ctx.input["cents"])

async def ship(ctx):
    ctx.data["to"] = ctx.output("address")

def order():
    seen = []
    flow = Workflow("order").step("charge", charge).wait("address").step("ship", ship)
    return flow.step("tell", lambda ctx: seen.append(ctx.id))

def careless():
    seen = []
    flow = Workflow("order").step("see", lambda ctx: seen.append(ctx.id))
    return flow.step("tell", lambda ctx: seen[0])

def hang():
    import asyncio
    flow = Workflow("hang")
    @flow.step
    async def wait_for_ever(ctx):
        await asyncio.Event().wait()
    return flow

parent = Workflow("parent").child("order", "order")
several = [parent, order()]

def broken():
    raise RuntimeError("no workflow today")
"""
FOUND = """\
order: 6 saves, 18 crash points tried; 1 makes a difference

the process dies before save 2 of order: the result of 'charge'; then 'address'
  effects: [40,40] instead of [40]
  called again: 'charge' (attempts 1, 2)
  to repeat it: only='2:before', or --only 2:before
"""


class Shop:
    """An app in the working directory, with its input and its script."""

    def __init__(self, folder: Path, run_flux: RunFlux) -> None:
        self._folder = folder
        self._run_flux = run_flux
        (folder / "shop.py").write_text(APP)
        self.write("input.json", {"cents": 40})
        self.write("script.json", [{"signal": "address", "payload": "Delft"}])

    def write(self, name: str, told: Any) -> None:
        (self._folder / name).write_text(told if isinstance(told, str) else json.dumps(told))

    def explore(self, name: str = "shop:order", *options: str) -> Ran:
        return self._run_flux(
            "explore", name, "--input", "input.json", "--script", "script.json", *options
        )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_flux: RunFlux) -> Shop:
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path, run_flux)


def test_nothing_found(shop: Shop) -> None:
    """Without a world to look at the charge is right; that is exit code 0."""
    ran = shop.explore()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "order: 6 saves, 18 crash points tried; no crash makes a difference\n"


def test_found(shop: Shop) -> None:
    """What a crash changes is told; that is exit code 1."""
    ran = shop.explore("shop:order", "--effects", "shop:charged")
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, FOUND, "")


def test_seeds(shop: Shop) -> None:
    """One crash point alone, or several; what differs may be ignored."""
    effects = ("--effects", "shop:charged")
    assert shop.explore("shop:order", *effects, "--only", "2:before").returncode == 1
    right = shop.explore("shop:order", *effects, "--only", "2:after", "--only", "3:before")
    assert (right.returncode, "2 crash points" in right.stdout) == (0, True)
    assert shop.explore("shop:order", *effects, "--ignore", "effects").returncode == 0


def test_memory_is_gone(shop: Shop) -> None:
    """A function is called anew for every process."""
    shop.write("script.json", [])
    ran = shop.explore("shop:careless", "--only", "2:after")
    assert ran.returncode == 1
    assert 'steps.tell.status: "failed" instead of "completed"' in ran.stdout


def test_several_workflows(shop: Shop) -> None:
    """Of several one is chosen; the others are there as its sub-workflows."""
    shop.write("script.json", [{"signal": "address", "to": "order"}])
    ran = shop.explore("shop:several", "--workflow", "parent", "--no-rollback")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("parent: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shop:nothing"], "has no 'nothing'"),
        (["shop:broken"], "no workflow today"),
        (["shop:several"], "say with --workflow which one to explore"),
        (["shop:order", "--workflow", "x"], "there is no workflow 'x'"),
        (["shop:order", "--only", "9:after"], "no run has the crash points 9:after"),
        (["shop:order", "--only", "never"], "'never' names no crash point"),
        (["shop:order", "--effects", "shop:order"], "give a list or a dict"),
        (["shop:order", "--effects", "shop:nothing"], "has no 'nothing'"),
        (["shop:hang", "--limit", "0.05"], "was not over after 0.05 s"),
        (["shop:order", "--script", "input.json"], "a script is a list of actions"),
        (["shop:order", "--input", "shop.py"], "shop.py"),
        (["shop:order", "--input", "none.json"], "No such file"),
    ],
)
def test_what_cannot_be_explored(shop: Shop, arguments: list[str], told: str) -> None:
    """The reason is told on the error stream; that is exit code 2."""
    ran = shop.explore(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert told in " ".join(ran.stderr.replace("│", " ").split())
