"""The rules that the explorer holds every run against, on made-up stories."""

from datetime import UTC, datetime

import pytest

from flux import CompensationStatus, Outcome, StepStatus, WorkflowStatus
from flux.state.execution import Compensation, Execution
from flux.state.status import Direction
from flux.testing.explorer.checks import broken_rules
from flux.testing.explorer.story import Kind, Made, Saved, Story

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def result(step: str, finished: int) -> Execution:
    """The entry of a step that completed at this tick."""
    return Execution(
        number=finished,
        step=step,
        status=StepStatus.COMPLETED,
        place=finished,
        outcome=Outcome.COMPLETED,
        finished=finished,
        started_at=NOW,
    )


def interrupted(step: str, number: int) -> Execution:
    """The entry of a step of which nobody knows whether it acted."""
    return Execution(
        number=number,
        step=step,
        status=StepStatus.FAILED,
        place=number,
        outcome=Outcome.UNKNOWN,
    )


def undone(step: str, finished: int) -> Execution:
    """The entry of a step that completed, and was undone."""
    return Execution(
        number=finished,
        step=step,
        status=StepStatus.COMPLETED,
        place=finished,
        outcome=Outcome.COMPLETED,
        finished=finished,
        compensation=Compensation(status=CompensationStatus.COMPLETED),
    )


def saved(*executions: Execution, back: bool = False) -> Saved:
    """A save of the instance "o" that holds these entries."""
    return Saved(
        number=7,
        id="o",
        is_first=False,
        status=WorkflowStatus.ROLLING_BACK if back else WorkflowStatus.RUNNING,
        direction=Direction.BACK if back else Direction.FORWARD,
        intent=(),
        executions=executions,
    )


def made(step: str, kind: Kind = "run", attempt: int = 1) -> Made:
    """A call for the instance "o"."""
    return Made(kind=kind, id="o", step=step, attempt=attempt, key=f"o:{step}:1")


def rules(*told: Saved | Made) -> list[tuple[str, str | None]]:
    return [(broken.rule, broken.step) for broken in broken_rules(Story(list(told)))]


DONE = saved(result("a", 2), result("b", 4))


def test_kept_rules() -> None:
    """A run that is undone in reverse, with a step and an undoing that a crash repeated."""
    forward = (made("a"), saved(result("a", 2)), made("b"), made("b", attempt=2), DONE)
    back = (saved(back=True), made("b", "undo"), made("b", "undo", 2), made("a", "undo"))
    assert rules(*forward, *back) == []


def test_result_is_saved_and_step_runs() -> None:
    """A step with a saved result runs no more, however often it is told only once."""
    assert rules(DONE, made("a", attempt=2), made("a", attempt=2)) == [("ran-again", "a")]


def test_verifier_is_no_run() -> None:
    """Asking a verifier is not running the step."""
    assert rules(DONE, saved(back=True), made("a", "verify")) == []


def test_forward_in_a_rollback() -> None:
    """Once a rollback is saved, nothing forward begins."""
    assert rules(made("a"), saved(back=True), made("b")) == [("forward-in-rollback", "b")]


@pytest.mark.parametrize(("first", "second", "is_broken"), [("b", "a", False), ("a", "b", True)])
def test_reverse_of_completion(first: str, second: str, is_broken: bool) -> None:
    """What completed last is undone first."""
    found = rules(DONE, saved(back=True), made(first, "undo"), made(second, "undo"))
    assert found == ([("undone-out-of-order", "b")] if is_broken else [])


def test_unknown_is_undone_first() -> None:
    """A step that may have acted is undone before those that completed."""
    failed = saved(interrupted("c", 3), back=True)
    assert rules(DONE, failed, made("c", "undo"), made("b", "undo")) == []
    late = rules(DONE, failed, made("b", "undo"), made("c", "undo"))
    assert late == [("undone-out-of-order", "c")]


def test_undone_twice() -> None:
    """An undoing that was saved is not repeated."""
    story = (DONE, saved(back=True), made("b", "undo"), saved(undone("b", 4), back=True))
    assert rules(*story, made("b", "undo", 2)) == [("undone-again", "b")]
