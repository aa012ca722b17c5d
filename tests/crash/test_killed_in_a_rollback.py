"""A process is killed while it undoes an instance, and another one goes on, backward."""

import pytest

from children import Stage
from flux import StepStatus, WorkflowStatus

UNDOING = ["before undoing charge", "after undoing charge", "before undoing reserve"]


@pytest.mark.parametrize("place", [*UNDOING, "after undoing reserve"])
def test_rollback_goes_on(stage: Stage, place: str) -> None:
    """Whatever was being undone, all is undone in the end, in reverse order."""
    stage.kill_when_holding("order", "start", "o-nowhere", hold=place)
    stage.run("order", "start", "o-nowhere")
    undone = [effect["step"] for effect in stage.effects("undid")]
    assert list(dict.fromkeys(undone)) == ["charge", "reserve"]
    assert stage.state("o-nowhere").status is WorkflowStatus.ROLLED_BACK
    history = {entry.name: entry.status for entry in stage.state("o-nowhere").history}
    assert history == {
        "reserve": StepStatus.COMPENSATED,
        "charge": StepStatus.COMPENSATED,
        "ship": StepStatus.FAILED,
    }


def test_nothing_forward_after_the_turn(stage: Stage) -> None:
    """Once the rollback was saved no step runs any more, however often the process is killed."""
    for place in UNDOING:
        stage.kill_when_holding("order", "start", "o-nowhere", hold=place)
    stage.run("order", "start", "o-nowhere")
    assert [effect["step"] for effect in stage.effects("did")] == ["reserve", "charge"]


def test_undoing_keeps_its_key(stage: Stage) -> None:
    """A compensator killed between effect and save runs again with its own key and the step's."""
    stage.kill_when_holding("order", "start", "o-nowhere", hold="after undoing charge")
    stage.run("order", "start", "o-nowhere")
    first, second = stage.effects("undid", step="charge")
    assert (first["key"], first["step_key"]) == (second["key"], second["step_key"])
    assert (first["attempt"], second["attempt"]) == (1, 2)
    (charged,) = stage.effects("did", step="charge")
    assert first["step_key"] == charged["key"] != first["key"]
