"""What the graph tells before it runs: cycles, levels, the longest way, and what never runs."""

import random
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux import DefinitionError, FluxEngine, UnknownStepError, Workflow, WorkflowDefinition
from flux.testing import ManualClock
from handlers import nothing

ADVANCED = 4.0


def build(**after: str) -> WorkflowDefinition:
    """A workflow of these steps, each with its sources in one word: `c="ab"`."""
    workflow = Workflow("order")
    for name, sources in after.items():
        workflow.step(name, nothing, after=tuple(sources))
    return workflow.build()


def problems_of(workflow: Workflow) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as raised:
        workflow.build()
    return raised.value.problems


# Cycles


def test_all_members_of_a_cycle_are_named() -> None:
    """Each comes after the next; what merely leads to or from the cycle is not in it."""
    flow = Workflow("order").step("start", nothing)
    flow.step("a", nothing, after=("start", "c")).step("b", nothing).step("c", nothing)
    [problem] = problems_of(flow.step("end", nothing))
    assert problem == "step 'a' waits for itself: a -> c -> b -> a"


def test_cycles_with_a_member_in_common() -> None:
    """Each is told, so that all members are."""
    flow = Workflow("order").step("a", nothing, after="b").step("b", nothing, after=("a", "c"))
    assert problems_of(flow.step("c", nothing, after="b")) == (
        "step 'a' waits for itself: a -> b -> a",
        "step 'b' waits for itself: b -> c -> b",
    )


def test_cycle_through_a_branch_is_named() -> None:
    """A case that leads back to its branch; the branch and its steps are members."""
    flow = Workflow("order").step("again", nothing, after="worse")
    flow.branch("route", on=nothing, cases={"good": "ship", "bad": "worse"}, after="again")
    [problem] = problems_of(flow.step("ship", nothing).step("worse", nothing))
    assert problem == "step 'again' waits for itself: again -> worse -> route -> again"


def test_cycle_of_fallbacks_is_named() -> None:
    """Fallbacks that are for each other, however many."""
    flow = Workflow("order").step("a", nothing, fallback="b").step("b", nothing, fallback="c")
    [problem] = problems_of(flow.step("c", nothing, fallback="a").step("d", nothing, after="a"))
    told = "'a' runs if 'c' fails; 'c' runs if 'b' fails; 'b' runs if 'a' fails"
    assert problem == f"step 'a' waits for itself: a -> c -> b -> a ({told})"


def test_own_fallback_is_a_cycle() -> None:
    """A step cannot stand in for itself."""
    [problem] = problems_of(Workflow("order").step("a", nothing, fallback="a"))
    assert problem == "step 'a' waits for itself: a -> a ('a' runs if 'a' fails)"


def test_cycle_through_a_stand_in_is_named() -> None:
    """What comes after a step comes after its fallback, which cannot come after that."""
    flow = Workflow("order").step("card", nothing, fallback="invoice")
    flow.step("ship", nothing, after="card").step("invoice", nothing, after="ship")
    [problem] = problems_of(flow)
    why = "'ship' comes after a step for which 'invoice' may stand in"
    assert problem == f"step 'ship' waits for itself: ship -> invoice -> ship ({why})"


def test_cycle_through_a_handler_is_named() -> None:
    """A step cannot come after what handles its failure."""
    flow = Workflow("order").step("pay", nothing, after="tell").step("ship", nothing)
    [problem] = problems_of(flow.on_error(nothing, steps="ship", name="tell"))
    why = "'tell' runs if 'ship' fails"
    assert problem == f"step 'pay' waits for itself: pay -> tell -> ship -> pay ({why})"


def test_every_cycle_is_told() -> None:
    """Two cycles are two problems."""
    flow = Workflow("order")
    for first, second in ("ab", "cd"):
        flow.step(first, nothing, fallback=second, after=()).step(second, nothing, fallback=first)
    assert [problem.split(" (")[0] for problem in problems_of(flow)] == [
        "step 'a' waits for itself: a -> b -> a",
        "step 'c' waits for itself: c -> d -> c",
    ]


def test_long_cascades_are_built() -> None:
    """Fallbacks of fallbacks, more than Python's stack is deep."""
    flow, count = Workflow("order"), sys.getrecursionlimit() + 10
    for number in range(count):
        flow.step(f"s{number}", nothing, fallback=f"s{number + 1}")
    flow.step(f"s{count}", nothing).step("end", nothing, after="s0")
    assert len(flow.build().sources["end"]) == count + 1


@pytest.mark.parametrize("steps", [(), None])
def test_handler_for_nothing_is_refused(steps: tuple[()] | None) -> None:
    """A handler that covers no step would begin by itself."""
    [problem] = problems_of(Workflow("order").on_error(nothing, steps=steps, name="tell"))
    assert problem == "on_error: there is no step whose failure 'tell' could handle"


# Levels


def test_levels_are_what_may_run_together() -> None:
    """Each step stands as early as what comes before it allows, in the order of running."""
    levels = build(late="xa", a="", b="a", c="a", d="bc", x="").levels()
    assert levels == (("a", "x"), ("b", "c", "late"), ("d",))


def test_fallbacks_stand_below_what_they_are_for() -> None:
    """They come after it, and what comes after it comes after them."""
    flow = Workflow("order").step("card", nothing, fallback="invoice").step("ship", nothing)
    flow.step("invoice", nothing).on_error(nothing, steps="ship", name="tell")
    assert flow.build().levels() == (("card",), ("invoice",), ("ship",), ("tell",))


@given(st.integers(0, 12), st.randoms(use_true_random=False))
def test_levels_are_as_early_as_can_be(size: int, chance: random.Random) -> None:
    """In any graph: all before a step is above it, and something right above it is before it."""
    names = [chr(ord("a") + place) for place in range(size + 1)]
    sources = {
        name: "".join(before for before in names[:place] if chance.random() < 0.3)
        for place, name in enumerate(names)
    }
    levels = build(**sources).levels()
    level = {name: number for number, members in enumerate(levels) for name in members}
    assert sorted(level) == names
    for name, before in sources.items():
        assert level[name] == max((level[source] + 1 for source in before), default=0)


# The critical path


def test_critical_path_is_the_longest() -> None:
    """By time, not by the number of steps; durations are seconds or a `timedelta`."""
    taken: dict[str, float | timedelta] = {"a": 1, "b": timedelta(minutes=1), "c": 5, "d": 2.5}
    path = build(a="", b="a", c="a", d="bc", e="").critical_path({**taken, "e": 60})
    assert (path.steps, path.seconds) == (("a", "b", "d"), 63.5)


def test_steps_without_duration_take_no_part() -> None:
    """What comes before them still comes before what comes after them."""
    path = build(a="", b="a", c="b", x="").critical_path({"a": 1, "c": 2, "x": 2.5})
    assert (path.steps, path.seconds) == (("a", "c"), 3.0)


def test_nothing_takes_no_time() -> None:
    """Without durations there is no path."""
    path = build(a="", b="a").critical_path({})
    assert (path.steps, path.seconds) == ((), 0.0)


@pytest.mark.parametrize("name", ["c", "b[0]"])
def test_duration_of_an_unknown_step_is_refused(name: str) -> None:
    """A name that is no step is a mistake, and so is that of an item."""
    flow = Workflow("order").map("b", nothing, nothing).build()
    with pytest.raises(UnknownStepError, match="its steps are: b"):
        flow.critical_path({name: 1})


def test_duration_is_checked() -> None:
    """A duration is 0 or more seconds."""
    with pytest.raises(ValueError, match="it must be 0 or more seconds"):
        build(a="").critical_path({"a": -1})


async def test_critical_path_is_measured() -> None:
    """From the history of an instance; the items of a map count with their map."""
    clock = ManualClock()
    flow = Workflow("order").step("a", takes(clock, 1)).step("skipped", takes(clock, 9), when=never)
    flow.parallel("group", [("b", nothing), ("c", takes(clock, 2))], concurrency=1)
    flow.map("items", lambda ctx: [1, 2], takes(clock, 4), concurrency=1)
    async with FluxEngine(workflows=[flow], clock=clock) as flux:
        result = await flux.execute(flow)
    path = flow.build().critical_path(result.history)
    assert (path.steps, path.seconds) == (("a", "c", "items"), 11.0)


async def test_replaced_runs_are_not_measured() -> None:
    """After a restart the new run of a step counts."""
    clock = ManualClock()
    flow = Workflow("order").step("a", takes(clock, 3)).step("b", takes(clock, 2))
    async with FluxEngine(workflows=[flow], clock=clock) as flux:
        id = (await flux.execute(flow)).id
        await flux.restart(id, "b")
        await flux.result(id)
        state = await flux.get(id, replaced=True)
    assert len(state.history) == 3
    reverse = flow.build().critical_path(reversed(state.history))
    assert reverse == flow.build().critical_path(state.history)


def takes(clock: ManualClock, seconds: float) -> Callable[[Any], Any]:
    async def handler(ctx: Any) -> None:
        clock.advance(seconds)

    return handler


def never(ctx: Any) -> bool:
    return False


# Orphans


def test_sound_workflow_has_no_orphans() -> None:
    """Neither a single step nor a graph with everything in it."""
    flow = Workflow("order").step("card", nothing, fallback="invoice").step("invoice", nothing)
    flow.branch("route", on=nothing, cases={"eu": ("vat", nothing), "us": None})
    flow.step("ship", nothing).on_error(nothing, steps="ship", errors=OSError, name="later")
    flow.branch("gift", on=nothing, cases={"no": None}).step("end", nothing)
    flow.on_error(nothing, name="tell")
    assert flow.build().orphans() == build(a="").orphans() == {}


def test_lone_step_is_an_orphan() -> None:
    """A step that nothing leads to, and that leads nowhere, among others."""
    told = "nothing leads to it, and it leads nowhere"
    assert build(a="", b="a", lone="").orphans() == {"lone": told}


def test_handler_behind_a_greedy_one_is_an_orphan() -> None:
    """Where others take all of its errors, it never runs, and neither does what comes after it."""
    flow = Workflow("order").step("pay", nothing)
    flow.on_error(nothing, steps="pay", errors=(OSError, KeyError), name="first")
    flow.on_error(nothing, steps="pay", errors=(ConnectionError, KeyError), name="second")
    flow.on_error(nothing, steps="pay", errors=(ConnectionError, ValueError), name="third")
    flow.step("tell", nothing, after="second").step("sum", nothing, after=("pay", "tell"))
    assert flow.build().orphans() == {
        "second": "it can never run: what fails in 'pay' is taken by 'first' before",
        "tell": "it can never run: 'second', which leads to it, never runs",
    }


def test_handler_behind_a_fallback_is_an_orphan() -> None:
    """A fallback takes every error; a handler that also is for another step does run."""
    flow = Workflow("order").step("card", nothing, fallback="invoice").step("invoice", nothing)
    flow.on_error(nothing, steps="card", name="a").on_error(nothing, name="b")
    assert flow.build().orphans() == {
        "a": "it can never run: what fails in 'card' is taken by 'invoice' before"
    }


def test_join_with_what_never_runs_is_an_orphan() -> None:
    """A join that needs it can never be met."""
    flow = Workflow("order").step("card", nothing, fallback="invoice").step("invoice", nothing)
    flow.on_error(nothing, steps="card", name="a")
    flow.step("sum", nothing, after=("card", "a"), join="all")
    assert flow.build().orphans()["sum"] == "it can never run: 'a', which leads to it, never runs"
