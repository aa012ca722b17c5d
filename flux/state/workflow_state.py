"""An instance as users see it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from flux.errors import StoredError
from flux.frozen import frozen
from flux.state.execution import Attempt, Compensation, Execution, idempotency_key
from flux.state.instance import Instance
from flux.state.status import CompensationStatus, Outcome, StepStatus, WorkflowStatus

TypedData = Callable[[dict[str, Any]], Any]


@frozen(kw_only=True)
class StepCompensation:
    """The undoing of a step: how it stands, its attempts, its error and its times."""

    status: CompensationStatus
    attempts: int
    error: StoredError | None
    reason: str | None
    started_at: datetime | None
    ended_at: datetime | None


@frozen(kw_only=True)
class StepExecution:
    """What happened to one step. Times are aware UTC, `duration` is seconds.

    `attempt_count` counts all attempts, `retries` those that failed and were followed by another;
    `attempts` holds the last of those that ended without a result, `error` is that of the last one.
    `outcome` says what is known of the step's effect: `completed`, `unknown`, or None for none.
    A step that waits tells since when, for which signal (None for a sleep), and until when.
    `key` is the idempotency key it ran with. `run` is the run of the instance, raised by `restart`;
    `replaced` says that a restart set it aside. `left_out` says that a branch chose another case,
    `handled_by` which step ran since this one failed ("flux:continue": none, the others went on;
    the name of a map: it failed with this item), `cached` that its result came from a cache.
    """

    name: str
    status: StepStatus
    outcome: Outcome | None = None
    output: Any = None
    error: StoredError | None = None
    retries: int = 0
    attempt_count: int = 0
    attempts: tuple[Attempt, ...] = ()
    started_at: datetime | None = None
    completed_at: datetime | None = None
    suspended_at: datetime | None = None
    waiting_for: str | None = None
    wakes_at: datetime | None = None
    duration: float | None = None
    retry_at: datetime | None = None
    compensation: StepCompensation | None = None
    key: str
    run: int = 1
    replaced: bool = False
    left_out: bool = False
    handled_by: str | None = None
    cached: bool = False

    @property
    def compensated_at(self) -> datetime | None:
        """When it was undone, if it was."""
        undone = self.compensation
        done = undone is not None and undone.status is CompensationStatus.COMPLETED
        return undone.ended_at if undone is not None and done else None


@frozen(kw_only=True)
class WorkflowState:
    """One run of a workflow as last saved.

    `data` is the fold of the history. `history` has one entry a step, in the order in which they
    were reached. `completed_at` is when the instance ended, however it did. `reason` says why it is
    parked or paused, or waits for its turn, `deadline` by when it has to end. `parent_id` is the
    instance of which it is a step.
    """

    id: str
    name: str
    version: str
    status: WorkflowStatus
    input: Any
    data: Any
    current_step: str | None
    history: tuple[StepExecution, ...]
    labels: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    error: StoredError | None
    reason: str | None = None
    run: int = 1
    deadline: datetime | None = None
    parent_id: str | None = None

    def step(self, name: str) -> StepExecution | None:
        """The entry of a step that counts now; None if it was not reached."""
        found = (entry for entry in self.history if entry.name == name and not entry.replaced)
        return next(found, None)


def workflow_state(
    instance: Instance,
    *,
    intent: tuple[str, ...] = (),
    typed_input: TypedData = lambda plain: plain,
    typed_data: TypedData = lambda plain: plain,
    labels: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
    replaced: bool = False,
) -> WorkflowState:
    """Show an instance whose driver has saved this intent."""
    origin, head = instance.origin, instance.head
    return WorkflowState(
        id=origin.id,
        name=origin.workflow,
        version=instance.version,
        status=head.status,
        input=typed_input(orjson.loads(origin.input)),
        data=typed_data(orjson.loads(orjson.dumps(instance.data))),
        current_step=current_step(instance, intent),
        history=history(instance, intent=intent, replaced=replaced),
        labels=labels(origin.labels),
        created_at=origin.created_at,
        updated_at=head.updated_at,
        completed_at=head.ended_at,
        error=head.error,
        reason=head.reason,
        run=head.run,
        deadline=instance.deadline,
        parent_id=None if origin.parent is None else origin.parent.id,
    )


def current_step(instance: Instance, intent: tuple[str, ...]) -> str | None:
    """The step that runs, waits, is undone, or is tried again later; None if there is none."""
    if intent:
        return intent[0]
    if instance.head.status.is_ended:
        return None
    running = (e.step for e in instance.history() if e.status in _CURRENT)
    return next(running, None)


_CURRENT = (StepStatus.RUNNING, StepStatus.SUSPENDED)


def history(
    instance: Instance, *, intent: tuple[str, ...] = (), replaced: bool = False
) -> tuple[StepExecution, ...]:
    """The entries that count now, and those of the steps in `intent` that have none yet."""
    undoing = _undoing(instance, intent)
    shown = [
        step_execution(instance.id, execution, undoing=execution is undoing)
        for execution in instance.history(replaced=replaced)
    ]
    if instance.head.status is not WorkflowStatus.ROLLING_BACK:
        shown += [_begun(instance, step) for step in intent if step not in instance.current]
    return tuple(shown)


def step_execution(id: str, execution: Execution, *, undoing: bool = False) -> StepExecution:
    """Show one execution; `undoing` says that its compensator may be running."""
    started, ended = execution.started_at, execution.ended_at
    return StepExecution(
        name=execution.step,
        status=StepStatus.COMPENSATING if undoing else execution.shown_status,
        outcome=execution.outcome,
        output=None if execution.output is None else orjson.loads(execution.output),
        error=execution.error,
        retries=_retries(execution),
        attempt_count=execution.attempts,
        attempts=execution.tries.ended,
        started_at=started,
        completed_at=ended if execution.status is StepStatus.COMPLETED else None,
        duration=(ended - started).total_seconds() if started and ended else None,
        suspended_at=execution.suspended_at,
        waiting_for=_waiting_for(execution),
        wakes_at=execution.waiting.until if execution.waiting is not None else None,
        retry_at=execution.tries.retry_at,
        compensation=_shown(execution.compensation),
        key=idempotency_key(id, execution.step, execution.generation),
        run=execution.run,
        replaced=execution.replaced,
        left_out=execution.left_out,
        handled_by=execution.handled_by,
        cached=execution.cached,
    )


def _waiting_for(execution: Execution) -> str | None:
    suspended = execution.status is StepStatus.SUSPENDED and execution.waiting is not None
    return execution.waiting.signal if suspended and execution.waiting else None


def _retries(execution: Execution) -> int:
    gave_up = execution.status is StepStatus.FAILED and execution.tries.failures > 0
    return execution.tries.failures - gave_up


def _shown(compensation: Compensation | None) -> StepCompensation | None:
    if compensation is None:
        return None
    return StepCompensation(
        status=compensation.status,
        attempts=compensation.attempts,
        error=compensation.error,
        reason=compensation.reason,
        started_at=compensation.started_at,
        ended_at=compensation.ended_at,
    )


def _begun(instance: Instance, step: str) -> StepExecution:
    key = idempotency_key(instance.id, step, instance.generation(step))
    return StepExecution(name=step, status=StepStatus.RUNNING, key=key, run=instance.head.run)


def _undoing(instance: Instance, intent: tuple[str, ...]) -> Execution | None:
    if instance.head.status is not WorkflowStatus.ROLLING_BACK or not intent:
        return None
    owed = (e for e in instance.executions.values() if e.step in intent and e.is_owed)
    return max(owed, key=lambda execution: execution.number, default=None)
