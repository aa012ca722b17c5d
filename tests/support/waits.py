"""Orders that wait, handlers that a test holds, and moments in a save at which a test acts."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from flux import (
    Checkpoint,
    Entry,
    FluxEngine,
    FluxResult,
    Lease,
    Record,
    StoredSignal,
    Wait,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from jumping import DAY
from sagas import noting, until
from saves import Saves

T = TypeVar("T")
Fits = Callable[[Checkpoint], bool]
Act = Callable[[], Awaitable[object]]

LONG: dict[str, Any] = {"lease": 4 * DAY}
"""Settings of an engine on a `ManualClock`: no lease runs out while the test lets time pass."""


def asking(
    did: list[str], waits: Callable[[], Wait] = lambda: wait("approved"), **options: Any
) -> Workflow:
    """An order that can undo "reserve", waits in "ask", and then runs "ship".

    What its steps and compensators do is noted in `did`; the wait, by default for "approved", is
    made by `waits`; `options` are those of the step "ask".
    """

    async def ask(ctx: WorkflowContext) -> Wait:
        did.append("ask")
        return waits()

    order = Workflow("order")
    order.step("reserve", noting("reserve", did), compensate=noting("undo reserve", did))
    order.step("ask", ask, **options)
    return order.step("ship", noting("ship", did))


class Held:
    """An async handler, or compensator, that goes on when the test says so, and returns "held"."""

    def __init__(self) -> None:
        self.calls = 0
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, ctx: WorkflowContext) -> str:
        self.calls += 1
        self.began.set()
        await self.go_on.wait()
        return "held"


class HeldThread:
    """A plain handler that goes on when the test says so, and returns "held".

    It notes in `told` whether it was told to end by then. With `heeds` it ends by itself as soon as
    it is told, and returns "told".
    """

    def __init__(self, *, heeds: bool = False) -> None:
        self.told: list[bool] = []
        self.go_on = threading.Event()
        self._heeds = heeds
        self._began = threading.Event()

    def __call__(self, ctx: WorkflowContext) -> str:
        self._began.set()
        while not self.go_on.wait(0.001):
            if self._heeds and ctx.cancelled():
                self.told.append(True)
                return "told"
        self.told.append(ctx.cancelled())
        return "held"

    async def has_begun(self) -> None:
        """Return when it runs."""
        await until(self._began.is_set)


class Moments(Saves):
    """A storage in front of another one, with which something happens around a chosen save.

    moments.before(resting_as("suspended"), lambda: engine.cancel("o"))

    What is named happens once, at the first save that fits, while the driver waits for that save.
    """

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.inbox_reads = 0
        self.at_renewal: Act | None = None
        """What happens once, when a lease is asked for again."""
        self.at_load: Act | None = None
        """What happens once, when an instance was loaded, before it is looked at."""
        self._before_saves: list[tuple[Fits, Act]] = []
        self._after_saves: list[tuple[Fits, Act]] = []

    def before(self, fits: Fits, act: Act) -> None:
        """Act before the save is made."""
        self._before_saves.append((fits, act))

    def after(self, fits: Fits, act: Act) -> None:
        """Act when the save is made, before the driver hears of it."""
        self._after_saves.append((fits, act))

    async def dies(self) -> None:
        """Let the process that uses this storage die."""
        self.die()

    async def save(self, checkpoint: Checkpoint) -> int:
        await _let_happen(self._before_saves, checkpoint)
        number = await super().save(checkpoint)
        await _let_happen(self._after_saves, checkpoint)
        return number

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        loaded = await super().load(id, history=history)
        act, self.at_load = self.at_load, None
        if act is not None:
            await act()
        return loaded

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        signals = await super().signals(id, after=after)
        self.inbox_reads += 1
        return signals

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        act, self.at_renewal = self.at_renewal, None
        if act is not None:
            await act()
        return await super().renew(leases, lease=lease)


def resting_as(status: str) -> Fits:
    """The save that brings the instance to rest like this."""
    return lambda save: save.status == status and save.lease is None


def about_to_run(step: str) -> Fits:
    """The save with the intent to run this step, or its compensator."""
    return lambda save: save.intent == (step,)


async def ended(
    engine: FluxEngine, id: str = "o", *, clock: ManualClock | None = None
) -> FluxResult:
    """The instance's result once it has ended or needs a person; not for ever.

    With a `clock` as time passes, a hundredth of a second and another one: an engine notices what
    is due at its next poll at the latest.
    """
    waiting = engine.result(id, timeout=5)
    return await (waiting if clock is None else _as_time_passes(clock, waiting))


async def becomes(
    engine: FluxEngine,
    fits: Callable[[WorkflowState], bool],
    *,
    id: str = "o",
    clock: ManualClock | None = None,
) -> WorkflowState:
    """The instance once it fits; with a `clock` as time passes."""

    async def look() -> WorkflowState:
        async with asyncio.timeout(30):
            while not fits(state := await engine.get(id)):  # noqa: ASYNC110 - seen by looking
                await asyncio.sleep(0.001)
        return state

    return await (look() if clock is None else _as_time_passes(clock, look()))


def backs_off(step: str) -> Callable[[WorkflowState], bool]:
    """Whether an attempt of this step has failed, and another one is to follow later."""

    def fits(state: WorkflowState) -> bool:
        entry = state.step(step)
        return entry is not None and entry.retry_at is not None

    return fits


async def _as_time_passes(clock: ManualClock, waiting: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(waiting)
    try:
        async with asyncio.timeout(30):
            while not task.done():
                clock.advance(0.01)
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
    return task.result()


async def _let_happen(planned: list[tuple[Fits, Act]], checkpoint: Checkpoint) -> None:
    for one in [one for one in planned if one[0](checkpoint)]:
        planned.remove(one)
        await one[1]()
