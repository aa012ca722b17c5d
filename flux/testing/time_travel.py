"""How time passes in a `TestEngine`: it jumps when nothing else can happen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from attrs import Factory, define

from flux.definition.wait import RESERVED
from flux.engine.engine import FluxEngine
from flux.errors import FluxError, InstanceNotFoundError
from flux.state.status import StepStatus, WorkflowStatus
from flux.state.workflow_state import WorkflowState
from flux.storage import WorkflowFilter
from flux.testing.activity import Activity
from flux.testing.history_table import history_table
from flux.testing.run import Run
from flux.testing.virtual_time import CENTURY, VirtualClock

T = TypeVar("T")

_PATIENCE = 2.0
"""Real seconds for which something may be under way that nobody can see."""

_LIVE = WorkflowFilter(
    status=tuple(status for status in WorkflowStatus if not status.is_ended), limit=10_000
)

_TICK = timedelta(microseconds=1)


class NothingHappensError(FluxError, RuntimeError):
    """What a test awaits can never come: nothing is under way, and there is no time to wait for.

    A mock may take for ever, without a timeout, or what is awaited is not what is live. (A real
    handler that waits for the test keeps it waiting: it looks like one that works.)
    """

    def __init__(self, histories: Sequence[str]) -> None:
        told = "\n\n".join(histories) or "no instance is live"
        super().__init__(f"nothing can happen any more, however long one waits\n\n{told}")


@define
class Moments:
    """When live instances go on by themselves; and what only the test should let come."""

    sleeps: list[datetime] = Factory(list)
    deadlines: list[datetime] = Factory(list)
    timeouts: list[datetime] = Factory(list)
    waits_for_test: bool = False

    @classmethod
    def of(
        cls, states: Sequence[WorkflowState], turns: Sequence[datetime | None] = ()
    ) -> "Moments":
        """Those of instances at rest; some wait for their `turns`."""
        moments = cls(sleeps=[turn for turn in turns if turn is not None])
        for state in states:
            moments._add(state)
        return moments

    @property
    def next_sleep(self) -> datetime | None:
        """The end of a sleep before which nothing comes that is for the test to let come."""
        ends: list[datetime] = [*self.sleeps, *(() if self.waits_for_test else self.deadlines)]
        soonest = min(ends, default=None)
        limit = min([*self.timeouts, *self.deadlines], default=None)
        if soonest is None or (self.waits_for_test and limit is not None and limit < soonest):
            return None
        return soonest

    def _add(self, state: WorkflowState) -> None:
        if state.status not in (WorkflowStatus.SUSPENDED, WorkflowStatus.PENDING):
            self.waits_for_test = True
        if state.deadline is not None:
            self.deadlines.append(state.deadline)
        for entry in state.history:
            if entry.status is not StepStatus.SUSPENDED:
                continue
            signal, until = entry.waiting_for, entry.wakes_at
            self.waits_for_test |= signal is not None and not signal.startswith(RESERVED)
            if until is not None:
                (self.sleeps if signal is None else self.timeouts).append(until)


class TimeTravel:
    """Moves the clock of one engine, and keeps its runs up to date.

    `changed` gives the ids of the instances to which something has happened since it was asked.
    """

    def __init__(
        self,
        engine: FluxEngine,
        clock: VirtualClock,
        activity: Activity,
        *,
        runs: Mapping[str, Run],
        changed: Callable[[], frozenset[str]],
        is_held: Callable[[str], bool],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._activity = activity
        self._runs = runs
        self._changed = changed
        self._is_held = is_held

    async def look(self) -> None:
        """Let happen what can without time, and take note of how all runs stand."""
        await self._activity.quiet()
        for id in self._changed() & self._runs.keys():
            try:
                self._runs[id].state = await self._engine.get(id)
            except InstanceNotFoundError:
                continue  # deleted: its run stays as it was

    async def pass_time(self) -> bool:
        """Let time pass to the next moment that counts; False if it is for the test to go on."""
        await self.look()
        live = [state async for state in self._live()]
        queued = [state for state in live if state.status is WorkflowStatus.PENDING]
        if any(not state.status.is_rest for state in live if state not in queued):
            await self._jump(lambda: False)
            return True
        moments = Moments.of(live, turns=[await self._turn_of(state) for state in queued])
        end = moments.next_sleep
        if end is None:
            return False
        # A clock of floats may come a little short.
        self._clock.advance(max(end - self._clock.now(), _TICK).total_seconds())
        return True

    async def advance(self, seconds: float) -> None:
        """Let exactly so much time pass, with all that falls due in it at its time."""
        if seconds < 0:
            raise ValueError(f"advance by {seconds:g} s: time does not go back")
        await self._activity.quiet()
        end = self._clock.monotonic() + seconds
        while (left := self._clock.next_in) is not None and self._clock.monotonic() + left <= end:
            self._clock.advance(left)
            await self._activity.quiet()
        self._clock.advance(end - self._clock.monotonic())
        await self.look()

    async def drive(self, awaitable: Awaitable[T]) -> T:
        """Await it, while time jumps whenever nothing else can happen."""
        awaited = asyncio.ensure_future(awaitable)
        try:
            while not awaited.done():
                await self._activity.quiet()
                if not awaited.done():
                    await self._jump(awaited.done)
        finally:
            awaited.cancel()
        await self.look()
        return awaited.result()

    async def _turn_of(self, queued: WorkflowState) -> datetime | None:
        """When an instance that a limit lets wait looks again; None if others have to let it."""
        due = (await self._engine.diagnose(queued.id)).due_at
        is_near = due is not None and (due - self._clock.now()).total_seconds() <= CENTURY
        return due if is_near else None

    async def _jump(self, is_over: Callable[[], bool]) -> None:
        left = self._clock.next_in
        if left is not None:
            self._clock.advance(left)
        elif not await self._activity.changes_within(_PATIENCE, is_over):
            raise NothingHappensError([history_table(state) async for state in self._live()])

    async def _live(self) -> AsyncIterator[WorkflowState]:
        for summary in await self._engine.list(_LIVE):
            if not self._is_held(summary.id):
                yield await self._engine.get(summary.id)
