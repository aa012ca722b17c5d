"""S16: the statuses of instances and executions, and the verbs that fit them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flux import (
    CompensationStatus,
    FluxEngine,
    InvalidTransitionError,
    Outcome,
    OutcomeUnknownError,
    Retry,
    StepStatus,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
)
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of, until
from undoing import Lives, fail, rested, undoable

FAILED, ROLLED_BACK = WorkflowStatus.FAILED, WorkflowStatus.ROLLED_BACK


def test_s16_statuses_of_an_instance() -> None:
    """There are these and no others."""
    assert " ".join(WorkflowStatus) == (
        "pending running suspended paused completed failed "
        "rolling_back rolled_back rollback_failed cancelled parked"
    )


def test_s16_statuses_of_an_execution() -> None:
    """The original's eight; outcome and compensation are apart from them."""
    assert set(StepStatus) == {
        "pending",
        "running",
        "completed",
        "failed",
        "skipped",
        "suspended",
        "compensated",
        "compensating",
    }
    assert set(Outcome) == {"completed", "unknown"}
    assert set(CompensationStatus) == {"running", "completed", "failed", "skipped"}


async def test_s16_running_while_steps_run(engine: FluxEngine) -> None:
    """A handler, and whoever looks meanwhile, sees `running`; at its end it is `completed`."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        state = await engine.get(ctx.id)
        seen.extend([ctx.status, state.status, state.completed_at])

    result = await engine.execute(Workflow("order").step("look", look))
    assert seen == ["running", "running", None]
    assert result.status is WorkflowStatus.COMPLETED
    assert result.state.completed_at is not None


async def test_s16_rolling_back_while_compensators_run(engine: FluxEngine) -> None:
    """A compensator, and whoever looks meanwhile, sees `rolling_back`."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        state = await engine.get(ctx.id)
        seen.extend([ctx.status, state.status, state.completed_at])

    order = sequence().step("a", noting("a", []), compensate=look).step("pay", fail)
    result = await engine.execute(order)
    assert seen == ["rolling_back", "rolling_back", None]
    assert result.state.completed_at is not None


async def test_s16_the_status_can_be_listed(engine: FluxEngine) -> None:
    """What the state shows is what instances are found by."""
    await engine.execute(sequence("a"), id="good")
    await engine.execute(Workflow("bad").step("pay", fail), id="bad")
    found = await engine.list(WorkflowFilter(status=FAILED))
    assert [summary.id for summary in found] == ["bad"]
    assert await engine.count(WorkflowFilter(status=["completed", "failed"])) == 2


# Nothing to undo


async def test_s16_nothing_to_undo_is_failed(engine: FluxEngine) -> None:
    """No completed step has a compensator: there is no rollback."""
    result = await engine.execute(sequence("a", "b").step("pay", fail))
    assert result.status is FAILED


async def test_s16_a_compensator_of_what_did_not_happen_is_none(engine: FluxEngine) -> None:
    """The failed step's own compensator, and those of steps not run, do not count."""
    order = sequence("a").step("pay", fail, compensate=fail)
    order.step("skipped", noting("", []), compensate=fail)
    assert (await engine.execute(order)).status is FAILED


async def test_s16_a_skipped_step_is_nothing_to_undo(engine: FluxEngine) -> None:
    """Its compensator does not count either."""
    order = Workflow("order")
    order.step("a", noting("a", []), compensate=fail, when=lambda ctx: False).step("pay", fail)
    assert (await engine.execute(order)).status is FAILED


async def test_s16_a_completed_step_is_to_be_undone(engine: FluxEngine) -> None:
    """One with a compensator is enough."""
    result = await engine.execute(undoable("a", did=[]).step("pay", fail))
    assert result.status is ROLLED_BACK


@pytest.mark.parametrize("compensated", [True, False])
async def test_s16_an_unknown_step_is_to_be_undone(engine: FluxEngine, compensated: bool) -> None:
    """If it has a compensator; without one there is nothing to undo."""
    undo = noting("undo", []) if compensated else None
    pay = Flaky(None, OutcomeUnknownError("no answer"))
    result = await engine.execute(Workflow("order").step("pay", pay, compensate=undo))
    assert result.status is (ROLLED_BACK if compensated else FAILED)


async def test_s16_a_replaced_completion_is_to_be_undone(engine: FluxEngine) -> None:
    """One that a restart set aside is still owed, though nothing current has completed."""
    did: list[str] = []
    calls: list[int] = []

    async def once(ctx: WorkflowContext) -> None:
        calls.append(ctx.attempt)
        if len(calls) > 1:
            raise RuntimeError("declined")

    order = Workflow("order").step("a", once, compensate=noting("undo a", did))
    await engine.execute(order, id="o")
    result = await engine.restart("o", "a")
    assert (result.status, did) == (ROLLED_BACK, ["undo a"])


async def test_s16_it_is_failed_once_nothing_is_owed_any_more(engine: FluxEngine) -> None:
    """A second failure after a rollback has nothing to undo: what was undone is undone."""
    order = Workflow("order").step("a", Flaky(0), compensate=noting("undo a", []))
    order.step("pay", fail)
    await engine.execute(order, id="o")
    gate = Workflow("order").step("a", Flaky(None), compensate=noting("undo a", []))
    assert (await engine.execute(gate.step("pay", fail), id="o")).status is ROLLED_BACK
    assert (await engine.restart("o", "a")).status is FAILED


# The verbs


async def test_s16_after_rolled_back_only_restart_goes_on(engine: FluxEngine) -> None:
    """`resume` leaves it as it is, `retry_step` raises, `restart` runs it again."""
    did: list[str] = []
    pay = Flaky(1)
    await engine.execute(undoable("a", did=did).step("pay", pay), id="o")
    assert (await engine.resume("o")).status is ROLLED_BACK
    with pytest.raises(InvalidTransitionError, match=r"is rolled_back.*restart\(\) runs it again"):
        await engine.retry_step("o", "pay")
    assert did == ["a", "undo a"]
    assert (await engine.restart("o", "a")).status is WorkflowStatus.COMPLETED
    assert did == ["a", "undo a", "a"]


Reached = Callable[[FluxEngine], Awaitable[object]]


async def completed(engine: FluxEngine) -> None:
    await engine.execute(sequence("a"), id="o")


async def failed(engine: FluxEngine) -> None:
    await engine.execute(sequence("z").step("a", fail), id="o")


async def rolled_back(engine: FluxEngine) -> None:
    await engine.execute(undoable("z", did=[]).step("a", fail), id="o")


async def rollback_failed(engine: FluxEngine) -> None:
    order = Workflow("order").step("a", noting("a", []), compensate=fail).step("pay", fail)
    await engine.execute(order, id="o")


async def running(engine: FluxEngine) -> None:
    async def wait(ctx: WorkflowContext) -> None:
        await asyncio.Event().wait()

    await engine.start(Workflow("order").step("a", wait), id="o")


async def rolling_back(engine: FluxEngine) -> None:
    async def wait(ctx: WorkflowContext) -> None:
        called.append(ctx)
        await asyncio.Event().wait()

    called: list[WorkflowContext] = []
    order = Workflow("order").step("a", noting("a", []), compensate=wait).step("pay", fail)
    await engine.start(order, id="o")
    await until(lambda: called)


VERBS: dict[str, dict[str, Any]] = {
    "retry_step": {"step": "a"},
    "restart": {"from_step": "a"},
    "retry_rollback": {},
    "skip_compensation": {"step": "a", "reason": "by hand"},
    "delete": {},
}


@pytest.mark.parametrize(
    ("reach", "verb", "fits"),
    [
        (completed, "retry_step", "restart() runs it again from a step"),
        (completed, "retry_rollback", "restart() runs it again from a step"),
        (completed, "skip_compensation", "restart() runs it again from a step"),
        (failed, "retry_rollback", "resume() tries its failed steps again"),
        (failed, "skip_compensation", "resume() tries its failed steps again"),
        (rolled_back, "retry_step", "restart() runs it again from a step"),
        (rolled_back, "retry_rollback", "restart() runs it again from a step"),
        (rolled_back, "skip_compensation", "restart() runs it again from a step"),
        (rollback_failed, "retry_step", "retry_rollback() or skip_compensation() go on"),
        (rollback_failed, "restart", "retry_rollback() or skip_compensation() go on"),
        (rollback_failed, "delete", "only ended instances are deleted"),
        (running, "retry_step", "result() waits for its end"),
        (running, "restart", "result() waits for its end"),
        (running, "retry_rollback", "result() waits for its end"),
        (running, "skip_compensation", "result() waits for its end"),
        (running, "delete", "result() waits for its end"),
        (rolling_back, "retry_step", "result() waits for its end"),
        (rolling_back, "restart", "result() waits for its end"),
        (rolling_back, "retry_rollback", "result() waits for its end"),
        (rolling_back, "delete", "result() waits for its end"),
    ],
)
async def test_s16_a_verb_that_does_not_fit_is_refused(
    open_engine: OpenEngine, reach: Reached, verb: str, fits: str
) -> None:
    """The error names the status and a verb that fits; nothing has changed."""
    engine = await open_engine(grace=0)
    await reach(engine)
    before = await engine.get("o")
    with pytest.raises(InvalidTransitionError, match=f"is {reach.__name__}, so") as refused:
        await getattr(engine, verb)("o", **VERBS[verb])
    assert (refused.value.status, refused.value.verb) == (reach.__name__, verb)
    assert fits in refused.value.fits
    assert await engine.get("o") == before


async def test_s16_a_failed_instance_can_be_resumed(engine: FluxEngine) -> None:
    """The verb that the messages name for it does fit."""
    await engine.execute(sequence("a").step("pay", Flaky(1)), id="o")
    assert (await engine.resume("o")).status is WorkflowStatus.COMPLETED


@pytest.mark.parametrize("reach", [completed, failed, rolled_back])
async def test_s16_ended_instances_can_be_restarted(engine: FluxEngine, reach: Reached) -> None:
    """And are live again while they run."""
    await reach(engine)
    first = (await engine.get("o")).history[0].name
    result = await engine.restart("o", first)
    assert (result.state.run, result.status) == (2, reach.__name__)


# Executions


async def test_s16_a_completed_execution(engine: FluxEngine) -> None:
    """Its status and outcome say so, and nothing was undone."""
    entry = step_of(await engine.execute(sequence("a")), "a")
    assert (entry.status, entry.outcome, entry.compensation) == ("completed", "completed", None)
    assert entry.started_at is not None
    assert entry.completed_at is not None


async def test_s16_a_failed_execution(engine: FluxEngine) -> None:
    """Its outcome is none: it has not happened."""
    entry = step_of(await engine.execute(Workflow("order").step("pay", fail)), "pay")
    assert (entry.status, entry.outcome, entry.completed_at) == ("failed", None, None)


async def test_s16_a_compensation_has_fields_of_its_own(engine: FluxEngine) -> None:
    """Status, attempts, error and times; the execution keeps its outcome and its output."""
    undo = Flaky(1)
    order = sequence().step(
        "a", noting("a", []), compensate=undo, compensate_retries=Retry(1, initial=0)
    )
    result = await engine.execute(order.step("pay", fail))
    entry = step_of(result, "a")
    assert (entry.status, entry.outcome, entry.output) == ("compensated", "completed", "a")
    undone = entry.compensation
    assert undone is not None
    assert (undone.status, undone.attempts) == ("completed", 2)
    assert str(undone.error) == "RuntimeError: flaky"
    assert undone.started_at is not None
    assert undone.ended_at is not None
    assert entry.compensated_at == undone.ended_at >= undone.started_at


async def test_s16_a_step_that_never_ran_has_no_entry(engine: FluxEngine) -> None:
    """History has what was reached, in that order."""
    order = sequence("a").step("pay", fail).step("b", noting("b", []))
    result = await engine.execute(order)
    assert [entry.name for entry in result.history] == ["a", "pay"]
    assert result.state.step("b") is None


async def test_s16_an_interrupted_step_is_running(lives: Lives) -> None:
    """While another attempt runs after a crash, its outcome is unknown."""
    seen: list[Any] = []
    engines: list[FluxEngine] = []

    async def look(ctx: WorkflowContext) -> None:
        entry = step_of(await engines[-1].get("o"), "look")
        seen.extend([entry.status, entry.outcome])

    async def dead_first(ctx: WorkflowContext) -> None:
        if ctx.attempt > 1:
            await look(ctx)

    order = Workflow("order").step("look", lives.dying(1, dead_first))
    await lives.start(order, id="o")
    engines.append(await lives.next(order))
    await rested(engines[-1], "o")
    assert seen == ["running", "unknown"]
