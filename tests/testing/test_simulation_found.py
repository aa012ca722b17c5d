"""What the simulation has found, as tests of their own; the seed is named in the docstring."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import OutcomeUnknownError, Retry, Workflow, WorkflowContext, not_done
from flux.testing import ManualClock
from flux_storages import MemoryStorage
from opening import OpenEngine, open_engine
from sagas import passing, step_of, until
from saves import DiedError, Saves

__all__ = ["open_engine"]

LEASE = 30.0
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    """The right one."""
    return ManualClock(START)


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock)


async def test_an_attempt_by_a_fast_clock_has_begun(
    storage: MemoryStorage, clock: ManualClock, open_engine: OpenEngine
) -> None:
    """A host whose clock is ahead dies in an at-most-once step: its verifier is asked (1374)."""
    did: list[str] = []
    fast = ManualClock(START + timedelta(seconds=3 * LEASE))

    async def live(clock: ManualClock, *, dies: bool) -> None:
        saves = Saves(storage)

        async def act(ctx: WorkflowContext) -> None:
            did.append(f"act {ctx.attempt}")
            if dies:
                saves.die()
                await asyncio.sleep(60)

        async def verify(ctx: WorkflowContext) -> Any:
            did.append("verify")
            return not_done

        order = Workflow("order").step("act", act, at_most_once=True, verify=verify)
        engine = await open_engine(saves, workflows=[order], clock=clock, lease=LEASE)
        if not did:
            with suppress(DiedError):
                await engine.start(order, id="order-1")
        await passing(clock, 0)

    await live(clock, dies=True)
    clock.advance(LEASE + 1)
    await live(fast, dies=True)
    assert did == ["act 1", "verify", "act 2"]
    clock.advance(LEASE + 1)
    await live(clock, dies=False)
    for _ in range(10):
        await passing(clock, LEASE / 3)
    assert did[3:] == ["verify", "act 3"]


async def test_an_attempt_that_died_by_another_clock_has_begun(
    storage: MemoryStorage, clock: ManualClock, open_engine: OpenEngine
) -> None:
    """A clock that is set back, and another host's, hide that a back-off was over (1144, 5721)."""
    did: list[int] = []

    async def act(ctx: WorkflowContext) -> None:
        did.append(ctx.attempt)
        if len(did) == 1:
            raise RuntimeError("declined")
        if len(did) == 2:
            saves.die()
            await asyncio.sleep(60)

    fast, saves = ManualClock(START + timedelta(seconds=3 * LEASE)), Saves(storage)
    order = Workflow("order").step("act", act, retries=Retry(1, initial=LEASE / 2, jitter=False))
    first = await open_engine(saves, workflows=[order], clock=fast, lease=LEASE)
    await first.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    await passing(fast, LEASE / 2)
    assert did == [1, 2]
    clock.advance(LEASE + 1)
    second = await open_engine(workflows=[order], clock=clock, lease=LEASE)
    resuming = asyncio.create_task(second.resume("order-1"))
    await until(lambda: len(did) > 2)
    assert did == [1, 2, 3]
    state = (await resuming).state
    assert [attempt.ended for attempt in step_of(state, "act").attempts] == [
        "failed",
        "interrupted",
    ]


async def test_what_began_last_is_undone_first(
    storage: MemoryStorage, clock: ManualClock, open_engine: OpenEngine
) -> None:
    """Of steps beside each other too, whichever of them had an entry when they died (22677)."""
    saves, did = Saves(storage), list[str]()

    async def lose(ctx: WorkflowContext) -> None:
        did.append(f"{ctx.step} {ctx.attempt}")
        if ctx.step == "second" and ctx.attempt == 1:
            raise OutcomeUnknownError("no answer")
        if ctx.step == "second":
            saves.die()
        await asyncio.sleep(60)

    async def undo(ctx: WorkflowContext) -> None:
        did.append(f"undo {ctx.step}")

    order = Workflow("order")
    order.step("first", lose, after=(), at_most_once=True, compensate=undo)
    order.step("second", lose, after=(), retries=Retry(1, initial=0), compensate=undo)
    engine = await open_engine(saves, workflows=[order], clock=clock, lease=LEASE)
    with suppress(DiedError):
        await engine.start(order, id="order-1")
    await until(lambda: saves.is_dead)
    assert did == ["first 1", "second 1", "second 2"]
    clock.advance(LEASE + 1)
    engine = await open_engine(workflows=[order], clock=clock, lease=LEASE)
    await engine.result("order-1", timeout=30)
    assert did[3:] == ["undo second", "undo first"]
