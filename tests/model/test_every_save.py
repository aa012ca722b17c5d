"""At each save of an instance in turn, and in each call, something happens; the model knows what.

The instance is started, and then sent the signals that it may wait for.
"""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from agreement import Agreement, Fresh
from budget import TIMEOUT, budget
from flow_plans import Command, FlowPlan
from incidents_model import Incident, Request, What
from random_plans import incidents, plans

pytestmark = TIMEOUT

KINDS = pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
STORY = (
    Command("execute"),
    Command("tell", request=Request(name="x")),
    Command("tell", request=Request(name="y")),
    Command("pass", hours=3),
)


@KINDS
@budget(examples=40)
@given(plan=plans(), chapter=st.integers(0, 2), incident=incidents())
def test_anywhere(
    kind: str, plan: FlowPlan, chapter: int, incident: Incident, fresh: Fresh
) -> None:
    """Wherever the incident strikes, the instance goes on rightly."""
    counts = tell(plan, chapter, (), kind, fresh)
    in_calls = incident.save is None
    for number in range(1, counts["call" if in_calls else "save"] + 1):
        save, call = (None, number) if in_calls else (number, incident.call)
        moved = evolve(incident, save=save, call=call)
        tell(plan, chapter, (moved,), kind, fresh)


@KINDS
@budget(examples=25)
@given(plan=plans(), first=incidents(), second=incidents())
def test_any_save_of_the_recovery(
    kind: str, plan: FlowPlan, first: Incident, second: Incident, fresh: Fresh
) -> None:
    """Whoever goes on after an incident may die at any of its saves too."""
    for number in range(1, tell(plan, 0, (first,), kind, fresh)["save"] + 1):
        again = evolve(second, what=What.DIES, save=number, call=None)
        tell(plan, 0, (first, again), kind, fresh)


def tell(
    plan: FlowPlan, chapter: int, incidents: tuple[Incident, ...], kind: str, fresh: Fresh
) -> dict[str, int]:
    """Let the story happen beside the model, with these incidents in this chapter of it.

    How many saves and calls that took, from the last incident on.
    """
    agreement = Agreement(plan, [fresh(kind)])
    counts: dict[str, int] = {}
    try:
        for place, command in enumerate(STORY):
            happens = incidents if place == chapter else ()
            agreement.do(evolve(command, incidents=happens))
            if place == chapter:
                counts = agreement.model.counts
    finally:
        agreement.close()
    return counts
