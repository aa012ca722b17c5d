"""What people ask of an instance, to what happens to it. Pure.

What needs an instance at rest is decided once it was claimed for that; a request to pause or cancel
goes through the inbox to whoever drives the instance.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from flux import events
from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.compensation import failed
from flux.engine.frontier import Frontier
from flux.engine.merging import conflict
from flux.errors import (
    InstanceCancelledError,
    InvalidTransitionError,
    StepCompensatedError,
    StepNotCompletedError,
    StoredError,
)
from flux.events import Event, Received
from flux.state.execution import Execution
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
    _refuse_conflict(definition, instance, "resume")
    steps, aside = _retried(instance, _failed_steps(instance))
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
    return [events.StepsRetried(at=at, steps=steps, verify=tuple(doubtful), aside=aside)]


def _refuse_conflict(
    definition: WorkflowDefinition,
    instance: Instance,
    verb: str,
    again: Collection[str] = (),
) -> None:
    """Refuse to go on with data that conflict, unless one of the writers is to run `again`."""
    found = conflict(definition, instance, lambda name: step_of(name) not in again)
    if found is not None:
        status = f"{instance.head.status} by a conflict ({found})"
        fits = "restart() from one of the steps that wrote different values"
        raise InvalidTransitionError(instance.id, status, verb, fits)


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
        _refuse_conflict(definition, instance, "retry_step")
        steps, aside = _retried(instance, _retried_with(instance, step), step)
        return [events.StepsRetried(at=at, steps=steps, aside=aside)]

    return decide


def restarted(from_step: str) -> Decision:
    """`restart`: this step and all after it in the graph run again."""

    def decide(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
        _refuse_unrested(instance)
        status = instance.head.status
        if step_of(from_step) != from_step:
            fits = f"restart(id, {step_of(from_step)!r}) runs the whole map again"
            raise InvalidTransitionError(instance.id, status, f"restart from {from_step!r}", fits)
        _refuse_unfinished_before(definition, instance, from_step)
        again = definition.from_step_on(from_step) | _also_again(definition, instance)
        _refuse_conflict(definition, instance, f"restart from {from_step!r}", again)
        replaced = tuple(
            execution.number
            for step, execution in instance.current.items()
            if step_of(step) in again
        )
        return [events.InstanceRestarted(at=at, from_step=from_step, replaced=replaced)]

    return decide


def begun_anew(definition: WorkflowDefinition, instance: Instance, at: datetime) -> list[Event]:
    """All steps of a child run again, since its parent runs its step again."""
    _refuse_unrested(instance)
    replaced = tuple(execution.number for execution in instance.current.values())
    first = definition.order[0].name
    return [events.InstanceRestarted(at=at, from_step=first, replaced=replaced)]


def _refuse_unrested(instance: Instance) -> None:
    status = instance.head.status
    # In a rollback that stands still nobody knows what the compensation under way has done.
    in_rollback = status is WorkflowStatus.PARKED and instance.head.direction is Direction.BACK
    if not status.is_rest or status is WorkflowStatus.ROLLBACK_FAILED or in_rollback:
        raise refused(instance.id, status, "restart")


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
    """Those whose failure nothing has handled well, and the items that let their map fail."""
    failed = {e.step: e for e in instance.history() if e.status is StepStatus.FAILED}
    return tuple(name for name in failed if _is_unhandled(failed, name))


def _is_unhandled(failed: Mapping[str, Execution], name: str) -> bool:
    execution = failed.get(name)
    if execution is None:
        return False
    return execution.handled_by is None or _is_unhandled(failed, execution.handled_by)


def _retried(
    instance: Instance, steps: Sequence[str], root: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The steps that run anew, and what only ran, and failed, because these had failed.

    With no `root` that is the first of each chain of steps that stand in for each other.
    """
    chains = {name: _stood_in(instance, name) for name in ((root,) if root else steps)}
    stood_in = {name for chain in chains.values() for name in chain}
    # A map goes with its items: should it run again, it may have another list.
    aside = tuple(name for name in instance.current if step_of(name) in stood_in)
    again = dict.fromkeys(name for name in (*chains, *steps) if step_of(name) not in stood_in)
    return tuple(again), aside


def _stood_in(instance: Instance, step: str) -> list[str]:
    """What failed in place of the step, one for the other."""
    found: list[str] = []
    execution = instance.current[step]
    while (next_one := execution.handled_by) is not None and next_one != step_of(execution.step):
        known = instance.current.get(next_one)
        if known is None or known.status is not StepStatus.FAILED:
            break
        found.append(next_one)
        execution = known
    return found


def _retried_with(instance: Instance, step: str) -> tuple[str, ...]:
    """The step, and what failed only because it did; a map with its items, an item with its map."""
    failed_steps = _failed_steps(instance)
    # A map with an item that failed by itself would only fail once more.
    failed_maps = {
        step_of(name)
        for name in failed_steps
        if step_of(name) != name and not instance.current[name].closed
    }
    closed = (
        name for name in failed_steps if instance.current[name].closed and name not in failed_maps
    )
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
