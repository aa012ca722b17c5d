"""Branches: one case runs, the others are left out, and what comes after comes after either."""

import asyncio
from typing import Any

import pytest

from flux import (
    DefinitionError,
    FluxEngine,
    StepNotCompletedError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from graphs import Gates, names, saved, signalled
from opening import OpenEngine
from sagas import Flaky, noting, step_of
from saves import Saves
from undoing import fail
from waits import ended

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK
FAILED, SUSPENDED = WorkflowStatus.FAILED, WorkflowStatus.SUSPENDED


def routed(gates: Gates, **options: Any) -> Workflow:
    """A step "a", a branch by the input's "to" ("x": two steps, "y": one, else nothing), "z"."""
    for name in ("a", "x", "x2", "y", "z"):
        gates.let(name)
    order = Workflow("order").step("a", gates, compensate=gates.undo)
    order.branch(
        "route",
        on=lambda ctx: ctx.input["to"],
        cases={"x": [("x", gates), ("x2", gates)], "y": ("y", gates)},
        default=None,
        **options,
    )
    return order.step("z", gates, compensate=gates.undo)


@pytest.mark.parametrize(
    ("to", "ran"),
    [("x", ["a", "x", "x2", "z"]), ("y", ["a", "y", "z"]), ("w", ["a", "z"])],
)
async def test_g2_one_case_runs(engine: FluxEngine, to: str, ran: list[str]) -> None:
    """The rest is recorded as never run; the cases meet again in what comes next."""
    gates = Gates()
    result = await engine.execute(routed(gates), {"to": to})
    assert (result.status, gates.ran) == (COMPLETED, ran)
    left = {"x", "x2", "y"} - {*ran}
    for name in left:
        entry = step_of(result, name)
        assert (entry.status, entry.left_out, entry.attempt_count) == ("skipped", True, 0)
    assert {*names(result)} == {"a", "route", "x", "x2", "y", "z"}
    assert step_of(result, "route").output == (None if to == "w" else to)


async def test_g2_a_choice_without_a_case_fails(engine: FluxEngine) -> None:
    """Without a default; the error names the value and the cases, and what was done is undone."""
    gates = Gates("a")
    order = Workflow("order").step("a", gates, compensate=gates.undo)
    order.branch("route", on=lambda ctx: "w", cases={"x": ("x", gates), 2: ("y", gates)})
    result = await engine.execute(order)
    assert (result.status, gates.did) == (ROLLED_BACK, ["a", "undo a completed"])
    assert str(result.error) == (
        "NoCaseError: branch 'route' has no case for 'w'; there are: 'x', 2; "
        "give default= for the rest (None for nothing)"
    )


async def test_g2_a_selector_that_raises_fails(engine: FluxEngine) -> None:
    """As a predicate does; a handler may handle it."""
    did: list[str] = []

    async def choose(ctx: WorkflowContext) -> str:
        raise KeyError("nobody knows")

    order = Workflow("order").branch("route", on=choose, cases={1: ("x", noting("x", did))})
    order.step("z", noting("z", did)).on_error(noting("h", did), steps="route", name="h")
    result = await engine.execute(order)
    assert (result.status, did) == (COMPLETED, ["h"])
    assert str(step_of(result, "route").error) == "KeyError: 'nobody knows'"


@pytest.mark.parametrize("answer", [True, False])
async def test_g2_a_predicate_chooses(engine: FluxEngine, answer: bool) -> None:
    """Its cases are True and False; it sees data and outputs, and may be async."""
    did: list[str] = []

    async def choose(ctx: WorkflowContext) -> bool:
        return bool(ctx.output("a") == "a" and ctx.data["yes"])

    async def act(ctx: WorkflowContext) -> str:
        ctx.data["yes"] = answer
        return "a"

    order = Workflow("order").step("a", act)
    cases = {True: ("x", noting("x", did)), False: ("y", noting("y", did))}
    result = await engine.execute(order.branch("route", on=choose, cases=cases))
    assert (did, step_of(result, "route").output) == (["x" if answer else "y"], answer)


async def test_g2_numbers_are_cases(engine: FluxEngine) -> None:
    """A key that is no text is found again as it was saved."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", []))
    order.branch("route", on=lambda ctx: 2, cases={1: noted("x", did), 2: noted("y", did)})
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["y"])


def noted(name: str, did: list[str]) -> tuple[str, Any]:
    return name, noting(name, did)


async def test_g2_a_branch_may_be_skipped(engine: FluxEngine) -> None:
    """Then none of its cases runs, and what comes next does."""
    gates = Gates()
    order = routed(gates, when=lambda ctx: False)
    result = await engine.execute(order, {"to": "x"})
    assert (result.status, gates.ran) == (COMPLETED, ["a", "z"])
    assert not step_of(result, "route").left_out


@pytest.mark.parametrize("outer", ["p", "q"])
@pytest.mark.parametrize("inner", ["m", "n"])
async def test_g2_branches_in_branches(engine: FluxEngine, outer: str, inner: str) -> None:
    """A case may be another branch; what comes next comes after either end."""
    did: list[str] = []
    order = Workflow("order").branch(
        "outer", on=lambda ctx: outer, cases={"p": "inner", "q": noted("q", did)}
    )
    cases = {name: noted(name, did) for name in "mn"}
    order.branch("inner", on=lambda ctx: inner, cases=cases)
    result = await engine.execute(order.step("z", noting("z", did)))
    assert (result.status, did) == (COMPLETED, [inner if outer == "p" else "q", "z"])
    assert "z" in names(result)


async def test_g2_a_case_beside_other_steps(engine: FluxEngine) -> None:
    """A branch runs beside what does not come before it, its case too."""
    gates = Gates()
    order = Workflow("order").step("a", gates, after=())
    order.branch("r", on=lambda ctx: 1, cases={1: ("x", gates), 2: ("y", gates)}, after=())
    order.step("j", gates, after=("a", "r"))
    await engine.start(order, id="o")
    await gates.begun("a", "x")
    gates.let("x", "j")
    await saved(engine, "x")
    assert gates.ran == ["a", "x"]
    gates.let("a")
    assert ((await ended(engine)).status, gates.ran) == (COMPLETED, ["a", "x", "j"])


async def test_g2_waits_in_exclusive_cases(engine: FluxEngine) -> None:
    """They may wait for one signal, since only one of them ever does."""
    order = Workflow("order").wait("x", "go").wait("y", "go")
    order.branch("route", on=lambda ctx: "y", cases={"x": "x", "y": "y"})
    assert (await engine.execute(order, id="o")).status is SUSPENDED
    result = await signalled(engine, "go", {"by": "kim"})
    assert (result.status, step_of(result, "y").output) == (COMPLETED, {"by": "kim"})


async def test_g2_a_left_out_output_is_none(engine: FluxEngine) -> None:
    """As that of a skipped step; nobody is told that it was not reached."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        seen.append((ctx.output("x"), ctx.output("y"), ctx.output("route")))

    order = Workflow("order").branch(
        "route", on=lambda ctx: 1, cases={1: noted("x", []), 2: noted("y", [])}
    )
    await engine.execute(order.step("z", look))
    assert seen == [("x", None, 1)]


async def test_g2_only_the_chosen_is_undone(engine: FluxEngine) -> None:
    """In the reverse order of completion."""
    gates = Gates("a", "x", "y")
    order = Workflow("order").step("a", gates, compensate=gates.undo)
    order.step("x", gates, compensate=gates.undo).step("y", gates, compensate=gates.undo)
    order.branch("route", on=lambda ctx: 1, cases={1: "x", 2: "y"}, after="a")
    result = await engine.execute(order.step("z", fail))
    assert (result.status, gates.undone) == (ROLLED_BACK, ["x completed", "a completed"])


async def test_g2_a_fallback_may_follow_a_branch(engine: FluxEngine) -> None:
    """A step of a case that fails is stood in for, and the cases meet again after that."""
    did: list[str] = []
    order = Workflow("order").step("x", fail, fallback="f").step("f", noting("f", did))
    order.branch("route", on=lambda ctx: 1, cases={1: "x", 2: noted("y", did)})
    result = await engine.execute(order.step("z", noting("z", did)))
    assert (result.status, did) == (COMPLETED, ["f", "z"])
    assert step_of(result, "y").left_out


# Saved, restarted


async def test_g2_a_branch_has_no_save_of_its_own(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Its choice and what it leaves out are saved with the result before it."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(routed(Gates()), {"to": "y"})
    assert [made.intent for made in saves.made] == [("a",), ("y",), ("z",), ()]
    assert len(saves.entries[1]) == 4


async def test_g2_an_instance_that_exists_is_not_asked(engine: FluxEngine) -> None:
    """A branch that is the first step is asked once, however often the start is repeated."""
    asked: list[int] = []

    def choose(ctx: WorkflowContext) -> int:
        asked.append(1)
        return 1

    order = Workflow("order").branch("route", on=choose, cases={1: noted("x", [])})
    for _ in range(2):
        assert (await engine.execute(order, id="o")).status is COMPLETED
    assert asked == [1]


async def test_g2_a_restart_may_choose_otherwise(engine: FluxEngine) -> None:
    """The branch is asked anew; a commit of the case that is left out now is still owed."""
    gates, to = Gates("x", "y", "z"), ["x"]
    order = Workflow("order").commit("x", gates, compensate=gates.undo)
    order.step("y", gates, compensate=gates.undo)
    order.branch("route", on=lambda ctx: to[0], cases={"x": "x", "y": "y"}, after=())
    order.step("z", gates)
    await engine.execute(order, id="o")
    to[0] = "y"
    result = await engine.restart("o", "route")
    assert (result.status, gates.ran) == (COMPLETED, ["x", "z", "y", "z"])
    assert step_of(result, "x").left_out
    gates.fail("z")
    result = await engine.restart("o", "z")
    assert (result.status, gates.undone) == (ROLLED_BACK, ["y completed", "x completed"])


async def test_g2_a_restart_in_a_case_keeps_the_choice(engine: FluxEngine) -> None:
    """From a step of the case on; the selector is not asked."""
    gates, asked = Gates("x", "y", "z"), list[str]()

    def choose(ctx: WorkflowContext) -> str:
        asked.append("route")
        return "x"

    order = Workflow("order").branch(
        "route", on=choose, cases={"x": ("x", gates), "y": ("y", gates)}
    )
    await engine.execute(order.step("z", gates), id="o")
    result = await engine.restart("o", "x")
    assert (result.status, gates.ran, asked) == (COMPLETED, ["x", "z", "x", "z"], ["route"])


async def test_g2_resume_after_a_selector_failed(engine: FluxEngine) -> None:
    """The branch is asked again."""
    choose, did = Flaky(1), list[str]()
    order = Workflow("order").branch("route", on=choose, cases={"done": noted("x", did)})
    assert (await engine.execute(order, id="o")).status is FAILED
    assert ((await engine.resume("o")).status, did) == (COMPLETED, ["x"])


async def test_g2_output_of_what_was_not_reached(engine: FluxEngine) -> None:
    """A step that comes after a branch that has not chosen yet has no output."""
    seen: list[str] = []

    async def look(ctx: WorkflowContext) -> None:
        with pytest.raises(StepNotCompletedError) as refused:
            ctx.output("x")
        seen.append(str(refused.value))

    order = Workflow("order").step("a", look)
    order.branch("route", on=lambda ctx: 1, cases={1: noted("x", [])})
    await engine.execute(order)
    assert seen == ["step 'x' has no result: it has not been reached"]


# Refused


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"cases": {}}, "it has no cases"),
        ({"cases": {1.5: "a"}}, "cases: 1.5 is no text, 64-bit number or truth value"),
        ({"cases": {None: "a"}}, "cases: None is no text, 64-bit number or truth value"),
        ({"cases": {1: "nowhere"}}, "branch 'route': 'nowhere' is no step"),
        ({"cases": {1: "a", 2: "a"}}, "step 'a' stands at 2 places"),
        ({"cases": {1: "a"}, "on": 5}, "on: 5 is no function"),
        ({"cases": {1: "p"}}, "step 'p' has its place there, and an after= of its own"),
    ],
)
def test_g2_a_branch_that_makes_no_sense(options: dict[str, Any], problem: str) -> None:
    """It is refused when the workflow is built, and the branch is named."""
    order = Workflow("order").step("a", fail).step("p", fail, after="a")
    order.branch("route", **{"on": lambda ctx: 1} | options)
    with pytest.raises(DefinitionError) as refused:
        order.build()
    assert problem in str(refused.value)


async def test_g2_a_slow_selector_fails(open_engine: OpenEngine) -> None:
    """It has as long as a predicate has."""
    engine = await open_engine(when_timeout=0.02)

    async def choose(ctx: WorkflowContext) -> int:
        await asyncio.sleep(60)
        return 1

    order = Workflow("order").branch("route", on=choose, cases={1: noted("x", [])})
    result = await engine.execute(order)
    assert (result.status, result.error and result.error.type) == (FAILED, "StepTimeoutError")


async def test_g2_what_a_failed_case_keeps_from_running(engine: FluxEngine) -> None:
    """It was not left out by the branch, which did choose, and so has no entry."""
    did: list[str] = []
    order = Workflow("order")
    order.branch("route", on=lambda ctx: 1, cases={1: ("x", fail)}, default=None)
    order.step("d", noting("d", did), after="route").step("h", noting("h", did), after=())
    result = await engine.execute(order.on_error("h", steps=["x"]))
    assert (result.status, did) == (WorkflowStatus.COMPLETED, ["h"])
    assert [entry.name for entry in result.history] == ["route", "x", "h"]
