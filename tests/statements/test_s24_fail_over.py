"""S24: what is due or was left behind is found by any engine, without an operator."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from flux import (
    FluxEngine,
    Notices,
    Record,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from flux_storages import MemoryStorage, RedisStorage, SQLiteStorage
from leasing import Held, head_of
from opening import OpenEngine
from sagas import Flaky, as_time_passes, noting, sequence, step_of, until
from saves import DiedError, Saves
from settling import passing, watched

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED


@pytest.fixture
def storage(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for whose answers `passing` waits."""
    return watched(storage)


class Looks(Saves):
    """A storage that counts how often it is asked for what is due, and for how much."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.limits: list[int] = []
        self.claimed: list[str] = []
        self.asked_when_next = 0

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        self.limits.append(limit)
        due = await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)
        self.claimed += [record.id for record in due]
        return due

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        self.asked_when_next += 1
        return await super().next_due(workflows=workflows)


# What was left behind


async def test_s24_a_lease_is_waited_for(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """`resume` of an instance leased to a dead process takes it when the lease has run out."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    engine = await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    resuming = asyncio.create_task(engine.resume("order-1"))
    await passing(clock, 29)
    assert (ran, resuming.done()) == ([], False)
    result = await as_time_passes(clock, resuming)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["pay"])


async def test_s24_execute_takes_over_as_well(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """`execute` of a run whose process is dead goes on with it when the lease has run out."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=2), list[str]()
    order = sequence("pay", "ship", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, {"sku": "A1"}, id="order-1")
    engine = await open_engine(clock=clock, lease=30, poll=1)
    executing = asyncio.create_task(engine.execute(order, {"sku": "A1"}, id="order-1"))
    await passing(clock, 29)
    assert not executing.done()
    assert (await as_time_passes(clock, executing)).status is WorkflowStatus.COMPLETED
    assert ran == ["pay", "ship"]


async def test_s24_nobody_need_ask(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An engine finds an instance whose lease has run out by itself."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await passing(clock, 29)
    assert ran == []
    await passing(clock, 2)
    await until(lambda: ran == ["pay"])


async def test_s24_an_engine_leaves_what_it_does_not_know(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An abandoned instance of a workflow that is not registered is left to other engines."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    stranger = Workflow("other").step("a", lambda ctx: None)
    engine = await open_engine(workflows=[stranger], clock=clock, lease=30, poll=1)
    await passing(clock, 60)
    assert (await engine.get("order-1")).status is WorkflowStatus.RUNNING
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await until(lambda: ran == ["pay"])


async def test_s24_two_engines_take_it_once(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Of several engines that find an abandoned instance one drives it."""
    clock, saves, ran = ManualClock(), Saves(storage, die_after=1), list[str]()
    order = sequence("pay", "ship", ran=ran)
    dead = await open_engine(saves, clock=clock, lease=30)
    with pytest.raises(DiedError):
        await dead.execute(order, id="order-1")
    engines = [await open_engine(workflows=[order], clock=clock, lease=30) for _ in range(3)]
    clock.advance(31)
    resuming = [asyncio.create_task(engine.resume("order-1")) for engine in engines]
    results = [await as_time_passes(clock, task) for task in resuming]
    assert {result.status for result in results} == {WorkflowStatus.COMPLETED}
    assert ran == ["pay", "ship"]


async def test_s24_what_was_handed_back_is_found(open_engine: OpenEngine) -> None:
    """An instance that an engine gave back when it closed is found by the next look of another."""
    clock, held = ManualClock(), Held()
    first = await open_engine(clock=clock, lease=3000, grace=0)
    other = await open_engine(workflows=[held.order], clock=clock, poll=10)
    await first.start(held.order, id="order-1")
    await until(lambda: held.ran)
    await first.close()
    await passing(clock, 10)
    assert (await other.result("order-1", timeout=5)).status is COMPLETED


async def test_s24_a_back_off_of_a_dead_process_is_found(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A retry far ahead is made in time, though the process that failed is gone."""
    clock, act = ManualClock(), Flaky(1)
    order = Workflow("order").step("pay", act, retries=Retry(1, initial=60, jitter=False))
    saves = Saves(storage, die_after=2)
    dead = await open_engine(saves, clock=clock, lease=30)
    with suppress(DiedError):
        await dead.start(order, id="order-1")
    await until(lambda: saves.is_dead)
    await open_engine(workflows=[order], clock=clock, lease=30, poll=1)
    await passing(clock, 59)
    assert act.attempts == [1]
    await passing(clock, 1)
    assert act.attempts == [1, 2]


# Timers


def napping(seconds: float = 60, *, ran: list[str] | None = None) -> Workflow:
    """An order that sleeps, then ships."""
    ship = noting("ship", [] if ran is None else ran)
    return Workflow("order").sleep("nap", seconds).step("ship", ship)


async def test_s24_a_timer_here_is_acted_on_at_once(open_engine: OpenEngine) -> None:
    """The process that has seen an instance suspend goes on with it when its time has come."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, poll=3000)
    assert (await engine.execute(napping(ran=ran), id="order-1")).status is SUSPENDED
    await passing(clock, 59)
    assert ran == []
    await passing(clock, 1)
    assert ran == ["ship"]


async def test_s24_timers_here_come_in_their_order(open_engine: OpenEngine) -> None:
    """Of several the one that is due first, whichever was set first."""
    clock, ran = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, poll=3000)
    for seconds in (60, 20, 40):
        order = Workflow(f"after {seconds}").sleep("nap", seconds)
        await engine.execute(order.step("ship", noting(f"{seconds}", ran)))
    seen = []
    for _ in range(3):
        await passing(clock, 20)
        seen.append(list(ran))
    assert seen == [["20"], ["20", "40"], ["20", "40", "60"]]


async def test_s24_a_timeout_here_is_acted_on_at_once(open_engine: OpenEngine) -> None:
    """So it does when a signal has not come in time."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, poll=3000)

    async def ask(ctx: WorkflowContext) -> object:
        return wait("ok", timeout=60, on_timeout="continue", default="nobody")

    await engine.execute(Workflow("order").step("ask", ask), id="order-1")
    await passing(clock, 60)
    assert step_of(await engine.get("order-1"), "ask").output == "nobody"


async def test_s24_a_timer_elsewhere_is_acted_on_when_due(open_engine: OpenEngine) -> None:
    """Another process that has looked since acts on it when it is due, not at its next poll."""
    clock, ran = ManualClock(), list[str]()
    first = await open_engine(clock=clock)
    await first.execute(napping(25, ran=ran))
    await first.close()
    await open_engine(workflows=[napping(25, ran=ran)], clock=clock, poll=10)
    await passing(clock, 24)
    assert ran == []
    await passing(clock, 1)
    assert ran == ["ship"]


async def test_s24_a_timer_elsewhere_is_found_within_the_poll(open_engine: OpenEngine) -> None:
    """One that was set after its last look is found by its next, at the latest a poll later."""
    clock, ran = ManualClock(), list[str]()
    await open_engine(workflows=[napping(5, ran=ran)], clock=clock, poll=10)
    await passing(clock, 0)
    first = await open_engine(clock=clock, poll=3000)
    await first.execute(napping(5, ran=ran))
    await first.close()
    await passing(clock, 10)
    assert ran == ["ship"]


async def test_s24_a_signal_here_is_acted_on_at_once(open_engine: OpenEngine) -> None:
    """A signal that nobody waits for is taken without a poll in the process that sent it."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, poll=3000)
    await engine.execute(Workflow("order").wait("ok"), id="order-1")
    await engine.signal("order-1", "ok", wait=False)
    assert (await engine.result("order-1", timeout=5)).status is COMPLETED


async def test_s24_a_signal_elsewhere_is_acted_on_within_the_poll(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Another process takes it at its next look; at once where the storage tells of changes."""
    clock, order = ManualClock(), Workflow("order").wait("ok")
    driving = await open_engine(workflows=[order], clock=clock, poll=10)
    sending = await open_engine(clock=clock, poll=3000)
    await driving.execute(order, id="order-1")
    await passing(clock, 0)
    await sending.signal("order-1", "ok", wait=False)
    await passing(clock, 9)
    assert ((await driving.get("order-1")).status is COMPLETED) == isinstance(storage, Notices)
    await passing(clock, 1)
    assert (await driving.get("order-1")).status is COMPLETED


# Room


async def due(open_engine: OpenEngine, clock: ManualClock, order: Workflow, count: int) -> None:
    """Let so many instances, "order-0" first, become due a second after the other, in the past."""
    engine = await open_engine(clock=clock, poll=3000)
    for number in range(count):
        await engine.execute(order, id=f"order-{number}")
        clock.advance(1)
    await engine.close()
    clock.advance(60)


def gated(go_on: asyncio.Event, ran: list[str]) -> Workflow:
    """An order that sleeps, and then waits in its step for `go_on`."""

    async def ship(ctx: WorkflowContext) -> None:
        ran.append(ctx.id)
        await go_on.wait()

    return Workflow("order").sleep("nap", 60).step("ship", ship)


async def test_s24_no_more_than_there_is_room_for(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Of those that are due the engine claims as many as it may drive; the others stay free."""
    clock, go_on, ran = ManualClock(), asyncio.Event(), list[str]()
    await due(open_engine, clock, gated(go_on, ran), 5)
    looks = Looks(storage)
    await open_engine(looks, workflows=[gated(go_on, ran)], clock=clock, poll=1, max_instances=2)
    await until(lambda: len(ran) == 2)
    await passing(clock, 5)
    heads = [await head_of(storage, f"order-{number}") for number in range(5)]
    assert [head.lease_until is not None for head in heads] == [True, True, False, False, False]
    assert (ran, looks.limits) == (["order-0", "order-1"], [2])
    go_on.set()


async def test_s24_the_longest_due_first(open_engine: OpenEngine) -> None:
    """With room for one they are driven in the order in which they became due."""
    clock, go_on, ran = ManualClock(), asyncio.Event(), list[str]()
    go_on.set()
    await due(open_engine, clock, gated(go_on, ran), 5)
    await open_engine(workflows=[gated(go_on, ran)], clock=clock, poll=3000, max_instances=1)
    await until(lambda: len(ran) == 5)
    assert ran == [f"order-{number}" for number in range(5)]


async def test_s24_room_is_used_at_once(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """When an instance ends another one is claimed, without waiting for the next poll."""
    clock, ran = ManualClock(), list[str]()
    gates = {f"order-{number}": asyncio.Event() for number in range(3)}

    async def ship(ctx: WorkflowContext) -> None:
        ran.append(ctx.id)
        await gates[ctx.id].wait()

    order = Workflow("order").sleep("nap", 60).step("ship", ship)
    await due(open_engine, clock, order, 3)
    await open_engine(workflows=[order], clock=clock, poll=3000, max_instances=2)
    await until(lambda: len(ran) == 2)
    gates["order-1"].set()
    await until(lambda: len(ran) == 3)
    assert (await head_of(storage, "order-0")).status == "running"
    for gate in gates.values():
        gate.set()


async def test_s24_more_than_a_batch(open_engine: OpenEngine) -> None:
    """Where many are due all are driven, without waiting for polls in between."""
    clock, ran = ManualClock(), list[str]()
    order = napping(ran=ran)
    engine = await open_engine(clock=clock, poll=3000)
    await asyncio.gather(*(engine.execute(order, id=f"order-{n}") for n in range(230)))
    await engine.close()
    clock.advance(60)
    other = await open_engine(workflows=[order], clock=clock, poll=3000)
    await until(lambda: len(ran) == 230, limit=20)
    async with asyncio.timeout(30):
        while await other.count(WorkflowFilter(status="completed")) < 230:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_s24_an_engine_drives_as_many_as_it_may(open_engine: OpenEngine) -> None:
    """What is started beyond `max_instances` is saved, and driven when there is room."""
    held, ran = Held(), list[str]()
    engine = await open_engine(max_instances=1)
    await engine.start(held.order, id="order-1")
    other = Workflow("other").step("a", lambda ctx: ran.append("a"))
    state = await engine.start(other, id="other-1")
    assert (state.status, ran) == (WorkflowStatus.PENDING, [])
    held.go_on.set()
    assert (await engine.result("other-1", timeout=5)).status is WorkflowStatus.COMPLETED
    assert ran == ["a"]


async def test_s24_a_persons_verbs_keep_to_the_room(open_engine: OpenEngine) -> None:
    """What a person lets go on waits for room as well."""
    engine, held, act = await open_engine(max_instances=1), Held(), Flaky(2)
    failing = Workflow("failing").step("act", act)
    for number in range(2):
        await engine.execute(failing, id=f"failing-{number}")
    await engine.start(held.order, id="busy")
    await until(lambda: held.ran)
    resuming = [asyncio.create_task(engine.resume(f"failing-{number}")) for number in range(2)]
    await asyncio.sleep(0.05)
    seen = list(act.attempts)
    held.go_on.set()
    results = await asyncio.wait_for(asyncio.gather(*resuming), 30)
    assert (seen, [result.status for result in results]) == ([1, 1], [COMPLETED] * 2)


async def test_s24_several_engines_share(open_engine: OpenEngine) -> None:
    """Engines that find the same instances at the same time drive each of them once."""
    clock, go_on, ran = ManualClock(), asyncio.Event(), list[str]()
    go_on.set()
    await due(open_engine, clock, gated(go_on, ran), 12)
    for _ in range(3):
        await open_engine(
            workflows=[gated(go_on, ran)], clock=clock, poll=1, lease=300, max_instances=2
        )
    await until(lambda: len(ran) >= 12)
    await passing(clock, 5)
    assert sorted(ran) == sorted(f"order-{number}" for number in range(12))


# What it costs


async def test_s24_nothing_to_do_costs_a_look_a_poll(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """An engine with nothing due asks once a poll, however many instances are suspended."""
    clock, looks = ManualClock(), Looks(storage)
    engine = await open_engine(clock=clock, poll=3000)
    order = Workflow("order").wait("ok")
    await asyncio.gather(*(engine.execute(order) for _ in range(20)))
    await open_engine(looks, workflows=[order], clock=clock, poll=1)
    await until(lambda: looks.asked_when_next == 1)
    await passing(clock, 0)
    for _ in range(10):
        await passing(clock, 1)
    assert (len(looks.limits), looks.asked_when_next, looks.claimed) == (11, 11, [])


async def test_s24_a_full_engine_does_not_look(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Without room it asks for nothing."""
    clock, looks, held = ManualClock(), Looks(storage), Held()
    engine = await open_engine(looks, clock=clock, poll=1, lease=300, max_instances=1)
    await engine.start(held.order, id="order-1")
    await until(lambda: held.ran)
    before = len(looks.limits)
    for _ in range(5):
        await passing(clock, 1)
    assert len(looks.limits) <= before + 1
    held.go_on.set()


# Whose time it is

STORAGES: dict[str, Callable[[pytest.FixtureRequest, Path, ManualClock], WorkflowStorage]] = {
    "memory": lambda request, folder, clock: MemoryStorage(clock=clock),
    "sqlite": lambda request, folder, clock: SQLiteStorage(folder / "flux.db", clock=clock),
    "redis": lambda request, folder, clock: RedisStorage(
        request.getfixturevalue("redis_url"), clock=clock
    ),
}


@pytest.mark.parametrize("make", STORAGES.values(), ids=STORAGES)
async def test_s24_the_storage_has_the_time(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make: Callable[[pytest.FixtureRequest, Path, ManualClock], WorkflowStorage],
) -> None:
    """An engine whose clock is ahead takes nothing whose lease runs on by the storage's clock."""
    shared, ahead = ManualClock(), ManualClock()
    ahead.advance(3600)
    storage, held = make(request, tmp_path, shared), Held()
    async with (
        FluxEngine(storage, clock=shared) as driving,
        FluxEngine(storage, clock=ahead, workflows=[held.order]),
    ):
        await driving.start(held.order, id="order-1")
        await until(lambda: held.ran)
        for _ in range(5):
            await passing(ahead, 60)
        held.go_on.set()
        assert (await driving.result("order-1", timeout=5)).status is COMPLETED
    assert held.ran == ["pay 1", "pay 1 ended"]
