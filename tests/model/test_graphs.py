"""Random graphs with random outcomes do what a small interpreter of the join rule says.

What runs at the same time ends in an order that is drawn. `FLUX_MODEL_EXAMPLES=5000` tries so many;
without it a few are tried, always the same ones. A failing example is printed as a plan and the
order of what ended, which can be pasted into `FOUND`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreement import Fresh
from budget import TIMEOUT, budget
from graph_agreement import Death, Life, following
from graph_plans import Act, Cases, GraphPlan, GroupPlan, HandlerPlan, Node
from random_graphs import deaths, graphs, lived

pytestmark = TIMEOUT
BESIDE = pytest.mark.parametrize("kind", ["sqlite", "redis"])
FOUND: dict[str, tuple[GraphPlan, str, tuple[Death, ...]]] = {
    "a handler of nothing is not left out by a branch": (
        GraphPlan(
            declared=(
                Node(name="a"),
                Node(name="b"),
                Node(name="c"),
                Node(name="r", cases=Cases(chains=(("c",), ()), choice=1)),
                HandlerPlan(step="b"),
            )
        ),
        "a",
        (),
    ),
    "a branch that never ran leaves nothing out": (
        GraphPlan(
            declared=(
                Node(name="a", when="raises"),
                Node(name="b"),
                Node(name="c"),
                Node(name="r", after=("a",), cases=Cases(chains=(("c",), ()))),
                HandlerPlan(step="b"),
            )
        ),
        "b",
        (),
    ),
    "a branch that is skipped leaves nothing out": (
        GraphPlan(
            declared=(
                Node(name="a"),
                Node(name="r", when=False, cases=Cases(chains=(("a",), ()))),
                Node(name="b"),
            )
        ),
        "b",
        (),
    ),
    "what started last is undone first though it was cancelled later": (
        GraphPlan(
            declared=(
                Node(name="a", after=(), undo=Act.WELL),
                Node(name="b", after=()),
                Node(name="c", script=(Act.DOUBTS,), undo=Act.WELL),
            ),
            fail_fast=True,
        ),
        "b c c a",
        (),
    ),
    "another attempt does not see what came after it meanwhile": (
        GraphPlan(
            declared=(
                Node(name="a"),
                Node(name="b", script=(Act.BOOMS,), retries=1),
                Node(name="c", after=("a", "b"), join=1, writes=(("x", 1),)),
            )
        ),
        "a c b b",
        (),
    ),
    "nor does one after a crash": (
        GraphPlan(
            declared=(
                Node(name="a"),
                Node(name="b"),
                Node(name="c", after=("a", "b"), join=1, writes=(("x", 1),)),
            )
        ),
        "a c b",
        (Death(save=3, is_written=True),),
    ),
    "a predicate waits for room": (
        GraphPlan(
            declared=(
                Node(name="a", when=True),
                Node(name="b", when=True),
                GroupPlan(name="g", chains=(("a",), ("b",)), concurrency=1),
            )
        ),
        "a b",
        (),
    ),
    "a predicate that raises cancels what runs beside it": (
        GraphPlan(
            declared=(
                Node(name="a", after=(), undo=Act.WELL),
                Node(name="b", after=()),
                Node(name="c", when="raises"),
            ),
            fail_fast=True,
        ),
        "b a",
        (),
    ),
}


@budget(examples=150)
@given(plan=graphs(), data=st.data())
def test_random_graphs(plan: GraphPlan, data: st.DataObject, fresh: Fresh) -> None:
    """What runs, what it sees and what is undone in which order is what the rule says."""
    lived(plan, data, (), fresh("memory"))


@budget(examples=150)
@given(plan=graphs(), deaths=deaths(), data=st.data())
def test_processes_die(
    plan: GraphPlan, deaths: tuple[Death, ...], data: st.DataObject, fresh: Fresh
) -> None:
    """Whoever takes over goes on from what was saved, and nothing that was runs again."""
    lived(plan, data, deaths, fresh("memory"))


@BESIDE
@budget(examples=12)
@given(plan=graphs(), deaths=deaths(), data=st.data())
def test_on_storages(
    plan: GraphPlan, deaths: tuple[Death, ...], data: st.DataObject, kind: str, fresh: Fresh
) -> None:
    """So it is where others could see it too."""
    lived(plan, data, deaths, fresh(kind))


@pytest.mark.parametrize("life", FOUND)
def test_found_before(life: str, fresh: Fresh) -> None:
    """They agree now."""
    plan, order, deaths = FOUND[life]
    Life(plan, fresh("memory"), following(order), deaths).live()
