"""What people ask of an instance, to what happens to it. Pure.

What needs an instance at rest is decided once it was claimed for that; a request to pause or cancel
goes through the inbox to whoever drives the instance.
"""

from collections.abc import Callable
from datetime import datetime

from flux import events
from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.compensation import failed
from flux.engine.frontier import Frontier
from flux.errors import (
    DataConflictError,
    InstanceCancelledError,
    InvalidTransitionError,
    StepCompensatedError,
    StepNotCompletedError,
    StoredError,
)
from flux.events import Event, Received
from flux.state.instance import Instance
from flux.state.status import Direction, Outcome, StepStatus, WorkflowStatus

Decision = Callable[[WorkflowDefinition, Instance, datetime], list[Event]]

_FITS = {
    WorkflowStatus.COMPLETED: "restart() runs it again from a step",
    WorkflowStatus.FAILED: "resume() tries its failed steps again",
    WorkflowStatus.ROLLED_BACK: "restart() runs it again from a step",
    WorkflowStatus.CANCELLED: "restart() runs it again from a step",
    WorkflowStatus.ROLLBACK_FAILED: "retry_rollback() or skip_compensation() go on",
    WorkflowStatus.PARKED: "resume() lets it go on",
    WorkflowStatus.PAUSED: "resume() lets it go on",
    WorkflowStatus.SUSPENDED: "signal() sends it what it waits for, cancel() ends it",
}


RESUMED = (WorkflowStatus.FAILED, WorkflowStatus.PARKED, WorkflowStatus.PAUSED)
"""The statuses in which `resume` changes something."""


def refused(instance_id: str, status: WorkflowStatus, verb: str) -> InvalidTransitionError:
    """The error for a verb that does not fit the status, naming one that does."""
    fits = _FITS.get(status, "result() waits for its end")
    return InvalidTransitionError(instance_id, status.value, verb, fits)


def resumed(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
    """`resume`: failed steps run anew, doubtful at-most-once ones are asked about first."""
    status = instance.head.status
    if status is WorkflowStatus.PARKED:
        return [*_outdated(instance, at), events.InstanceUnparked(at=at)]
    if status is WorkflowStatus.PAUSED:
        return [*_outdated(instance, at), events.InstanceResumed(at=at)]
    if status is not WorkflowStatus.FAILED:
        return []
    steps = _failed_steps(instance)
    error = instance.head.error
    if not steps and error is not None and error.type == DataConflictError.__name__:
        fits = "restart() from one of the steps that wrote different values"
        raise InvalidTransitionError(instance.id, f"{status} by a conflict", "resume", fits)
    doubtful = [
        step
        for step in steps
        if instance.current[step].outcome is Outcome.UNKNOWN and definition.step(step).at_most_once
    ]
    for step in doubtful:
        if definition.step(step).verify is None:
            fits = f"retry_step(id, {step!r}) runs it, if you know that it may"
            raise InvalidTransitionError(
                instance.id,
                f"{status} with unknown outcome of at-most-once step {step!r}",
                "resume",
                fits,
            )
    return [events.StepsRetried(at=at, steps=steps, verify=tuple(doubtful))]


def _outdated(instance: Instance, at: datetime) -> list[Event]:
    """Requests that came before a person let the instance go on, and that this takes back."""
    goes_back = instance.head.direction is Direction.BACK
    void = (waiting.PAUSE, waiting.CANCEL) if goes_back else (waiting.PAUSE,)
    return [
        events.RequestDropped(at=at, number=request.number)
        for request in instance.inbox.values()
        if request.name in void
    ]


def heeded(instance: Instance, request: Received, at: datetime) -> Event:
    """A request in the inbox: heeded, or dropped if it no longer changes anything."""
    head, number = instance.head, request.number
    rollback, reason = waiting.read(request)
    goes_back = head.direction is Direction.BACK
    stands = head.status in (WorkflowStatus.PAUSED, WorkflowStatus.PARKED)
    if request.name == waiting.PAUSE:
        if goes_back or stands:
            return events.RequestDropped(at=at, number=number)
        return events.InstancePaused(at=at, number=number, reason=reason)
    # One that was accepted before a rollback was saved counts, though the rollback came first.
    if head.cancelling is not None or (stands and goes_back):
        return events.RequestDropped(at=at, number=number)
    error = StoredError.of(InstanceCancelledError(instance.id, reason))
    return events.CancelRequested(at=at, number=number, rollback=rollback, error=error)


def step_retried(step: str) -> Decision:
    """`retry_step`: this failed step runs, whatever is known of it."""

    def decide(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
        definition.place(step)
        if instance.head.status is not WorkflowStatus.FAILED:
            raise refused(instance.id, instance.head.status, "retry_step")
        failed_steps = _failed_steps(instance)
        if step not in failed_steps:
            why = f"it has not failed; failed: {', '.join(failed_steps)}"
            raise StepNotCompletedError(step, why)
        return [events.StepsRetried(at=at, steps=_retried_with(instance, step))]

    return decide


def restarted(from_step: str) -> Decision:
    """`restart`: this step and all after it in the graph run again."""

    def decide(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
        status = instance.head.status
        # In a rollback that stands still nobody knows what the compensation under way has done.
        in_rollback = status is WorkflowStatus.PARKED and instance.head.direction is Direction.BACK
        if not status.is_rest or status is WorkflowStatus.ROLLBACK_FAILED or in_rollback:
            raise refused(instance.id, status, "restart")
        if step_of(from_step) != from_step:
            fits = f"restart(id, {step_of(from_step)!r}) runs the whole map again"
            raise InvalidTransitionError(instance.id, status, f"restart from {from_step!r}", fits)
        _refuse_unfinished_before(definition, instance, from_step)
        again = definition.from_step_on(from_step) | _also_again(definition, instance)
        replaced = tuple(
            execution.number
            for step, execution in instance.current.items()
            if step_of(step) in again
        )
        return [events.InstanceRestarted(at=at, from_step=from_step, replaced=replaced)]

    return decide


def rolled_back(cause: StoredError) -> Decision:
    """A child that has completed is undone, since its parent is rolled back."""

    def decide(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
        if instance.head.status is not WorkflowStatus.COMPLETED:
            raise refused(instance.id, instance.head.status, "roll back")
        return [events.RollbackRequested(at=at, error=cause)]

    return decide


def rollback_retried(
    definition: WorkflowDefinition, instance: Instance, at: datetime
) -> list[Event]:
    """`retry_rollback`: failed compensations run again with fresh retries."""
    if instance.head.status is not WorkflowStatus.ROLLBACK_FAILED:
        raise refused(instance.id, instance.head.status, "retry_rollback")
    return [events.RollbackRetried(at=at)]


def compensation_skipped(step: str, reason: str) -> Decision:
    """`skip_compensation`: a person settles the failed compensation of this step."""

    def decide(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
        if instance.head.status is not WorkflowStatus.ROLLBACK_FAILED:
            raise refused(instance.id, instance.head.status, "skip_compensation")
        execution = failed(instance)
        assert execution is not None
        definition.place(step)
        if execution.step != step:
            fits = f"the compensation that failed is that of {execution.step!r}"
            verb = f"skip_compensation of {step!r}"
            raise InvalidTransitionError(instance.id, instance.head.status, verb, fits)
        return [
            events.CompensationSkipped(at=at, step=step, number=execution.number, reason=reason)
        ]

    return decide


def _failed_steps(instance: Instance) -> tuple[str, ...]:
    """The steps whose failure nothing has handled, and the items that let their map fail."""
    failed = [e for e in instance.history() if e.status is StepStatus.FAILED]
    unhandled = {e.step for e in failed if e.handled_by is None}
    return tuple(e.step for e in failed if (e.handled_by or e.step) in unhandled)


def _retried_with(instance: Instance, step: str) -> tuple[str, ...]:
    """The step, and what failed only because it did; a map with its items, an item with its map."""
    failed_steps = _failed_steps(instance)
    closed = (name for name in failed_steps if instance.current[name].closed)
    of_map = (name for name in failed_steps if instance.current[name].handled_by == step)
    return tuple(dict.fromkeys((step, step_of(step), *of_map, *closed)))


def _refuse_unfinished_before(
    definition: WorkflowDefinition, instance: Instance, from_step: str
) -> None:
    """Refuse a restart from after a step that was undone, or that never got a result."""
    before = definition.before_step(from_step)
    ordered = [step.name for step in definition.order if step.name in before]
    frontier = Frontier(definition)
    frontier.advance(instance)
    undone = {step_of(e.step) for e in instance.current.values() if e.is_compensated}
    for name in ordered:
        if name in undone:
            raise StepCompensatedError(instance.id, from_step, name)
    for name in ordered:
        known = instance.current.get(name)
        never_ran = known is None and frontier.is_settled(name)
        if not never_ran and (known is None or not known.is_settled):
            why = f"it comes before {from_step!r}; restart from it or from a step before it"
            raise StepNotCompletedError(name, why)


def _also_again(definition: WorkflowDefinition, instance: Instance) -> frozenset[str]:
    """The steps of other branches that were undone or failed, and all after them."""
    open_steps = (
        execution.step
        for execution in instance.current.values()
        if execution.is_compensated or not execution.is_settled
    )
    return frozenset().union(*(definition.from_step_on(step_of(step)) for step in open_steps))
