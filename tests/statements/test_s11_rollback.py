"""S11: when a step fails for good, what was done is undone, in reverse."""

import asyncio
from typing import Any

import pytest

from flux import (
    FluxEngine,
    OutcomeUnknownError,
    Retry,
    StepStatus,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of
from undoing import Lives, fail, rested, undoable

ROLLED_BACK = WorkflowStatus.ROLLED_BACK
AT_ONCE = Retry(1, initial=0)


async def test_s11_compensators_run_in_reverse(engine: FluxEngine) -> None:
    """The last step that completed is undone first."""
    did: list[str] = []
    result = await engine.execute(undoable("a", "b", "c", did=did).step("pay", fail))
    assert did == ["a", "b", "c", "undo c", "undo b", "undo a"]
    assert result.status is ROLLED_BACK


async def test_s11_reverse_is_by_completion(engine: FluxEngine) -> None:
    """Not the order of declaration counts, but that in which the steps completed."""
    did: list[str] = []
    order = Workflow("order")
    for name, after in {"a": ["c"], "b": ["a"], "c": []}.items():
        undo = noting(f"undo {name}", did)
        order.step(name, noting(name, did), compensate=undo, after=after)
    await engine.execute(order.step("pay", fail, after="b"))
    assert did == ["c", "a", "b", "undo b", "undo a", "undo c"]


async def test_s11_replaced_and_replayed_steps_keep_their_turn(engine: FluxEngine) -> None:
    """After a restart, each completion is undone by when it really happened."""
    did: list[str] = []
    keys: list[str] = []

    async def undo(ctx: Any) -> None:
        keys.append(ctx.step_key)

    order = Workflow("order")
    for name in "abc":
        order.step(name, noting(name, did), commit=name == "b", compensate=undo)
    pay = Flaky(None)
    result = await engine.execute(order.step("pay", pay, when=lambda ctx: len(did) > 3), id="o")
    assert result.status is WorkflowStatus.COMPLETED
    await engine.restart("o", "a")
    assert did == ["a", "b", "c", "a", "c"]
    assert keys == ["o:c:2", "o:a:2", "o:c:1", "o:b:1", "o:a:1"]


async def test_s11_compensators_run_one_by_one(engine: FluxEngine) -> None:
    """One begins when the one before has ended."""
    did: list[str] = []

    def slow(name: str) -> Any:
        async def undo(ctx: WorkflowContext) -> None:
            did.append(f"begin {name}")
            await asyncio.sleep(0.01)
            did.append(f"end {name}")

        return undo

    order = Workflow("order")
    for name in "ab":
        order.step(name, noting(name, []), compensate=slow(name))
    await engine.execute(order.step("pay", fail))
    assert did == ["begin b", "end b", "begin a", "end a"]


async def test_s11_skipped_steps_are_not_compensated(engine: FluxEngine) -> None:
    """A step whose predicate said no has nothing to undo."""
    did: list[str] = []
    order = undoable("a", did=did)
    order.step("b", noting("b", did), compensate=noting("undo b", did), when=lambda ctx: False)
    result = await engine.execute(order.step("pay", fail))
    assert did == ["a", "undo a"]
    assert step_of(result, "b").status is StepStatus.SKIPPED


async def test_s11_steps_that_never_ran_are_not_compensated(engine: FluxEngine) -> None:
    """What comes after the failure was not reached."""
    did: list[str] = []
    order = undoable("a", did=did).step("pay", fail)
    order.step("b", noting("b", did), compensate=noting("undo b", did))
    await engine.execute(order)
    assert did == ["a", "undo a"]


async def test_s11_steps_without_compensator_are_passed_over(engine: FluxEngine) -> None:
    """They stay done; the others are undone."""
    did: list[str] = []
    order = undoable("a", did=did).step("b", noting("b", did)).step("pay", fail)
    result = await engine.execute(order)
    assert did == ["a", "b", "undo a"]
    assert (step_of(result, "b").status, result.status) == (StepStatus.COMPLETED, ROLLED_BACK)


async def test_s11_nothing_is_undone_before_the_last_attempt(engine: FluxEngine) -> None:
    """A failed attempt that is retried is no failure for good."""
    did: list[str] = []
    order = undoable("a", did=did).step("pay", Flaky(2), retries=Retry(2, initial=0))
    result = await engine.execute(order)
    assert (result.status, did) == (WorkflowStatus.COMPLETED, ["a"])


def paying(pay: Any, did: list[str], **options: Any) -> Workflow:
    """A step "a" and a step "pay", both with compensators."""
    order = undoable("a", did=did)
    return order.step("pay", pay, compensate=noting("undo pay", did), **options)


async def test_s11_a_step_that_raised_has_not_happened(engine: FluxEngine) -> None:
    """All its attempts raised: it is not compensated, its outcome is none."""
    did: list[str] = []
    result = await engine.execute(paying(Flaky(None), did, retries=Retry(2, initial=0)))
    assert did == ["a", "undo a"]
    pay = step_of(result, "pay")
    assert (pay.status, pay.outcome, pay.compensation) == (StepStatus.FAILED, None, None)


@pytest.mark.parametrize("where", ["output", "data"])
async def test_s11_a_refused_result_is_unknown(engine: FluxEngine, where: str) -> None:
    """A handler that returned has acted, also when what it left cannot be kept."""
    did: list[str] = []

    async def pay(ctx: WorkflowContext) -> Any:
        if where == "data":
            ctx.data["paid"] = {1, 2}
        return None if where == "data" else {1, 2}

    result = await engine.execute(paying(pay, did, retries=5))
    assert did == ["a", "undo pay", "undo a"]
    assert step_of(result, "pay").outcome == "unknown"


async def test_s11_a_predicate_that_raised_has_not_acted(engine: FluxEngine) -> None:
    """The step whose predicate raised is not compensated."""
    did: list[str] = []

    def when(ctx: WorkflowContext) -> bool:
        raise RuntimeError("no idea")

    await engine.execute(paying(noting("pay", did), did, when=when))
    assert did == ["a", "undo a"]


async def forever(ctx: WorkflowContext) -> None:
    """A handler that ends only when it is cancelled."""
    await asyncio.Event().wait()


async def test_s11_a_step_that_timed_out_is_unknown(engine: FluxEngine) -> None:
    """It may have acted: it is compensated too, and first."""
    did: list[str] = []
    result = await engine.execute(paying(forever, did, timeout=0.01))
    assert did == ["a", "undo pay", "undo a"]
    assert step_of(result, "pay").outcome == "unknown"


async def test_s11_one_timed_out_attempt_is_enough(engine: FluxEngine) -> None:
    """That later attempts raised does not make it known."""
    did: list[str] = []

    async def pay(ctx: WorkflowContext) -> None:
        await (forever(ctx) if ctx.attempt == 1 else fail(ctx))

    result = await engine.execute(paying(pay, did, timeout=0.01, retries=Retry(2, initial=0)))
    assert did == ["a", "undo pay", "undo a"]
    assert step_of(result, "pay").outcome == "unknown"


async def test_s11_a_completed_step_is_known(engine: FluxEngine) -> None:
    """A step that completed after a timed-out attempt is undone in its turn, as completed."""
    did: list[str] = []

    async def pay(ctx: WorkflowContext) -> None:
        if ctx.attempt == 1:
            await forever(ctx)

    order = paying(pay, did, timeout=0.01, retries=AT_ONCE)
    order.step("b", noting("b", did), compensate=noting("undo b", did)).step("last", fail)
    result = await engine.execute(order)
    assert did == ["a", "b", "undo b", "undo pay", "undo a"]
    assert step_of(result, "pay").outcome == "completed"


async def test_s11_a_cancelled_step_is_unknown(engine: FluxEngine) -> None:
    """A handler that was cancelled from within may have acted."""
    did: list[str] = []

    async def pay(ctx: WorkflowContext) -> None:
        raise asyncio.CancelledError

    result = await engine.execute(paying(pay, did))
    assert did == ["a", "undo pay", "undo a"]
    assert (step_of(result, "pay").outcome, result.status) == ("unknown", ROLLED_BACK)


async def test_s11_an_interrupted_step_is_unknown(lives: Lives) -> None:
    """A process died in it, and later attempts raised: it is compensated too."""
    did: list[str] = []
    order = paying(lives.dying(1, fail), did)
    await lives.start(order, id="order-1")
    result = await rested(await lives.next(order), "order-1")
    assert did == ["a", "undo pay", "undo a"]
    assert (step_of(result, "pay").outcome, result.status) == ("unknown", ROLLED_BACK)


async def test_s11_a_handler_says_that_it_does_not_know(engine: FluxEngine) -> None:
    """By raising `OutcomeUnknownError`."""
    did: list[str] = []
    result = await engine.execute(paying(Flaky(None, OutcomeUnknownError("no answer")), did))
    assert did == ["a", "undo pay", "undo a"]
    assert step_of(result, "pay").outcome == "unknown"


@pytest.mark.parametrize(
    ("error", "unknown"),
    [(ConnectionResetError(), True), (TimeoutError(), True), (ValueError(), False)],
)
async def test_s11_unknown_on_reads_errors_that_way(
    engine: FluxEngine, error: Exception, unknown: bool
) -> None:
    """Errors of the types in `unknown_on`, subclasses included, leave the outcome unknown."""
    did: list[str] = []
    order = paying(Flaky(None, error), did, unknown_on=(ConnectionError, TimeoutError))
    await engine.execute(order)
    assert ("undo pay" in did) is unknown


async def test_s11_an_own_timeout_error_is_an_error(engine: FluxEngine) -> None:
    """A `TimeoutError` that the handler raised is no timeout of the attempt."""
    did: list[str] = []
    await engine.execute(paying(Flaky(None, TimeoutError()), did, timeout=5))
    assert did == ["a", "undo a"]


async def parked_in_c(lives: Lives, order: Workflow) -> FluxEngine:
    """An engine that has parked "o", whose step "c" was interrupted twice."""
    await lives.start(order, id="o")
    await lives.next(order, max_recoveries=1)
    await lives.died()
    engine = await lives.next(order, max_recoveries=1)
    assert (await rested(engine, "o")).status is WorkflowStatus.PARKED
    return engine


async def test_s11_unknown_steps_are_undone_first(lives: Lives) -> None:
    """Before what completed, also before what completed after them."""
    did: list[str] = []
    order = undoable("a", "b", did=did)
    order.step("c", lives.dying(2, fail), compensate=noting("undo c", did))
    engine = await parked_in_c(lives, order)
    did.clear()
    result = await engine.restart("o", "a")
    assert did == ["a", "b", "undo c", "undo b", "undo a", "undo b", "undo a"]
    assert result.status is ROLLED_BACK


async def test_s11_of_unknown_steps_the_latest_is_undone_first(lives: Lives) -> None:
    """Of several, the one that was started last comes first."""
    did: list[str] = []
    lost = False

    async def b(ctx: WorkflowContext) -> None:
        if lost:
            raise OutcomeUnknownError("no answer")

    order = undoable("a", did=did).step("b", b, compensate=noting("undo b", did))
    order.step("c", lives.dying(2, fail), compensate=noting("undo c", did))
    engine = await parked_in_c(lives, order)
    lost = True
    await engine.restart("o", "b")
    assert did == ["a", "undo b", "undo c", "undo b", "undo a"]


async def test_s11_a_late_completion_is_undone_by_when_it_completed(lives: Lives) -> None:
    """A step begun before a restart, and completed after it, is undone before the others."""
    did: list[str] = []
    order = undoable("a", "b", did=did)
    order.step("c", lives.dying(2, noting("c", did)), compensate=noting("undo c", did))
    engine = await parked_in_c(lives, order.step("pay", fail))
    did.clear()
    await engine.restart("o", "a")
    assert did == ["a", "b", "c", "undo c", "undo b", "undo a", "undo b", "undo a"]


async def test_s11_a_compensator_knows_what_it_undoes(engine: FluxEngine) -> None:
    """It sees the step's output, key and outcome, why it is undone, and a key of its own."""
    seen: dict[str, Any] = {}

    async def a(ctx: WorkflowContext) -> str:
        seen["ran with"] = ctx.idempotency_key
        return "booked"

    async def undo(ctx: Any) -> None:
        seen.update(output=ctx.output("a"), outcome=ctx.outcome, failure=str(ctx.failure))
        seen.update(step_key=ctx.step_key, own=ctx.idempotency_key, step=ctx.step)

    order = Workflow("order").step("a", a, compensate=undo).step("pay", fail)
    await engine.execute(order)
    assert (seen["output"], seen["outcome"], seen["step"]) == ("booked", "completed", "a")
    assert seen["failure"] == "RuntimeError: declined"
    assert seen["step_key"] == seen["ran with"] != seen["own"]


async def test_s11_the_data_of_an_unknown_step_is_missing(engine: FluxEngine) -> None:
    """Its output is None and its changes of data are not there: it is undone by key."""
    seen: dict[str, Any] = {}

    async def pay(ctx: WorkflowContext) -> None:
        seen["ran with"] = ctx.idempotency_key
        ctx.data["paid"] = True
        raise OutcomeUnknownError("no answer")

    async def undo(ctx: Any) -> None:
        seen.update(output=ctx.output("pay"), data=dict(ctx.data), key=ctx.step_key)
        seen.update(outcome=ctx.outcome)

    await engine.execute(Workflow("order").step("pay", pay, compensate=undo))
    assert (seen["output"], seen["data"], seen["outcome"]) == (None, {}, "unknown")
    assert seen["key"] == seen["ran with"]


async def test_s11_a_compensator_sees_and_changes_data_as_it_is(engine: FluxEngine) -> None:
    """It sees what later steps and other compensators left; its changes are recorded."""
    seen: list[Any] = []

    def setting(key: str) -> Any:
        async def step(ctx: WorkflowContext) -> None:
            ctx.data[key] = 1

        return step

    async def undo(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))
        ctx.data[f"undone {ctx.step}"] = True
        del ctx.data[ctx.step]

    order = Workflow("order")
    for name in "ab":
        order.step(name, setting(name), compensate=undo)
    result = await engine.execute(order.step("pay", fail))
    assert seen == [{"a": 1, "b": 1}, {"a": 1, "undone b": True}]
    assert result.data == {"undone a": True, "undone b": True}


async def test_s11_a_failed_compensation_attempt_leaves_no_trace(engine: FluxEngine) -> None:
    """Its changes of data are dropped, as those of a step are."""

    async def undo(ctx: WorkflowContext) -> None:
        ctx.data.setdefault("tries", []).append(ctx.attempt)
        if ctx.attempt == 1:
            raise RuntimeError("not yet")

    order = sequence().step("a", noting("a", []), compensate=undo, compensate_retries=AT_ONCE)
    result = await engine.execute(order.step("pay", fail))
    assert result.data == {"tries": [2]}


async def test_s11_a_plain_compensator_runs_in_a_thread(open_engine: OpenEngine) -> None:
    """Compensators may be plain functions, as handlers may."""
    did: list[str] = []

    def undo(ctx: WorkflowContext) -> None:
        did.append(f"undo {ctx.step}")

    order = sequence("a").step("b", noting("b", did), compensate=undo).step("pay", fail)
    await (await open_engine(clock=ManualClock())).execute(order)
    assert did == ["b", "undo b"]


async def test_s11_an_exit_is_an_error(engine: FluxEngine) -> None:
    """A `SystemExit` in a handler fails its step; it does not end the process."""
    did: list[str] = []

    async def leave(ctx: WorkflowContext) -> None:
        raise SystemExit(3)

    result = await engine.execute(paying(leave, did, timeout=5))
    assert (did, result.status) == (["a", "undo a"], ROLLED_BACK)
