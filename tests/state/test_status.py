"""The status table: every move that it does not allow raises."""

import itertools

import pytest

from flux import WorkflowStatus
from flux.errors import IllegalMoveError
from flux.state.status import ENDED, MOVES, RESTS, move

LEGAL = """
pending -> running paused failed cancelled
running -> suspended paused completed failed rolling_back cancelled parked
suspended -> running paused failed rolling_back cancelled
paused -> running suspended failed rolling_back cancelled
rolling_back -> rolled_back rollback_failed cancelled parked
rollback_failed -> rolling_back
parked -> running rolling_back failed cancelled
failed -> running
completed -> running rolling_back
rolled_back -> running
cancelled -> running
"""


def pairs() -> set[tuple[WorkflowStatus, WorkflowStatus]]:
    """The moves of the list above."""
    lines = [line.split() for line in LEGAL.strip().splitlines()]
    return {(WorkflowStatus(line[0]), WorkflowStatus(to)) for line in lines for to in line[2:]}


ALL = list(itertools.permutations(WorkflowStatus, 2))
ILLEGAL = [pair for pair in ALL if pair not in pairs()]


@pytest.mark.parametrize(("source", "target"), sorted(pairs()))
def test_legal_move_is_made(source: WorkflowStatus, target: WorkflowStatus) -> None:
    """A move of the table gives the new status."""
    assert move(source, target) is target


@pytest.mark.parametrize(("source", "target"), ILLEGAL)
def test_illegal_move_raises(source: WorkflowStatus, target: WorkflowStatus) -> None:
    """Any other move is a fault, told with both statuses."""
    with pytest.raises(IllegalMoveError, match=f"cannot go from {source} to {target}"):
        move(source, target)


@pytest.mark.parametrize("status", WorkflowStatus)
def test_staying_is_no_move(status: WorkflowStatus) -> None:
    """A status may be set again."""
    assert move(status, status) is status


def test_table_has_every_status() -> None:
    """Each of the eleven statuses has its row."""
    assert set(MOVES) == set(WorkflowStatus)
    assert len(WorkflowStatus) == 11


def test_ended_are_four() -> None:
    """All other statuses are live; whatever has ended rests."""
    assert {str(status) for status in ENDED} == {"completed", "failed", "rolled_back", "cancelled"}
    assert {status for status in WorkflowStatus if status.is_ended} == ENDED
    assert ENDED < RESTS


def test_rests_need_no_driver() -> None:
    """Pending, running and rolling back are what somebody drives."""
    driven = {str(status) for status in WorkflowStatus if not status.is_rest}
    assert driven == {"pending", "running", "rolling_back"}


def test_rolled_back_goes_nowhere_by_itself() -> None:
    """Only a restart, which makes it run again, leads away from it."""
    assert MOVES[WorkflowStatus.ROLLED_BACK] == {WorkflowStatus.RUNNING}
