"""Taking over what another driver left: what happened meanwhile, and who finds it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from flux import events
from flux.definition.workflow import WorkflowDefinition
from flux.engine.compensation import compensator_of, owed
from flux.engine.outcome import after_interrupted_compensation, after_interruption
from flux.engine.services import Services
from flux.events import Event
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import Direction


def recovered(
    definition: WorkflowDefinition,
    instance: Instance,
    intent: Sequence[str],
    *,
    max_recoveries: int,
    at: datetime,
) -> list[Event]:
    """What a saved intent, whose driver is gone, says to the next driver. Pure.

    Without an intent nothing was going on: the lease was given back, and nothing has happened.
    """
    if not intent:
        return []
    happened: list[Event] = [events.InstanceRecovered(at=at)]
    if instance.head.direction is Direction.FORWARD:
        happened += _interrupted(definition, instance, intent[0], at)
    else:
        happened += _interrupted_compensation(definition, instance, at)
    if instance.head.recoveries >= max_recoveries:
        reason = (
            f"recovered {max_recoveries} times at step {intent[0]!r} without progress; "
            "resume gives it a fresh budget"
        )
        happened.append(events.InstanceParked(at=at, reason=reason))
    return happened


def _interrupted(
    definition: WorkflowDefinition, instance: Instance, name: str, at: datetime
) -> list[Event]:
    execution = instance.current.get(name)
    if execution is not None and (execution.verifying or _in_back_off(execution.retry_at, at)):
        return []
    return [after_interruption(definition.step(name), execution, at=at)]


def _interrupted_compensation(
    definition: WorkflowDefinition, instance: Instance, at: datetime
) -> list[Event]:
    execution = _undoing(definition, instance)
    if execution is None:
        return []
    undone = execution.compensation
    step = compensator_of(definition, execution)
    if step is None or (undone is not None and _in_back_off(undone.retry_at, at)):
        return []
    return [after_interrupted_compensation(step, execution, at=at)]


def _undoing(definition: WorkflowDefinition, instance: Instance) -> Execution | None:
    numbers = owed(definition, instance)
    return instance.executions[numbers[-1]] if numbers else None


def _in_back_off(retry_at: datetime | None, at: datetime) -> bool:
    return retry_at is not None and retry_at > at


BATCH = 100
"""So many instances are claimed at once, at the most."""


async def find_due(
    services: Services,
    *,
    room: Callable[[], int],
    claim_due: Callable[[int], Awaitable[int]],
    wait_for_room: Callable[[float], Awaitable[None]],
) -> None:
    """Claim what is due or abandoned until the engine stops, no more than there is room for."""
    poll = services.config.poll
    while not services.stopping.is_set():
        free = min(room(), BATCH)
        if free <= 0:
            await wait_for_room(poll)
            continue
        try:
            claimed = await claim_due(free)
        except Exception:
            services.logger.exception("recovery.poll_failed")
            claimed = 0
        if claimed < free:
            await services.sleep(poll)
