"""S24, S25: when an engine looks again for what is due, and for what kills its process."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from flux import Record, Workflow, WorkflowContext, WorkflowStatus, WorkflowStorage
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import passing, step_of
from saves import DiedError, Saves


class Slow(Saves):
    """A storage that takes its time, once, to hand out what is due."""

    def __init__(self, storage: WorkflowStorage, clock: ManualClock, seconds: float) -> None:
        super().__init__(storage)
        self._clock, self._seconds = clock, seconds

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        claimed = await super().claim_due(
            owner=owner, lease=lease, limit=limit, workflows=workflows
        )
        self._clock.advance(self._seconds)
        self._seconds = 0
        return claimed


async def test_s24_a_slow_answer_makes_no_timer_late(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """It is due so long after the question as the storage said, not after its last answer."""
    clock, nap = ManualClock(), Workflow("nap").sleep("nap", 60)
    first = await open_engine(clock=clock, lease=3000)
    await first.execute(nap, id="o")
    await first.close()
    second = await open_engine(
        Slow(storage, clock, 60), workflows=[nap], clock=clock, lease=3000, poll=3000
    )
    result = await asyncio.wait_for(second.result("o"), 20)
    assert result.status is WorkflowStatus.COMPLETED


async def test_s25_the_first_recovery_is_at_once_then_it_backs_off(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """No pause after one death; after two half a second to one, after three one to two, and on."""
    clock, called = ManualClock(), list[float]()
    dead: list[Saves] = []

    async def kill(ctx: WorkflowContext) -> None:
        called.append(clock.monotonic())
        dead[-1].die()
        await asyncio.Event().wait()

    order = Workflow("order").step("kill", kill)
    pauses = []
    for death in range(4):
        dead.append(Saves(storage))
        engine = await open_engine(
            dead[-1], workflows=[order], clock=clock, lease=30, poll=1, grace=0
        )
        if death == 0:
            with suppress(DiedError):
                await engine.start(order, id="o")
        await passing(clock, 31)
        taken_at = clock.monotonic()
        while len(called) <= death:
            await passing(clock, 0.125)
        pauses.append(called[-1] - taken_at)
    assert pauses[0] <= 0
    assert pauses[1] <= 0.25
    assert 0.5 <= pauses[2] <= 1.25
    assert 1 <= pauses[3] <= 2.25
    engine = await open_engine(storage, clock=clock)
    state = await engine.get("o")
    assert (state.status, step_of(state, "kill").attempt_count) == (WorkflowStatus.RUNNING, 3)
