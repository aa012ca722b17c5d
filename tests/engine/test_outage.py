"""A storage that cannot be reached for a while: running instances wait, and go on."""

import asyncio
import logging

import pytest

from flux import (
    Checkpoint,
    FluxResult,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import as_time_passes, noting, passing, sequence
from saves import Saves


class Outage(Saves):
    """A storage that is away while `is_away` is set; a save then may be written all the same."""

    def __init__(self, storage: WorkflowStorage, *, writes: bool = False) -> None:
        super().__init__(storage)
        self.is_away = False
        self.refused = 0
        self.told: StorageError = StorageUnavailableError("the storage", "the test took it away")
        self._writes = writes

    async def save(self, checkpoint: Checkpoint) -> int:
        if not self.is_away:
            return await super().save(checkpoint)
        self.refused += 1
        if self._writes:
            await super().save(checkpoint)
        raise self.told


def leaving(outage: Outage, ran: list[str]) -> Workflow:
    """Three steps; the storage is away when the second one ends."""

    async def leave(ctx: WorkflowContext) -> None:
        ran.append("leave")
        outage.is_away = ctx.attempt == 1

    order = sequence("a", ran=ran)
    return order.step("leave", leave).step("b", noting("b", ran))


@pytest.mark.parametrize("writes", [False, True], ids=["lost", "written unheard"])
async def test_a_running_instance_waits_and_goes_on(
    storage: WorkflowStorage, open_engine: OpenEngine, writes: bool
) -> None:
    """Its result is saved when the storage is back; nothing runs a second time."""
    clock, ran = ManualClock(), list[str]()
    outage = Outage(storage, writes=writes)
    engine = await open_engine(outage, clock=clock, lease=300)
    executing = asyncio.create_task(engine.execute(leaving(outage, ran)))
    for _ in range(8):
        await passing(clock, 1)
    outage.is_away = False
    result: FluxResult = await as_time_passes(clock, executing)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["a", "leave", "b"])


@pytest.mark.parametrize("error", [StorageFullError("it"), StorageReadOnlyError("it")], ids=repr)
async def test_what_somebody_may_mend_is_waited_for(
    storage: WorkflowStorage, open_engine: OpenEngine, error: StorageError
) -> None:
    """A server that is read-only in a fail-over, or full, costs no result of a step either."""
    clock, ran = ManualClock(), list[str]()
    outage = Outage(storage)
    outage.told = error
    engine = await open_engine(outage, clock=clock, lease=300)
    executing = asyncio.create_task(engine.execute(leaving(outage, ran)))
    for _ in range(4):
        await passing(clock, 1)
    outage.is_away = False
    assert (await as_time_passes(clock, executing)).status is WorkflowStatus.COMPLETED
    assert ran == ["a", "leave", "b"]


async def test_retries_are_bounded_and_visible(
    storage: WorkflowStorage, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is logged with the instance; after the patience the verb raises, and no step is lost."""
    clock, ran = ManualClock(), list[str]()
    outage = Outage(storage)
    engine = await open_engine(outage, clock=clock, lease=300, storage_patience=10)
    executing = asyncio.create_task(engine.execute(leaving(outage, ran), id="o"))
    with caplog.at_level(logging.WARNING, "flux"), pytest.raises(StorageUnavailableError):
        await as_time_passes(clock, executing)
    told = [record for record in caplog.records if record.message == "storage.unavailable"]
    assert {vars(record)["instance"] for record in told} == {"o"}
    assert 5 <= len(told) == outage.refused - 1 <= 12
    outage.is_away = False
    assert (await engine.resume("o")).status is WorkflowStatus.COMPLETED
    assert ran == ["a", "leave", "leave", "b"]
