"""Graphs that failed, and what people do then; graphs whose code has changed meanwhile."""

from typing import Any

import pytest

from flux import (
    DefinitionChangedError,
    FluxEngine,
    InvalidTransitionError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from graphs import Gates, graph, statuses, writing
from maps import Packer, mapping
from opening import OpenEngine
from sagas import Flaky, noting, step_of
from undoing import fail

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED


# Conflicts


def conflicting(breaks: Flaky) -> Workflow:
    """Steps "a" and "b" that conflict, "c" beside them that fails first, and "j" after all."""
    order = graph(writing(a=1, b=2), a="", b="")
    return order.step("c", breaks, after=()).step("j", noting("j", []), after=("a", "b", "c"))


@pytest.mark.parametrize("verb", ["resume", "retry_step"])
async def test_g9_a_conflict_is_not_forgotten(engine: FluxEngine, verb: str) -> None:
    """Though it was another step that failed: to run that again would leave the conflict."""
    await engine.execute(conflicting(Flaky(1)), id="o")
    with pytest.raises(InvalidTransitionError, match="wrote different values"):
        await (engine.resume("o") if verb == "resume" else engine.retry_step("o", "c"))
    assert (await engine.get("o")).status is FAILED


@pytest.mark.parametrize("step", ["c", "j"])
async def test_g9_no_restart_beside_a_conflict(engine: FluxEngine, step: str) -> None:
    """Only one from a step that wrote makes an end of it."""
    order = conflicting(Flaky(0))
    await engine.execute(order, id="o")
    with pytest.raises(InvalidTransitionError, match="restart\\(\\) from one of the steps"):
        await engine.restart("o", step)


async def test_g9_a_merge_that_fails_for_some(engine: FluxEngine) -> None:
    """Where a step sees only some of the values, and they cannot be merged, the step fails."""

    def merged(first: int, second: int) -> int:
        if (first, second) == (1, 4):
            raise ValueError("not these two")
        return first + second

    order = graph(writing(a=1, b=2, c=4), a="", b="", c="", j="ac").merge("key", merged)
    result = await engine.execute(order)
    assert (result.status, step_of(result, "j").status) == (FAILED, "failed")
    assert "not these two" in str(result.error)


# Fallbacks that failed too


@pytest.mark.parametrize("verb", ["resume", "retry_step"])
async def test_g9_a_fallback_is_set_aside(engine: FluxEngine, verb: str) -> None:
    """The step runs anew; its fallback only if it fails again."""
    order = Workflow("order").step("a", Flaky(1), fallback="f").step("f", fail)
    order.step("c", noting("c", []), after="a")
    assert (await engine.execute(order, id="o")).status is FAILED
    again = engine.resume("o") if verb == "resume" else engine.retry_step("o", "a")
    assert statuses(await again) == {"a": "completed", "c": "completed"}
    assert (await engine.restart("o", "c")).status is COMPLETED


async def test_g9_a_fallback_alone(engine: FluxEngine) -> None:
    """A person may also let only the fallback run again."""
    breaks = Flaky(1)
    order = Workflow("order").step("a", fail, fallback="f").step("f", breaks)
    order.step("c", noting("c", []), after="a")
    await engine.execute(order, id="o")
    result = await engine.retry_step("o", "f")
    assert statuses(result) == {"a": "failed", "f": "completed", "c": "completed"}


async def test_g9_one_of_two_failed_items(engine: FluxEngine) -> None:
    """It runs, though the other still lets the map fail."""
    packer = Packer("b", "c")
    await engine.execute(mapping(packer, ["a", "b", "c"]), id="o")
    packer.broken.clear()
    result = await engine.retry_step("o", "pack[1]")
    assert (result.status, packer.packed) == (FAILED, ["a", "b", "c", "b"])
    assert step_of(result, "pack[1]").output == "packed b"
    assert "c is broken" in str(result.error)
    assert (await engine.retry_step("o", "pack")).status is COMPLETED


# Groups with branches


async def test_g9_a_case_belongs_to_the_group(engine: FluxEngine) -> None:
    """With `fail_fast`, the steps of a branch among its members are cancelled like the others."""
    gates = Gates()
    order = Workflow("order").step("x", gates)
    order.parallel("g", [("b", gates), "route"], fail_fast=True)
    order.branch("route", on=lambda ctx: 1, cases={1: "x"})
    await engine.start(order, id="o")
    await gates.begun("b", "x")
    gates.fail("b")
    result = await engine.result("o")
    assert (result.status, step_of(result, "x").outcome) == (FAILED, "unknown")


# Changed code


def chosen(**cases: str) -> Workflow:
    """A branch that chooses "a"; each case is a step that waits."""
    order = Workflow("order").branch("route", on=lambda ctx: "a", cases=cases)
    for name in cases.values():
        order.wait(name, "go")
    return order.step("ship", noting("ship", []))


@pytest.mark.parametrize(
    ("now", "problem"),
    [
        ({"A": "x", "b": "y"}, "branch 'route' chose 'a', which is no case of it any more"),
        ({"a": "y", "b": "x"}, "where step 'x' was begun, which is in another case now"),
    ],
)
async def test_s28_another_case(open_engine: OpenEngine, now: dict[str, str], problem: str) -> None:
    """The case that was chosen must still be there, with what it began."""
    first = await open_engine()
    await first.execute(chosen(a="x", b="y"), id="o")
    await first.close()
    second = await open_engine(workflows=[chosen(**now)])
    with pytest.raises(DefinitionChangedError) as refused:
        await second.signal("o", "go")
    assert problem in str(refused.value)


@pytest.mark.parametrize("way_on", [{"on_error": "continue"}, {"fallback": "f"}])
async def test_s28_nothing_handles_it_any_more(
    open_engine: OpenEngine, way_on: dict[str, Any]
) -> None:
    """What handled a failure must still be for it."""

    def order(**options: Any) -> Workflow:
        made = Workflow("order").step("a", fail, **options).wait("go")
        return made.step("f", noting("f", []), after=())

    first = await open_engine()
    await first.execute(order(**way_on), id="o")
    await first.close()
    second = await open_engine(workflows=[order()])
    with pytest.raises(DefinitionChangedError, match=r"step 'a' failed, and .* is for it no more"):
        await second.signal("o", "go")


async def test_s28_a_case_that_was_not_chosen(
    open_engine: OpenEngine, storage: WorkflowStorage
) -> None:
    """It may change, or go."""
    first = await open_engine(storage)
    await first.execute(chosen(a="x", b="y"), id="o")
    await first.close()
    second = await open_engine(storage, workflows=[chosen(a="x", c="y")])
    result = await second.signal("o", "go")
    assert result is not None
    assert result.status is COMPLETED


# What a selector may return


async def test_g2_a_value_that_cannot_be_compared(engine: FluxEngine) -> None:
    """The branch fails with what the comparison raised."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ArithmeticError("no truth in it")

        __hash__ = None  # type: ignore[assignment]

    def select(ctx: WorkflowContext) -> Any:
        return Odd()

    order = Workflow("order").branch("route", on=select, cases={1: ("x", fail)})
    result = await engine.execute(order)
    assert str(result.error) == "ArithmeticError: no truth in it"


async def test_s28_what_handled_it_is_known(open_engine: OpenEngine) -> None:
    """A step may have a handler and go on for other errors; items go on by their map's word."""

    def order() -> Workflow:
        made = Workflow("order").step("a", fail, on_error="continue")
        made.map("m", lambda ctx: [1, 2], fail, on_item_failure="continue", after=())
        made.on_error("h", steps="a", errors=RuntimeError)
        return made.step("h", noting("h", [])).wait("go", after=("h", "m"))

    first = await open_engine()
    await first.execute(order(), id="o")
    await first.close()
    second = await open_engine(workflows=[order()])
    result = await second.signal("o", "go")
    assert result is not None
    assert (result.status, step_of(result, "a").handled_by) == (COMPLETED, "h")
