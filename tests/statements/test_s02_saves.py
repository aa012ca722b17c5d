"""S2: one save a step, which carries the result of one step and the intent to run the next."""

import asyncio

import pytest

from flux import (
    Checkpoint,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, until
from saves import Saves


@pytest.mark.parametrize("steps", [1, 2, 7])
async def test_s02_n_steps_cost_n_plus_one_saves(
    storage: WorkflowStorage, open_engine: OpenEngine, steps: int
) -> None:
    """A workflow of N plain steps is saved N + 1 times."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(sequence(*(f"step-{number}" for number in range(steps))))
    assert len(saves.made) == steps + 1


async def test_s02_a_save_carries_the_next_intent(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Each save names the step that runs next; the last one names none."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(sequence("pay", "pack", "ship"))
    assert [made.intent for made in saves.made] == [("pay",), ("pack",), ("ship",), ()]


async def test_s02_a_step_is_one_entry_written_once(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The first save has no entry, every other one the entry of the step that has just ended."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(sequence("pay", "pack", "ship"))
    numbers = [[entry.number for entry in entries] for entries in saves.entries]
    assert [len(found) for found in numbers] == [0, 1, 1, 1]
    assert len({number for found in numbers for number in found}) == 3


async def test_s02_the_intent_is_saved_before_the_handler(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """When a handler is called, the last save says that it is about to run."""
    saves = Saves(storage)
    order = Workflow("order")
    intents = []

    def look(ctx: WorkflowContext) -> None:
        intents.append((ctx.step, saves.made[-1].intent))

    order.step("pay", look).step("ship", look)
    engine = await open_engine(saves)
    await engine.execute(order)
    assert intents == [("pay", ("pay",)), ("ship", ("ship",))]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_s02_a_skipped_step_costs_nothing(
    storage: WorkflowStorage, open_engine: OpenEngine, place: int
) -> None:
    """A step whose predicate says no has no save of its own, wherever it stands."""
    saves, order = Saves(storage), Workflow("order")
    for number in range(3):
        when = (lambda ctx: False) if number == place else None
        order.step(f"step-{number}", noting("", []), when=when)
    engine = await open_engine(saves)
    result = await engine.execute(order)
    assert result.history[place].status == "skipped"
    assert len(saves.made) == 2 + 1


async def test_s02_all_skipped_is_one_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An instance that skips every step is created as completed."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    result = await engine.execute(sequence("pay", "ship", when=lambda ctx: False))
    assert (result.status, len(saves.made)) == (WorkflowStatus.COMPLETED, 1)


@pytest.mark.parametrize("failures", [1, 3])
async def test_s02_a_failed_attempt_costs_one(
    storage: WorkflowStorage, open_engine: OpenEngine, failures: int
) -> None:
    """Each failed attempt adds one save, which replaces the step's entry."""
    saves = Saves(storage)
    order = Workflow("order").step("pay", Flaky(failures), retries=Retry(failures, initial=0))
    engine = await open_engine(saves)
    await engine.execute(order)
    assert len(saves.made) == 1 + 1 + failures
    assert len({entry.number for entries in saves.entries for entry in entries}) == 1


async def test_s02_k_compensations_cost_k(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A saga of three steps whose last one fails and whose two first are undone: 3 + 1 + 2."""
    saves = Saves(storage)
    order = sequence("pay", "pack", compensate=noting("", [])).step("ship", Flaky(None))
    engine = await open_engine(saves)
    result = await engine.execute(order)
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert [made.intent for made in saves.made] == [
        ("pay",),
        ("pack",),
        ("ship",),
        ("pack",),
        ("pay",),
        (),
    ]


async def test_s02_a_failure_with_nothing_to_undo_costs_n_plus_one(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The final failure and the end of the instance are one save."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    result = await engine.execute(sequence("pay").step("ship", Flaky(None)))
    assert (result.status, len(saves.made)) == (WorkflowStatus.FAILED, 3)


async def test_s02_a_failed_compensation_attempt_costs_one(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Each failed attempt to undo a step adds one save."""
    saves, undo = Saves(storage), Flaky(2)
    order = sequence("pay", compensate=undo, compensate_retries=Retry(2, initial=0))
    engine = await open_engine(saves)
    await engine.execute(order.step("ship", Flaky(None)))
    assert len(saves.made) == 2 + 1 + 1 + 2


async def test_s02_a_stopping_driver_saves_no_intent(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A step that ends while its engine closes is saved without the intent to run the next."""
    saves, started = Saves(storage), asyncio.Event()
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> None:
        started.set()
        await asyncio.sleep(0.02)

    order.step("ship", noting("ship", []))
    engine = await open_engine(saves, grace=5)
    await engine.start(order)
    await started.wait()
    await engine.close()
    last = saves.made[-1]
    assert isinstance(last, Checkpoint)
    assert (len(saves.made), last.intent, last.lease, last.status) == (2, (), None, "running")


async def test_s02_a_long_back_off_saves_no_intent(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A driver that gives the instance back until the next attempt leaves no intent behind."""
    saves, clock = Saves(storage), ManualClock()
    order = Workflow("order").step("pay", Flaky(1), retries=Retry(1, delay=lambda error, n: 100))
    engine = await open_engine(saves, clock=clock, lease=30)
    await engine.start(order)
    await until(lambda: len(saves.made) == 2)
    last = saves.made[-1]
    assert isinstance(last, Checkpoint)
    assert (last.intent, last.lease, last.wake) == ((), None, 100)
