"""Small lives in which the model once disagreed with the engine, or with one that was broken."""

import pytest

from agreement import Agreement, Fresh
from flow_plans import LONG, Act, Command, FlowPlan, Reaction, StepPlan, WaitPlan
from incidents_model import Incident, Request, What

AT_ONCE = Incident(save=1, written=True)
CANCEL = Request(verb="cancel")
PAUSE = Request(verb="pause")
IS_CANCELLED = Incident(what=What.IS_TOLD, call=1, request=CANCEL)
WAITS = (Act.WAITS,)
FOR_X = WaitPlan(signal="x")
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
            Command("execute", None, (Incident(save=3, written=True), AT_ONCE, AT_ONCE)),
            Command("restart", "a"),
            Command("resume"),
        ],
    ),
    "a paused instance can be cancelled": (
        FlowPlan((StepPlan(name="a", undo=(), script=WAITS, wait=FOR_X),)),
        [Command("execute"), Command("tell", request=PAUSE), Command("tell", request=CANCEL)],
    ),
    "a paused instance misses its deadline": (
        FlowPlan((StepPlan(name="a", undo=(), script=WAITS, wait=FOR_X),), deadline=1.5),
        [Command("execute"), Command("tell", request=PAUSE), Command("pass", hours=2)],
    ),
    "a parked instance can be cancelled": (
        FlowPlan((StepPlan(name="a", undo=()),)),
        [Command("execute", None, (AT_ONCE,) * 3), Command("tell", request=CANCEL)],
    ),
    "a step whose wait is given up is undone": (
        FlowPlan(
            (
                StepPlan(name="a", script=(Act.WELL, Act.RAISES)),
                StepPlan(name="b", undo=(), script=WAITS, wait=FOR_X),
            )
        ),
        [Command("execute"), Command("restart", "a")],
    ),
    "the cause is the cancel and not the verifier that it stopped": (
        FlowPlan((StepPlan(name="a", at_most_once=True, script=(Act.DOUBTS,), verify=()),)),
        [Command("execute", None, (Incident(what=What.LASTS, call=1), IS_CANCELLED))],
    ),
    "nothing is saved for an instance with nothing to do": (
        FlowPlan((StepPlan(name="a"),)),
        [
            Command("execute", None, (Incident(what=What.IS_TOLD, save=2, request=PAUSE),)),
            Command("restart", "a", (Incident(save=1),)),
        ],
    ),
    "nothing is saved for a signal that is known": (
        FlowPlan((StepPlan(name="a", script=WAITS),)),
        [
            Command("execute"),
            Command("tell", request=Request(signal_id="i")),
            Command("tell", request=Request(signal_id="i", waits=True)),
        ],
    ),
    "nothing is saved for a pause of long ago": (
        FlowPlan((StepPlan(name="a", script=WAITS),)),
        [
            Command("execute"),
            Command("tell", request=Request()),
            Command("tell", request=PAUSE),
            Command("resume"),
            Command("resume"),
        ],
    ),
    "a handler that ignores its cancellation is left behind": (
        FlowPlan((StepPlan(name="a", undo=(), told=Reaction.STAYS),)),
        [
            Command(
                "execute", None, (IS_CANCELLED, Incident(what=What.CLOSES, save=1, written=True))
            )
        ],
    ),
    "it is left behind though nobody waits for the instance": (
        FlowPlan((StepPlan(name="a", undo=(), told=Reaction.STAYS),)),
        [Command("execute", None, (Incident(call=1), IS_CANCELLED))],
    ),
    "an instance that was stopped goes on when its back-off is over": (
        FlowPlan((StepPlan(name="a", script=(Act.RAISES,), retries=1, pause=LONG),)),
        [Command("execute", None, (Incident(what=What.CLOSES, call=1),))],
    ),
    "a signal at the end of a driver is not lost": (
        FlowPlan((StepPlan(name="a", script=(Act.RAISES,), retries=1, pause=LONG),)),
        [
            Command(
                "execute",
                None,
                (AT_ONCE, Incident(what=What.IS_TOLD, save=2, written=True, request=PAUSE)),
            )
        ],
    ),
}


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("life", LIVES)
def test_found_before(life: str, kind: str, fresh: Fresh) -> None:
    """They agree now."""
    plan, commands = LIVES[life]
    agreement = Agreement(plan, [fresh(kind)])
    try:
        for command in commands:
            agreement.do(command)
    finally:
        agreement.close()
