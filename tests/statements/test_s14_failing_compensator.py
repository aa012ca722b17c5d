"""S14: a compensator that fails for good leaves the instance for a person to decide."""

import asyncio
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InvalidTransitionError,
    Retry,
    UnknownStepError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
)
from flux.testing import ManualClock
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, as_time_passes, noting, sequence, step_of, until
from undoing import Lives, fail, undoable

ROLLED_BACK = WorkflowStatus.ROLLED_BACK
ROLLBACK_FAILED = WorkflowStatus.ROLLBACK_FAILED


def stuck(undo: Any, did: list[str], **options: Any) -> Workflow:
    """Steps a, b and c and a failing one; `undo` is the compensator of b."""
    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo, **options)
    order.step("c", noting("c", did), compensate=noting("undo c", did))
    return order.step("pay", fail)


async def test_s14_a_compensator_is_retried_by_its_own_policy(open_engine: OpenEngine) -> None:
    """Its own attempts and pauses, not those of its step."""
    undo, did = Flaky(2), list[str]()
    policy = Retry(2, initial=5, factor=3, jitter=False)
    engine = await open_engine(clock=JumpingClock(), **FAR)
    result = await engine.execute(stuck(undo, did, retries=7, compensate_retries=policy))
    assert (result.status, undo.pauses) == (ROLLED_BACK, [5, 15])


async def test_s14_retries_of_the_step_do_not_count(engine: FluxEngine) -> None:
    """A compensator without a policy of its own has one attempt, whatever its step has."""
    undo, did = Flaky(None), list[str]()
    result = await engine.execute(stuck(undo, did, retries=Retry(5, initial=0)))
    assert (result.status, len(undo.attempts)) == (ROLLBACK_FAILED, 1)


async def test_s14_a_long_back_off_frees_its_place(open_engine: OpenEngine) -> None:
    """An engine that may drive one instance drives another while a compensator backs off long."""
    clock, undo, ran = ManualClock(), Flaky(1), list[str]()
    policy = Retry(1, initial=100, maximum=100, jitter=False)
    engine = await open_engine(clock=clock, lease=30, max_instances=1)
    await engine.start(stuck(undo, [], compensate_retries=policy), id="o")
    await until(lambda: undo.attempts)
    other = Workflow("other").step("a", noting("a", ran))
    result = await as_time_passes(clock, asyncio.create_task(engine.execute(other)))
    assert (result.status, ran, undo.attempts) == (WorkflowStatus.COMPLETED, ["a"], [1])


async def test_s14_its_key_stays_over_retries(engine: FluxEngine) -> None:
    """Every attempt of a compensation has the same key and an attempt number one higher."""
    undo, did = Flaky(2), list[str]()
    await engine.execute(stuck(undo, did, compensate_retries=Retry(2, initial=0)))
    assert undo.attempts == [1, 2, 3]
    assert len(set(undo.keys)) == 1


async def test_s14_a_compensator_has_its_own_timeout(engine: FluxEngine) -> None:
    """`compensate_timeout` ends an attempt, and the step's `timeout` does not."""
    did: list[str] = []

    async def undo(ctx: WorkflowContext) -> None:
        await asyncio.Event().wait()

    result = await engine.execute(stuck(undo, did, timeout=60, compensate_timeout=0.02))
    undone = step_of(result, "b").compensation
    assert undone is not None
    assert str(undone.error).startswith("StepTimeoutError: ")
    assert str(undone.error).endswith("took longer than 0.02 s")


async def test_s14_a_compensator_that_fails_for_good_stops_the_rollback(
    engine: FluxEngine,
) -> None:
    """The instance rests as `rollback_failed`; what is left stays as it is."""
    did: list[str] = []
    result = await engine.execute(stuck(Flaky(None), did))
    assert result.status is ROLLBACK_FAILED
    assert did == ["a", "b", "c", "undo c"]


async def test_s14_it_needs_a_person(engine: FluxEngine) -> None:
    """It is not ended, nothing drives it any more, and `result` returns it."""
    undo = Flaky(1)
    await engine.execute(stuck(undo, []), id="o")
    assert (await engine.result("o", timeout=5)).status is ROLLBACK_FAILED
    assert (await engine.resume("o")).status is ROLLBACK_FAILED
    assert (await engine.get("o")).completed_at is None
    assert len(undo.attempts) == 1


async def test_s14_history_shows_what_is_not_undone(engine: FluxEngine) -> None:
    """Step c is undone, the undoing of b failed, and a was not begun."""
    undo = Flaky(None, RuntimeError("no answer"))
    order = stuck(undo, [], compensate_retries=Retry(1, initial=0))
    result = await engine.execute(order)
    a, b, c = (step_of(result, name) for name in "abc")
    assert (a.status, b.status, c.status) == ("completed", "completed", "compensated")
    assert (a.compensation, a.outcome, b.outcome) == (None, "completed", "completed")
    assert b.compensation is not None
    assert (b.compensation.status, b.compensation.attempts) == ("failed", 2)
    assert str(b.compensation.error) == "RuntimeError: no answer"


async def test_s14_a_refused_change_of_data_fails_it(engine: FluxEngine) -> None:
    """A compensator whose data cannot be kept has failed, without retries."""
    tries: list[int] = []

    async def undo(ctx: WorkflowContext) -> None:
        tries.append(ctx.attempt)
        ctx.data["undone"] = {1, 2}

    result = await engine.execute(stuck(undo, [], compensate_retries=3))
    assert (result.status, tries, result.data) == (ROLLBACK_FAILED, [1], {})


async def test_s14_retry_rollback_goes_on(engine: FluxEngine) -> None:
    """It tries the failed compensation again, and goes on with those that are left."""
    did: list[str] = []
    undo = Flaky(1)
    await engine.execute(stuck(undo, did), id="o")
    result = await engine.retry_rollback("o")
    assert (result.status, did) == (ROLLED_BACK, ["a", "b", "c", "undo c", "undo a"])
    assert len(set(undo.keys)) == 1
    assert undo.attempts == [1, 2]


async def test_s14_retry_rollback_gives_fresh_retries(engine: FluxEngine) -> None:
    """Each time it is called; failing again it rests again."""
    undo = Flaky(None)
    await engine.execute(stuck(undo, [], compensate_retries=Retry(1, initial=0)), id="o")
    for _ in range(2):
        assert (await engine.retry_rollback("o")).status is ROLLBACK_FAILED
    assert undo.attempts == [1, 2, 3, 4, 5, 6]


async def test_s14_another_process_can_retry_the_rollback(lives: Lives) -> None:
    """What failed is saved."""
    undo, did = Flaky(1), list[str]()
    order = stuck(undo, did)
    await (await lives.next(order)).execute(order, id="o")
    lives.die()
    result = await (await lives.next(order)).retry_rollback("o")
    assert (result.status, did[-1]) == (ROLLED_BACK, "undo a")


async def test_s14_skip_compensation_goes_on(engine: FluxEngine) -> None:
    """A person settles the failed one by hand; those that are left are undone."""
    did: list[str] = []
    undo = Flaky(None)
    await engine.execute(stuck(undo, did), id="o")
    result = await engine.skip_compensation("o", "b", reason="refunded by phone")
    assert (result.status, did[-1], len(undo.attempts)) == (ROLLED_BACK, "undo a", 1)


async def test_s14_the_reason_of_a_skip_is_kept(engine: FluxEngine) -> None:
    """History tells that the step was settled, why, and what had gone wrong."""
    await engine.execute(stuck(Flaky(None), []), id="o")
    await engine.skip_compensation("o", "b", reason="refunded by phone")
    b = step_of(await engine.get("o"), "b")
    assert b.compensation is not None
    assert (b.compensation.status, b.compensation.reason) == ("skipped", "refunded by phone")
    assert str(b.compensation.error) == "RuntimeError: flaky"
    assert b.status == "completed"


@pytest.mark.parametrize("reason", ["", "  ", None])
async def test_s14_a_skip_needs_a_reason(engine: FluxEngine, reason: Any) -> None:
    """Without one nothing changes."""
    await engine.execute(stuck(Flaky(None), []), id="o")
    with pytest.raises(ValueError, match="needs a reason"):
        await engine.skip_compensation("o", "b", reason=reason)
    assert (await engine.get("o")).status is ROLLBACK_FAILED


async def test_s14_only_the_failed_compensation_is_skipped(engine: FluxEngine) -> None:
    """Another step is refused by the name of the one that has failed, an unknown one as such."""
    await engine.execute(stuck(Flaky(None), []), id="o")
    with pytest.raises(InvalidTransitionError, match="compensation that failed is that of 'b'"):
        await engine.skip_compensation("o", "a", reason="by hand")
    with pytest.raises(UnknownStepError, match="its steps are: a, b, c, pay"):
        await engine.skip_compensation("o", "nowhere", reason="by hand")
    assert (await engine.get("o")).status is ROLLBACK_FAILED


async def test_s14_restart_is_refused(engine: FluxEngine) -> None:
    """First the rollback has to come to its end; the message says by which verbs."""
    await engine.execute(stuck(Flaky(None), []), id="o")
    with pytest.raises(InvalidTransitionError, match=r"retry_rollback\(\) or skip_compensation"):
        await engine.restart("o", "a")
    assert (await engine.get("o")).status is ROLLBACK_FAILED


@pytest.mark.parametrize("verb", ["retry_rollback", "skip_compensation"])
async def test_s14_both_verbs_need_a_failed_rollback(engine: FluxEngine, verb: str) -> None:
    """On an instance that has none they raise, and name what fits."""
    await engine.execute(sequence("a"), id="o")
    arguments: dict[str, Any] = {}
    if verb == "skip_compensation":
        arguments = {"step": "a", "reason": "by hand"}
    with pytest.raises(InvalidTransitionError, match=f"is completed, so it cannot {verb}; restart"):
        await getattr(engine, verb)("o", **arguments)


async def test_s14_several_can_fail_one_after_the_other(engine: FluxEngine) -> None:
    """After one was settled the next may fail as well."""
    order = Workflow("order")
    for name in "ab":
        order.step(name, noting(name, []), compensate=Flaky(None))
    await engine.execute(order.step("pay", fail), id="o")
    assert (await engine.skip_compensation("o", "b", reason="x")).status is ROLLBACK_FAILED
    assert (await engine.skip_compensation("o", "a", reason="x")).status is ROLLED_BACK
