"""A process is killed while it runs a step, and another one goes on."""

from children import Stage
from flux import Outcome, StepStatus, WorkflowStatus


def test_effect_without_save_happens_again(stage: Stage) -> None:
    """A step killed between effect and save runs again: same key, attempt one higher."""
    stage.kill_when_holding("order", "start", "o-1", hold="after reserve")
    stage.run("order", "start", "o-1")
    first, second = stage.effects("did", step="reserve")
    assert first["key"] == second["key"]
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["pid"] != second["pid"]
    assert stage.state("o-1").status is WorkflowStatus.COMPLETED


def test_receiver_can_tell_the_second(stage: Stage) -> None:
    """A receiver that drops keys it knows has each effect once."""
    stage.kill_when_holding("order", "start", "o-1", hold="after reserve")
    stage.run("order", "start", "o-1")
    assert len(stage.effects("did")) == 4
    assert len({effect["key"] for effect in stage.effects("did")}) == 3


def test_killed_before_the_effect(stage: Stage) -> None:
    """A step killed before it acted has acted once in the end, in its second attempt."""
    stage.kill_when_holding("order", "start", "o-1", hold="before reserve")
    stage.run("order", "start", "o-1")
    (only,) = stage.effects("did", step="reserve")
    assert only["attempt"] == 2
    assert stage.step("o-1", "reserve").outcome is Outcome.COMPLETED


def test_saved_commit_stays(stage: Stage) -> None:
    """A commit step whose result was saved does not run again after a crash."""
    stage.kill_when_holding("order", "start", "o-1", hold="before ship")
    stage.run("order", "start", "o-1")
    (only,) = stage.effects("did", step="charge")
    assert only["attempt"] == 1
    assert stage.step("o-1", "charge").output == {"pid": only["pid"]}


def test_unsaved_commit_runs_again(stage: Stage) -> None:
    """A commit step killed before its save has not succeeded yet: it runs again, with its key."""
    stage.kill_when_holding("order", "start", "o-1", hold="after charge")
    stage.run("order", "start", "o-1")
    first, second = stage.effects("did", step="charge")
    assert first["key"] == second["key"]
    assert stage.step("o-1", "charge").output == {"pid": second["pid"]}


def test_unknown_is_undone_first(stage: Stage) -> None:
    """An at-most-once step that nobody can ask about fails as unknown, and is undone."""
    stage.kill_when_holding("once", "start", "p-1", hold="after pay")
    stage.run("once", "start", "p-1")
    (did,), (undid,) = stage.effects("did"), stage.effects("undid")
    assert undid["outcome"] == "unknown"
    assert undid["step_key"] == did["key"]
    assert stage.state("p-1").status is WorkflowStatus.ROLLED_BACK
    assert stage.step("p-1", "pay").outcome is Outcome.UNKNOWN


def test_verifier_finds_the_effect(stage: Stage) -> None:
    """An at-most-once step killed after its effect is asked about, and does not run again."""
    stage.kill_when_holding("asked", "start", "p-1", hold="after pay")
    stage.run("asked", "start", "p-1")
    (did,), (asked,) = stage.effects("did"), stage.effects("asked")
    assert asked["key"] == did["key"]
    assert stage.step("p-1", "pay").output == "found"


def test_verifier_finds_nothing(stage: Stage) -> None:
    """An at-most-once step killed before its effect is asked about, and then runs."""
    stage.kill_when_holding("asked", "start", "p-1", hold="before pay")
    stage.run("asked", "start", "p-1")
    assert [effect["what"] for effect in stage.effects("asked", "did")] == ["asked", "did"]
    (did,) = stage.effects("did")
    assert (did["attempt"], stage.step("p-1", "pay").output) == (2, {"pid": did["pid"]})


def test_back_off_outlives_its_process(stage: Stage) -> None:
    """A process killed in a back-off interrupts nothing: the next one tries when it is time."""
    child = stage.start("patient", "start", "c-1")
    stage.wait_until(lambda: stage.effects("failed") and stage.step("c-1", "call").retry_at)
    child.kill()
    due = stage.step("c-1", "call").retry_at
    stage.run("patient", "start", "c-1")
    entry = stage.step("c-1", "call")
    assert [attempt.number for attempt in entry.attempts] == [1]
    assert (entry.status, stage.effects("did")[0]["attempt"]) == (StepStatus.COMPLETED, 2)
    assert entry.completed_at is not None
    assert due is not None
    assert entry.completed_at >= due
