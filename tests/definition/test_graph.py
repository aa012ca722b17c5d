"""The graph: who comes after whom, and the order of running one at a time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from flux import Workflow, WorkflowDefinition
from handlers import nothing


def build(**after: str) -> WorkflowDefinition:
    """A workflow of these steps, each with its sources in one word: `c="ab"`."""
    workflow = Workflow("order")
    for name, sources in after.items():
        workflow.step(name, nothing, after=tuple(sources))
    return workflow.build()


def order_of(workflow: WorkflowDefinition) -> str:
    return "".join(step.name for step in workflow.order)


def test_step_comes_after_the_one_declared_before() -> None:
    """Without `after` the steps are a sequence."""
    order = Workflow("order").step("a", nothing).step("b", nothing).step("c", nothing).build()
    assert [step.after for step in order.steps] == [(), ("a",), ("b",)]
    assert order.before_step("c") == {"a", "b"}


def test_single_source_needs_no_tuple() -> None:
    """`after="a"` is `after=("a",)`, and a source given twice counts once."""
    order = Workflow("order").step("a", nothing).step("bc", nothing, after="a")
    order.step("d", nothing, after=["a", "bc", "a"])
    assert [step.after for step in order.build().steps] == [(), ("a",), ("a", "bc")]


def test_empty_after_is_an_entry() -> None:
    """`after=()` waits for nobody."""
    order = Workflow("order").step("a", nothing).step("b", nothing, after=()).build()
    assert order.step("b").after == ()
    assert order.before_step("b") == set()


def test_ready_steps_run_in_order_of_declaration() -> None:
    """Of several ready steps the one declared first is next, also one that became ready late."""
    assert order_of(build(a="", d="c", b="a", c="", e="abd")) == "abcde"


def test_late_step_waits_for_its_sources() -> None:
    """A step declared before its source runs after it."""
    assert order_of(build(join="xy", x="", y="x")) == "xyjoin"


def test_join_is_before_all_that_follow() -> None:
    """`before_step` and `from_step_on` follow the edges, not the order."""
    diamond = build(a="", b="a", c="a", d="bc", e="")
    assert diamond.before_step("d") == {"a", "b", "c"}
    assert diamond.before_step("c") == {"a"}
    assert diamond.from_step_on("b") == {"b", "d"}
    assert diamond.from_step_on("e") == {"e"}


@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_every_order_is_the_first_possible(size: int, chance: random.Random) -> None:
    """In any graph each step runs after its sources and before all ready ones declared later."""
    names = [chr(ord("a") + place) for place in range(size)]
    shuffled = chance.sample(names, size)
    sources = {
        name: "".join(before for before in shuffled[:place] if chance.random() < 0.3)
        for place, name in enumerate(shuffled)
    }
    workflow = build(**{name: sources[name] for name in names})
    done = ""
    for step in order_of(workflow):
        ready = [name for name in names if name not in done and set(sources[name]) <= set(done)]
        assert step == ready[0]
        done += step
    assert len(done) == size
