"""What the graph's verbs are given that makes no sense is told when the workflow is built."""

from collections.abc import Callable
from typing import Any

import pytest

from flux import DefinitionError, Workflow, WorkflowContext

Declare = Callable[[Any], Any]


async def nothing(ctx: WorkflowContext) -> None:
    """A handler."""


GIVEN: dict[str, Declare] = {
    "group 'g': after: 5 is neither a name": lambda w: w.parallel("g", ["a"], after=5),
    "group 'g': after: 7 is no name": lambda w: w.parallel("g", ["b"], after=["a", 7]),
    "group 'g': None is no list of members": lambda w: w.parallel("g", None),
    "group '': a name is printable": lambda w: w.parallel("", [nothing]),
    "group 'a:b': a name holds no colon": lambda w: w.parallel("a:b", [nothing]),
    "branch 'r': cases=['b'] maps no keys": lambda w: w.branch("r", on=nothing, cases=["b"]),
    f"cases: {2**70} is no text, 64-bit number": lambda w: w.branch(
        "r", on=nothing, cases={2**70: "b"}
    ),
    "cases: '\\ud800' is no text": lambda w: w.branch("r", on=nothing, cases={"\ud800": "b"}),
    "workflow '': a name is printable": lambda w: w.child("c", ""),
    "on_error: steps: 5 is neither a name": lambda w: w.on_error("b", steps=5),
    "on_error('b') takes no retries, name": lambda w: w.on_error("b", retries=3, name="z"),
    "merge('k'): it must take 2 arguments": lambda w: w.merge("k", lambda first: first),
    "merge: ['k'] is no key of the data": lambda w: w.merge(["k"], max),
    "merge('k') was given before": lambda w: w.merge("k", max).merge("k", min),
    "fallback=['b'] is no step": lambda w: w.step("c", nothing, fallback=["b"]),
    "fallback='r' is a branch, which has no result": lambda w: w.branch(
        "r", on=nothing, cases={1: "b"}
    ).step("c", nothing, fallback="r"),
    "step 'c': join=2, but it comes after nothing": lambda w: w.step(
        "c", nothing, after=(), join=2
    ),
}


@pytest.mark.parametrize("problem", GIVEN)
def test_graph_that_makes_no_sense(problem: str) -> None:
    """The problem names the verb, the step and the value."""
    order = Workflow("order").step("a", nothing).step("b", nothing)
    GIVEN[problem](order)
    with pytest.raises(DefinitionError) as refused:
        order.build()
    assert problem in str(refused.value)
