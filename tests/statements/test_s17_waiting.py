"""S17: a handler returns a wait or a sleep; the step is suspended and the process is free."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import (
    FluxEngine,
    Retry,
    StepStatus,
    Wait,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    done,
    sleep,
    sleep_until,
    wait,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, noting, step_of
from saves import Saves
from undoing import fail
from waits import LONG, asking, becomes, ended

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED
NOW = ManualClock().now()
ALWAYS = wait("approved")


def waiting_plainly(ctx: WorkflowContext) -> Wait:
    """A plain handler that waits."""
    return wait("approved")


async def waiting(ctx: WorkflowContext) -> Wait:
    """An async handler that waits."""
    return wait("approved")


# Suspended


@pytest.mark.parametrize("handler", [waiting, waiting_plainly])
async def test_s17_a_returned_wait_suspends(engine: FluxEngine, handler: Any) -> None:
    """The instance rests as suspended at this step, and the next one does not run."""
    order = Workflow("order").step("ask", handler).step("ship", noting("ship", []))
    result = await engine.execute(order, id="o")
    ask = step_of(result, "ask")
    assert (result.status, result.state.current_step) == (SUSPENDED, "ask")
    assert (ask.status, ask.waiting_for, ask.wakes_at) == (StepStatus.SUSPENDED, "approved", None)
    assert (ask.outcome, ask.output, ask.completed_at) == (None, None, None)
    assert [entry.name for entry in result.history] == ["ask"]


async def test_s17_a_suspended_instance_is_not_driven(engine: FluxEngine) -> None:
    """Nobody holds a lease on it, and without a timeout it is never due by itself."""
    await engine.execute(asking([]), id="o")
    report = await engine.diagnose("o")
    assert (report.driven_until, report.due_at) == (None, None)


async def test_s17_the_process_is_free(open_engine: OpenEngine) -> None:
    """An engine with room for one instance runs others while that one waits."""
    engine = await open_engine(max_instances=1)
    assert (await engine.execute(asking([]), id="o")).status is SUSPENDED
    other = Workflow("other").step("a", noting("a", []))
    assert (await engine.execute(other)).status is COMPLETED
    assert (await engine.get("o")).status is SUSPENDED


@pytest.mark.parametrize("payload", [{"by": "kim"}, [1, 2], "yes", 7, False, None])
async def test_s17_the_payload_is_the_output(engine: FluxEngine, payload: Any) -> None:
    """The signal completes the step, and the next one sees what it brought."""
    seen: list[Any] = []
    order = Workflow("order").step("ask", waiting)
    order.step("look", lambda ctx: seen.append(ctx.output("ask")))
    await engine.execute(order, id="o")
    result = await engine.signal("o", "approved", payload)
    assert result is not None
    assert (result.status, step_of(result, "ask").output, seen) == (COMPLETED, payload, [payload])


async def test_s17_the_handler_runs_once(engine: FluxEngine) -> None:
    """What returned the wait is not called again when the signal comes."""
    did: list[str] = []
    await engine.execute(asking(did), id="o")
    result = await engine.signal("o", "approved")
    assert did == ["reserve", "ask", "ship"]
    assert result is not None
    assert step_of(result, "ask").attempt_count == 1


async def test_s17_history_tells_when_it_waited(open_engine: OpenEngine) -> None:
    """The entry keeps when the step was suspended; it is completed when the signal was taken."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(asking([], lambda: wait("approved", 90)), id="o")
    assert step_of(await engine.get("o"), "ask").wakes_at == NOW + timedelta(seconds=90)
    clock.advance(60)
    await engine.signal("o", "approved")
    ask = step_of(await engine.get("o"), "ask")
    assert (ask.suspended_at, ask.completed_at) == (NOW, NOW + timedelta(seconds=60))
    assert (ask.waiting_for, ask.wakes_at) == (None, None)


async def test_s17_one_after_the_other(engine: FluxEngine) -> None:
    """An instance may be suspended many times; each signal brings it to the next wait."""
    order = Workflow("order").wait("a").wait("b").wait("c")
    result = await engine.execute(order, id="o")
    for name in "abc":
        assert (result.status, result.state.current_step) == (SUSPENDED, name)
        answer = await engine.signal("o", name, name)
        assert answer is not None
        result = answer
    assert [entry.output for entry in result.history] == ["a", "b", "c"]


async def test_s17_a_wait_can_be_made_once_for_all(engine: FluxEngine) -> None:
    """One made outside of handlers may be returned by many steps, and many instances."""
    order = Workflow("order").step("a", lambda ctx: ALWAYS).step("b", lambda ctx: ALWAYS)
    for id in ("o", "p"):
        await engine.execute(order, id=id)
        await engine.signal(id, "approved", 1)
        result = await engine.signal(id, "approved", 2)
        assert result is not None
        assert [entry.output for entry in result.history] == [1, 2]


# Sleeps


@pytest.mark.parametrize(
    "sleeps",
    [
        lambda: sleep(60),
        lambda: sleep(timedelta(minutes=1)),
        lambda: sleep_until(NOW + timedelta(seconds=60)),
    ],
)
async def test_s17_a_sleep_ends_by_itself(
    open_engine: OpenEngine, sleeps: Callable[[], Wait]
) -> None:
    """After its time, and not before, the step completes with no output, and the next runs."""
    did: list[str] = []
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    result = await engine.execute(asking(did, sleeps), id="o")
    ask = step_of(result, "ask")
    assert (result.status, ask.waiting_for) == (SUSPENDED, None)
    assert ask.wakes_at == (await engine.diagnose("o")).due_at == NOW + timedelta(seconds=60)
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, None)
    took = step_of(result, "ask").duration
    assert took is not None
    assert 60 <= took < 61
    assert did == ["reserve", "ask", "ship"]


@pytest.mark.parametrize("past", [NOW, NOW - timedelta(days=365), datetime(1, 1, 1, tzinfo=UTC)])
async def test_s17_a_sleep_into_the_past_is_none(
    storage: WorkflowStorage, open_engine: OpenEngine, past: datetime
) -> None:
    """It completes at once: the instance is never suspended, and no save is spent on it."""
    saves, did = Saves(storage), list[str]()
    engine = await open_engine(saves, clock=ManualClock(), **LONG)
    result = await engine.execute(asking(did, lambda: sleep_until(past)), id="o")
    assert (result.status, did) == (COMPLETED, ["reserve", "ask", "ship"])
    assert len(saves.made) == 3 + 1


async def test_s17_no_signal_ends_a_sleep(open_engine: OpenEngine) -> None:
    """A signal to a sleeping instance is kept, and leaves it asleep."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(asking([], lambda: sleep(60)), id="o")
    result = await engine.signal("o", "approved")
    assert result is not None
    assert result.status is SUSPENDED
    assert (await engine.diagnose("o")).due_at == NOW + timedelta(seconds=60)


# Declared waits


async def test_s17_declared_waits_need_no_handler(open_engine: OpenEngine) -> None:
    """`workflow.wait` and `workflow.sleep` do as the handlers would that return them."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order").wait("approval", signal="approved").sleep("cool-down", 60)
    await engine.execute(order, id="o")
    result = await engine.signal("o", "approved", "yes")
    assert result is not None
    assert (result.status, result.state.current_step) == (SUSPENDED, "cool-down")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert [entry.output for entry in result.history] == ["yes", None]


async def test_s17_declared_waits_time_out(open_engine: OpenEngine) -> None:
    """A declared wait takes the same limits as one in a handler."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order").wait("a", timeout=60, on_timeout="continue", default="none")
    await engine.execute(order.wait("b", timeout=60), id="o")
    clock.advance(60)
    await becomes(engine, lambda state: state.current_step == "b", clock=clock)
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert step_of(result, "a").output == "none"
    assert str(result.error) == ("WaitTimeoutError: step 'b': the signal 'b' did not come in time")


async def test_s17_declared_waits_can_be_skipped(engine: FluxEngine) -> None:
    """A predicate that says no: nobody waits, and the output is None."""
    order = Workflow("order").wait("approval", when=lambda ctx: False)
    result = await engine.execute(order)
    assert (result.status, step_of(result, "approval").status) == (COMPLETED, "skipped")


# Durable timers


@pytest.mark.parametrize("dies", [True, False])
async def test_s17_timers_are_durable(
    storage: WorkflowStorage, open_engine: OpenEngine, dies: bool
) -> None:
    """A sleep ends in whatever process lives then; the one that began it may be gone."""
    clock, did, saves = ManualClock(), list[str](), Saves(storage)
    order = asking(did, lambda: sleep(60))
    first = await open_engine(saves, clock=clock, **LONG)
    await first.execute(order, id="o")
    saves.die() if dies else await first.close()
    clock.advance(30)
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    assert (await second.get("o")).status is SUSPENDED
    clock.advance(30)
    assert (await ended(second, clock=clock)).status is COMPLETED
    assert did == ["reserve", "ask", "ship"]


async def test_s17_a_timer_that_ran_out_unseen(open_engine: OpenEngine) -> None:
    """What was due while no process lived goes on as soon as one does."""
    clock, did = ManualClock(), list[str]()
    order = asking(did, lambda: sleep(60))
    first = await open_engine(clock=clock, **LONG)
    await first.execute(order, id="o")
    await first.close()
    clock.advance(3600)
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    assert (await ended(second, clock=clock)).status is COMPLETED


# What the handler did before it waited


async def test_s17_changes_are_saved_with_the_suspension(open_engine: OpenEngine) -> None:
    """What the handler changed in `data` is there while it waits, also in another process."""

    async def ask(ctx: WorkflowContext) -> Wait:
        ctx.data["asked"] = "kim"
        del ctx.data["draft"]
        return wait("approved")

    def draft(ctx: WorkflowContext) -> None:
        ctx.data["draft"] = True

    order = Workflow("order").step("draft", draft).step("ask", ask)
    order.step("look", lambda ctx: dict(ctx.data))
    first = await open_engine()
    await first.execute(order, id="o")
    await first.close()
    second = await open_engine(workflows=[order])
    assert (await second.get("o")).data == {"asked": "kim"}
    result = await second.signal("o", "approved")
    assert result is not None
    assert step_of(result, "look").output == result.data == {"asked": "kim"}


async def test_s17_the_timeout_ends_with_the_handler(engine: FluxEngine) -> None:
    """A step may wait for longer than its handler may run."""
    order = asking([], lambda: sleep(0.1), timeout=0.05)
    result = await engine.execute(order, id="o")
    assert result.status is SUSPENDED
    assert (await ended(engine)).status is COMPLETED


async def test_s17_retries_do_not_cover_the_wait(open_engine: OpenEngine) -> None:
    """A wait that timed out fails the step, whatever retries its handler has left."""
    did: list[str] = []
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = asking(did, lambda: wait("approved", 60), retries=Retry(3, initial=0))
    await engine.execute(order, id="o")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, did) == ("rolled_back", ["reserve", "ask", "undo reserve"])
    assert step_of(result, "ask").attempt_count == 1


async def test_s17_retries_cover_the_handler(engine: FluxEngine) -> None:
    """A handler that fails before it waits is retried as usual; only its last attempt counts."""

    async def ask(ctx: WorkflowContext) -> Wait:
        ctx.data[f"attempt {ctx.attempt}"] = True
        if ctx.attempt < 3:
            raise RuntimeError("flaky")
        return wait("approved")

    order = Workflow("order").step("ask", ask, retries=Retry(2, initial=0))
    result = await engine.execute(order, id="o")
    assert (result.status, result.data) == (SUSPENDED, {"attempt 3": True})
    assert step_of(result, "ask").attempt_count == 3


# A suspended step has acted


async def timed_out(engine: FluxEngine, clock: ManualClock) -> None:
    clock.advance(60)


async def cancelled(engine: FluxEngine, clock: ManualClock) -> None:
    await engine.cancel("o")


@pytest.mark.parametrize("fails", [timed_out, cancelled])
async def test_s17_a_suspended_step_is_compensated(open_engine: OpenEngine, fails: Any) -> None:
    """Its wait fails or is cancelled: it is undone first, and nobody knows what it has done."""
    did: list[Any] = []

    async def unask(ctx: Any) -> None:
        did.append(("unask", ctx.outcome, ctx.output("ask"), ctx.step_key))

    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(asking(did, lambda: wait("approved", 60), compensate=unask), id="o")
    await fails(engine, clock)
    result = await ended(engine, clock=clock)
    assert did == ["reserve", "ask", ("unask", "unknown", None, "o:ask:1"), "undo reserve"]
    assert (step_of(result, "ask").status, step_of(result, "ask").outcome) == (
        "compensated",
        "unknown",
    )


async def test_s17_a_completed_wait_is_compensated(engine: FluxEngine) -> None:
    """Once the signal was taken the step is completed, and undone as such, with its payload."""
    seen: list[Any] = []

    async def unask(ctx: Any) -> None:
        seen.append((ctx.outcome, ctx.output("ask")))

    order = Workflow("order").step("ask", waiting, compensate=unask).step("pay", fail)
    await engine.execute(order, id="o")
    await engine.signal("o", "approved", "yes")
    assert seen == [("completed", "yes")]


async def test_s17_a_replaced_suspension_is_still_owed(engine: FluxEngine) -> None:
    """A restart from before a waiting step, which then is not reached again: it is undone."""
    did: list[str] = []
    seen: list[str] = []

    async def check(ctx: WorkflowContext) -> None:
        seen.append("check")
        if len(seen) == 2:
            raise RuntimeError("declined")

    order = Workflow("order").step("check", check)
    order.step("ask", waiting, compensate=noting("undo ask", did))
    await engine.execute(order, id="o")
    result = await engine.restart("o", "check")
    assert (result.status, did) == ("rolled_back", ["undo ask"])


# Being suspended is no interruption


@pytest.mark.parametrize("dies", [True, False])
async def test_s05_being_suspended_is_no_interruption(
    storage: WorkflowStorage, open_engine: OpenEngine, dies: bool
) -> None:
    """An at-most-once step that waits goes on in another process; its verifier is not asked."""
    did: list[str] = []
    order = asking(did, at_most_once=True, verify=noting("verify", did))
    saves, clock = Saves(storage), ManualClock()
    first = await open_engine(saves, clock=clock, **LONG)
    await first.execute(order, id="o")
    saves.die() if dies else await first.close()
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    result = await second.signal("o", "approved", "yes")
    assert result is not None
    assert (result.status, did) == (COMPLETED, ["reserve", "ask", "ship"])
    assert step_of(result, "ask").output == "yes"


async def test_s05_a_failed_wait_is_asked_about(open_engine: OpenEngine) -> None:
    """`resume` of an at-most-once step whose wait timed out asks whether it has acted."""
    did: list[str] = []

    async def verify(ctx: WorkflowContext) -> Any:
        did.append("verify")
        return done("by hand")

    async def ask(ctx: WorkflowContext) -> Wait:
        did.append("ask")
        return wait("approved", 60)

    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order").step("ask", ask, at_most_once=True, verify=verify)
    await engine.execute(order, id="o")
    clock.advance(60)
    assert step_of(await ended(engine, clock=clock), "ask").outcome == "unknown"
    result = await engine.resume("o")
    assert (result.status, did) == (COMPLETED, ["ask", "verify"])
    assert step_of(result, "ask").output == "by hand"


# Waits that are not returned


async def drops(ctx: WorkflowContext) -> str:
    wait("approved")
    return "done"


def drops_plainly(ctx: WorkflowContext) -> None:
    sleep(60)


async def returns_one_of_two(ctx: WorkflowContext) -> Wait:
    wait("approved")
    return wait("paid")


async def returns_a_list(ctx: WorkflowContext) -> list[Wait]:
    return [wait("approved")]


async def returns_a_tuple(ctx: WorkflowContext) -> tuple[str, Wait]:
    return "result", wait("approved")


async def returns_a_dict(ctx: WorkflowContext) -> dict[str, Any]:
    return {"then": {"next": wait("approved")}}


async def drops_in_a_helper(ctx: WorkflowContext) -> None:
    await drops(ctx)


async def drops_in_a_task(ctx: WorkflowContext) -> None:
    await asyncio.create_task(drops(ctx))


async def drops_in_a_thread(ctx: WorkflowContext) -> None:
    await asyncio.to_thread(drops_plainly, ctx)


async def keeps_it_in_the_data(ctx: WorkflowContext) -> None:
    ctx.data["wait"] = wait("approved")


DROPPING = [
    drops,
    drops_plainly,
    returns_one_of_two,
    returns_a_list,
    returns_a_tuple,
    returns_a_dict,
    drops_in_a_helper,
    drops_in_a_task,
    drops_in_a_thread,
    keeps_it_in_the_data,
]


@pytest.mark.parametrize("handler", DROPPING)
async def test_s17_a_wait_must_be_returned(engine: FluxEngine, handler: Any) -> None:
    """A wait made and not returned fails the step, and the message says what to write."""
    result = await engine.execute(Workflow("order").step("ask", handler), id="o")
    assert (result.status, result.data) == ("failed", {})
    assert result.error is not None
    assert result.error.type == "WaitNotReturnedError"
    made = "a sleep" if handler in (drops_plainly, drops_in_a_thread) else "a wait for 'approved'"
    assert result.error.message == (
        f"step 'ask' made {made} and did not return it; write `return wait(...)`"
    )


@pytest.mark.parametrize("handler", [drops, returns_a_list])
async def test_s17_a_refused_wait_is_compensated(engine: FluxEngine, handler: Any) -> None:
    """The handler returned, so it has acted: no retry follows, and the outcome is unknown."""
    did: list[str] = []
    order = Workflow("order").step(
        "ask", handler, retries=Retry(3, initial=0), compensate=noting("undo ask", did)
    )
    result = await engine.execute(order)
    ask = step_of(result, "ask")
    assert (result.status, did) == ("rolled_back", ["undo ask"])
    assert (ask.attempt_count, ask.outcome) == (1, "unknown")


async def test_s17_a_wait_from_outside_in_a_value(engine: FluxEngine) -> None:
    """A wait that no handler made fails the step as well when it is part of a value."""
    result = await engine.execute(Workflow("order").step("ask", lambda ctx: [ALWAYS]))
    assert (result.status, step_of(result, "ask").outcome) == ("failed", "unknown")


async def test_s17_each_attempt_makes_its_own_waits(engine: FluxEngine) -> None:
    """A wait that a failed attempt made does not count against the next one."""

    async def ask(ctx: WorkflowContext) -> str:
        if ctx.attempt == 1:
            wait("approved")
            raise RuntimeError("flaky")
        return "done"

    order = Workflow("order").step("ask", ask, retries=Retry(1, initial=0))
    assert (await engine.execute(order)).status is COMPLETED


async def test_s17_other_instances_make_their_own_waits(engine: FluxEngine) -> None:
    """A handler that executes another workflow, which waits, has made no wait itself."""

    async def run(ctx: WorkflowContext) -> str:
        return str((await engine.execute(asking([]), id="inner")).status)

    result = await engine.execute(Workflow("outer").step("run", run))
    assert (result.status, step_of(result, "run").output) == (COMPLETED, "suspended")


async def test_s17_declaring_a_wait_makes_none(engine: FluxEngine) -> None:
    """A handler that builds a workflow with a declared wait has made no wait itself."""

    async def run(ctx: WorkflowContext) -> str:
        inner = Workflow("inner").wait("approval", "approved")
        return str((await engine.execute(inner, id="inner")).status)

    result = await engine.execute(Workflow("outer").step("run", run))
    assert (str(result.error), result.status) == ("None", COMPLETED)


async def awaits(ctx: WorkflowContext) -> Any:
    return await wait("approved")


async def asks_for_its_truth(ctx: WorkflowContext) -> str:
    return "yes" if wait("approved") else "no"


@pytest.mark.parametrize(
    ("handler", "said"),
    [(awaits, "a wait is not awaited"), (asks_for_its_truth, "a wait has no answer yet")],
)
async def test_s17_a_wait_is_neither_awaited_nor_asked(
    engine: FluxEngine, handler: Any, said: str
) -> None:
    """Both raise a `TypeError` in the handler that says what to write."""
    result = await engine.execute(Workflow("order").step("ask", handler))
    assert str(result.error) == f"TypeError: {said}; write `return wait(...)`"


@pytest.mark.parametrize("name", ["", "flux:cancel"])
async def test_s17_a_name_that_is_none_fails_the_step(engine: FluxEngine, name: str) -> None:
    """A reserved name, or none, raises in the handler that waits for it."""
    result = await engine.execute(asking([], lambda: wait(name)))
    assert result.error is not None
    assert (result.error.type, result.status) == ("ValueError", "rolled_back")
    assert f"{name!r} names no signal" in result.error.message


@pytest.mark.parametrize(
    ("default", "path"), [({"at": NOW}, "default.at"), (float("nan"), "default")]
)
async def test_s17_a_default_is_json(engine: FluxEngine, default: Any, path: str) -> None:
    """A default that JSON would change fails the step at once, not when it is needed."""
    waits = asking([], lambda: wait("approved", 60, "continue", default))
    result = await engine.execute(waits)
    assert result.error is not None
    assert (result.error.type, step_of(result, "ask").outcome) == ("NotJSONError", "unknown")
    assert result.error.message.startswith(f"{path}: ")


# Only handlers wait


@pytest.mark.parametrize("undo", [waiting, waiting_plainly])
async def test_s14_a_compensator_cannot_wait(engine: FluxEngine, undo: Any) -> None:
    """One that returns a wait has failed for good, whatever retries it has."""
    order = Workflow("order").step(
        "a", noting("a", []), compensate=undo, compensate_retries=Retry(3, initial=0)
    )
    result = await engine.execute(order.step("pay", fail))
    undone = step_of(result, "a").compensation
    assert undone is not None
    assert (result.status, undone.status, undone.attempts) == ("rollback_failed", "failed", 1)
    assert str(undone.error) == (
        "CannotWaitError: step 'a': its compensator or verifier returned a wait; "
        "only its handler can wait"
    )


@pytest.mark.parametrize("undo", [drops, returns_a_list])
async def test_s14_a_compensator_makes_no_wait(engine: FluxEngine, undo: Any) -> None:
    """One that makes a wait has failed, though it did not return it."""
    order = Workflow("order").step("a", noting("a", []), compensate=undo).step("pay", fail)
    result = await engine.execute(order)
    undone = step_of(result, "a").compensation
    assert result.status is WorkflowStatus.ROLLBACK_FAILED
    assert undone is not None
    assert undone.error is not None
    assert undone.error.type == "WaitNotReturnedError"


async def test_s17_a_verifier_cannot_wait(engine: FluxEngine) -> None:
    """One that returns a wait tells nothing: the outcome stays unknown."""

    async def hang(ctx: WorkflowContext) -> None:
        await asyncio.Event().wait()

    order = Workflow("order").step("a", hang, timeout=0.02, at_most_once=True, verify=waiting)
    result = await engine.execute(order)
    assert (result.status, step_of(result, "a").outcome) == ("failed", "unknown")
    assert result.error is not None
    assert result.error.type == "CannotWaitError"


async def asks_later(ctx: WorkflowContext) -> Any:
    return wait("approved")


@pytest.mark.parametrize("when", [lambda ctx: wait("approved"), asks_later])
async def test_s17_a_predicate_cannot_wait(engine: FluxEngine, when: Any) -> None:
    """One that returns a wait has no answer: its step fails, and has not run."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", did), when=when)
    result = await engine.execute(order)
    assert (result.status, did, step_of(result, "a").outcome) == ("failed", [], None)
    assert result.error is not None
    assert result.error.type == "TypeError"


# What other statements say of waits


async def test_s01_ten_starts_suspend_one_instance(open_engine: OpenEngine) -> None:
    """Ten starts with one id, in two engines: the handler runs once, and all get its rest."""
    did: list[str] = []
    order = asking(did)
    engines = [await open_engine(workflows=[order]) for _ in range(2)]
    starts = [engines[n % 2].execute("order", {"n": 1}, id="o") for n in range(10)]
    results = await asyncio.gather(*starts)
    assert {result.status for result in results} == {SUSPENDED}
    assert did == ["reserve", "ask"]


async def test_s02_a_wait_costs_two_saves(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Two steps and a wait between them: N + 1 saves, one to suspend and one to go on."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "approved")
    assert [made.intent for made in saves.made] == [("reserve",), ("ask",), (), ("ship",), ()]


async def test_s02_a_wait_that_times_out_costs_two(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A timeout costs as much as the signal would have cost."""
    saves, clock = Saves(storage), ManualClock()
    engine = await open_engine(saves, clock=clock, **LONG)
    await engine.execute(asking([], lambda: wait("approved", 60, "continue")), id="o")
    clock.advance(60)
    await ended(engine, clock=clock)
    assert len(saves.made) == 5


async def test_s02_an_early_signal_saves_a_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A signal that is there when the handler returns its wait: the step costs one save."""
    saves = Saves(storage)
    engine = await open_engine(saves)

    async def tell(ctx: WorkflowContext) -> None:
        await engine.signal("o", "approved", wait=False)

    result = await engine.execute(Workflow("order").step("tell", tell).wait("approved"), id="o")
    assert (result.status, len(saves.made)) == (COMPLETED, 3)


async def test_s02_a_suspension_has_no_intent(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """What waits is at rest: its save gives the lease back, and is due at its timeout."""
    saves = Saves(storage)
    engine = await open_engine(saves, clock=ManualClock(), **LONG)
    await engine.execute(asking([], lambda: wait("approved", 60)), id="o")
    last: Any = saves.made[-1]
    assert (last.status, last.intent, last.lease, last.wake) == ("suspended", (), None, 60)


async def test_s03_a_wait_that_failed_keeps_its_key(open_engine: OpenEngine) -> None:
    """`resume` runs the handler again with the key that it had: its effect is the same one."""
    keys: list[Any] = []

    async def ask(ctx: WorkflowContext) -> Wait:
        keys.append((ctx.attempt, ctx.idempotency_key))
        return wait("approved", 60)

    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(Workflow("order").step("ask", ask), id="o")
    clock.advance(60)
    await ended(engine, clock=clock)
    assert (await engine.resume("o")).status is SUSPENDED
    assert keys == [(1, "o:ask:1"), (2, "o:ask:1")]


async def test_s04_a_restart_waits_anew(engine: FluxEngine) -> None:
    """The signal that was consumed before the restart stays consumed: another one is needed."""
    did: list[str] = []
    await engine.execute(asking(did), id="o")
    await engine.signal("o", "approved", 1)
    assert (await engine.restart("o", "ask")).status is SUSPENDED
    assert did == ["reserve", "ask", "ship", "ask"]
    result = await engine.signal("o", "approved", 2)
    assert result is not None
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, 2)
    taken = [(signal.payload, signal.taken_by) for signal in (await engine.diagnose("o")).signals]
    assert taken == [(1, "ask"), (2, "ask")]


async def test_s04_a_suspended_instance_restarts(engine: FluxEngine) -> None:
    """A restart while it waits runs the waiting step anew; its effect keeps its key."""
    keys: list[str] = []

    async def ask(ctx: WorkflowContext) -> Wait:
        keys.append(ctx.idempotency_key)
        return wait("approved")

    await engine.execute(Workflow("order").step("ask", ask), id="o")
    assert (await engine.restart("o", "ask")).status is SUSPENDED
    result = await engine.signal("o", "approved")
    assert result is not None
    assert (result.status, keys) == (COMPLETED, ["o:ask:1", "o:ask:1"])


async def test_s04_a_committed_wait_is_replayed(engine: FluxEngine) -> None:
    """A commit that waited never waits again: its payload is replayed."""
    order = Workflow("order").step("a", Flaky(0)).commit("ask", waiting)
    await engine.execute(order.step("look", lambda ctx: ctx.output("ask")), id="o")
    await engine.signal("o", "approved", "yes")
    result = await engine.restart("o", "a")
    assert (result.status, step_of(result, "look").output) == (COMPLETED, "yes")


async def test_s04_unused_signals_outlive_a_restart(engine: FluxEngine) -> None:
    """A signal that nobody has consumed yet is there for the new run."""
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "approved", 1)
    await engine.execute(Workflow("late").wait("paid"), id="l")
    await engine.signal("l", "other", 1)
    await engine.signal("l", "paid", 1)
    assert (await engine.restart("l", "paid")).status is SUSPENDED
    assert [s.taken_by for s in (await engine.diagnose("l")).signals] == [None, "paid"]


async def test_s07_a_failed_wait_run_anew_has_no_old_data(open_engine: OpenEngine) -> None:
    """`resume` runs the handler anew on the data as it was before its wait failed."""
    seen: list[Any] = []

    async def ask(ctx: WorkflowContext) -> Wait:
        entry = ctx.history[-1] if ctx.attempt > 1 else None
        seen.append((dict(ctx.data), entry and (entry.wakes_at, entry.suspended_at)))
        ctx.data["asked"] = len(seen)
        return wait("approved", 60)

    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    await engine.execute(Workflow("order").step("ask", ask), id="o")
    clock.advance(60)
    await ended(engine, clock=clock)
    assert (await engine.resume("o")).status is SUSPENDED
    assert seen == [({}, None), ({}, (None, None))]
    assert (await engine.get("o")).data == {"asked": 2}
