"""S21: whom a signal does not reach is told so, and nothing is revived."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    SignalConflictError,
    Workflow,
    WorkflowState,
    WorkflowStatus,
)
from opening import OpenEngine
from sagas import noting
from undoing import fail
from waits import Held, becomes, ended

Reached = Callable[[FluxEngine], Awaitable[object]]


async def completed(engine: FluxEngine) -> None:
    """Its wait took the signal "evt-1", and it went through."""
    await engine.execute(Workflow("order").wait("approved"), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")


async def failed(engine: FluxEngine) -> None:
    """A step after the wait failed, and there was nothing to undo."""
    await engine.execute(Workflow("order").wait("approved").step("pay", fail), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")


async def rolled_back(engine: FluxEngine) -> None:
    """A step after the wait failed, and what was done is undone."""
    order = Workflow("order").step("a", noting("a", []), compensate=noting("undo a", []))
    await engine.execute(order.wait("approved").step("pay", fail), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")


async def cancelled(engine: FluxEngine) -> None:
    """It was cancelled at a second wait."""
    await engine.execute(Workflow("order").wait("approved").wait("paid"), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")
    await engine.cancel("o")
    await ended(engine)


async def rollback_failed(engine: FluxEngine) -> None:
    """A step after the wait failed, and then a compensator."""
    order = Workflow("order").step("a", noting("a", []), compensate=fail)
    await engine.execute(order.wait("approved").step("pay", fail), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")


async def rolling_back(engine: FluxEngine) -> None:
    """A step after the wait failed, and a compensator runs."""
    undo = Held()
    order = Workflow("order").step("a", noting("a", []), compensate=undo)
    await engine.execute(order.wait("approved").step("pay", fail), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1", wait=False)
    await undo.began.wait()


ENDED = [completed, failed, rolled_back, cancelled]
GOING_BACK = [rolling_back, rollback_failed]


async def reached(
    engine: FluxEngine, reach: Reached
) -> tuple[WorkflowState, list[tuple[str, str | None]]]:
    """The instance in the status that the function is named after, and what is in its inbox."""
    await reach(engine)
    assert (await engine.get("o")).status == reach.__name__
    return await seen(engine)


async def seen(engine: FluxEngine) -> tuple[WorkflowState, list[tuple[str, str | None]]]:
    """All that can be seen of the instance."""
    report = await engine.diagnose("o")
    return await engine.get("o"), [(one.name, one.taken_by) for one in report.signals]


async def test_s21_an_unknown_instance(engine: FluxEngine) -> None:
    """There is none of this id; nothing is kept for one that may come."""
    with pytest.raises(InstanceNotFoundError, match=r"no instance 'o'.*engine\.list\(\)"):
        await engine.signal("o", "approved")
    result = await engine.execute(Workflow("order").wait("approved"), id="o")
    assert result.status is WorkflowStatus.SUSPENDED


async def test_s21_a_deleted_instance(engine: FluxEngine) -> None:
    """With the instance its inbox is gone: a known signal id is known no more."""
    await completed(engine)
    await engine.delete("o")
    with pytest.raises(InstanceNotFoundError):
        await engine.signal("o", "approved", 1, signal_id="evt-1")


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("reach", ENDED)
async def test_s21_an_ended_instance(engine: FluxEngine, reach: Reached, wait: bool) -> None:
    """The error says how it has ended; the instance and its inbox are as they were."""
    before = await reached(engine, reach)
    with pytest.raises(InstanceEndedError, match="so it cannot take a signal") as refused:
        await engine.signal("o", "approved", 2, signal_id="evt-2", wait=wait)
    assert (refused.value.id, refused.value.status) == ("o", reach.__name__)
    assert await seen(engine) == before


@pytest.mark.parametrize(
    ("reach", "fits"),
    [
        (rolling_back, "result() waits for its end"),
        (rollback_failed, "retry_rollback() or skip_compensation() go on"),
    ],
)
async def test_s21_an_instance_on_its_way_back(
    open_engine: OpenEngine, reach: Reached, fits: str
) -> None:
    """The error names the status and a verb that fits; nothing was saved."""
    engine = await open_engine(grace=0)
    before = await reached(engine, reach)
    with pytest.raises(InvalidTransitionError, match="so it cannot take a signal") as refused:
        await engine.signal("o", "approved", 2)
    assert (refused.value.status, refused.value.fits) == (reach.__name__, fits)
    assert await seen(engine) == before


@pytest.mark.parametrize("reach", ENDED + GOING_BACK)
async def test_s21_a_known_id_is_acknowledged(open_engine: OpenEngine, reach: Reached) -> None:
    """A repetition raises nothing, whatever became of the instance, and changes nothing."""
    engine = await open_engine(grace=0)
    before = await reached(engine, reach)
    assert await engine.signal("o", "approved", 1, signal_id="evt-1", wait=False) is None
    assert await seen(engine) == before


@pytest.mark.parametrize("reach", [*ENDED, rollback_failed])
async def test_s21_a_known_id_gives_the_result(engine: FluxEngine, reach: Reached) -> None:
    """Whoever repeats a signal and waits gets how the instance has ended, without delay."""
    before = await reached(engine, reach)
    async with asyncio.timeout(30):
        result = await engine.signal("o", "approved", 1, signal_id="evt-1")
    assert result is not None
    assert result.status == reach.__name__
    assert await seen(engine) == before


@pytest.mark.parametrize("reach", ENDED + GOING_BACK)
async def test_s21_a_known_id_with_another_payload(open_engine: OpenEngine, reach: Reached) -> None:
    """It is a conflict, also where no signal is taken any more."""
    engine = await open_engine(grace=0)
    await reached(engine, reach)
    with pytest.raises(SignalConflictError):
        await engine.signal("o", "approved", 2, signal_id="evt-1")


async def test_s21_whoever_waits_sees_the_rollback_end(engine: FluxEngine) -> None:
    """A repetition to an instance that is rolled back waits for the end of that."""
    undo = Held()
    order = Workflow("order").step("a", noting("a", []), compensate=undo)
    await engine.execute(order.wait("approved").step("pay", fail), id="o")
    first = asyncio.create_task(engine.signal("o", "approved", 1, signal_id="evt-1"))
    await undo.began.wait()
    again = asyncio.create_task(engine.signal("o", "approved", 1, signal_id="evt-1"))
    undo.go_on.set()
    results = await asyncio.gather(first, again)
    assert [result.status for result in results if result is not None] == ["rolled_back"] * 2


async def test_s21_an_unused_signal_does_not_revive(engine: FluxEngine) -> None:
    """A signal that nobody took stays in the inbox of an ended instance, and wakes nobody."""
    await engine.execute(Workflow("order").wait("approved"), id="o")
    await engine.signal("o", "other", 0, signal_id="evt-0")
    await engine.signal("o", "approved", 1, signal_id="evt-1")
    before = await seen(engine)
    assert (before[0].status, before[1]) == (
        "completed",
        [("other", None), ("approved", "approved")],
    )
    await engine.signal("o", "other", 0, signal_id="evt-0")
    assert await seen(engine) == before


@pytest.mark.parametrize("reach", ENDED)
async def test_s21_another_process_is_refused(open_engine: OpenEngine, reach: Reached) -> None:
    """An engine that has never seen the instance tells the same; it need not know the workflow."""
    first = await open_engine()
    await reached(first, reach)
    await first.close()
    second = await open_engine()
    with pytest.raises(InstanceEndedError):
        await second.signal("o", "approved", 2)
    result: Any = await second.signal("o", "approved", 1, signal_id="evt-1")
    assert result.status == reach.__name__


async def test_s21_paused_and_parked_ones_take_signals(engine: FluxEngine) -> None:
    """An instance that stands still is not over: its signals are kept for when it goes on."""
    await engine.execute(Workflow("order").wait("approved"), id="o")
    await engine.pause("o")
    await becomes(engine, lambda state: state.status is WorkflowStatus.PAUSED)
    result = await engine.signal("o", "approved", 1)
    assert result is not None
    assert result.status is WorkflowStatus.PAUSED
    assert (await engine.resume("o")).status is WorkflowStatus.COMPLETED
