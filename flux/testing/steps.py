"""Going through a run step by step."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

from flux.state.status import StepStatus
from flux.state.workflow_state import StepExecution, WorkflowState
from flux.testing.run import Run
from flux.testing.watched_storage import Gate

_SHOWN = (
    StepStatus.COMPLETED,
    StepStatus.FAILED,
    StepStatus.SKIPPED,
    StepStatus.SUSPENDED,
    StepStatus.COMPENSATED,
)


class Moving(Protocol):
    """What moves a run on."""

    async def look(self) -> None:
        """Let happen what can without time, and take note of how all runs stand."""
        ...

    async def pass_time(self) -> bool:
        """Let time pass to the next moment that counts; False if it is for the test to go on."""
        ...


class Steps:
    """The steps of a run, each as it ends: completed, failed, skipped, undone, or begun to wait.

    The instance stands still from the end of a step until the next one is asked for: nothing is
    begun and nothing saved. (What runs beside that step runs on.) It is over when the run would be.
    """

    def __init__(self, begin: Callable[[], Awaitable[Run]], id: str, gate: Gate, moving: Moving):
        self._begin = begin
        self._id = id
        self._gate = gate
        self._moving = moving
        self._run: Run | None = None
        self._seen: dict[tuple[str, int, str], StepStatus] = {}
        self._ready: deque[StepExecution] = deque()

    @property
    def run(self) -> Run:
        """The run, once its first step was asked for."""
        if self._run is None:
            raise RuntimeError("the run begins with its first step: ask for that before")
        return self._run

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StepExecution:
        if self._run is None:
            self._gate.close(self._id)
            self._run = await self._begin()
            await self._moving.look()
            self._ready.extend(self._ended(self._run.state))
        while not self._ready:
            if not await self._goes_on():
                self._gate.open(self._id)
                raise StopAsyncIteration
            self._ready.extend(self._ended(self._run.state))
        return self._ready.popleft()

    async def _goes_on(self) -> bool:
        if self._gate.holds(self._id):
            self._gate.let_go(self._id)
            await self._moving.look()
            return True
        return await self._moving.pass_time() or self._gate.holds(self._id)

    def _ended(self, state: WorkflowState) -> list[StepExecution]:
        ended = []
        for entry in state.history:
            key = (entry.name, entry.run, entry.key)
            if entry.status in _SHOWN and self._seen.get(key) is not entry.status:
                self._seen[key] = entry.status
                ended.append(entry)
        return ended
