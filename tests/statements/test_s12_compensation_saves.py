"""S12: each compensation is saved, and a crash in a rollback goes on with the rollback."""

import asyncio
from typing import Any

import orjson
import pytest

from flux import (
    FluxEngine,
    Retry,
    StepStatus,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStatus,
    WorkflowStorage,
)
from opening import OpenEngine
from sagas import Flaky, noting, sequence
from saves import Saves
from turning import Turned
from undoing import Lives, fail, rested, undoable


async def test_s12_every_compensation_has_its_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """K compensations cost K saves, each with the entry of the one that it tells of."""
    saves = Saves(storage)
    order = undoable("a", "b", "c", did=[]).step("pay", fail)
    await (await open_engine(saves)).execute(order)
    told = [[orjson.loads(entry.body)["step"] for entry in entries] for entries in saves.entries]
    assert told == [[], ["a"], ["b"], ["c"], ["pay"], ["c"], ["b"], ["a"]]


async def test_s12_the_save_of_one_carries_the_intent_of_the_next(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The failure brings the intent of the first; the last one ends the instance."""
    saves = Saves(storage)
    order = undoable("a", "b", "c", did=[]).step("pay", fail)
    await (await open_engine(saves)).execute(order)
    rollback = [(saved.status, saved.intent) for saved in saves.made[-4:]]
    assert rollback == [
        ("rolling_back", ("c",)),
        ("rolling_back", ("b",)),
        ("rolling_back", ("a",)),
        ("rolled_back", ()),
    ]


async def statuses_while_undoing(engine: FluxEngine) -> list[WorkflowState]:
    """The instance as saved, at the moment when each compensator is called."""
    seen: list[WorkflowState] = []

    async def undo(ctx: WorkflowContext) -> None:
        seen.append(await engine.get("o"))

    order = Workflow("order")
    for name in "ab":
        order.step(name, noting(name, []), compensate=undo)
    await engine.execute(order.step("pay", fail), id="o")
    return [*seen, await engine.get("o")]


async def test_s12_compensating_before_compensated_after(engine: FluxEngine) -> None:
    """Both are on disk when they should be."""
    done, undoing, undone = StepStatus.COMPLETED, StepStatus.COMPENSATING, StepStatus.COMPENSATED
    seen = await statuses_while_undoing(engine)
    stages = [[step.status for step in state.history if step.name in "ab"] for state in seen]
    assert stages == [[done, undoing], [undoing, undone], [undone, undone]]


async def test_s12_the_step_being_undone_is_the_current_one(engine: FluxEngine) -> None:
    """`current_step` names it, and the instance is rolling back meanwhile."""
    seen = await statuses_while_undoing(engine)
    assert [state.current_step for state in seen] == ["b", "a", None]
    assert [state.status for state in seen] == ["rolling_back", "rolling_back", "rolled_back"]


@pytest.mark.parametrize("die_in", ["undo c", "undo b", "undo a"])
async def test_s12_a_crash_in_a_rollback_goes_on_with_it(turned: Turned, die_in: str) -> None:
    """Killed in a compensator: that one runs again, and the ones that are left."""
    engine = await turned.run(die_in)
    result = await engine.resume("order-1")
    undone = ["undo c", "undo b", "undo a"]
    undone.insert(undone.index(die_in), die_in)
    assert turned.did == ["a", "b", "c", "pay", *undone]
    assert result.status is WorkflowStatus.ROLLED_BACK


async def test_s12_a_crashed_rollback_is_found_by_itself(turned: Turned) -> None:
    """Nobody need resume it."""
    engine = await turned.run("undo b")
    result = await engine.result("order-1", timeout=10)
    assert result.status is WorkflowStatus.ROLLED_BACK


async def test_s12_a_killed_compensator_keeps_its_key(turned: Turned) -> None:
    """It runs again with the same key and an attempt number one higher."""
    await (await turned.run("undo b")).resume("order-1")
    first, second = (line for line in turned.journal if line["who"] == "undo b")
    assert first["key"] == second["key"]
    assert (first["attempt"], second["attempt"]) == (1, 2)


async def test_s12_a_killed_compensator_uses_up_no_retry(lives: Lives) -> None:
    """Without retries it is still run again after a crash: it has not failed."""
    undo = Flaky(0)
    order = sequence().step("a", noting("a", []), compensate=lives.dying(2, undo))
    order.step("pay", fail)
    await lives.start(order, id="o")
    await lives.next(order)
    await lives.died()
    result = await rested(await lives.next(order), "o")
    assert (result.status, undo.attempts) == (WorkflowStatus.ROLLED_BACK, [1, 2, 3])


async def test_s12_data_changes_of_compensations_survive(lives: Lives) -> None:
    """What the ones before the crash changed is there for those after it."""
    seen: list[Any] = []

    async def undo(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))
        ctx.data[ctx.step] = "undone"

    order = sequence().step("a", noting("a", []), compensate=lives.dying(1, undo))
    order.step("b", noting("b", []), compensate=undo).step("pay", fail)
    await lives.start(order, id="o")
    result = await rested(await lives.next(order), "o")
    assert seen == [{}, {"b": "undone"}, {"b": "undone"}]
    assert result.data == {"a": "undone", "b": "undone"}


async def test_s12_failed_attempts_count_over_crashes(lives: Lives) -> None:
    """A process dies after each failed attempt of a compensator: it gets no more than its own."""
    undo = Flaky(None)
    order = sequence().step(
        "a", noting("a", []), compensate=undo, compensate_retries=Retry(2, initial=0)
    )
    order.step("pay", fail)
    await lives.start(order, id="o", die_after=4)
    await lives.next(order, die_after=2)
    await lives.died()
    result = await rested(await lives.next(order), "o")
    assert (result.status, len(undo.attempts)) == (WorkflowStatus.ROLLBACK_FAILED, 3)


async def test_s12_a_rollback_goes_on_after_a_close(open_engine: OpenEngine) -> None:
    """An engine that closes hands the rollback over, and the next one goes on backward."""
    did: list[str] = []
    begun = asyncio.Event()

    async def undo(ctx: WorkflowContext) -> None:
        begun.set()
        await asyncio.sleep(0.02)
        did.append("undo b")

    order = undoable("a", did=did).step("b", noting("b", did), compensate=undo)
    first = await open_engine(grace=5)
    await first.start(order.step("pay", fail), id="o")
    await begun.wait()
    await first.close()
    assert did == ["a", "b", "undo b"]
    result = await (await open_engine(workflows=[order])).resume("o")
    assert (result.status, did[3:]) == (WorkflowStatus.ROLLED_BACK, ["undo a"])
