"""S5, S8, S25: a verifier that says `not_done` gives no attempts away."""

import asyncio
from contextlib import suppress

import pytest

from flux import FluxEngine, Retry, Workflow, WorkflowContext, WorkflowStatus, not_done
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import noting, step_of
from saves import DiedError
from undoing import Lives, rested, undoable


class Slow:
    """A step that always times out, and whose verifier says that it has not acted."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    async def act(self, ctx: WorkflowContext) -> None:
        self.attempts.append(ctx.attempt)
        await asyncio.sleep(60)

    async def verify(self, ctx: WorkflowContext) -> object:
        return not_done


def slow_order(slow: Slow, did: list[str], retries: int | Retry) -> Workflow:
    """An order that can be undone up to the slow step."""
    order = undoable("a", did=did)
    return order.step(
        "slow",
        slow.act,
        verify=slow.verify,
        retries=retries,
        at_most_once=True,
        timeout=0.01,
        compensate=noting("undo slow", did),
    )


@pytest.mark.parametrize("retries", [0, 2])
async def test_s08_a_cleared_timeout_is_a_failed_attempt(engine: FluxEngine, retries: int) -> None:
    """A step that times out is not called more often because its verifier says `not_done`."""
    slow, did = Slow(), list[str]()
    async with asyncio.timeout(30):
        result = await engine.execute(slow_order(slow, did, Retry(retries, initial=0)))
    assert slow.attempts == list(range(1, retries + 2))
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert result.error is not None
    assert result.error.type == "StepTimeoutError"


async def test_s11_a_cleared_step_is_not_undone(engine: FluxEngine) -> None:
    """A step that has surely not acted fails, and its compensator is not called."""
    slow, did = Slow(), list[str]()
    async with asyncio.timeout(30):
        result = await engine.execute(slow_order(slow, did, 0))
    assert did == ["a", "undo a"]
    assert step_of(result, "slow").outcome is None


async def test_s08_a_cleared_timeout_backs_off(open_engine: OpenEngine) -> None:
    """The pause of the policy lies between the attempts."""
    clock, slow, did = JumpingClock(), Slow(), list[str]()
    engine = await open_engine(clock=clock, **FAR)
    policy = Retry(2, initial=7, factor=2, jitter=False)
    async with asyncio.timeout(30):
        await engine.execute(slow_order(slow, did, policy))
    assert (slow.attempts, clock.slept) == ([1, 2, 3], [7, 14])


async def test_s25_a_verifier_makes_no_progress(lives: Lives) -> None:
    """A step that kills every process is parked, though its verifier clears it each time."""
    calls: list[str] = []
    act = lives.dying(99, noting("act", calls))
    slow, order = Slow(), Workflow("order")
    order.step("act", act, at_most_once=True, verify=slow.verify)
    await lives.start(order, id="o")
    async with asyncio.timeout(30):
        engine = await until_rest(lives, order)
    assert ((await engine.get("o")).status, len(calls)) == (WorkflowStatus.PARKED, 3)


async def until_rest(lives: Lives, order: Workflow) -> FluxEngine:
    """Open engines until one does not die of "o"."""
    while True:
        engine = await lives.next(order, max_recoveries=2)
        with suppress(DiedError):
            await rested(engine, "o")
            return engine


async def test_s08_resume_gives_a_cleared_step_fresh_retries(engine: FluxEngine) -> None:
    """After a person's word there are as many attempts again."""
    slow = Slow()
    order = Workflow("order").step(
        "slow",
        slow.act,
        verify=slow.verify,
        retries=Retry(1, initial=0),
        at_most_once=True,
        timeout=0.01,
    )
    async with asyncio.timeout(30):
        await engine.execute(order, id="o")
        result = await engine.resume("o")
    assert (result.status, slow.attempts) == (WorkflowStatus.FAILED, [1, 2, 3, 4])
