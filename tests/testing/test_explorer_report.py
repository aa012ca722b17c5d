"""What the explorer tells: crash points and their seeds, scripts, effects, the report."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest

from flux import InputError, Workflow, WorkflowContext
from flux.testing import (
    CrashesFoundError,
    CrashPoint,
    ExplorationError,
    advance,
    cancel,
    explore,
    signal,
)
from flux.testing.explorer.points import Course, When
from flux.testing.explorer.script import script_of
from flux_storages import MemoryStorage, RedisStorage

REPORT = """\
order: 3 saves, 9 crash points tried; 1 makes a difference

the process dies before save 2 of order: the result of 'charge'; then 'ship'
  effects: [40,40] instead of [40]
  called again: 'charge' (attempts 1, 2)
  to repeat it: only='2:before', or --only 2:before"""

charged: list[Any] = []


async def charge(ctx: WorkflowContext) -> None:
    charged.append(40)


async def ship(ctx: WorkflowContext) -> None:
    """A handler without effects."""


def order() -> Workflow:
    return Workflow("order").step("charge", charge).step("ship", ship)


async def test_report_is_readable() -> None:
    """Where it died, what differs, what ran again, and how to repeat it."""
    report = await explore(order, effects=charged)
    assert str(report) == REPORT
    with pytest.raises(CrashesFoundError) as raised:
        report.raise_if_failed()
    assert str(raised.value) == REPORT
    assert isinstance(raised.value, AssertionError)


async def test_report_of_nothing() -> None:
    """A report without findings raises nothing."""
    report = await explore(order)
    report.raise_if_failed()
    assert str(report) == "order: 3 saves, 9 crash points tried; no crash makes a difference"


async def test_seed_repeats_a_finding() -> None:
    """The seed of a finding gives that finding alone, those of others none."""
    whole = await explore(order, effects=charged)
    again = await explore(order, effects=charged, only=str(whole.findings[0].seed))
    assert (again.points, again.findings) == (1, whole.findings)
    assert (await explore(order, effects=charged, only=["2:after", "3:before"])).ok


@pytest.mark.parametrize(
    ("seed", "point"),
    [
        ("7:after", CrashPoint(7, When.AFTER)),
        ("rollback:12:error", CrashPoint(12, When.ERROR, Course.ROLLBACK)),
    ],
)
def test_seeds(seed: str, point: CrashPoint) -> None:
    """A seed names a crash point, and the point its seed."""
    assert CrashPoint.parse(seed) == point
    assert str(point) == seed


@pytest.mark.parametrize(
    "seed", ["", "7", "0:after", "7:later", "x:7:after", "7:after ", "-1:after"]
)
async def test_bad_seeds(seed: str) -> None:
    """What is no seed is told at once, with how to write one."""
    with pytest.raises(ValueError, match="names no crash point; write it as the report does"):
        await explore(order, only=[seed])


async def test_seed_of_no_run() -> None:
    """A crash point that the workflow does not have."""
    with pytest.raises(ExplorationError, match="no run has the crash points 9:after"):
        await explore(order, only="9:after")


async def test_effects_are_put_back() -> None:
    """Every run begins with the world as it was before the first one, and so it is left."""
    world = {"stock": {"A1": 5}}

    async def pick(ctx: WorkflowContext) -> int:
        world["stock"]["A1"] -= 1
        return world["stock"]["A1"]

    report = await explore(Workflow("order").step("pick", pick), effects=world, only="2:after")
    assert report.ok, str(report)
    assert world == {"stock": {"A1": 5}}


class Bank:
    """A world of an own kind, with an async way to it."""

    def __init__(self) -> None:
        self.kept = [1]
        self.resets = 0

    async def reset(self) -> None:
        self.kept.clear()
        self.resets += 1

    async def snapshot(self) -> Any:
        return {"kept": tuple(self.kept)}


async def test_effects_of_an_own_kind() -> None:
    """An object with `reset` and `snapshot` is reset before each run."""
    bank = Bank()
    report = await explore(order, effects=bank)
    assert report.ok
    assert bank.resets == 2 + report.points + 1


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"effects": 7}, TypeError, r"effects=7: give a list or a dict"),
        ({"storage": "memory:"}, TypeError, r"storage='memory:': give a function"),
        ({"script": [signal("paid"), signal("paid")]}, ExplorationError, "has ended|is completed"),
        ({"script": [signal("paid", to="x")]}, ExplorationError, "'order:x:1'"),
        ({"input": 7}, InputError, "refuses the input"),
        ({"script": "paid"}, TypeError, "script='paid': give a list of actions"),
        ({"script": ["paid"]}, TypeError, r"script=\['paid'\]: give a list of actions"),
        ({"script": signal("paid")}, TypeError, "give a list of actions"),
        ({"script": [{"signal": "paid"}]}, TypeError, "give a list of actions"),
        ({"ignore": 3}, TypeError, "ignore=3: give a text, or a list"),
        ({"only": [3]}, TypeError, r"only=\[3\]: give texts"),
        ({"config": {}}, TypeError, r"config=\{\}: give a FluxConfig"),
        ({"limit": 0}, ValueError, "limit=0: a run takes time"),
        ({"storage": lambda: None}, TypeError, "storage= has given None, which is no"),
    ],
)
async def test_bad_requests(given: Any, error: type[Exception], told: str) -> None:
    """What makes no sense is refused before anything dies."""
    flow = order().wait("paid")
    with pytest.raises(error, match=told):
        await explore(flow, given.pop("input", None), **given)


@pytest.mark.parametrize("given", [7, [], lambda: [7]])
async def test_no_workflow(given: Any) -> None:
    """What is explored is a workflow, several, or a function that makes them."""
    with pytest.raises(TypeError, match="is no workflow; give one, a list of them, or a function"):
        await explore(given)


async def test_async_maker() -> None:
    """A workflow is made by a plain function."""

    async def make() -> Workflow:
        return order()

    with pytest.raises(TypeError, match="is async; give a plain function"):
        await explore(cast(Any, make))


@pytest.mark.parametrize("given", [{"to": 3}, {"rollback": "no"}])
def test_bad_actions(given: dict[str, Any]) -> None:
    """An action of the script is refused where it is written."""
    with pytest.raises(TypeError, match=": give"):
        cancel(**given) if "rollback" in given else signal("paid", **given)


async def test_storage_that_was_used() -> None:
    """A storage that an earlier run has used is refused: in it nothing more would happen."""
    used = MemoryStorage()
    with pytest.raises(ExplorationError, match="which holds instances already; each run needs"):
        await explore(order(), storage=lambda: used)


async def test_ignored_by_one_text() -> None:
    """One pattern may be given as it is."""

    async def random(ctx: WorkflowContext) -> None:
        ctx.data["token"] = str(uuid4())

    report = await explore(Workflow("order").step("a", random), ignore="data.token")
    assert report.ok, str(report)


async def test_what_was_not_explored() -> None:
    """The report says how the run ended if it did not complete, and which signals nobody took."""
    flow = order().wait("paid").step("thank", ship)
    report = await explore(flow, script=[signal("payed")])
    assert (report.ok, report.status, report.untaken) == (True, "suspended", ("signal('payed')",))
    assert str(report).splitlines()[1:] == [
        "without a crash it ends as suspended, at 'paid'",
        "no step took signal('payed')",
    ]
    assert len(str(await explore(flow, script=[signal("paid")])).splitlines()) == 1


async def test_name_of_the_last_step() -> None:
    """A workflow with a step of the name of the explorer's own is told so."""

    async def undo(ctx: Any) -> None: ...

    flow = Workflow("order").step("explorer-fails", ship, compensate=undo)
    with pytest.raises(ExplorationError, match="adds a step 'explorer-fails' of its own"):
        await explore(flow)
    assert (await explore(flow, rollback=False)).ok


async def test_run_without_end() -> None:
    """A run that takes too long in real time is told, with its last call."""

    async def hang(ctx: WorkflowContext) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ExplorationError, match=r"not over after 0.05 s .* call was that of 'hang'"):
        await explore(Workflow("order").step("hang", hang), limit=0.05)


def test_script_of_json() -> None:
    """A script as the command line reads it."""
    told = [
        {"signal": "paid", "payload": {"by": "kim"}, "to": "stack"},
        {"advance": 60},
        {"cancel": True},
        {"cancel": "keep"},
    ]
    assert script_of(told) == [
        signal("paid", {"by": "kim"}, to="stack"),
        advance(minutes=1),
        cancel(),
        cancel(rollback=False),
    ]


@pytest.mark.parametrize(
    "told", [{}, [{}], [7], [{"signal": "paid", "too": 1}], [{"advance": -1}], [{"cancel": False}]]
)
def test_bad_scripts(told: Any) -> None:
    """What is no script is refused."""
    with pytest.raises(ValueError, match=r"script|no duration"):
        script_of(told)


async def test_time_of_a_server(redis_url: str) -> None:
    """A storage whose leases run by a server's time is refused: nobody can advance that."""
    with pytest.raises(ExplorationError, match="keeps the time of its server"):
        await explore(order, storage=lambda: RedisStorage.from_url(redis_url))
