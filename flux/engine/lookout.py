"""What a driver looks out for before it calls anything: signals, deadlines, its lease, a stop."""

import math
from datetime import datetime

from flux.engine import plan, waiting
from flux.engine.journal import Journal
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.state.status import Direction, WorkflowStatus


class StoppedError(Exception):
    """A handler can go no further, since the engine that it used has stopped."""


class Lookout:
    """Looks out for one driver, and tells it the time."""

    def __init__(self, services: Services, journal: Journal, watcher: Watcher) -> None:
        self._services = services
        self._journal = journal
        self._watcher = watcher
        self._instance = journal.instance
        self._has_deadline = self._instance.deadline is not None
        self.now = services.clock.now
        """The time of what happens."""

    def time_to_decide(self) -> datetime:
        """The time by which is decided: no clock that is set back undoes a missed deadline."""
        now = self.now()
        if not self._has_deadline:
            return now
        deadline = self._instance.deadline
        return max(now, deadline) if deadline is not None and self._watcher.is_late else now

    def seconds_until(self, moment: datetime) -> float:
        """Seconds from now on; 0 if it is over."""
        return max(0.0, (moment - self._services.clock.now()).total_seconds())

    def seconds_to_deadline(self) -> float:
        """The same for the deadline; endless if there is none, or it counts no more."""
        deadline = plan.deadline_of(self._instance)
        return math.inf if deadline is None else self.seconds_until(deadline)

    def pause_before(self, action: plan.Action) -> float:
        """Seconds for which the action has to wait before its next attempt."""
        if type(action) is plan.Run and action.execution is None:
            return 0.0
        retry_at: datetime | None = None
        match action:
            case plan.Pause(until):
                retry_at = until
            case plan.Run(_, execution) | plan.Verify(_, execution) if execution is not None:
                retry_at = execution.tries.retry_at
            case plan.Undo(_, execution) if execution.compensation is not None:
                retry_at = execution.compensation.retry_at
        return 0.0 if retry_at is None else self.seconds_until(retry_at)

    @property
    def is_turning(self) -> bool:
        """Whether nothing more is to begin."""
        if self._instance.head.direction is Direction.BACK:
            return True
        if self._instance.inbox and waiting.first_request(self._instance) is not None:
            return True
        return self._has_deadline and plan.is_late(self._instance, self.time_to_decide())

    async def may_begin(self) -> bool:
        """Whether nothing has come, since it was decided, that lets nothing more begin."""
        if self._journal.is_stale:
            await self._journal.read_inbox()
        await self._journal.ensure_lease()
        return not self.is_turning

    def is_clear(self, action: plan.Action) -> bool:
        """Whether the action may begin at this very moment; if not, `is_called_off` finds out."""
        first = action.execution is None if type(action) is plan.Run else _undoes_first(action)
        return (
            first
            and not self._instance.inbox
            and not self._has_deadline
            and self._journal.is_clear
            and not self._services.stopping.is_set()
        )

    def may_still_begin(self) -> bool:
        """Whether the last look still holds, for what begins a turn of the loop after it."""
        undoes = self._instance.head.status is WorkflowStatus.ROLLING_BACK
        return self._journal.has_lease and (undoes or not self.is_turning)

    async def is_called_off(self, action: plan.Action) -> bool:
        """Wait out the back-off, if there is one; whether something else is to be done instead.

        Nothing is awaited between the last look, at the inbox and at the lease, and the call.
        """
        while not self._services.stopping.is_set():
            if self._journal.is_stale:
                self._watcher.told.clear()
                await self._journal.read_inbox()
            if self._instance.inbox and self._is_answered(action):
                return True
            if self._has_deadline and plan.is_late(self._instance, self.time_to_decide()):
                return True
            pause = self.pause_before(action)
            if pause > 0:
                await self._services.sleep(pause, or_until=self._watcher.told)
                self._watcher.told.clear()
            elif await self._journal.ensure_lease():
                return False
        return True

    def _is_answered(self, action: plan.Action) -> bool:
        """Whether a signal asks for something else; in a pause, beside waits, it may be theirs."""
        if waiting.first_request(self._instance) is not None:
            return True
        open_waits = (e.waiting for e in self._instance.current.values() if e.waiting is not None)
        return isinstance(action, plan.Pause) and any(
            waiting.arrived(self._instance, wait) is not None for wait in open_waits
        )


def _undoes_first(action: plan.Action) -> bool:
    """Whether it begins the first attempt to undo a step, before which there is no pause."""
    return type(action) is plan.Undo and action.execution.compensation is None
