"""Small workflows, and looking at what became of them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from flux import FluxResult, StepExecution, Workflow, WorkflowContext, WorkflowState
from flux.testing import ManualClock

T = TypeVar("T")


class Flaky:
    """A handler that fails `times` times and returns "done" from then on; `None`: it never does.

    It keeps what it saw: the attempt numbers, the keys, and the times at which it was called.
    """

    def __init__(self, times: int | None = 1, error: Exception | None = None) -> None:
        self.times = times
        self.error = error or RuntimeError("flaky")
        self.attempts: list[int] = []
        self.keys: list[str] = []
        self.called_at: list[float] = []

    async def __call__(self, ctx: WorkflowContext) -> str:
        self.attempts.append(ctx.attempt)
        self.keys.append(ctx.idempotency_key)
        self.called_at.append(ctx.now().timestamp())
        if self.times is None or len(self.attempts) <= self.times:
            raise self.error
        return "done"

    @property
    def pauses(self) -> list[float]:
        """Seconds between the calls."""
        return [
            later - earlier
            for earlier, later in zip(self.called_at, self.called_at[1:], strict=False)
        ]


def sequence(*names: str, ran: list[str] | None = None, **options: Any) -> Workflow:
    """A workflow "order" of steps that note their name in `ran` and return it."""
    order = Workflow("order")
    for name in names:
        order.step(name, noting(name, ran if ran is not None else []), **options)
    return order


def noting(name: str, ran: list[str]) -> Callable[[WorkflowContext], Any]:
    """A handler or compensator that notes `name` in `ran` and returns it."""

    async def note(ctx: WorkflowContext) -> str:
        ran.append(name)
        return name

    return note


def step_of(seen: FluxResult | WorkflowState, name: str) -> StepExecution:
    """The entry that counts of a step which was reached."""
    state = seen.state if isinstance(seen, FluxResult) else seen
    entry = state.step(name)
    assert entry is not None
    return entry


async def until(condition: Callable[[], object], limit: float = 5.0) -> None:
    """Let other tasks and threads run until `condition` holds."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - any condition, no event needed for it
            await asyncio.sleep(0.001)


async def passing(clock: ManualClock, seconds: float) -> None:
    """Let `seconds` pass by the clock, and all that is due by then happen."""
    clock.advance(seconds)
    await asyncio.sleep(0.03)


async def as_time_passes(clock: ManualClock, task: asyncio.Task[T], limit: float = 5.0) -> T:
    """The task's result; whenever nothing happens any more, a second passes by the clock."""
    async with asyncio.timeout(limit):
        while not task.done():
            await passing(clock, 1)
    return task.result()


async def heedless(seconds: float) -> None:
    """Sleep, and ignore being cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(end - loop.time())
