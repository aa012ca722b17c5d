"""S25: an instance that kills its processes is parked, and others go on."""

import asyncio
from contextlib import suppress

import pytest

from flux import FluxEngine, Retry, Workflow, WorkflowContext, WorkflowStatus
from sagas import Flaky, noting, sequence, step_of
from saves import DiedError
from undoing import Lives, fail, rested, undoable

PARKED = WorkflowStatus.PARKED


async def until_rest(lives: Lives, *workflows: Workflow, recoveries: int) -> FluxEngine:
    """Open engines until one does not die of "o": that one, in which "o" rests."""
    while True:
        engine = await lives.next(*workflows, max_recoveries=recoveries)
        with suppress(DiedError):
            await rested(engine, "o")
            return engine


@pytest.mark.parametrize("recoveries", [1, 3])
async def test_s25_parked_after_so_many_recoveries(lives: Lives, recoveries: int) -> None:
    """It is tried once, and again after each of `max_recoveries` deaths, then no more."""
    act = Flaky(0)
    order = sequence("a").step("b", lives.dying(99, act))
    await lives.start(order, id="o")
    engine = await until_rest(lives, order, recoveries=recoveries)
    assert (await engine.get("o")).status is PARKED
    assert len(act.attempts) == 1 + recoveries


async def parked(lives: Lives, order: Workflow) -> FluxEngine:
    """An engine that has parked "o"."""
    await lives.start(order, id="o")
    engine = await until_rest(lives, order, recoveries=2)
    assert (await engine.get("o")).status is PARKED
    return engine


async def test_s25_the_reason_is_kept(lives: Lives) -> None:
    """It names the count, the step, and what a person can do."""
    engine = await parked(lives, sequence("a").step("b", lives.dying(99, noting("b", []))))
    state = await engine.get("o")
    assert state.reason is not None
    assert "recovered 2 times" in state.reason
    assert "step 'b'" in state.reason
    assert "resume gives it a fresh budget" in state.reason


async def test_s25_what_was_saved_stays(lives: Lives) -> None:
    """The history shows what completed, and every interrupted attempt."""
    engine = await parked(lives, sequence("a").step("b", lives.dying(99, noting("b", []))))
    state = await engine.get("o")
    assert (step_of(state, "a").output, state.completed_at) == ("a", None)
    ended = [(attempt.number, attempt.ended) for attempt in step_of(state, "b").attempts]
    assert ended == [(1, "interrupted"), (2, "interrupted"), (3, "interrupted")]


async def test_s25_result_returns_a_parked_instance(lives: Lives) -> None:
    """It needs a person: nobody waits for it."""
    engine = await parked(lives, Workflow("order").step("b", lives.dying(99, noting("b", []))))
    assert (await engine.result("o", timeout=5)).status is PARKED


async def test_s25_a_parked_instance_is_left_alone(lives: Lives) -> None:
    """No engine drives it by itself."""
    act = Flaky(0)
    order = Workflow("order").step("b", lives.dying(99, act))
    await parked(lives, order)
    engine = await lives.next(order)
    await engine.execute(Workflow("other").step("b", noting("b", [])))
    assert (await engine.get("o")).status is PARKED
    assert len(act.attempts) == 3


async def test_s25_resume_goes_on_forward(lives: Lives) -> None:
    """In the direction that it had, with its data and its key."""
    act, ran = Flaky(0), list[str]()
    order = sequence("a", ran=ran).step("b", lives.dying(3, act)).step("c", noting("c", ran))
    engine = await parked(lives, order)
    result = await engine.resume("o")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["a", "c"])
    assert (act.attempts, len(set(act.keys))) == ([1, 2, 3, 4], 1)
    assert result.state.reason is None


async def test_s25_resume_goes_on_backward(lives: Lives) -> None:
    """A rollback that was parked goes on as a rollback."""
    did: list[str] = []
    order = undoable("a", did=did)
    order.step("b", noting("b", did), compensate=lives.dying(3, noting("undo b", did)))
    engine = await parked(lives, order.step("pay", fail))
    result = await engine.resume("o")
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert did == ["a", "b", *["undo b"] * 4, "undo a"]


async def test_s25_resume_gives_a_fresh_budget(lives: Lives) -> None:
    """After it the instance may kill as many processes again before it is parked."""
    act = Flaky(0)
    order = Workflow("order").step("b", lives.dying(99, act))
    engine = await parked(lives, order)
    with pytest.raises(DiedError):
        await engine.resume("o")
    engine = await until_rest(lives, order, recoveries=2)
    assert (await engine.get("o")).status is PARKED
    assert act.attempts == [1, 2, 3, 4, 5, 6]


async def test_s25_a_step_that_ends_is_progress(lives: Lives) -> None:
    """Many deaths, each in another step, park nothing."""
    order = Workflow("order")
    for name in "abcd":
        order.step(name, lives.dying(1, noting(name, [])))
    await lives.start(order, id="o")
    engine = await until_rest(lives, order, recoveries=1)
    assert (await engine.get("o")).status is WorkflowStatus.COMPLETED


async def test_s25_a_compensation_that_ends_is_progress(lives: Lives) -> None:
    """Nor do deaths in one compensation after the other."""
    order = Workflow("order")
    for name in "abcd":
        order.step(name, noting(name, []), compensate=lives.dying(1, noting(name, [])))
    await lives.start(order.step("pay", fail), id="o")
    engine = await until_rest(lives, order, recoveries=1)
    assert (await engine.get("o")).status is WorkflowStatus.ROLLED_BACK


async def test_s25_a_failed_attempt_is_no_progress(lives: Lives) -> None:
    """A step that raises between its deaths has not ended."""
    calls: list[int] = []

    async def act(ctx: WorkflowContext) -> None:
        calls.append(ctx.attempt)
        if len(calls) % 2 == 0:
            raise RuntimeError("not yet")
        lives.die()

    order = Workflow("order").step("b", act, retries=Retry(99, initial=0))
    await lives.start(order, id="o")
    engine = await until_rest(lives, order, recoveries=2)
    assert (await engine.get("o")).status is PARKED
    assert len(calls) == 5


async def test_s25_others_go_on(lives: Lives) -> None:
    """An instance that the deaths of another one interrupt is driven to its end."""
    poison = Workflow("poison").step("b", lives.dying(99, noting("b", [])))
    act = Flaky(0)
    good = Workflow("good").step("a", noting("a", [])).step("b", act)
    await lives.start(good, id="good", die_after=1)
    with pytest.raises(DiedError):
        await (await lives.next(poison)).execute(poison, id="o")
    engine = await until_rest(lives, poison, good, recoveries=1)
    assert (await engine.get("o")).status is PARKED
    assert (await rested(engine, "good")).status is WorkflowStatus.COMPLETED
    assert (await engine.execute(good)).status is WorkflowStatus.COMPLETED


async def test_s25_a_verifier_that_kills_is_poison(lives: Lives) -> None:
    """So is an instance whose verifier kills its processes: asked so often, then no more."""
    asked: list[str] = []
    pay = lives.dying(1, noting("pay", []))
    verify = lives.dying(99, noting("verify", asked))
    order = Workflow("order").step("b", pay, at_most_once=True, verify=verify)
    await lives.start(order, id="o")
    engine = await until_rest(lives, order, recoveries=3)
    state = await engine.get("o")
    assert (state.status, step_of(state, "b").attempt_count) == (PARKED, 1)
    assert len(asked) == 3


async def test_s25_a_parked_instance_may_be_cancelled(lives: Lives) -> None:
    """What it had done before is undone, and what killed its processes as well, if it can be."""
    did: list[str] = []
    order = undoable("a", did=did)
    order.step("b", lives.dying(99, noting("b", did)), compensate=noting("undo b", did))
    engine = await parked(lives, order)
    await engine.cancel("o")
    async with asyncio.timeout(30):
        while (await engine.get("o")).status is not WorkflowStatus.CANCELLED:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert did == ["a", "b", "b", "b", "undo b", "undo a"]


async def test_s25_waiting_is_no_recovery(lives: Lives) -> None:
    """The death of a process while an instance waits for a signal counts for nothing."""
    order = Workflow("order").wait("ok").step("b", lives.dying(1, noting("b", [])))
    await (await lives.next(order)).execute(order, id="o")
    for _ in range(3):
        lives.die()
        await lives.next(order, max_recoveries=1)
    lives.die()
    engine = await lives.next(order, max_recoveries=1)
    assert (await engine.diagnose("o")).recoveries == 0
    with suppress(DiedError):
        await engine.signal("o", "ok")
    engine = await until_rest(lives, order, recoveries=1)
    assert (await engine.get("o")).status is WorkflowStatus.COMPLETED
