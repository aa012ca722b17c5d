"""Random maps, among few other steps, do what a small interpreter of them says.

As in `test_graphs`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreement import Fresh
from budget import TIMEOUT, budget
from graph_agreement import Death, Life, following
from graph_plans import Act, GraphPlan, HandlerPlan, Items, Node
from random_graphs import deaths, graphs, lived

pytestmark = TIMEOUT
BESIDE = pytest.mark.parametrize("kind", ["sqlite", "redis"])
FOUND: dict[str, tuple[GraphPlan, str, tuple[Death, ...]]] = {
    "what a map handles is none of its items": (
        GraphPlan(
            declared=(
                Node(name="a", script=(Act.SLIPS,)),
                Node(name="b", items=Items(count=2, scripts=((Act.BOOMS,),))),
                HandlerPlan(step="b", steps=("a",)),
            )
        ),
        "a b[0] b[1]",
        (),
    ),
    "after a crash items do not see what others wrote": (
        GraphPlan(
            declared=(Node(name="a", writes=(("x", 1),), items=Items(count=3, concurrency=1)),)
        ),
        "a[0] a[1] a[2]",
        (Death(save=2, is_written=True),),
    ),
}


@budget(examples=100)
@given(plan=graphs(maps=True), data=st.data())
def test_random_maps(plan: GraphPlan, data: st.DataObject, fresh: Fresh) -> None:
    """Which items run, what comes of them and what is undone is what the interpreter says."""
    lived(plan, data, (), fresh("memory"))


@budget(examples=100)
@given(plan=graphs(maps=True), deaths=deaths(), data=st.data())
def test_processes_die(
    plan: GraphPlan, deaths: tuple[Death, ...], data: st.DataObject, fresh: Fresh
) -> None:
    """Whoever takes over goes on with the items that had not ended."""
    lived(plan, data, deaths, fresh("memory"))


@BESIDE
@budget(examples=12)
@given(plan=graphs(maps=True), deaths=deaths(), data=st.data())
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
