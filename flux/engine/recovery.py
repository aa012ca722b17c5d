"""Taking over what another driver left: what happened meanwhile, and who finds it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from flux import events
from flux.definition.policy import Retry
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine.compensation import compensator_of, owed
from flux.engine.outcome import after_interrupted_compensation, after_interruption
from flux.engine.services import Services
from flux.events import Event
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import Direction, WorkflowStatus


def recovered(
    definition: WorkflowDefinition,
    instance: Instance,
    intent: Sequence[str],
    *,
    max_recoveries: int,
    at: datetime,
    called_off: bool = False,
    was_ours: bool = False,
) -> list[Event]:
    """What a saved intent, whose driver is gone, says to the next driver. Pure.

    `called_off` says that the instance goes no further anyway, `was_ours` that its driver was one
    of this engine, whose lease has not run out. Without an intent nothing was going on: the lease
    was given back, and nothing has happened.
    """
    if not intent:
        return []
    recoveries = instance.head.recoveries
    parks = recoveries >= max_recoveries
    # The first recovery goes on at once; what kills its process again waits ever longer.
    pause = 0.0 if parks or recoveries == 0 else _BACK_OFF.back_off(recoveries)
    retry_at = at + timedelta(seconds=pause) if pause else None
    happened: list[Event] = [events.InstanceRecovered(at=at)]
    back = instance.head.direction is Direction.BACK
    if instance.head.status is WorkflowStatus.ROLLING_BACK:
        happened += _interrupted_compensation(definition, instance, at, retry_at, was_ours)
    else:
        # Beside a step that failed for good others may still have run: they go no further.
        for name in intent:
            happened += _interrupted(
                definition,
                instance,
                name,
                at=at,
                retry_at=retry_at,
                called_off=called_off or back,
                was_ours=was_ours,
            )
    if parks:
        steps = " and ".join(map(repr, intent))
        reason = (
            f"recovered {max_recoveries} times at step {steps} without progress; "
            "resume gives it a fresh budget"
        )
        happened.append(events.InstanceParked(at=at, reason=reason))
    return happened


_BACK_OFF = Retry(initial=1.0, factor=2.0, maximum=60.0)


def _interrupted(
    definition: WorkflowDefinition,
    instance: Instance,
    name: str,
    *,
    at: datetime,
    retry_at: datetime | None,
    called_off: bool,
    was_ours: bool,
) -> list[Event]:
    execution = instance.current.get(name)
    step = definition.step(name) if name in definition else None
    if execution is not None and (
        execution.tries.verifying or (was_ours and _waits_still(step, execution, at))
    ):
        return []
    return [
        after_interruption(name, step, execution, at=at, retry_at=retry_at, called_off=called_off)
    ]


def _waits_still(step: StepDefinition | None, execution: Execution, at: datetime) -> bool:
    # The intent of an at-most-once step is saved when its back-off is over.
    at_most_once = step is not None and step.at_most_once
    return not at_most_once and _in_back_off(execution.tries.retry_at, at)


def _interrupted_compensation(
    definition: WorkflowDefinition,
    instance: Instance,
    at: datetime,
    retry_at: datetime | None,
    was_ours: bool,
) -> list[Event]:
    execution = _undoing(definition, instance)
    if execution is None:
        return []
    undone = execution.compensation
    step = compensator_of(definition, execution)
    if step is None or (was_ours and undone is not None and _in_back_off(undone.retry_at, at)):
        return []
    return [after_interrupted_compensation(step, execution, at=at, retry_at=retry_at)]


def _undoing(definition: WorkflowDefinition, instance: Instance) -> Execution | None:
    numbers = owed(definition, instance)
    return instance.executions[numbers[-1]] if numbers else None


def _in_back_off(retry_at: datetime | None, at: datetime) -> bool:
    # A back-off whose intent is saved is never longer than the lease. Where that has run out the
    # attempt had begun, whatever the time is by this host's clock.
    return retry_at is not None and retry_at > at


BATCH = 100
"""So many instances are claimed at once, at the most."""


class Finder:
    """Claims what is due or abandoned, no more than there is room for, until the engine stops.

    It looks once a poll; before that when it is told that something is due, and when the storage
    said that something would be.
    """

    def __init__(
        self,
        services: Services,
        *,
        room: Callable[[], int],
        claim_due: Callable[[int], Awaitable[int]],
        next_due: Callable[[], Awaitable[float | None]],
        wait_for_room: Callable[[float], Awaitable[None]],
    ) -> None:
        self._services = services
        self._room = room
        self._claim_due = claim_due
        self._next_due = next_due
        self._wait_for_room = wait_for_room
        self._looks_at = 0.0
        self._may_tell_at = 0.0
        self._sooner = asyncio.Event()

    def look(self, within: float = 0.0) -> None:
        """Look again in so many seconds, if that is sooner than planned."""
        self._look_at(self._services.clock.monotonic() + within)

    def _look_at(self, moment: float) -> None:
        if moment <= self._looks_at:
            self._looks_at = moment
            self._sooner.set()

    async def run(self) -> None:
        """Go on until the engine stops."""
        while not self._services.stopping.is_set():
            free = min(self._room(), BATCH)
            if free <= 0:
                self._tell_that_it_is_full()
                await self._wait_for_room(self._services.config.poll)
                continue
            # What becomes due while the storage is asked is looked for once more.
            asked_at = self._services.clock.monotonic()
            self._looks_at = asked_at + self._services.config.poll
            try:
                # Asked first: what becomes due between the two questions is seen by one of them.
                due_in = await self._next_due()
                claimed = await self._claim_due(free)
            except Exception:
                self._services.logger.exception("recovery.poll_failed")
                claimed, due_in = 0, None
            if claimed < free:
                if due_in is not None:
                    self._look_at(asked_at + due_in)
                await self._rest()

    def _tell_that_it_is_full(self) -> None:
        now = self._services.clock.monotonic()
        if now >= self._may_tell_at:
            self._may_tell_at = now + 60.0
            driven = self._services.config.max_instances
            self._services.logger.warning("engine.full", extra={"instances": driven})

    async def _rest(self) -> None:
        while not self._services.stopping.is_set():
            left = self._looks_at - self._services.clock.monotonic()
            if left <= 0:
                return
            self._sooner.clear()
            await self._services.sleep(left, or_until=self._sooner)
