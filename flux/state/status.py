"""The statuses, and the moves between them as one table."""

from collections.abc import Mapping
from enum import StrEnum

from flux.errors import IllegalMoveError


class WorkflowStatus(StrEnum):
    """The status of an instance."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    CANCELLED = "cancelled"
    PARKED = "parked"

    @property
    def is_ended(self) -> bool:
        """Whether the instance is over; all others are live."""
        return self in ENDED

    @property
    def is_rest(self) -> bool:
        """Whether nobody drives an instance of this status."""
        return self in RESTS


class StepStatus(StrEnum):
    """The status of a step execution."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    SUSPENDED = "suspended"
    COMPENSATED = "compensated"
    COMPENSATING = "compensating"


UNSETTLED = (StepStatus.RUNNING, StepStatus.SUSPENDED)
"""A step that is begun, waits for another attempt, or is suspended."""


class Outcome(StrEnum):
    """What is known of a step's effect; None stands for none."""

    COMPLETED = "completed"
    UNKNOWN = "unknown"


class CompensationStatus(StrEnum):
    """The status of a compensation; a skipped one was settled by a person."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Direction(StrEnum):
    """Where a live instance is going."""

    FORWARD = "forward"
    BACK = "back"


class Cancelling(StrEnum):
    """How a live instance that was cancelled ends: undone first, or left as it is."""

    ROLLBACK = "rollback"
    KEEP = "keep"


_S = WorkflowStatus

ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.ROLLED_BACK, _S.CANCELLED})
RESTS = ENDED | {_S.SUSPENDED, _S.PAUSED, _S.PARKED, _S.ROLLBACK_FAILED}

MOVES: Mapping[WorkflowStatus, frozenset[WorkflowStatus]] = {
    _S.PENDING: frozenset({_S.RUNNING, _S.PAUSED, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset(
        {_S.SUSPENDED, _S.PAUSED, _S.COMPLETED, _S.FAILED, _S.ROLLING_BACK, _S.CANCELLED, _S.PARKED}
    ),
    _S.SUSPENDED: frozenset({_S.RUNNING, _S.PAUSED, _S.FAILED, _S.ROLLING_BACK, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.SUSPENDED, _S.FAILED, _S.ROLLING_BACK, _S.CANCELLED}),
    _S.ROLLING_BACK: frozenset({_S.ROLLED_BACK, _S.ROLLBACK_FAILED, _S.CANCELLED, _S.PARKED}),
    _S.ROLLBACK_FAILED: frozenset({_S.ROLLING_BACK}),
    _S.PARKED: frozenset({_S.RUNNING, _S.ROLLING_BACK, _S.FAILED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.RUNNING}),
    _S.COMPLETED: frozenset({_S.RUNNING, _S.ROLLING_BACK}),
    _S.ROLLED_BACK: frozenset({_S.RUNNING}),
    _S.CANCELLED: frozenset({_S.RUNNING}),
}


def move(source: WorkflowStatus, target: WorkflowStatus) -> WorkflowStatus:
    """`target` if the table allows the move, else `IllegalMoveError`."""
    if target is not source and target not in MOVES[source]:
        raise IllegalMoveError(source, target)
    return target
