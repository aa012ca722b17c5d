"""S9: a timeout is one attempt's; what does not end in time is cancelled, told, or left behind."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flux import (
    CompensationContext,
    FluxEngine,
    Outcome,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
)
from opening import OpenEngine
from sagas import heedless, noting, sequence, step_of, until

SHORT = 0.03
ONCE_MORE = Retry(1, initial=0)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What blocking handlers wait for; set when the test ends, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def hang(ctx: WorkflowContext) -> None:
    await asyncio.sleep(60)


async def stubborn(ctx: WorkflowContext) -> None:
    """Ignores its cancellation for a while."""
    await heedless(1)


def until_cancelled(ctx: WorkflowContext) -> str:
    """Blocks until it is told to end."""
    while not ctx.cancelled():
        time.sleep(0.002)
    ctx.data["late"] = True
    return "late"


# Async handlers


async def test_s09_an_async_handler_is_cancelled(engine: FluxEngine) -> None:
    """A handler that takes too long gets a CancelledError, and its step fails with the limit."""
    seen: list[str] = []

    async def slow(ctx: WorkflowContext) -> None:
        try:
            await hang(ctx)
        except asyncio.CancelledError:
            seen.append(f"cancelled {ctx.cancelled()}")
            raise

    result = await engine.execute(Workflow("order").step("slow", slow, timeout=SHORT))
    assert (result.status, seen) == (WorkflowStatus.FAILED, ["cancelled True"])
    assert str(result.error) == "StepTimeoutError: step 'slow' took longer than 0.03 s"


async def test_s09_a_timeout_leaves_the_outcome_unknown(engine: FluxEngine) -> None:
    """Whether a step that was cut off has acted is unknown, and its history says how it ended."""
    result = await engine.execute(Workflow("order").step("slow", hang, timeout=SHORT))
    entry = step_of(result, "slow")
    assert entry.outcome is Outcome.UNKNOWN
    assert [attempt.ended for attempt in entry.attempts] == ["timed_out"]


async def test_s09_a_result_in_time_counts(engine: FluxEngine) -> None:
    """A handler that ends within its timeout completes."""
    result = await engine.execute(sequence("pay", timeout=5))
    assert result.status is WorkflowStatus.COMPLETED


async def test_s09_a_result_after_the_cancellation_is_dropped(engine: FluxEngine) -> None:
    """A handler that catches its cancellation and returns has timed out all the same."""

    async def late(ctx: WorkflowContext) -> str:
        try:
            await hang(ctx)
        except asyncio.CancelledError:
            ctx.data["late"] = True
        return "late"

    result = await engine.execute(Workflow("order").step("late", late, timeout=SHORT))
    assert (result.status, result.data) == (WorkflowStatus.FAILED, {})
    assert step_of(result, "late").output is None


async def test_s09_a_timeout_is_one_attempt_s(engine: FluxEngine) -> None:
    """Each attempt has the whole timeout; retries cover timeouts."""
    attempts: list[int] = []

    async def slow_at_first(ctx: WorkflowContext) -> None:
        attempts.append(ctx.attempt)
        await asyncio.sleep(60 if ctx.attempt < 3 else 0)

    order = Workflow("order").step(
        "slow", slow_at_first, timeout=SHORT, retries=Retry(2, initial=0)
    )
    result = await engine.execute(order)
    assert (result.status, attempts) == (WorkflowStatus.COMPLETED, [1, 2, 3])


async def test_s09_a_timeout_error_of_its_own_is_no_timeout(engine: FluxEngine) -> None:
    """A handler that raises a TimeoutError in time has failed: its outcome is known."""

    async def impatient(ctx: WorkflowContext) -> None:
        async with asyncio.timeout(0.001):
            await hang(ctx)

    result = await engine.execute(Workflow("order").step("pay", impatient, timeout=5))
    entry = step_of(result, "pay")
    assert (entry.outcome, [attempt.ended for attempt in entry.attempts]) == (None, ["failed"])


async def test_s09_the_engine_has_a_default(open_engine: OpenEngine) -> None:
    """`FluxConfig(default_timeout=...)` is for handlers and compensators that declare none."""
    engine = await open_engine(default_timeout=SHORT)
    order = sequence("pack", compensate=hang).step("slow", hang)
    result = await engine.execute(order)
    assert result.status is WorkflowStatus.ROLLBACK_FAILED
    undone = step_of(result, "pack").compensation
    assert undone is not None
    assert (str(undone.error), str(result.error)) == (
        "StepTimeoutError: step 'pack' took longer than 0.03 s",
        "StepTimeoutError: step 'slow' took longer than 0.03 s",
    )


async def test_s09_a_compensator_has_its_own_timeout(engine: FluxEngine) -> None:
    """`compensate_timeout` bounds each attempt to undo; the step's timeout does not."""
    attempts: list[int] = []

    async def undo(ctx: CompensationContext) -> None:
        attempts.append(ctx.attempt)
        await asyncio.sleep(60 if ctx.attempt == 1 else 2 * SHORT)

    order = sequence(
        "pay",
        timeout=SHORT,
        compensate=undo,
        compensate_timeout=10 * SHORT,
        compensate_retries=ONCE_MORE,
    )
    result = await engine.execute(order.step("slow", hang, timeout=SHORT))
    assert (result.status, attempts) == (WorkflowStatus.ROLLED_BACK, [1, 2])


async def test_s09_a_stubborn_handler_is_left_behind(
    open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An async handler that ignores its cancellation is abandoned after the grace, and logged."""
    engine = await open_engine(grace=SHORT)
    with caplog.at_level(logging.WARNING, "flux"):
        result = await engine.execute(Workflow("order").step("slow", stubborn, timeout=SHORT))
    assert result.status is WorkflowStatus.FAILED
    assert result.duration < 0.8
    assert "task.abandoned" in caplog.messages


# Plain handlers


async def test_s09_a_sync_handler_is_told(engine: FluxEngine) -> None:
    """A plain handler sees `ctx.cancelled()` once its time is over."""
    order = Workflow("order").step("slow", until_cancelled, timeout=SHORT)
    result = await engine.execute(order)
    assert str(result.error) == "StepTimeoutError: step 'slow' took longer than 0.03 s"
    assert step_of(result, "slow").outcome == "unknown"


async def test_s09_a_late_result_is_dropped(engine: FluxEngine) -> None:
    """What a plain handler returns or changes after its timeout counts for nothing."""
    order = Workflow("order").step("slow", until_cancelled, timeout=SHORT)
    result = await engine.execute(order)
    assert (step_of(result, "slow").output, result.data) == (None, {})


async def test_s09_a_handler_in_time_is_not_told(engine: FluxEngine) -> None:
    """`ctx.cancelled()` is False as long as the result counts."""
    order = Workflow("order").step("look", lambda ctx: ctx.cancelled(), timeout=5)
    assert step_of(await engine.execute(order), "look").output is False


async def test_s09_a_retry_waits_for_the_thread(open_engine: OpenEngine) -> None:
    """The next attempt begins when the one before has ended, if it ends within the grace."""
    engine, told = await open_engine(grace=5), list[str]()

    def slow(ctx: WorkflowContext) -> None:
        told.append(f"begin {ctx.attempt}")
        if ctx.attempt == 1:
            until_cancelled(ctx)
            time.sleep(SHORT)
        told.append(f"end {ctx.attempt}")

    order = Workflow("order").step("slow", slow, timeout=SHORT, retries=ONCE_MORE)
    assert (await engine.execute(order)).status is WorkflowStatus.COMPLETED
    assert told == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_s09_a_compensation_waits_for_the_thread(open_engine: OpenEngine) -> None:
    """A step is undone when its handler has ended, if it ends within the grace."""
    engine, told = await open_engine(grace=5), list[str]()

    def slow(ctx: WorkflowContext) -> None:
        until_cancelled(ctx)
        time.sleep(SHORT)
        told.append("end")

    order = Workflow("order").step("slow", slow, timeout=SHORT, compensate=noting("undo", told))
    assert (await engine.execute(order)).status is WorkflowStatus.ROLLED_BACK
    assert told == ["end", "undo"]


async def test_s09_after_the_grace_both_may_overlap(
    open_engine: OpenEngine, go_on: threading.Event
) -> None:
    """A handler that does not end is not waited for longer than the grace."""
    engine, told = await open_engine(grace=SHORT), list[str]()

    def slow(ctx: WorkflowContext) -> None:
        told.append(f"begin {ctx.attempt}")
        if ctx.attempt == 1:
            go_on.wait(5)
        told.append(f"end {ctx.attempt}")

    order = Workflow("order").step("slow", slow, timeout=SHORT, retries=ONCE_MORE)
    assert (await engine.execute(order)).status is WorkflowStatus.COMPLETED
    assert told == ["begin 1", "begin 2", "end 2"]


async def test_s09_a_late_end_changes_nothing(
    open_engine: OpenEngine, go_on: threading.Event
) -> None:
    """An abandoned handler that ends after the instance did leaves it as it was."""
    engine, ended = await open_engine(grace=0), threading.Event()

    def slow(ctx: WorkflowContext) -> str:
        go_on.wait(5)
        ctx.data["late"] = True
        ended.set()
        return "late"

    order = Workflow("order").step("slow", slow, timeout=SHORT)
    result = await engine.execute(order, id="order-1")
    go_on.set()
    await until(ended.is_set)
    assert await engine.get("order-1") == result.state
    assert result.data == {}


# Threads


async def test_s09_threads_are_the_engine_s_own(engine: FluxEngine) -> None:
    """A plain handler runs in a daemonic thread, which keeps no process from ending."""

    def look(ctx: WorkflowContext) -> list[Any]:
        thread = threading.current_thread()
        return [thread.daemon, thread is threading.main_thread(), thread.name]

    result = await engine.execute(Workflow("order").step("look", look))
    assert step_of(result, "look").output == [True, False, "flux-handler"]


async def test_s09_threads_are_bounded(open_engine: OpenEngine) -> None:
    """At most `max_threads` plain handlers run at once; the others wait for their turn."""
    engine, lock = await open_engine(max_threads=2), threading.Lock()
    running, most = [0], [0]

    def work(ctx: WorkflowContext) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1

    order = Workflow("order").step("work", work)
    results = await asyncio.gather(*(engine.execute(order) for _ in range(8)))
    assert {result.status for result in results} == {WorkflowStatus.COMPLETED}
    assert most == [2]


async def test_s09_the_timeout_starts_with_the_thread(open_engine: OpenEngine) -> None:
    """The time that a handler waits for a thread does not count."""
    engine = await open_engine(max_threads=1)
    order = Workflow("order").step("work", lambda ctx: time.sleep(0.1), timeout=0.35)
    results = await asyncio.gather(*(engine.execute(order) for _ in range(4)))
    assert {result.status for result in results} == {WorkflowStatus.COMPLETED}


async def test_s09_an_abandoned_thread_is_replaced(
    open_engine: OpenEngine, go_on: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that never ends costs no other its thread, and is logged with its step."""
    engine = await open_engine(max_threads=1, grace=0)
    with caplog.at_level(logging.WARNING, "flux"):
        await engine.execute(
            Workflow("stuck").step("slow", lambda ctx: go_on.wait(5), timeout=SHORT)
        )
    result = await engine.execute(Workflow("order").step("work", lambda ctx: "done", timeout=5))
    assert result.status is WorkflowStatus.COMPLETED
    logged = [vars(record) for record in caplog.records if record.msg == "thread.abandoned"]
    assert [(entry["handler"], entry["replaced"]) for entry in logged] == [("step 'slow'", True)]


async def test_s09_replacements_are_bounded(
    open_engine: OpenEngine, go_on: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """At most `max_threads` threads are replaced: handlers that hang cannot take a whole host."""
    engine = await open_engine(max_threads=1, grace=0)
    before = threading.active_count()
    with caplog.at_level(logging.WARNING, "flux"):
        stuck = Workflow("stuck").step("slow", lambda ctx: go_on.wait(5), timeout=SHORT)
        await engine.execute(stuck)
        await engine.execute(stuck)
    waiting = asyncio.create_task(
        engine.execute(Workflow("order").step("work", lambda ctx: "done"))
    )
    await asyncio.sleep(SHORT)
    assert not waiting.done()
    assert threading.active_count() - before <= 2
    replaced = [vars(r)["replaced"] for r in caplog.records if r.msg == "thread.abandoned"]
    assert replaced == [True, False]
    go_on.set()
    assert (await waiting).status is WorkflowStatus.COMPLETED


async def test_s09_other_instances_keep_moving(
    open_engine: OpenEngine, go_on: threading.Event
) -> None:
    """While a plain handler blocks its thread, other instances run to their end."""
    engine, begun = await open_engine(), threading.Event()

    def block(ctx: WorkflowContext) -> None:
        begun.set()
        go_on.wait(5)

    await engine.start(Workflow("slow").step("block", block), id="slow-1")
    await until(begun.is_set)
    order = sequence("a", "b").step("c", lambda ctx: "done")
    assert (await engine.execute(order)).status is WorkflowStatus.COMPLETED
    assert (await engine.get("slow-1")).status is WorkflowStatus.RUNNING
    go_on.set()
    assert (await engine.result("slow-1")).status is WorkflowStatus.COMPLETED


async def test_s09_a_stuck_instance_keeps_none_from_moving(open_engine: OpenEngine) -> None:
    """While an async handler ignores its cancellation, its own instance goes on as well."""
    engine = await open_engine(grace=SHORT)
    order = Workflow("order").step("slow", stubborn, timeout=SHORT, compensate=noting("", []))
    began = time.monotonic()
    other = Workflow("other").step("a", noting("a", [])).step("b", noting("b", []))
    results = await asyncio.gather(engine.execute(order), engine.execute(other))
    assert [result.status for result in results] == ["rolled_back", "completed"]
    assert time.monotonic() - began < 0.8


async def test_s09_a_handler_that_awaits_in_a_thread_is_bounded(engine: FluxEngine) -> None:
    """A plain function that returns a coroutine is awaited, under the same timeout."""
    order = Workflow("order").step("slow", lambda ctx: hang(ctx), timeout=SHORT)
    result = await engine.execute(order)
    assert (result.status, step_of(result, "slow").outcome) == ("failed", "unknown")
