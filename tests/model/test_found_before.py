"""Small lives in which the model once disagreed with the engine."""

import pytest

from agreement import Agreement
from flow_plans import Act, Command, Fault, FlowPlan, StepPlan
from flux_storages import MemoryStorage

AT_ONCE = Fault(save=1, written=True)
LIVES = {
    "a predicate that raises does not hide a commit": (
        FlowPlan((StepPlan(name="a", commit=True, when=(Act.WELL, Act.RAISES)),)),
        [Command("execute"), Command("restart", "a"), Command("resume")],
    ),
    "nor does it when the instance is restarted again": (
        FlowPlan((StepPlan(name="a", commit=True, when=(Act.WELL, Act.RAISES)),)),
        [Command("execute"), Command("restart", "a"), Command("restart", "a")],
    ),
    "nor does it spare a doubtful step its verifier": (
        FlowPlan(
            (
                StepPlan(
                    name="a",
                    at_most_once=True,
                    script=(Act.DOUBTS,),
                    verify=(Act.RAISES,),
                    when=(Act.WELL, Act.RAISES),
                ),
            )
        ),
        [Command("execute"), Command("restart", "a"), Command("resume")],
    ),
    "an instance that exists is asked nothing": (
        FlowPlan((StepPlan(name="a", when=()),)),
        [Command("execute"), Command("execute")],
    ),
    "a restarted branch does not see the one beside it": (
        FlowPlan((StepPlan(name="a"), StepPlan(name="b", after=()))),
        [Command("execute"), Command("restart", "a")],
    ),
    "the cause is the attempt's error and not its verifier's": (
        FlowPlan(
            (
                StepPlan(
                    name="a",
                    at_most_once=True,
                    retries=1,
                    script=(Act.RAISES, Act.DOUBTS),
                    verify=(Act.RAISES, Act.DENIES),
                ),
            )
        ),
        [Command("execute")],
    ),
    "a rollback that stands still is not restarted": (
        FlowPlan((StepPlan(name="a", undo=()), StepPlan(name="b", script=(Act.RAISES,)))),
        [
            Command("execute", None, (Fault(save=3, written=True), AT_ONCE, AT_ONCE)),
            Command("restart", "a"),
            Command("resume"),
        ],
    ),
}


@pytest.mark.parametrize("life", LIVES)
def test_found_before(life: str) -> None:
    """They agree now."""
    plan, commands = LIVES[life]
    agreement = Agreement(plan, [MemoryStorage()])
    try:
        for command in commands:
            agreement.do(command)
    finally:
        agreement.close()
