"""S3: a step whose result was not saved runs again, and its key names the effect."""

import pytest

from dying import Crash
from flux import FluxEngine, Retry, Workflow, WorkflowContext, WorkflowStatus, WorkflowStorage
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of
from saves import DiedError, Saves


async def test_s03_a_killed_step_runs_again_with_the_same_key(crash: Crash) -> None:
    """A process dies between effect and save: the step runs again, same key, next attempt."""
    engine = await crash.run()
    result = await engine.resume("order-1")
    first, second = crash.did("act")
    assert result.status is WorkflowStatus.COMPLETED
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["key"] == second["key"]


async def test_s03_a_saved_step_is_not_run_again(crash: Crash) -> None:
    """What was saved before the process died is taken from history: output and data changes."""
    engine = await crash.run()
    await engine.resume("order-1")
    assert len(crash.did("before")) == 1
    again = crash.did("act")[1]
    assert (again["data"], again["output"]) == ({"before": "kept"}, "result of before")


async def test_s03_what_follows_runs_once(crash: Crash) -> None:
    """Steps after the one that died run as if nothing had happened."""
    engine = await crash.run()
    await engine.resume("order-1")
    assert [line["attempt"] for line in crash.did("after")] == [1]


async def test_s03_a_killed_instance_is_found_by_itself(crash: Crash) -> None:
    """Nobody need resume it: an engine finds it once its lease has run out."""
    engine = await crash.run()
    result = await engine.result("order-1", timeout=10)
    assert (result.status, len(crash.did("act"))) == (WorkflowStatus.COMPLETED, 2)


async def test_s03_an_interrupted_attempt_is_in_the_history(crash: Crash) -> None:
    """The history tells of the attempt that nobody saw the end of, and counts no retry for it."""
    engine = await crash.run()
    step = step_of(await engine.resume("order-1"), "act")
    assert [(attempt.number, attempt.ended) for attempt in step.attempts] == [(1, "interrupted")]
    assert step.retries == 0


@pytest.mark.parametrize("died_at", [1, 2, 3, 4])
async def test_s03_a_saved_result_is_never_run_again(
    storage: WorkflowStorage, open_engine: OpenEngine, died_at: int
) -> None:
    """Wherever a process dies right after a save, each step runs once for each saved result."""
    ran: list[str] = []
    order, clock = sequence("a", "b", "c", ran=ran), JumpingClock()
    first = await open_engine(Saves(storage, die_after=died_at), clock=clock, **FAR)
    with pytest.raises(DiedError):
        await first.execute(order, id="order-1")
    clock.advance(FAR["lease"])
    second = await open_engine(workflows=[order], clock=clock, **FAR)
    result = await second.resume("order-1")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["a", "b", "c"])


@pytest.mark.parametrize("died_at", [2, 3, 4])
async def test_s03_an_unsaved_result_is_run_again(
    storage: WorkflowStorage, open_engine: OpenEngine, died_at: int
) -> None:
    """Wherever a process dies right before a save, the step before that save runs twice."""
    ran: list[str] = []
    order, clock = sequence("a", "b", "c", ran=ran), JumpingClock()
    first = await open_engine(Saves(storage, die_before=died_at), clock=clock, **FAR)
    with pytest.raises(DiedError):
        await first.execute(order, id="order-1")
    clock.advance(FAR["lease"])
    second = await open_engine(workflows=[order], clock=clock, **FAR)
    await second.resume("order-1")
    expected = ["a", "b", "c"]
    expected.insert(died_at - 2, expected[died_at - 2])
    assert ran == expected


async def test_s03_the_key_stays_over_retries(engine: FluxEngine) -> None:
    """Every attempt of a step has the same key and an attempt number one higher."""
    pay = Flaky(2)
    await engine.execute(Workflow("order").step("pay", pay, retries=Retry(2, initial=0)))
    assert pay.attempts == [1, 2, 3]
    assert len(set(pay.keys)) == 1


async def test_s03_the_key_stays_over_resume(engine: FluxEngine) -> None:
    """A failed step that `resume` runs anew keeps its key; attempts count on."""
    pay = Flaky(1)
    await engine.execute(Workflow("order").step("pay", pay), id="order-1")
    result = await engine.resume("order-1")
    assert (result.status, pay.attempts) == (WorkflowStatus.COMPLETED, [1, 2])
    assert len(set(pay.keys)) == 1


async def test_s03_the_key_stays_over_retry_step(engine: FluxEngine) -> None:
    """A failed step that `retry_step` runs anew keeps its key; attempts count on."""
    pay = Flaky(1)
    await engine.execute(Workflow("order").step("pay", pay), id="order-1")
    result = await engine.retry_step("order-1", "pay")
    assert (result.status, pay.attempts) == (WorkflowStatus.COMPLETED, [1, 2])
    assert len(set(pay.keys)) == 1


async def test_s03_the_key_stays_over_a_restart_of_a_failed_step(engine: FluxEngine) -> None:
    """A step that never completed is the same effect still, when a restart runs it."""
    pay = Flaky(1)
    await engine.execute(sequence("pack").step("pay", pay), id="order-1")
    await engine.restart("order-1", "pack")
    assert pay.attempts == [1, 2]
    assert len(set(pay.keys)) == 1


async def test_s03_the_key_changes_after_a_completion(engine: FluxEngine) -> None:
    """A step that had completed and is run anew by a restart has another effect: a new key."""
    pay = Flaky(0)
    await engine.execute(Workflow("order").step("pay", pay), id="order-1")
    await engine.restart("order-1", "pay")
    assert pay.attempts == [1, 1]
    assert len(set(pay.keys)) == 2


async def test_s03_the_key_changes_after_a_compensation(engine: FluxEngine) -> None:
    """A step that was undone and is run anew by a restart has a new key, a commit step too."""
    pay, ship = Flaky(0), Flaky(1)
    order = Workflow("order").commit("pay", pay, compensate=noting("", [])).step("ship", ship)
    await engine.execute(order, id="order-1")
    result = await engine.restart("order-1", "pay")
    assert result.status is WorkflowStatus.COMPLETED
    assert (len(pay.keys), len(set(pay.keys))) == (2, 2)
    assert len(set(ship.keys)) == 1


async def test_s03_keys_are_told_apart(engine: FluxEngine) -> None:
    """No two steps, instances or compensations share a key."""
    keys: list[str] = []

    def note(ctx: WorkflowContext) -> None:
        keys.append(ctx.idempotency_key)

    order = Workflow("order").step("a", note, compensate=note).step("b", note, compensate=note)
    order.step("fail", Flaky(None))
    await engine.execute(order)
    await engine.execute(order)
    assert (len(keys), len(set(keys))) == (8, 8)


async def test_s03_the_history_shows_the_key(engine: FluxEngine) -> None:
    """The key that a step ran with is in its history entry."""
    pay = Flaky(0)
    result = await engine.execute(Workflow("order").step("pay", pay))
    assert [entry.key for entry in result.history] == pay.keys


async def test_s03_a_resume_takes_results_from_history(engine: FluxEngine) -> None:
    """A resume of a failed instance runs the failed step, which sees what was saved before."""
    ran: list[str] = []
    order, seen = Workflow("order"), []

    @order.step
    async def pack(ctx: WorkflowContext) -> str:
        ran.append("pack")
        ctx.data["box"] = 7
        return "packed"

    async def ship(ctx: WorkflowContext) -> None:
        seen.append((dict(ctx.data), ctx.output("pack")))
        if len(seen) == 1:
            raise RuntimeError("no courier")

    order.step("ship", ship)
    await engine.execute(order, id="order-1")
    await engine.resume("order-1")
    assert (ran, seen) == (["pack"], [({"box": 7}, "packed")] * 2)
