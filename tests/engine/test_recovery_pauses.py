"""S25: what kills its process again and again is recovered ever later."""

import asyncio
from contextlib import suppress

from flux import Workflow, WorkflowContext, WorkflowStatus, WorkflowStorage
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import passing, step_of
from saves import DiedError, Saves


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
