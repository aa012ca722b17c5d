"""S6: a predicate is asked when its step is reached, and its answer is saved."""

import asyncio
from typing import Any

import orjson
import pytest

from flux import (
    Checkpoint,
    FluxEngine,
    Retry,
    StepStatus,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of, until
from saves import DiedError, Saves
from undoing import Lives, rested


class Asked:
    """A predicate that counts how often it was asked; `raises` is raised instead of an answer."""

    def __init__(self, answer: bool, *, raises: BaseException | None = None) -> None:
        self.times = 0
        self._answer = answer
        self._raises = raises

    def __call__(self, ctx: WorkflowContext) -> bool:
        self.times += 1
        if self._raises is not None:
            raise self._raises
        return self._answer


def asking(when: Any, ran: list[str], **options: Any) -> Workflow:
    """Three steps, of which the second has a predicate."""
    order = sequence("a", ran=ran).step("b", noting("b", ran), when=when, **options)
    return order.step("c", noting("c", ran))


@pytest.mark.parametrize("answer", [True, False])
async def test_s06_the_answer_decides(engine: FluxEngine, answer: bool) -> None:
    """With yes the step runs, with no it is skipped and the next one runs."""
    ran: list[str] = []
    result = await engine.execute(asking(Asked(answer), ran))
    assert ran == (["a", "b", "c"] if answer else ["a", "c"])
    expected = StepStatus.COMPLETED if answer else StepStatus.SKIPPED
    assert (result.status, step_of(result, "b").status) == (WorkflowStatus.COMPLETED, expected)


@pytest.mark.parametrize("answer", [True, False])
async def test_s06_a_predicate_may_be_async(engine: FluxEngine, answer: bool) -> None:
    """An async predicate is awaited; its coroutine is no yes."""

    async def when(ctx: WorkflowContext) -> bool:
        await asyncio.sleep(0)
        return answer

    ran: list[str] = []
    await engine.execute(asking(when, ran))
    assert ("b" in ran) is answer


async def test_s06_it_is_asked_when_the_step_is_reached(engine: FluxEngine) -> None:
    """It sees what the steps before have made, and comes right before its handler."""
    ran: list[str] = []

    def when(ctx: WorkflowContext) -> bool:
        ran.append(f"asked: {ctx.data} {ctx.output('a')} {ctx.input}")
        return True

    async def a(ctx: WorkflowContext) -> int:
        ctx.data["total"] = 900
        return 7

    order = Workflow("order").step("a", a).step("b", noting("b", ran), when=when)
    await engine.execute(order, {"sku": "A1"})
    assert ran == ["asked: {'total': 900} 7 {'sku': 'A1'}", "b"]


async def test_s06_a_skipped_step_has_no_output(engine: FluxEngine) -> None:
    """`output` of a skipped step is None."""
    seen: list[Any] = ["nothing"]

    async def last(ctx: WorkflowContext) -> None:
        seen[:] = [ctx.output("b")]

    await engine.execute(asking(Asked(False), []).step("last", last))
    assert seen == [None]


async def test_s06_a_no_is_saved_with_the_result_before(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """One save holds the result of the step before, the skipped step, and the next intent."""
    saves = Saves(storage)
    await (await open_engine(saves)).execute(asking(Asked(False), []))
    written = [orjson.loads(entry.body) for entry in saves.entries[1]]
    assert [(entry["step"], entry["status"]) for entry in written] == [
        ("a", "completed"),
        ("b", "skipped"),
    ]
    assert saves.made[1].intent == ("c",)


async def test_s06_a_yes_is_saved_with_the_result_before(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The save with the result of the step before carries the intent to run this one."""
    saves = Saves(storage)
    await (await open_engine(saves)).execute(asking(Asked(True), []))
    assert [orjson.loads(entry.body)["step"] for entry in saves.entries[1]] == ["a"]
    assert saves.made[1].intent == ("b",)


@pytest.mark.parametrize("answer", [True, False])
async def test_s06_a_saved_answer_is_not_asked_again(
    storage: WorkflowStorage, open_engine: OpenEngine, lives: Lives, answer: bool
) -> None:
    """A process dies right after the save with the answer: the next one keeps to it."""
    ran: list[str] = []
    asked = Asked(answer)
    order = asking(asked, ran)
    first = await open_engine(Saves(storage, die_after=2), clock=lives.clock, lease=1)
    with pytest.raises(DiedError):
        await first.execute(order, id="order-1")
    second = await lives.next(order)
    assert (await rested(second, "order-1")).status is WorkflowStatus.COMPLETED
    assert (asked.times, "b" in ran) == (1, answer)


async def test_s06_an_answer_is_kept_over_retries_and_resume(engine: FluxEngine) -> None:
    """Further attempts of a step do not ask whether to run it."""
    asked, pay = Asked(True), Flaky(3)
    order = Workflow("order").step("pay", pay, when=asked, retries=Retry(1, initial=0))
    await engine.execute(order, id="order-1")
    result = await engine.resume("order-1")
    assert (result.status, len(pay.attempts), asked.times) == (WorkflowStatus.COMPLETED, 4, 1)


@pytest.mark.parametrize(
    "error", [RuntimeError("no idea"), SystemExit(1), asyncio.CancelledError()]
)
async def test_s06_a_predicate_that_raises_fails_its_step(
    engine: FluxEngine, error: BaseException
) -> None:
    """The step fails without having run, and the instance with it; the error is told."""
    ran: list[str] = []
    result = await engine.execute(asking(Asked(True, raises=error), ran))
    assert (result.status, ran) == (WorkflowStatus.FAILED, ["a"])
    failed = step_of(result, "b")
    assert (failed.status, failed.outcome) == (StepStatus.FAILED, None)
    assert result.error is not None
    assert failed.error == result.error


async def test_s06_a_raised_error_is_kept(engine: FluxEngine) -> None:
    """What the predicate raised is the error of the instance."""
    result = await engine.execute(asking(Asked(True, raises=KeyError("sku")), []))
    assert str(result.error) == "KeyError: 'sku'"


async def test_s06_the_result_before_a_raising_predicate_is_saved(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """It is there for whoever looks, and for a resume."""
    ran: list[str] = []
    engine = await open_engine()
    await engine.execute(asking(Asked(True, raises=KeyError("x")), ran), id="order-1")
    before = step_of(await (await open_engine()).get("order-1"), "a")
    assert (before.status, before.output) == (StepStatus.COMPLETED, "a")
    await engine.resume("order-1")
    assert ran == ["a"]


async def test_s06_a_raised_error_is_no_answer(engine: FluxEngine) -> None:
    """`resume` asks a predicate that raised anew."""
    ran: list[str] = []
    answers = [KeyError("x"), None]

    def when(ctx: WorkflowContext) -> bool:
        error = answers.pop(0)
        if error is not None:
            raise error
        return True

    await engine.execute(asking(when, ran), id="order-1")
    result = await engine.resume("order-1")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["a", "b", "c"])


async def test_s06_the_first_step_can_fail_by_its_predicate(engine: FluxEngine) -> None:
    """With no step before, the failure is in the first save."""
    order = Workflow("order").step("a", noting("a", []), when=Asked(True, raises=KeyError("x")))
    await engine.execute(order, id="order-1")
    assert (await engine.get("order-1")).status is WorkflowStatus.FAILED


async def test_s06_an_async_predicate_that_takes_too_long_fails_its_step(
    open_engine: OpenEngine,
) -> None:
    """It is cancelled after `when_timeout`; what came before is saved."""
    ran: list[str] = []

    async def when(ctx: WorkflowContext) -> bool:
        await asyncio.Event().wait()
        return True

    engine = await open_engine(when_timeout=0.02)
    result = await engine.execute(asking(when, ran))
    assert (result.status, ran) == (WorkflowStatus.FAILED, ["a"])
    assert (
        str(result.error) == "StepTimeoutError: the predicate of step 'b' took longer than 0.02 s"
    )
    assert step_of(result, "a").output == "a"


@pytest.mark.parametrize(("took", "runs"), [(0.9, True), (1.1, False)])
async def test_s06_a_plain_predicate_that_takes_too_long_fails_its_step(
    open_engine: OpenEngine, took: float, runs: bool
) -> None:
    """The limit is one second unless `when_timeout` says otherwise."""
    ran: list[str] = []
    clock = JumpingClock()

    def when(ctx: WorkflowContext) -> bool:
        clock.advance(took)
        return True

    result = await (await open_engine(clock=clock, **FAR)).execute(asking(when, ran))
    assert ("b" in ran, result.status == "completed") == (runs, runs)


@pytest.mark.parametrize("answer", [True, False])
async def test_s06_a_predicate_leaves_no_trace(engine: FluxEngine, answer: bool) -> None:
    """What it does to `data` is not kept, and its own step does not see it."""
    seen: list[Any] = []

    def when(ctx: WorkflowContext) -> bool:
        ctx.data["asked"] = True
        return answer

    async def look(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))

    order = Workflow("order").step("b", look, when=when).step("c", look)
    result = await engine.execute(order)
    assert (result.data, seen) == ({}, [{}] * (2 if answer else 1))


async def test_s06_a_closing_engine_keeps_the_answer(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """It stops between the answer and the handler: the next engine does not ask again."""
    asked, ran, closing = Asked(True), list[str](), list[asyncio.Task[None]]()

    class Closing(Saves):
        async def save(self, checkpoint: Checkpoint) -> int:
            number = await super().save(checkpoint)
            if checkpoint.intent == ("b",):
                closing.append(asyncio.create_task(first.close()))
                await asyncio.sleep(0.01)
            return number

    order = asking(asked, ran)
    first = await open_engine(Closing(storage))
    await first.start(order, id="o")
    await until(lambda: closing)
    await closing[0]
    result = await (await open_engine(workflows=[order])).resume("o")
    assert (result.status, asked.times, ran) == (WorkflowStatus.COMPLETED, 1, ["a", "b", "c"])
