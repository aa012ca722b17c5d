"""S8: a failed attempt is followed by others, after a back-off, as the step's policy says."""

import asyncio
from datetime import timedelta

import pytest

from dying import Crash
from flux import (
    FluxEngine,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, as_time_passes, passing, sequence, step_of, until
from saves import DiedError, Saves


def steady(retries: int, **options: object) -> Retry:
    """A policy without jitter."""
    return Retry(retries, jitter=False, **options)  # type: ignore[arg-type]


async def tried(open_engine: OpenEngine, retries: int | Retry | None, failures: int) -> Flaky:
    """A step with this policy that failed so many times, on a clock on which back-offs jump."""
    pay = Flaky(failures)
    engine = await open_engine(clock=JumpingClock(), **FAR)
    order = Workflow("order")
    if retries is None:
        order.step("pay", pay)
    else:
        order.step("pay", pay, retries=retries)
    result = await engine.execute(order)
    assert (result.status == "completed") is (len(pay.attempts) > failures)
    return pay


# How often


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_s08_retries_are_extra_attempts(open_engine: OpenEngine, retries: int) -> None:
    """A step that always fails is attempted once, and `retries` times more."""
    pay = await tried(open_engine, retries, failures=100)
    assert pay.attempts == list(range(1, retries + 2))


async def test_s08_the_engine_counts(engine: FluxEngine) -> None:
    """What a handler does to the number of its attempt, counts for nothing."""
    called = list[int]()

    async def pay(ctx: WorkflowContext) -> None:
        called.append(ctx.attempt)
        ctx.attempt = 0
        raise ValueError("no money")

    order = Workflow("order").step("pay", pay, retries=Retry(2, initial=0))
    result = await engine.execute(order)
    assert called == [1, 2, 3]
    assert step_of(result.state, "pay").attempt_count == 3


async def test_s08_the_last_retry_may_succeed(open_engine: OpenEngine) -> None:
    """A step that fails as often as it may be retried completes."""
    pay = await tried(open_engine, 3, failures=3)
    assert pay.attempts == [1, 2, 3, 4]


async def test_s08_no_more_attempts_than_needed(open_engine: OpenEngine) -> None:
    """A step that succeeds is not attempted again."""
    pay = await tried(open_engine, 5, failures=1)
    assert pay.attempts == [1, 2]


async def test_s08_by_default_there_are_none(open_engine: OpenEngine) -> None:
    """A step that declares no retries has none."""
    pay = await tried(open_engine, None, failures=1)
    assert pay.attempts == [1]


async def test_s08_the_history_counts_failed_attempts(engine: FluxEngine) -> None:
    """An entry tells how many attempts failed, and how each of them did."""
    order = Workflow("order").step("pay", Flaky(2), retries=Retry(2, initial=0))
    entry = step_of(await engine.execute(order), "pay")
    assert (entry.retries, entry.status) == (2, "completed")
    told = [(attempt.number, attempt.ended, str(attempt.error)) for attempt in entry.attempts]
    assert told == [(1, "failed", "RuntimeError: flaky"), (2, "failed", "RuntimeError: flaky")]


# After which pause


async def test_s08_the_pause_doubles_up_to_a_cap(open_engine: OpenEngine) -> None:
    """The defaults: one second, doubling, at most sixty."""
    pay = await tried(open_engine, steady(8), failures=8)
    assert pay.pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_s08_the_policy_shapes_the_pause(open_engine: OpenEngine) -> None:
    """`initial`, `factor` and `maximum` are the step's to choose, a `timedelta` too."""
    policy = steady(4, initial=timedelta(seconds=2), factor=3, maximum=timedelta(minutes=1))
    pay = await tried(open_engine, policy, failures=4)
    assert pay.pauses == [2, 6, 18, 54]


async def test_s08_jitter_draws_from_the_upper_half(open_engine: OpenEngine) -> None:
    """By default each pause lies between half and all of what the formula says, and varies."""
    pay = await tried(open_engine, Retry(40, initial=8, factor=1), failures=40)
    assert all(4 <= pause <= 8 for pause in pay.pauses)
    assert len(set(pay.pauses)) > 30


async def test_s08_a_number_means_the_default_pauses(open_engine: OpenEngine) -> None:
    """`retries=3` backs off from one second, with jitter."""
    pay = await tried(open_engine, 3, failures=3)
    bounds = zip(pay.pauses, [1, 2, 4], strict=True)
    assert all(whole / 2 <= pause <= whole for pause, whole in bounds)


async def test_s08_no_pause_is_a_pause_of_zero(open_engine: OpenEngine) -> None:
    """`initial=0` tries again at once."""
    pay = await tried(open_engine, Retry(2, initial=0), failures=2)
    assert pay.pauses == [0, 0]


# Which errors


async def test_s08_only_the_errors_chosen(engine: FluxEngine) -> None:
    """With `retry_on` other errors fail the step at once; subclasses count."""
    policy = Retry(2, initial=0, retry_on=(OSError,))
    line, other = Flaky(1, ConnectionError("line")), Flaky(1, ValueError("other"))
    order = Workflow("order").step("line", line, retries=policy)
    result = await engine.execute(order.step("other", other, retries=policy))
    assert (line.attempts, other.attempts) == ([1, 2], [1])
    assert str(result.error) == "ValueError: other"


async def test_s08_not_the_errors_excluded(engine: FluxEngine) -> None:
    """`give_up_on` wins over `retry_on`."""
    policy = Retry(2, initial=0, retry_on=OSError, give_up_on=(ConnectionError,))
    pay = Flaky(1, ConnectionRefusedError("closed"))
    result = await engine.execute(Workflow("order").step("pay", pay, retries=policy))
    assert (result.status, pay.attempts) == (WorkflowStatus.FAILED, [1])


async def test_s08_a_function_returns_the_delay(open_engine: OpenEngine) -> None:
    """`delay` gets the error and the number of failed attempts; seconds or `timedelta`."""
    asked: list[tuple[str, int]] = []

    def delay(error: Exception, failed: int) -> float | timedelta:
        asked.append((str(error), failed))
        return 7 if failed == 1 else timedelta(minutes=2)

    pay = await tried(open_engine, Retry(2, delay=delay), failures=2)
    assert asked == [("flaky", 1), ("flaky", 2)]
    assert pay.pauses == [7, 120]


async def test_s08_a_function_may_give_up(open_engine: OpenEngine) -> None:
    """A `delay` of None ends the attempts although some are left."""
    policy = Retry(9, delay=lambda error, failed: 0 if failed < 3 else None)
    pay = await tried(open_engine, policy, failures=100)
    assert pay.attempts == [1, 2, 3]


async def test_s08_a_function_is_bounded_by_the_count(open_engine: OpenEngine) -> None:
    """A `delay` does not make more attempts than `retries` allows."""
    pay = await tried(open_engine, Retry(1, delay=lambda error, failed: 0), failures=100)
    assert pay.attempts == [1, 2]


@pytest.mark.parametrize("answer", [-1, "soon", float("nan"), float("inf")])
async def test_s08_a_broken_function_gives_up(engine: FluxEngine, answer: float) -> None:
    """A `delay` that returns no duration fails the step with its own error, and says why."""
    policy = Retry(3, delay=lambda error, failed: answer)
    result = await engine.execute(Workflow("order").step("pay", Flaky(None), retries=policy))
    assert (result.status, str(result.error)) == ("failed", "RuntimeError: flaky")
    assert result.error is not None
    assert "retry policy failed" in result.error.traceback


# Whose policy


async def test_s08_the_engine_has_defaults(open_engine: OpenEngine) -> None:
    """`FluxConfig(default_retries=...)` is for handlers and compensators that declare none."""
    pay, undo, ship = Flaky(1), Flaky(1), Flaky(None)
    engine = await open_engine(default_retries=Retry(1, initial=0))
    order = Workflow("order").step("pay", pay, compensate=undo).step("ship", ship)
    result = await engine.execute(order)
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert (pay.attempts, undo.attempts, ship.attempts) == ([1, 2], [1, 2], [1, 2])


async def test_s08_a_step_overrides_the_defaults(open_engine: OpenEngine) -> None:
    """`retries=0` means none, whatever the engine's default."""
    pay = Flaky(None)
    engine = await open_engine(default_retries=Retry(3, initial=0))
    await engine.execute(Workflow("order").step("pay", pay, retries=0))
    assert pay.attempts == [1]


async def test_s08_a_compensator_has_its_own_policy(engine: FluxEngine) -> None:
    """The retries of a step are not those of its compensator."""
    undo, pay = Flaky(2), Flaky(0)
    order = Workflow("order").step(
        "pay", pay, retries=0, compensate=undo, compensate_retries=Retry(2, initial=0)
    )
    result = await engine.execute(order.step("ship", Flaky(None)))
    assert (result.status, undo.attempts) == (WorkflowStatus.ROLLED_BACK, [1, 2, 3])


async def test_s08_a_handler_s_retries_are_not_its_compensator_s(engine: FluxEngine) -> None:
    """A compensator that declares no retries has none, although its step has."""
    undo = Flaky(None)
    order = Workflow("order").step("pay", Flaky(0), retries=Retry(3, initial=0), compensate=undo)
    result = await engine.execute(order.step("ship", Flaky(None)))
    assert (result.status, undo.attempts) == (WorkflowStatus.ROLLBACK_FAILED, [1])


async def test_s08_a_compensator_backs_off(open_engine: OpenEngine) -> None:
    """The pauses between attempts to undo a step double as well."""
    undo = Flaky(3)
    order = sequence("pay", compensate=undo, compensate_retries=steady(3))
    engine = await open_engine(clock=JumpingClock(), **FAR)
    await engine.execute(order.step("ship", Flaky(None)))
    assert undo.pauses == [1, 2, 4]


async def test_s08_resume_gives_fresh_retries(engine: FluxEngine) -> None:
    """A failed step that is resumed may fail as often again."""
    pay = Flaky(3)
    order = Workflow("order").step("pay", pay, retries=Retry(1, initial=0))
    first = await engine.execute(order, id="order-1")
    second = await engine.resume("order-1")
    assert (first.status, second.status) == ("failed", "completed")
    assert pay.attempts == [1, 2, 3, 4]


# Over crashes


async def test_s08_an_interruption_uses_up_no_retry(crash: Crash) -> None:
    """A step without retries is run again after a crash, and then fails if it raises."""
    engine = await crash.run(retries=0)
    result = await engine.resume("order-1")
    assert (result.status, len(crash.did("act"))) == (WorkflowStatus.COMPLETED, 2)


async def test_s08_the_count_survives_a_restart(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A step that failed before its process died has so many attempts fewer afterwards."""
    pay, clock = Flaky(None), JumpingClock()
    order = Workflow("order").step("pay", pay, retries=steady(3))
    first = await open_engine(Saves(storage, die_before=4), clock=clock, **FAR)
    with pytest.raises(DiedError):
        await first.execute(order, id="order-1")
    clock.advance(FAR["lease"])
    second = await open_engine(workflows=[order], clock=clock, **FAR)
    result = await second.resume("order-1")
    # The third attempt was not saved: it was interrupted, and counts for nothing but its number.
    assert pay.attempts == [1, 2, 3, 4, 5]
    assert step_of(result, "pay").retries == 3


async def test_s08_the_time_of_the_next_attempt_survives(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The engine after a crash waits out what is left of the back-off, and no more."""
    pay, clock, saves = Flaky(1), ManualClock(), Saves(storage)
    order = Workflow("order").step("pay", pay, retries=steady(1, initial=40, maximum=40))
    first = await open_engine(saves, clock=clock, lease=50)
    await first.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    retry_at = step_of(await first.get("order-1"), "pay").retry_at
    saves.die()
    clock.advance(51)
    second = await open_engine(workflows=[order], clock=clock)
    await second.resume("order-1")
    assert retry_at is not None
    assert pay.called_at[0] + 40 == retry_at.timestamp()
    assert pay.pauses == [51]


async def test_s08_what_is_left_of_a_back_off_is_waited_out(open_engine: OpenEngine) -> None:
    """The engine after one that stopped in a back-off does not try again before its time."""
    pay, clock = Flaky(1), ManualClock()
    order = Workflow("order").step("pay", pay, retries=steady(1, initial=40, maximum=40))
    first = await open_engine(clock=clock, lease=50)
    await first.start(order, id="order-1")
    await until(lambda: pay.attempts)
    clock.advance(10)
    await first.close()
    second = await open_engine(workflows=[order], clock=clock, lease=50, poll=1)
    resuming = asyncio.create_task(second.resume("order-1"))
    await passing(clock, 28)
    assert (pay.attempts, resuming.done()) == ([1], False)
    assert (await as_time_passes(clock, resuming)).status is WorkflowStatus.COMPLETED
    assert 40 <= pay.pauses[0] < 60


# Waiting


async def test_s08_a_back_off_is_no_rest(open_engine: OpenEngine, storage: WorkflowStorage) -> None:
    """While it backs off the instance is `running`, its step too, and names the next attempt."""
    clock, saves = ManualClock(), Saves(storage)
    order = Workflow("order").step("pay", Flaky(1), retries=steady(1))
    engine = await open_engine(saves, clock=clock)
    await engine.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    state = await engine.get("order-1")
    assert (state.status, state.current_step) == (WorkflowStatus.RUNNING, "pay")
    assert step_of(state, "pay").status == "running"
    assert step_of(state, "pay").retry_at == clock.now() + timedelta(seconds=1)


@pytest.mark.parametrize("pause", [10, 100], ids=["short", "longer than the lease"])
async def test_s08_execute_waits_a_back_off_out(
    open_engine: OpenEngine, storage: WorkflowStorage, pause: float
) -> None:
    """`execute` returns after the back-off, when the instance rests."""
    clock, saves, pay = ManualClock(), Saves(storage), Flaky(1)
    order = Workflow("order").step("pay", pay, retries=steady(1, initial=pause, maximum=pause))
    engine = await open_engine(saves, clock=clock, lease=30, poll=1)
    executing = asyncio.create_task(engine.execute(order))
    await until(lambda: len(saves.made) == 2)
    await passing(clock, pause - 2)
    assert (pay.attempts, executing.done()) == ([1], False)
    assert (await as_time_passes(clock, executing)).status is WorkflowStatus.COMPLETED
    assert pause <= pay.pauses[0] < pause + 20


async def test_s08_a_long_back_off_is_anybody_s(
    open_engine: OpenEngine, storage: WorkflowStorage
) -> None:
    """After a back-off longer than the lease another engine makes the next attempt in time."""
    clock, saves, pay = ManualClock(), Saves(storage), Flaky(1)
    order = Workflow("order").step("pay", pay, retries=steady(1, initial=100, maximum=100))
    first = await open_engine(saves, clock=clock, lease=30)
    await first.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    saves.die()
    second = await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await passing(clock, 98)
    assert pay.attempts == [1]
    waiting = asyncio.create_task(second.result("order-1"))
    assert (await as_time_passes(clock, waiting)).status is WorkflowStatus.COMPLETED
    assert pay.attempts == [1, 2]


async def test_s08_a_long_back_off_frees_its_place(open_engine: OpenEngine) -> None:
    """An engine that may drive one instance drives another while the first one backs off long."""
    clock, pay, ran = ManualClock(), Flaky(1), list[str]()
    slow = Workflow("slow").step("pay", pay, retries=steady(1, initial=100, maximum=100))
    engine = await open_engine(clock=clock, lease=30, max_instances=1)
    await engine.start(slow, id="slow-1")
    await until(lambda: pay.attempts)
    result = await as_time_passes(
        clock, asyncio.create_task(engine.execute(sequence("a", ran=ran)))
    )
    assert (result.status, ran, pay.attempts) == (WorkflowStatus.COMPLETED, ["a"], [1])
