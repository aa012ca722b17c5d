"""S6: a stop between the save of a predicate's yes and its step does not make it ask again."""

import asyncio
from typing import Any

import pytest

from flux import (
    Checkpoint,
    StepStatus,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from opening import OpenEngine
from sagas import Flaky, sequence, step_of
from saves import Saves


class Held(Saves):
    """A storage that answers only after `go_on` when the intent to run "b" has been saved."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def save(self, checkpoint: Checkpoint) -> int:
        number = await super().save(checkpoint)
        if checkpoint.intent == ("b",):
            self.reached.set()
            await self.go_on.wait()
        return number


class Asked:
    """A predicate that says yes the first time, and no ever after."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, ctx: WorkflowContext) -> bool:
        self.times += 1
        return self.times == 1


async def stop_in_between(
    storage: WorkflowStorage, open_engine: OpenEngine, order: Workflow
) -> None:
    """Start or find "o", and close the engine right after it has saved the yes for "b"."""
    held = Held(storage)
    engine = await open_engine(held, workflows=[order])
    await engine.start(order, id="o")
    await held.reached.wait()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.01)
    held.go_on.set()
    await closing


@pytest.mark.parametrize("options", [{}, {"at_most_once": True}], ids=["plain", "at_most_once"])
async def test_s06_a_stop_keeps_a_saved_yes(
    storage: WorkflowStorage, open_engine: OpenEngine, options: dict[str, Any]
) -> None:
    """The step runs in the next engine, once; that it had not begun before is known."""
    act, asked = Flaky(0), Asked()
    order = sequence("a").step("b", act, when=asked, **options)
    async with asyncio.timeout(30):
        await stop_in_between(storage, open_engine, order)
        engine = await open_engine(workflows=[order])
        result = await engine.resume("o")
    assert (result.status, asked.times, act.attempts) == (WorkflowStatus.COMPLETED, 1, [1])
    assert step_of(result, "b").status is StepStatus.COMPLETED


async def test_s06_a_second_stop_keeps_it_too(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """However often an engine stops there, the predicate was asked once."""
    act, asked = Flaky(0), Asked()
    order = sequence("a").step("b", act, when=asked)
    async with asyncio.timeout(30):
        await stop_in_between(storage, open_engine, order)
        await stop_in_between(storage, open_engine, order)
        result = await (await open_engine(workflows=[order])).resume("o")
    assert (result.status, asked.times, act.attempts) == (WorkflowStatus.COMPLETED, 1, [1])


async def test_a_step_that_only_waits_was_not_begun(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Its entry, after the stop, shows no attempt and nothing that it did."""
    order = sequence("a").step("b", Flaky(0), when=Asked())
    async with asyncio.timeout(30):
        await stop_in_between(storage, open_engine, order)
    engine = await open_engine()
    state = await engine.get("o")
    assert (state.status, state.data) == (WorkflowStatus.RUNNING, {})
    entry = state.step("b")
    assert entry is None or not entry.attempts


async def test_s06_a_restart_asks_after_a_stop(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The kept answer is that of one run: a restart asks anew."""
    act, asked = Flaky(0), Asked()
    order = sequence("a").step("b", act, when=asked)
    async with asyncio.timeout(30):
        await stop_in_between(storage, open_engine, order)
        engine = await open_engine(workflows=[order])
        await engine.resume("o")
        result = await engine.restart("o", "b")
    assert (asked.times, act.attempts) == (2, [1])
    assert step_of(result, "b").status is StepStatus.SKIPPED
