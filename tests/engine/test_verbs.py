"""The engine's verbs: what they take, what they return, and that they only wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flux import (
    EngineClosedError,
    FluxEngine,
    InstanceNotFoundError,
    InvalidTransitionError,
    ResultTimeoutError,
    Retry,
    StepNotCompletedError,
    StorageError,
    UnknownStepError,
    UnknownWorkflowError,
    Workflow,
    WorkflowConflictError,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of, until
from saves import Saves

VERBS: dict[str, Callable[[FluxEngine], Coroutine[Any, Any, Any]]] = {
    "execute": lambda engine: engine.execute(sequence("pay"), id="order-1"),
    "start": lambda engine: engine.start(sequence("pay"), id="order-1"),
    "result": lambda engine: engine.result("order-1"),
    "resume": lambda engine: engine.resume("order-1"),
    "retry_step": lambda engine: engine.retry_step("order-1", "pay"),
    "restart": lambda engine: engine.restart("order-1", "pay"),
    "retry_rollback": lambda engine: engine.retry_rollback("order-1"),
    "skip_compensation": lambda engine: engine.skip_compensation("order-1", "pay", reason="x"),
    "get": lambda engine: engine.get("order-1"),
    "list": lambda engine: engine.list(),
    "count": lambda engine: engine.count(),
    "delete": lambda engine: engine.delete("order-1"),
}
OF_ONE = [verb for verb in VERBS if verb not in ("execute", "start", "list", "count")]


def waiting(go_on: asyncio.Event, ran: list[str]) -> Workflow:
    """An order whose first step waits for `go_on`."""
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> str:
        ran.append("begin")
        await go_on.wait()
        ran.append("end")
        return "paid"

    return order.step("ship", noting("ship", ran))


# Open and closed


@pytest.mark.parametrize("verb", VERBS)
async def test_verbs_need_an_open_engine(storage: WorkflowStorage, verb: str) -> None:
    """Each verb on an engine that is not open yet, or no more, says so and names itself."""
    engine = FluxEngine(storage)
    with pytest.raises(EngineClosedError, match=f"^{verb}: the engine is not open"):
        await VERBS[verb](engine)
    async with engine:
        await engine.execute(sequence("pay"), id="order-1")
    with pytest.raises(EngineClosedError) as caught:
        await VERBS[verb](engine)
    assert caught.value.verb == verb


async def test_an_engine_can_be_opened_again(storage: WorkflowStorage) -> None:
    """After it was closed, an engine opens again and finds what it had saved."""
    engine = FluxEngine(storage)
    for _ in range(2):
        async with engine:
            result = await engine.execute(sequence("pay"), id="order-1")
    assert result.status is WorkflowStatus.COMPLETED


async def test_opening_twice_is_opening_once(storage: WorkflowStorage) -> None:
    """`init` of an open engine and `close` of a closed one do nothing."""
    engine = FluxEngine(storage)
    await engine.init()
    await engine.init()
    await engine.execute(sequence("pay"))
    await engine.close()
    await engine.close()


@pytest.mark.parametrize("verb", OF_ONE)
async def test_verbs_know_no_unknown_instance(open_engine: OpenEngine, verb: str) -> None:
    """Each verb on an id that is not stored raises `InstanceNotFoundError`."""
    engine = await open_engine(workflows=[sequence("pay")])
    with pytest.raises(InstanceNotFoundError, match="there is no instance 'order-1'"):
        await VERBS[verb](engine)


# Which workflow


async def test_execute_takes_a_registered_name(open_engine: OpenEngine) -> None:
    """`execute` runs the workflow that the engine was made with, by its name."""
    engine = await open_engine(workflows=[sequence("pay")])
    result = await engine.execute("order")
    assert [entry.name for entry in result.history] == ["pay"]


async def test_execute_takes_a_definition(engine: FluxEngine) -> None:
    """`execute` runs a workflow that was built, or not yet."""
    assert (await engine.execute(sequence("pay").build())).status is WorkflowStatus.COMPLETED


async def test_execute_registers_what_it_is_given(engine: FluxEngine) -> None:
    """Once executed, a workflow is known by its name."""
    await engine.execute(sequence("pay"))
    assert (await engine.execute("order")).status is WorkflowStatus.COMPLETED


@pytest.mark.parametrize("verb", ["execute", "start"])
async def test_an_unknown_workflow_is_refused(open_engine: OpenEngine, verb: str) -> None:
    """A name that is not registered is refused, with those that are."""
    engine = await open_engine(workflows=[sequence("pay"), Workflow("bill").step("a", Flaky(0))])
    with pytest.raises(UnknownWorkflowError, match=r"'ordre' is registered \(there are: bill, ord"):
        await getattr(engine, verb)("ordre")
    assert await engine.count() == 0


async def test_an_instance_of_an_unknown_workflow_is_left_alone(open_engine: OpenEngine) -> None:
    """A verb that would drive an instance needs its workflow; looking at it does not."""
    engine, other = await open_engine(), await open_engine()
    done = await engine.execute(sequence("pay"), id="order-1")
    with pytest.raises(UnknownWorkflowError, match="no workflow 'order'"):
        await other.restart("order-1", "pay")
    assert await other.get("order-1") == done.state
    assert (await other.result("order-1")).state == done.state


async def test_two_workflows_of_one_version_conflict(engine: FluxEngine) -> None:
    """Another workflow under a name and version that are taken is refused."""
    await engine.execute(sequence("pay"))
    with pytest.raises(WorkflowConflictError, match=r"'order' of version '1'.*another version"):
        await engine.execute(sequence("pay", "ship"))


# Starting


async def test_start_returns_after_the_first_save(engine: FluxEngine) -> None:
    """`start` gives the state as saved, while the first step may still run."""
    go_on, ran = asyncio.Event(), list[str]()
    state = await engine.start(waiting(go_on, ran), {"sku": "A1"}, id="order-1")
    assert (state.id, state.status, state.current_step) == ("order-1", "running", "pay")
    assert (state.input, "end" in ran) == ({"sku": "A1"}, False)
    go_on.set()
    assert (await engine.result("order-1")).status is WorkflowStatus.COMPLETED


async def test_start_is_not_told_of_what_comes_later(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """When the save after the first one fails, `start` has succeeded all the same."""
    engine = await open_engine(Saves(storage, fail_before=2))
    state = await engine.start(sequence("pay"), id="order-1")
    assert state.id == "order-1"


@pytest.mark.parametrize("verb", ["execute", "start"])
async def test_a_first_save_that_fails_raises(
    storage: WorkflowStorage, open_engine: OpenEngine, verb: str
) -> None:
    """When nothing could be saved, the caller gets the storage's error, and nothing has run."""
    ran: list[str] = []
    engine = await open_engine(Saves(storage, fail_before=1))
    with pytest.raises(StorageError, match="the test lets this save fail"):
        await getattr(engine, verb)(sequence("pay", ran=ran), id="order-1")
    assert (ran, await engine.count()) == ([], 0)
    assert (await engine.execute(sequence("pay"), id="order-1")).status == "completed"


async def test_execute_tells_of_a_failed_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """When a later save fails, `execute` raises the storage's error: the instance is no failure."""
    engine = await open_engine(Saves(storage, fail_before=2))
    with pytest.raises(StorageError, match="the test lets this save fail"):
        await engine.execute(sequence("pay", "ship"), id="order-1")
    result = await engine.resume("order-1")
    assert (result.status, result.error) == (WorkflowStatus.COMPLETED, None)


# Only waiting


@pytest.mark.parametrize("verb", ["execute", "result", "resume"])
async def test_cancelling_who_waits_cancels_nothing(engine: FluxEngine, verb: str) -> None:
    """A task that awaits a verb is cancelled: the instance goes on as if nobody had waited."""
    go_on, ran = asyncio.Event(), list[str]()
    order = waiting(go_on, ran)
    if verb != "execute":
        await engine.start(order, id="order-1")
    waits = engine.execute(order, id="order-1") if verb == "execute" else VERBS[verb](engine)
    task = asyncio.ensure_future(waits)
    await until(lambda: ran)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    result = await engine.result("order-1", timeout=5)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["begin", "end", "ship"])


async def test_a_failure_is_returned(engine: FluxEngine) -> None:
    """A failed instance is a result; `str(error)` is type and message."""
    result = await engine.execute(Workflow("order").step("pay", Flaky(None, KeyError("sku"))))
    assert (result.status, str(result.error)) == (WorkflowStatus.FAILED, "KeyError: 'sku'")


async def test_a_result_shows_the_whole_instance(engine: FluxEngine) -> None:
    """A result has status, data, history and error, and the state with all that was saved."""
    order = Workflow("order").step("pay", lambda ctx: ctx.data.update(paid=True))
    result = await engine.execute(order, id="order-1")
    assert (result.id, result.status, result.error) == ("order-1", "completed", None)
    assert (result.data, [entry.name for entry in result.history]) == ({"paid": True}, ["pay"])
    assert result.state == await engine.get("order-1")


async def test_result_waits_for_the_end(engine: FluxEngine) -> None:
    """`result` returns when the instance has ended, and at once when it has already."""
    go_on, ran = asyncio.Event(), list[str]()
    await engine.start(waiting(go_on, ran), id="order-1")
    result = asyncio.create_task(engine.result("order-1"))
    await until(lambda: ran)
    assert not result.done()
    go_on.set()
    assert (await result).status is WorkflowStatus.COMPLETED
    assert (await engine.result("order-1", timeout=1)).state == (await result).state


async def test_result_times_out(engine: FluxEngine) -> None:
    """At its timeout `result` raises with id and status, and the instance goes on."""
    go_on, ran = asyncio.Event(), list[str]()
    await engine.start(waiting(go_on, ran), id="order-1")
    with pytest.raises(
        ResultTimeoutError, match=r"'order-1' is still running after 0\.01 s"
    ) as caught:
        await engine.result("order-1", timeout=0.01)
    assert (caught.value.id, caught.value.status) == ("order-1", "running")
    go_on.set()
    assert (await engine.result("order-1", timeout=5)).status is WorkflowStatus.COMPLETED
    assert ran == ["begin", "end", "ship"]


async def test_result_returns_when_a_person_is_needed(engine: FluxEngine) -> None:
    """`result` does not wait for an instance whose rollback has failed."""
    order = sequence("pay", compensate=Flaky(None)).step("ship", Flaky(None))
    await engine.start(order, id="order-1")
    result = await engine.result("order-1", timeout=5)
    assert result.status is WorkflowStatus.ROLLBACK_FAILED


async def test_result_of_another_engine_s_instance(open_engine: OpenEngine) -> None:
    """An engine that does not drive the instance, nor know its workflow, waits for it as well."""
    go_on, ran = asyncio.Event(), list[str]()
    driving, other = await open_engine(), await open_engine()
    await driving.start(waiting(go_on, ran), id="order-1")
    result = asyncio.create_task(other.result("order-1", timeout=5))
    await asyncio.sleep(0.02)
    assert not result.done()
    go_on.set()
    assert (await result).status is WorkflowStatus.COMPLETED
    assert step_of(await result, "pay").output == "paid"


async def test_resume_waits_for_another_engine(open_engine: OpenEngine) -> None:
    """`resume` of an instance that another engine drives waits, and runs nothing."""
    go_on, ran = asyncio.Event(), list[str]()
    order = waiting(go_on, ran)
    driving, other = await open_engine(), await open_engine(workflows=[order])
    await driving.start(order, id="order-1")
    resumed = asyncio.create_task(other.resume("order-1"))
    await asyncio.sleep(0.02)
    go_on.set()
    assert (await resumed).status is WorkflowStatus.COMPLETED
    assert ran == ["begin", "end", "ship"]


async def test_resume_of_what_is_over_gives_the_result(engine: FluxEngine) -> None:
    """There is nothing to resume in a completed instance: its result comes back, nothing runs."""
    ran: list[str] = []
    done = await engine.execute(sequence("pay", ran=ran), id="order-1")
    assert (await engine.resume("order-1")).state == done.state
    assert ran == ["pay"]


@pytest.mark.parametrize("verb", ["execute", "resume", "result"])
async def test_a_verb_on_its_own_instance_returns(engine: FluxEngine, verb: str) -> None:
    """A handler that would wait for its own instance does not wait for ever."""
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> str:
        waits = engine.execute(order, id=ctx.id) if verb == "execute" else VERBS[verb](engine)
        return str((await asyncio.wait_for(waits, 1)).status)

    result = await engine.execute(order, id="order-1")
    assert (str(result.error), result.status) == ("None", WorkflowStatus.COMPLETED)
    assert step_of(result, "pay").output == "running"


async def test_a_handler_may_run_another_instance(engine: FluxEngine) -> None:
    """A handler may execute another workflow and wait for it."""
    inner = Workflow("inner").step("a", lambda ctx: "from inside")
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> Any:
        return step_of(await engine.execute(inner, id=f"{ctx.id}-inner"), "a").output

    assert step_of(await engine.execute(order), "pay").output == "from inside"


# Wrong statuses


@pytest.mark.parametrize(
    ("verb", "status", "fits"),
    [
        ("retry_step", "completed", "restart"),
        ("retry_rollback", "completed", "restart"),
        ("skip_compensation", "completed", "restart"),
        ("restart", "running", "result"),
        ("retry_step", "running", "result"),
        ("delete", "running", "result"),
        ("restart", "rollback_failed", "retry_rollback"),
        ("resume", "rollback_failed", None),
        ("delete", "rollback_failed", None),
        ("retry_rollback", "failed", "resume"),
    ],
)
async def test_a_wrong_status_names_the_verb_that_fits(
    engine: FluxEngine, verb: str, status: str, fits: str | None
) -> None:
    """A verb that does not fit the status changes nothing and says what does fit."""
    go_on = asyncio.Event()
    orders = {
        "completed": sequence("pay"),
        "failed": Workflow("order").step("pay", Flaky(None)),
        "running": waiting(go_on, []),
        "rollback_failed": sequence("pay", compensate=Flaky(None)).step("ship", Flaky(None)),
    }
    await engine.start(orders[status], id="order-1")
    if status != "running":
        await engine.result("order-1")
    before = await engine.get("order-1")
    if verb == "resume":
        assert (await engine.resume("order-1")).status == status
    else:
        with pytest.raises(InvalidTransitionError, match=f"is {status}, so it cannot") as caught:
            await VERBS[verb](engine)
        assert caught.value.verb == verb
        assert (fits or "") in caught.value.fits
    assert await engine.get("order-1") == before
    go_on.set()


async def test_retry_step_needs_a_failed_step(engine: FluxEngine) -> None:
    """A step that the workflow lacks, or that has not failed, is not retried."""
    ran: list[str] = []
    await engine.execute(sequence("pack", ran=ran).step("pay", Flaky(None)), id="order-1")
    with pytest.raises(UnknownStepError, match="no step 'payy'; its steps are: pack, pay"):
        await engine.retry_step("order-1", "payy")
    with pytest.raises(StepNotCompletedError, match="it has not failed; failed: pay"):
        await engine.retry_step("order-1", "pack")
    assert (ran, (await engine.get("order-1")).status) == (["pack"], WorkflowStatus.FAILED)


async def test_restart_needs_a_step_of_the_workflow(engine: FluxEngine) -> None:
    """A restart from a step that the workflow lacks changes nothing."""
    await engine.execute(sequence("pack"), id="order-1")
    with pytest.raises(UnknownStepError, match="no step 'pakc'"):
        await engine.restart("order-1", "pakc")
    assert (await engine.get("order-1")).run == 1


@pytest.mark.parametrize("verb", ["restart", "retry_step"])
async def test_a_refused_verb_leaves_the_instance_free(engine: FluxEngine, verb: str) -> None:
    """After a refusal the next verb that fits finds the instance free at once."""
    await engine.execute(sequence("pack").step("pay", Flaky(1)), id="order-1")
    with pytest.raises(UnknownStepError):
        await getattr(engine, verb)("order-1", "unknown")
    result = await asyncio.wait_for(engine.resume("order-1"), 30)
    assert result.status is WorkflowStatus.COMPLETED


# Looking and deleting


async def test_list_gives_heads_newest_first(open_engine: OpenEngine) -> None:
    """`list` gives heads by age, the newest first, and goes on after the last one seen."""
    clock = ManualClock()
    engine = await open_engine(clock=clock)
    for number in range(5):
        await engine.execute(sequence("pay"), id=f"order-{number}")
        clock.advance(1)
    first = await engine.list(WorkflowFilter(limit=2))
    rest = await engine.list(WorkflowFilter(after=first[-1].id))
    ids = [summary.id for summary in (*first, *rest)]
    assert ids == ["order-4", "order-3", "order-2", "order-1", "order-0"]
    assert await engine.count(WorkflowFilter(limit=2)) == 5


async def test_list_filters(engine: FluxEngine) -> None:
    """`list` and `count` look for name and status."""
    await engine.execute(sequence("pay"), id="good")
    await engine.execute(Workflow("other").step("pay", Flaky(None)), id="bad")
    for asked, expected in [
        (WorkflowFilter("order"), ["good"]),
        (WorkflowFilter(status="failed"), ["bad"]),
        (WorkflowFilter(status=[WorkflowStatus.COMPLETED, WorkflowStatus.FAILED]), ["bad", "good"]),
        (WorkflowFilter("order", status="failed"), []),
    ]:
        assert sorted(summary.id for summary in await engine.list(asked)) == expected
        assert await engine.count(asked) == len(expected)


async def test_delete_removes_an_ended_instance(engine: FluxEngine) -> None:
    """A deleted instance is gone, and its id is free again."""
    ran: list[str] = []
    order = sequence("pay", ran=ran)
    await engine.execute(order, id="order-1")
    await engine.delete("order-1")
    with pytest.raises(InstanceNotFoundError):
        await engine.get("order-1")
    assert await engine.count() == 0
    await engine.execute(order, {"other": 1}, id="order-1")
    assert ran == ["pay", "pay"]


# What a handler sees


async def test_a_handler_sees_its_instance(engine: FluxEngine) -> None:
    """`ctx` offers what the original offers, and the step, the attempt, the key and the time."""
    order, seen = sequence("pack"), []

    @order.step(retries=Retry(1, initial=0))
    async def look(ctx: WorkflowContext) -> None:
        seen.append((ctx.id, ctx.name, ctx.input, ctx.status, ctx.current_step, ctx.step))
        assert ctx.now().tzinfo is not None
        assert [entry.name for entry in ctx.history if entry.status == "completed"] == ["pack"]

    await engine.execute(order, {"sku": "A1"}, id="order-1")
    assert seen == [("order-1", "order", {"sku": "A1"}, "running", "look", "look")]


async def test_output_of_a_step_without_a_result(engine: FluxEngine) -> None:
    """`ctx.output` is None for a skipped step, and an error for an unknown or unfinished one."""
    order = sequence("skipped", when=lambda ctx: False)

    def look(ctx: WorkflowContext) -> None:
        assert ctx.output("skipped") is None
        with pytest.raises(UnknownStepError, match="no step 'skiped'"):
            ctx.output("skiped")
        with pytest.raises(StepNotCompletedError, match="'later' has no result"):
            ctx.output("later")

    order.step("look", look).step("later", noting("later", []))
    result = await engine.execute(order)
    assert (str(result.error), result.status) == ("None", WorkflowStatus.COMPLETED)
