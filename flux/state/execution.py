"""What happened to one step of one instance, as it is kept."""

from datetime import datetime
from functools import cache

from attrs import Factory

from flux.errors import StoredError
from flux.events import AttemptEnd, DataChanges, Waiting
from flux.frozen import evolve, frozen, unguarded
from flux.state.status import CompensationStatus, Outcome, StepStatus

KEPT_ATTEMPTS = 10
"""So many of the attempts that ended without a result are kept, the last ones."""


@frozen(kw_only=True)
class Attempt:
    """An attempt that ended without a result."""

    number: int
    started_at: datetime
    ended_at: datetime
    ended: AttemptEnd
    error: StoredError


@unguarded(kw_only=True)
class Compensation:
    """What happened to the undoing of one step; `finished` and `run` place its data changes."""

    status: CompensationStatus
    attempts: int = 0
    failures: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: StoredError | None = None
    reason: str | None = None
    retry_at: datetime | None = None
    changes: DataChanges | None = None
    finished: int | None = None
    run: int = 1

    @property
    def is_settled(self) -> bool:
        """Whether nothing more has to be done."""
        return self.status in (CompensationStatus.COMPLETED, CompensationStatus.SKIPPED)


@frozen(kw_only=True)
class Tries:
    """What came of the attempts of a step that ended without a result, and what follows.

    `failures` counts those that failed, `ended` has the last of all. The next one may begin at
    `retry_at`. `verifying` says that the step's verifier is to be asked before it,
    `verifications` how often that has failed, `exhausted` that the step fails if the verifier says
    that it has not acted.
    """

    failures: int = 0
    ended: tuple[Attempt, ...] = ()
    retry_at: datetime | None = None
    verifying: bool = False
    verifications: int = 0
    exhausted: bool = False

    @property
    def over(self) -> "Tries":
        """The same where no attempt follows."""
        if self.retry_at is None and not self.verifying:
            return self
        return evolve(self, retry_at=None, verifying=False)


@cache
def untried() -> Tries:
    """Those of a step all of whose attempts had a result."""
    return Tries()


@unguarded
class Execution:
    """One step execution.

    Its orders are ticks of the instance, one counter that rises with every event: `number`, when
    it was first reached (its key in the storage); `place`, when it was last reached (later only
    after a restart); `finished`, when it completed; `folded`, when its changes of `data` were taken
    (later than `finished` only when a restart replays it).

    `asked` says that its predicate said yes before any attempt. `waiting` is set while it is
    suspended, and stays if its wait failed.

    `again` says that a person lets it run again, until it has a result or waits; `closed` that it
    failed because others did, `left_out` that a branch chose another case,
    `handled_by` what runs since it failed, `cached` that its result came from a cache. `items` is
    what a map runs over, one item or `batch_size` of them at a time. `merged` is folded instead of
    `changes` where the steps beside it are folded as well.
    """

    # Up to thirty fields, all values of a class share their names in Python 3.11; with more, each
    # has a dict of its own: four times the memory, and a step costs 4 % more.

    number: int
    step: str
    status: StepStatus
    place: int
    generation: int = 1
    run: int = 1
    outcome: Outcome | None = None
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: bytes | None = None
    changes: DataChanges | None = None
    finished: int | None = None
    folded: int | None = None
    merged: DataChanges | None = None
    cached: bool = False
    replaced: bool = False
    asked: bool = False
    tries: Tries = Factory(untried)
    waiting: Waiting | None = None
    suspended_at: datetime | None = None
    error: StoredError | None = None
    compensation: Compensation | None = None
    again: bool = False
    closed: bool = False
    left_out: bool = False
    handled_by: str | None = None
    items: bytes | None = None
    batch_size: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the way forward is past it."""
        if self.status is StepStatus.COMPLETED or self.status is StepStatus.SKIPPED:
            return True
        return self.handled_by is not None and self.status is StepStatus.FAILED

    @property
    def is_compensated(self) -> bool:
        """Whether it counts as not done any more: undone, or settled by a person."""
        return self.compensation is not None and self.compensation.is_settled

    @property
    def is_owed(self) -> bool:
        """Whether a rollback has to undo it, if it can be undone."""
        undone = self.compensation
        return self.outcome is not None and (undone is None or not undone.is_settled)

    @property
    def shown_status(self) -> StepStatus:
        """The status with the undoing in it, as in the original."""
        if self.compensation is None:
            return self.status
        if self.compensation.status is CompensationStatus.COMPLETED:
            return StepStatus.COMPENSATED
        running = self.compensation.status is CompensationStatus.RUNNING
        return StepStatus.COMPENSATING if running else self.status


def idempotency_key(id: str, execution_step: str, generation: int) -> str:
    """The key that names an effect: over attempts, crashes and retries it stays the same."""
    return f"{id}:{execution_step}:{generation}"


def compensation_key(step_key: str) -> str:
    """The key of the compensation of the effect with this key."""
    return f"{step_key}:compensate"
