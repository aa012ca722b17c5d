"""S5: a step declared `at_most_once` is not run again after an interruption."""

import asyncio
from typing import Any

import pytest

from dying import Crash
from flux import (
    FluxEngine,
    InvalidTransitionError,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    done,
    not_done,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, noting, step_of, until
from saves import Saves

NO_PAUSE = Retry(2, initial=0)


async def hang(ctx: WorkflowContext) -> None:
    """A handler that does not come to an end by itself."""
    await asyncio.sleep(60)


def asked(answer: Any, **options: Any) -> tuple[Workflow, list[str]]:
    """An order whose step times out once and whose verifier gives `answer`; and what was done."""
    order, did = Workflow("order"), list[str]()

    async def act(ctx: WorkflowContext) -> str:
        did.append(f"act {ctx.attempt} {ctx.idempotency_key}")
        if len(did) == 1:
            await asyncio.sleep(60)
        return "acted"

    async def verify(ctx: WorkflowContext) -> Any:
        did.append(f"verify {ctx.attempt} {ctx.idempotency_key}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    chosen: dict[str, Any] = {"timeout": 0.02, "at_most_once": True, "verify": verify} | options
    return order.step("act", act, **chosen), did


# Interruptions


async def test_s05_a_killed_step_is_not_run_again(crash: Crash) -> None:
    """A process dies in the step: it fails as unknown, and is not run a second time."""
    engine = await crash.run(at_most_once=True)
    result = await engine.resume("order-1")
    assert len(crash.did("act")) == 1
    assert (result.status, step_of(result, "act").outcome) == ("failed", "unknown")
    assert result.error is not None
    assert result.error.type == "OutcomeUnknownError"
    assert "attempt 1 of step 'act' was interrupted" in result.error.message


async def test_s05_a_killed_step_is_compensated(crash: Crash) -> None:
    """Nobody knows whether the step has acted, so its compensator is told `unknown`."""
    engine = await crash.run(at_most_once=True, compensate=True)
    result = await engine.resume("order-1")
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert [line["outcome"] for line in crash.did("undo")] == ["unknown"]


async def test_s05_retries_do_not_cover_an_interruption(crash: Crash) -> None:
    """A step that may be retried after an error is not run again after a crash either."""
    engine = await crash.run(at_most_once=True, retries=5)
    result = await engine.resume("order-1")
    assert (result.status, len(crash.did("act"))) == (WorkflowStatus.FAILED, 1)


async def test_s05_done_completes_a_killed_step(crash: Crash) -> None:
    """The verifier says that the step has acted: its answer is the output, the next step runs."""
    engine = await crash.run(at_most_once=True, verify="done")
    result = await engine.resume("order-1")
    assert [line["who"] for line in crash.journal] == ["before", "act", "verify", "after"]
    assert step_of(result, "act").output == "by verify"
    assert crash.did("verify")[0]["key"] == crash.did("act")[0]["key"]


async def test_s05_not_done_runs_a_killed_step(crash: Crash) -> None:
    """The verifier says that the step has not acted: it runs, with the same key."""
    engine = await crash.run(at_most_once=True, verify="not_done")
    result = await engine.resume("order-1")
    assert [line["who"] for line in crash.journal] == ["before", "act", "verify", "act", "after"]
    first, second = crash.did("act")
    assert (first["key"], second["attempt"]) == (second["key"], 2)
    assert result.status is WorkflowStatus.COMPLETED


async def test_s05_a_timed_out_step_is_not_run_again(engine: FluxEngine) -> None:
    """A timeout leaves the outcome unknown: no retry follows, whatever the policy says."""
    attempts: list[int] = []

    async def act(ctx: WorkflowContext) -> None:
        attempts.append(ctx.attempt)
        await hang(ctx)

    order = Workflow("order").step("act", act, timeout=0.02, retries=NO_PAUSE, at_most_once=True)
    result = await engine.execute(order)
    assert (result.status, attempts) == (WorkflowStatus.FAILED, [1])
    assert step_of(result, "act").outcome == "unknown"


async def test_s05_a_plain_step_is_run_again_after_a_timeout(engine: FluxEngine) -> None:
    """Without `at_most_once` the same step is retried."""
    order, did = asked(done(), at_most_once=False, verify=None, retries=NO_PAUSE)
    result = await engine.execute(order)
    assert (result.status, len(did)) == (WorkflowStatus.COMPLETED, 2)


async def test_s05_a_stopping_engine_interrupts(open_engine: OpenEngine) -> None:
    """A step that a closing engine had to cut off is not run again by the next engine."""
    did: list[str] = []

    async def act(ctx: WorkflowContext) -> None:
        did.append("act")
        await hang(ctx)

    order = Workflow("order").step("act", act, at_most_once=True)
    first = await open_engine(grace=0.02)
    await first.start(order, id="order-1")
    await until(lambda: did)
    await first.close()
    second = await open_engine(workflows=[order])
    result = await second.resume("order-1")
    assert (did, step_of(result, "act").outcome) == (["act"], "unknown")


async def test_s05_a_fail_over_interrupts(
    open_engine: OpenEngine, storage: WorkflowStorage
) -> None:
    """Another engine that takes a running step over asks, and does not run it."""
    clock, went_on = ManualClock(), asyncio.Event()
    did: list[str] = []

    async def act(ctx: WorkflowContext) -> str:
        did.append("act")
        await went_on.wait()
        return "late"

    async def verify(ctx: WorkflowContext) -> Any:
        did.append("verify")
        return done("seen")

    order = Workflow("order").step("act", act, at_most_once=True, verify=verify)
    saves = Saves(storage)
    first = await open_engine(saves, clock=clock, lease=30)
    await first.start(order, id="order-1")
    await until(lambda: did)
    saves.die()
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await second.resume("order-1")
    went_on.set()
    assert (did, step_of(result, "act").output) == (["act", "verify"], "seen")


# What the verifier says


async def test_s05_verify_is_asked_after_a_timeout(engine: FluxEngine) -> None:
    """The verifier gets the context of the attempt that it is asked about."""
    order, did = asked(done({"receipt": 7}))
    result = await engine.execute(order)
    key = step_of(result, "act").key
    assert did == [f"act 1 {key}", f"verify 1 {key}"]
    assert (result.status, step_of(result, "act").output) == ("completed", {"receipt": 7})


async def test_s05_not_done_runs_the_step(engine: FluxEngine) -> None:
    """After `not_done` the step is tried again, and its outcome is known."""
    order, did = asked(not_done, retries=NO_PAUSE)
    result = await engine.execute(order)
    assert [line.split()[0] for line in did] == ["act", "verify", "act"]
    assert (result.status, step_of(result, "act").outcome) == ("completed", "completed")


async def test_s05_not_done_clears_the_doubt(engine: FluxEngine) -> None:
    """A step that verify cleared and that then raises has not happened: nothing is undone."""
    undone: list[str] = []
    order = Workflow("order")
    attempts: list[int] = []

    async def act(ctx: WorkflowContext) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await hang(ctx)
        raise RuntimeError("refused")

    order.step(
        "act",
        act,
        timeout=0.02,
        at_most_once=True,
        verify=lambda ctx: not_done,
        retries=Retry(1, initial=0),
        compensate=noting("-", undone),
    )
    result = await engine.execute(order)
    assert (result.status, attempts, undone) == (WorkflowStatus.FAILED, [1, 2], [])
    assert step_of(result, "act").outcome is None


async def test_s05_a_verifier_may_change_data(engine: FluxEngine) -> None:
    """What the verifier changes in `data` belongs to the step that it completes."""

    def verify(ctx: WorkflowContext) -> Any:
        ctx.data["receipt"] = 7
        return done()

    order, _ = asked(None, verify=verify)
    result = await engine.execute(order)
    assert (result.status, result.data) == (WorkflowStatus.COMPLETED, {"receipt": 7})


async def test_s05_verify_has_the_step_s_retries(engine: FluxEngine) -> None:
    """A verifier that raises is asked again under the retry policy of its step."""
    verify = Flaky(2)

    async def answered(ctx: WorkflowContext) -> Any:
        return done(await verify(ctx))

    order, did = asked(None, verify=answered, retries=NO_PAUSE)
    result = await engine.execute(order)
    assert (result.status, len(verify.attempts), len(did)) == (WorkflowStatus.COMPLETED, 3, 1)


async def test_s05_a_verifier_that_raises_for_good_fails_the_step(engine: FluxEngine) -> None:
    """When no answer is to be had the step fails as unknown, with the verifier's error."""
    order, did = asked(ConnectionError("no line"), retries=NO_PAUSE)
    result = await engine.execute(order)
    assert [line.split()[0] for line in did] == ["act", "verify", "verify", "verify"]
    assert (result.status, str(result.error)) == ("failed", "ConnectionError: no line")
    assert step_of(result, "act").outcome == "unknown"


async def test_s05_a_verifier_that_says_something_else_fails_the_step(engine: FluxEngine) -> None:
    """What is neither `done(...)` nor `not_done` is no answer, and the error says so."""
    order, _ = asked(True, retries=NO_PAUSE)
    result = await engine.execute(order)
    assert (result.status, step_of(result, "act").outcome) == ("failed", "unknown")
    assert result.error is not None
    assert result.error.type == "TypeError"
    assert "returned bool; return done(output) or not_done" in result.error.message


async def test_s05_a_verifier_is_not_asked_about_an_error(engine: FluxEngine) -> None:
    """An error that the step raised itself leaves no doubt: it is retried without asking."""
    act, verified = Flaky(2), list[str]()
    order = Workflow("order").step(
        "act", act, retries=NO_PAUSE, at_most_once=True, verify=noting("verify", verified)
    )
    result = await engine.execute(order)
    assert (result.status, act.attempts, verified) == (WorkflowStatus.COMPLETED, [1, 2, 3], [])


# What a person may do


async def test_s05_resume_asks_again(engine: FluxEngine) -> None:
    """`resume` of a step that failed as unknown asks the verifier, and does not run the step."""
    answers: list[Any] = [KeyError("not yet"), done("found")]

    async def verify(ctx: WorkflowContext) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    order, did = asked(None, verify=verify)
    first = await engine.execute(order, id="order-1")
    second = await engine.resume("order-1")
    assert (first.status, second.status, len(did)) == ("failed", "completed", 1)
    assert step_of(second, "act").output == "found"


async def test_s05_resume_without_a_verifier_is_refused(engine: FluxEngine) -> None:
    """Where nobody can be asked, `resume` names the verb that runs the step all the same."""
    order, did = asked(None, verify=None)
    await engine.execute(order, id="order-1")
    with pytest.raises(InvalidTransitionError, match=r"retry_step\(id, 'act'\)"):
        await engine.resume("order-1")
    assert ((await engine.get("order-1")).status, len(did)) == (WorkflowStatus.FAILED, 1)


async def test_s05_retry_step_is_a_person_s_word(engine: FluxEngine) -> None:
    """`retry_step` runs the step without asking, with the same key and the next attempt."""
    order, did = asked(ConnectionError("no line"))
    await engine.execute(order, id="order-1")
    result = await engine.retry_step("order-1", "act")
    key = step_of(result, "act").key
    assert result.status is WorkflowStatus.COMPLETED
    assert did == [f"act 1 {key}", f"verify 1 {key}", f"act 2 {key}"]


async def test_s05_a_restart_asks_as_well(engine: FluxEngine) -> None:
    """A restart that comes to a step of unknown outcome asks its verifier before anything."""
    order, did = asked(ConnectionError("no line"))
    await engine.execute(order, id="order-1")
    result = await engine.restart("order-1", "act")
    assert [line.split()[0] for line in did] == ["act", "verify", "verify"]
    assert result.status is WorkflowStatus.FAILED


# Retries


async def test_s05_its_own_errors_are_retried(engine: FluxEngine) -> None:
    """An error that the step raised itself is retried as usual, verifier or not."""
    act = Flaky(2)
    order = Workflow("order").step("act", act, retries=NO_PAUSE, at_most_once=True)
    result = await engine.execute(order)
    assert (result.status, act.attempts) == (WorkflowStatus.COMPLETED, [1, 2, 3])


async def test_s05_a_back_off_has_no_intent(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The intent of a further attempt is saved when it begins, not when the one before failed."""
    clock, saves, intents = ManualClock(), Saves(storage), []

    async def act(ctx: WorkflowContext) -> None:
        intents.append([made.intent for made in saves.made])
        if ctx.attempt == 1:
            raise RuntimeError("no")

    order = Workflow("order").step("act", act, retries=Retry(1, initial=10), at_most_once=True)
    engine = await open_engine(saves, clock=clock)
    await engine.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    clock.advance(10)
    await engine.result("order-1")
    assert intents == [[("act",)], [("act",), (), ("act",)]]


async def test_s05_a_crash_in_a_back_off_is_no_interruption(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A process dies between two attempts: nothing was going on, so the next attempt is made."""
    clock, saves, act = ManualClock(), Saves(storage), Flaky(1)
    order = Workflow("order").step("act", act, retries=Retry(1, initial=10), at_most_once=True)
    first = await open_engine(saves, clock=clock, lease=30)
    await first.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    saves.die()
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await second.resume("order-1")
    assert (result.status, act.attempts) == (WorkflowStatus.COMPLETED, [1, 2])
