"""`purge` and `delete` remove what has ended, with all that belongs to it, and nothing else."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import (
    EngineClosedError,
    FluxEngine,
    InstanceNotFoundError,
    InvalidTransitionError,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
    WorkflowStorage,
    WorkflowSummary,
)
from flux.testing import ManualClock
from leasing import head_of
from opening import OpenEngine
from sagas import as_time_passes, noting, sequence, until
from saves import Saves
from undoing import fail

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
QUIET: Any = {"lease": 30, "poll": 3000}

CANCELLED, COMPLETED = WorkflowStatus.CANCELLED, WorkflowStatus.COMPLETED
FAILED, ROLLED_BACK = WorkflowStatus.FAILED, WorkflowStatus.ROLLED_BACK


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def quiet(open_engine: OpenEngine, clock: ManualClock) -> FluxEngine:
    """An engine on a clock that stands still."""
    return await open_engine(clock=clock, **QUIET)


async def ids(engine: FluxEngine) -> list[str]:
    """What is stored."""
    return sorted(summary.id for summary in await engine.list())


async def one_of_each_end(engine: FluxEngine) -> None:
    """Four instances, each named as it has ended."""
    await engine.execute(sequence("a"), id=COMPLETED)
    await engine.execute(Workflow("fails").step("a", fail), id=FAILED)
    undoable = Workflow("undoes").step("a", noting("a", []), compensate=noting("undo", []))
    await engine.execute(undoable.step("b", fail), id=ROLLED_BACK)
    await engine.execute(Workflow("waits").wait("ok"), id=CANCELLED)
    await engine.cancel(CANCELLED)
    await engine.result(CANCELLED, timeout=5)


async def one_of_each_rest(engine: FluxEngine) -> None:
    """Three live instances at rest."""
    await engine.execute(Workflow("waits").wait("ok"), id="suspended")
    await engine.execute(Workflow("waits").wait("ok"), id="paused")
    await engine.pause("paused")
    stuck = Workflow("stuck").step("a", noting("a", []), compensate=fail).step("b", fail)
    await engine.execute(stuck, id="rollback_failed")
    async with asyncio.timeout(30):
        while (await engine.get("paused")).status != "paused":  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# Which


async def test_all_that_has_ended(quiet: FluxEngine) -> None:
    """However it ended; the number says how many."""
    await one_of_each_end(quiet)
    assert await quiet.purge(LATER) == 4
    assert await ids(quiet) == []


async def test_what_lives_stays(quiet: FluxEngine) -> None:
    """Suspended, paused and stuck instances are live, however old they are."""
    await one_of_each_rest(quiet)
    assert await quiet.purge(LATER) == 0
    assert await ids(quiet) == ["paused", "rollback_failed", "suspended"]


async def test_before_a_moment(quiet: FluxEngine, clock: ManualClock) -> None:
    """It counts when they ended, not when they began; that moment itself is not before."""
    await quiet.execute(Workflow("waits").wait("ok"), id="began early")
    for number in range(3):
        clock.advance(10)
        await quiet.execute(sequence("a"), id=f"order-{number}")
    clock.advance(10)
    await quiet.signal("began early", "ok")
    assert await quiet.purge(START + timedelta(seconds=20)) == 1
    assert await ids(quiet) == ["began early", "order-1", "order-2"]
    assert await quiet.purge(START + timedelta(seconds=20, microseconds=1)) == 1
    assert await ids(quiet) == ["began early", "order-2"]


@pytest.mark.parametrize(
    ("status", "left"),
    [
        (COMPLETED, [CANCELLED, FAILED, ROLLED_BACK]),
        ("failed", [CANCELLED, COMPLETED, ROLLED_BACK]),
        ([FAILED, ROLLED_BACK], [CANCELLED, COMPLETED]),
        ([], [CANCELLED, COMPLETED, FAILED, ROLLED_BACK]),
    ],
    ids=["one", "as text", "several", "none"],
)
async def test_of_a_status(quiet: FluxEngine, status: Any, left: list[str]) -> None:
    """`status` names those that go; of an empty list none goes."""
    await one_of_each_end(quiet)
    assert await quiet.purge(LATER, status=status) == 4 - len(left)
    assert await ids(quiet) == left


async def test_at_most_so_many(quiet: FluxEngine) -> None:
    """`limit` bounds one call; called again it goes on, until nothing is left."""
    for number in range(5):
        await quiet.execute(sequence("a"), id=f"order-{number}")
    assert [await quiet.purge(LATER, limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_thousand_by_default(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Without a limit a call removes at most 1000."""
    filters: list[WorkflowFilter] = []

    class Listed(Saves):
        async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
            filters.append(filter)
            return await super().list(filter)

    engine = await open_engine(Listed(storage))
    await engine.purge(LATER)
    assert [filter.limit for filter in filters] == [1000]


# Bad arguments


@pytest.mark.parametrize("before", [datetime(2026, 1, 1), "2026-01-01", None])  # noqa: DTZ001
async def test_no_moment(quiet: FluxEngine, before: Any) -> None:
    """A time without a zone could mean any; nothing is removed."""
    await quiet.execute(sequence("a"), id="order-1")
    with pytest.raises(ValueError, match="give an aware datetime"):
        await quiet.purge(before)
    assert await ids(quiet) == ["order-1"]


@pytest.mark.parametrize("status", ["running", "paused", "rollback_failed", ["failed", "parked"]])
async def test_a_live_status(quiet: FluxEngine, status: Any) -> None:
    """A status that is no end is refused before anything is removed."""
    await quiet.execute(Workflow("order").step("a", fail), id="order-1")
    with pytest.raises(ValueError, match="only ended instances are deleted"):
        await quiet.purge(LATER, status=status)
    assert await ids(quiet) == ["order-1"]


async def test_no_status(quiet: FluxEngine) -> None:
    """A word that is no status is refused."""
    with pytest.raises(ValueError, match="done"):
        await quiet.purge(LATER, status="done")


async def test_a_closed_engine(quiet: FluxEngine) -> None:
    """Both are verbs like any other."""
    await quiet.close()
    with pytest.raises(EngineClosedError):
        await quiet.purge(LATER)
    with pytest.raises(EngineClosedError):
        await quiet.delete("order-1")


# What goes with them


async def test_an_id_is_free_again(storage: WorkflowStorage, quiet: FluxEngine) -> None:
    """History, inbox and known signal ids go: a new instance of the id begins with nothing."""
    order = sequence("a").wait("ok")
    await quiet.execute(order, id="order-1")
    await quiet.signal("order-1", "ok", "first", signal_id="e-1")
    await quiet.purge(LATER)
    assert await storage.signals("order-1") == ()
    result = await quiet.execute(order, {"other": True}, id="order-1")
    assert (result.status, len(result.history)) == (WorkflowStatus.SUSPENDED, 2)
    again = await quiet.signal("order-1", "ok", "second", signal_id="e-1")
    assert again is not None
    assert again.history[-1].output == "second"


async def test_a_correlation_is_free_again(quiet: FluxEngine) -> None:
    """The correlation and the labels of what was removed find nothing."""
    order = Workflow("order", correlate_by="sku").wait("ok")
    await quiet.execute(order, {"sku": 1}, id="order-1", labels={"city": "Oslo"})
    await quiet.signal("order-1", "ok", signal_id="e-1")
    await quiet.purge(LATER)
    with pytest.raises(InstanceNotFoundError):
        await quiet.deliver("ok", correlation={"sku": 1}, signal_id="e-1")
    assert await quiet.count(WorkflowFilter(labels={"city": "Oslo"})) == 0


async def test_shared_values_stay(quiet: FluxEngine) -> None:
    """What belongs to no instance is not removed with one."""

    async def count(ctx: WorkflowContext) -> int:
        seen: int = await ctx.storage.get("count", 0)
        await ctx.storage.set("count", seen + 1)
        return seen

    order = Workflow("order").step("count", count)
    await quiet.execute(order)
    assert await quiet.purge(LATER) == 1
    assert (await quiet.execute(order)).history[0].output == 1


async def test_neighbours_stay(quiet: FluxEngine) -> None:
    """Live instances of the same workflow keep their history and their inbox."""
    order = sequence("a").wait("ok").wait("go")
    for id in ("order-1", "order-2"):
        await quiet.execute(order, id=id)
        await quiet.signal(id, "ok", signal_id="e-1")
    await quiet.signal("order-1", "go")
    before = await quiet.get("order-2")
    assert await quiet.purge(LATER) == 1
    assert await quiet.get("order-2") == before
    assert [one.taken_by for one in (await quiet.diagnose("order-2")).signals] == ["ok"]


# While others act


class Meanwhile(Saves):
    """A storage in which something happens, once, between a listing and what is done with it."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.happens: Any = None

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        found = await super().list(filter)
        happens, self.happens = self.happens, None
        if happens is not None:
            await happens()
        return found


async def test_one_that_is_gone_already(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """What somebody else deletes meanwhile is not counted, and does not stop the others."""
    meanwhile = Meanwhile(storage)
    engine = await open_engine(meanwhile, clock=clock, **QUIET)
    for number in range(3):
        await engine.execute(sequence("a"), id=f"order-{number}")
    meanwhile.happens = lambda: engine.delete("order-1")
    assert await engine.purge(LATER) == 2


async def test_one_that_lives_again(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """What a restart makes live again meanwhile stays."""
    meanwhile, order = Meanwhile(storage), sequence("a").wait("ok")
    engine = await open_engine(meanwhile, clock=clock, **QUIET)
    for id in ("order-0", "order-1"):
        await engine.execute(order, id=id)
        await engine.signal(id, "ok")
    meanwhile.happens = lambda: engine.restart("order-1", "a")
    assert await engine.purge(LATER) == 1
    meanwhile.happens = None
    assert await ids(engine) == ["order-1"]


async def test_two_purges_at_once(open_engine: OpenEngine, clock: ManualClock) -> None:
    """Each instance is removed, and counted, once."""
    engines = [await open_engine(clock=clock, **QUIET) for _ in range(2)]
    for number in range(10):
        await engines[0].execute(sequence("a"), id=f"order-{number}")
    counts = await asyncio.gather(*(engine.purge(LATER) for engine in engines))
    assert (sum(counts), await ids(engines[0])) == (10, [])


async def test_one_whose_restart_died(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """A process without workflows removes what a dead process has claimed, and not begun."""
    cleaning, first = [await open_engine(clock=clock, **QUIET) for _ in range(2)]
    await first.execute(sequence("a"), id="order-1")
    await first.close()
    await storage.claim("order-1", owner="dead", lease=30)
    clock.advance(30)
    assert await asyncio.wait_for(cleaning.purge(LATER), 5) == 1


async def test_one_that_is_claimed(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """One that a live process has claimed is waited for."""
    engine = await open_engine(clock=clock, lease=30, poll=1)
    await engine.execute(sequence("a"), id="order-1")
    await storage.claim("order-1", owner="other", lease=30)
    purging = asyncio.create_task(engine.purge(LATER))
    await asyncio.sleep(0.02)
    assert (await head_of(storage, "order-1")).owner == "other"
    assert await as_time_passes(clock, purging) == 1


# One


async def test_delete_refuses_what_lives(quiet: FluxEngine) -> None:
    """A live instance is not deleted; the message says what to wait for."""
    await one_of_each_rest(quiet)
    for id in await ids(quiet):
        with pytest.raises(InvalidTransitionError, match="result\\(\\) waits for its end"):
            await quiet.delete(id)
    assert len(await ids(quiet)) == 3


async def test_delete_refuses_what_runs(quiet: FluxEngine) -> None:
    """Nor one that is driven."""
    go_on, ran = asyncio.Event(), list[str]()

    async def pay(ctx: WorkflowContext) -> None:
        ran.append("pay")
        await go_on.wait()

    await quiet.start(Workflow("order").step("pay", pay), id="order-1")
    await until(lambda: ran)
    with pytest.raises(InvalidTransitionError, match="is running, so it cannot delete"):
        await quiet.delete("order-1")
    go_on.set()
    assert (await quiet.result("order-1", timeout=5)).status is COMPLETED


async def test_delete_of_nothing(quiet: FluxEngine) -> None:
    """An id that nobody has cannot be deleted, nor can one twice."""
    await quiet.execute(sequence("a"), id="order-1")
    await quiet.delete("order-1")
    with pytest.raises(InstanceNotFoundError):
        await quiet.delete("order-1")
