"""Several verbs on one instance at once, and verbs that are cancelled: none hangs, none is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from flux import (
    Checkpoint,
    Clock,
    EngineClosedError,
    Entry,
    FluxConfig,
    FluxEngine,
    FluxResult,
    InstanceNotFoundError,
    InvalidTransitionError,
    Lease,
    Record,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import Flaky, as_time_passes, noting, passing, sequence, step_of, until
from saves import Saves

FAR: Any = {"lease": 3000, "poll": 1000}
"""Leases and polls that play no part: what happens, happens because somebody was told."""


class Line(Saves):
    """A storage whose answers can be held up, whose calls are counted, and that can be cut off."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.users = 0
        self.loads = 0
        self.claims = 0
        self.is_cut = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def init(self, clock: Clock) -> None:
        await super().init(clock)
        self.users += 1

    async def close(self) -> None:
        self.users -= 1
        await super().close()

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        self.loads += 1
        return await super().load(id, history=history)

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        claimed = await super().claim(id, owner=owner, lease=lease, held=held)
        self.claims += 1
        await self.go_on.wait()
        return claimed

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        return {} if self.is_cut else await super().renew(leases, lease=lease)


class Stolen(Saves):
    """A storage on which somebody else takes the instance, once, right before a save."""

    is_armed = False

    async def save(self, checkpoint: Checkpoint) -> int:
        if self.is_armed:
            self.is_armed = False
            id, held = checkpoint.id, checkpoint.owner
            assert await super().claim(id, owner="other", lease=60, held=held) is not None
            assert await super().release(Lease(id=id, owner="other"))
        return await super().save(checkpoint)


def held_at(times: int, go_on: asyncio.Event, ran: list[str]) -> Workflow:
    """An order with one step, whose predicate waits for `go_on` when it is asked so many times."""
    asked: list[str] = []

    async def wait(ctx: WorkflowContext) -> bool:
        asked.append("when")
        if len(asked) == times:
            ran.append("when")
            await go_on.wait()
        return True

    return Workflow("order").step("pay", noting("pay", ran), when=wait)


def stubborn(go_on: asyncio.Event, ran: list[str]) -> Workflow:
    """An order whose first attempt ignores its cancellation until `go_on`."""

    async def pay(ctx: WorkflowContext) -> str:
        ran.append(f"pay {ctx.attempt}")
        while ctx.attempt == 1 and not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return f"pay {ctx.attempt}"

    return Workflow("order").step("pay", pay)


# Deleting


async def test_delete_waits_for_a_restart(open_engine: OpenEngine) -> None:
    """An ended instance that was just claimed is deleted once it rests; the loop goes on."""
    go_on, ran = asyncio.Event(), list[str]()
    engine, order = await open_engine(**FAR), held_at(2, go_on, ran)
    async with asyncio.timeout(30):
        await engine.execute(order, id="order-1")
        restarting = asyncio.create_task(engine.restart("order-1", "pay"))
        await until(lambda: ran == ["pay", "when"])
        deleting = asyncio.create_task(engine.delete("order-1"))
        await asyncio.sleep(0.01)
        go_on.set()
        assert (await restarting).status is WorkflowStatus.COMPLETED
        await deleting
    with pytest.raises(InstanceNotFoundError):
        await engine.get("order-1")


async def test_delete_ends_when_its_engine_closes(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A delete that waits for the lease of another process does not outlive its engine."""
    engine = await open_engine(**FAR)
    await engine.execute(sequence("pay"), id="order-1")
    await storage.claim("order-1", owner="other", lease=3000)
    deleting = asyncio.create_task(engine.delete("order-1"))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        await engine.close()
        with pytest.raises(EngineClosedError):
            await deleting


# Steering


async def test_a_restart_that_was_overtaken_happens(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A restart whose claim was lost before its first save is decided anew, and not forgotten."""
    stolen, ran = Stolen(storage), list[str]()
    engine = await open_engine(stolen)
    await engine.execute(sequence("pay", ran=ran), id="order-1")
    stolen.is_armed = True
    async with asyncio.timeout(30):
        result = await engine.restart("order-1", "pay")
    assert (result.status, result.state.run, ran) == ("completed", 2, ["pay", "pay"])
    assert not stolen.is_armed


async def test_a_resume_that_was_overtaken_happens(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """So is a resume of a failed instance."""
    stolen, act = Stolen(storage), Flaky(1)
    engine = await open_engine(stolen)
    await engine.execute(Workflow("order").step("pay", act), id="order-1")
    stolen.is_armed = True
    async with asyncio.timeout(30):
        result = await engine.resume("order-1")
    assert (result.status, act.attempts, stolen.is_armed) == ("completed", [1, 2], False)


@pytest.mark.parametrize("count", [2, 5])
async def test_resumes_at_once_agree(open_engine: OpenEngine, count: int) -> None:
    """Of several resumes of a failed instance one acts; all return, and nobody keeps it."""
    act = Flaky(1)
    engine = await open_engine(**FAR)
    await engine.execute(Workflow("order").step("pay", act), id="order-1")
    async with asyncio.timeout(30):
        results = await asyncio.gather(*(engine.resume("order-1") for _ in range(count)))
        await engine.delete("order-1")
    assert [result.status for result in results] == ["completed"] * count
    assert act.attempts == [1, 2]


async def test_a_resume_waits_for_another_one(open_engine: OpenEngine) -> None:
    """While a resumed instance runs, another resume waits for its rest."""
    go_on, calls = asyncio.Event(), list[int]()

    async def pay(ctx: WorkflowContext) -> None:
        calls.append(ctx.attempt)
        if ctx.attempt == 1:
            raise RuntimeError("declined")
        await go_on.wait()

    engine = await open_engine(**FAR)
    async with asyncio.timeout(30):
        await engine.execute(Workflow("order").step("pay", pay), id="order-1")
        first = asyncio.create_task(engine.resume("order-1"))
        await until(lambda: calls == [1, 2])
        second = asyncio.create_task(engine.resume("order-1"))
        await asyncio.sleep(0.01)
        assert not second.done()
        go_on.set()
        assert ((await first).status, (await second).status) == ("completed", "completed")


async def test_resumes_of_two_engines_agree(open_engine: OpenEngine) -> None:
    """Nor do resumes in different processes disturb each other."""
    act = Flaky(1)
    order = Workflow("order").step("pay", act)
    engines = [await open_engine(workflows=[order]) for _ in range(2)]
    await engines[0].execute(order, id="order-1")
    async with asyncio.timeout(30):
        results = await asyncio.gather(*(engine.resume("order-1") for engine in engines))
    assert [result.status for result in results] == ["completed", "completed"]
    assert act.attempts == [1, 2]


# Cancelling


async def test_a_cancelled_restart_leaves_no_lease(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A restart whose caller goes while the storage is asked is driven all the same."""
    line, ran = Line(storage), list[str]()
    engine = await open_engine(line, **FAR)
    await engine.execute(sequence("pay", ran=ran), id="order-1")
    line.go_on.clear()
    restarting = asyncio.create_task(engine.restart("order-1", "pay"))
    await until(lambda: line.claims == 1)
    restarting.cancel()
    await asyncio.wait({restarting}, timeout=5)
    line.go_on.set()
    await until(lambda: ran == ["pay", "pay"])
    other = await open_engine()
    async with asyncio.timeout(30):
        await engine.result("order-1")
        await other.delete("order-1")


async def test_close_waits_for_a_claim(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An engine that closes while it claims gives the instance back."""
    line, ran = Line(storage), list[str]()
    order = sequence("pay", ran=ran)
    engine = await open_engine(line, **FAR)
    await engine.execute(order, id="order-1")
    line.go_on.clear()
    restarting = asyncio.create_task(engine.restart("order-1", "pay"))
    await until(lambda: line.claims == 1)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.01)
    line.go_on.set()
    other = await open_engine(workflows=[order])
    async with asyncio.timeout(30):
        await closing
        await asyncio.wait({restarting})
        assert (await other.resume("order-1")).status is WorkflowStatus.COMPLETED
        await other.delete("order-1")


# What waiting costs


async def all_of(waiting: list[Coroutine[Any, Any, FluxResult]]) -> list[FluxResult]:
    """The results of all."""
    return await asyncio.gather(*waiting)


async def test_a_waiting_verb_is_not_woken_by_others(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """How often a verb that waits for room looks at its instance does not grow with the others."""

    async def loads(count: int) -> float:
        clock, line = ManualClock(), Line(storage)
        engine = await open_engine(line, clock=clock, max_instances=2, **FAR)
        waiting = [engine.execute(sequence("pay")) for _ in range(count)]
        executing = asyncio.create_task(all_of(waiting))
        await until(lambda: sum(isinstance(made, Record) for made in line.made) == count)
        # One poll finds those that wait for room; from then on the room is what counts.
        clock.advance(FAR["poll"])
        async with asyncio.timeout(20):
            results = await executing
        assert {result.status for result in results} == {"completed"}
        await engine.close()
        return line.loads / count

    assert await loads(80) < 2 * await loads(10)


# Verbs in handlers

OWN: dict[str, Callable[[FluxEngine, Workflow], Any]] = {
    "execute": lambda engine, order: engine.execute(order, id="order-1"),
    "result": lambda engine, order: engine.result("order-1"),
    "resume": lambda engine, order: engine.resume("order-1"),
}


@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
@pytest.mark.parametrize("verb", OWN)
async def test_a_handler_does_not_wait_for_itself(
    open_engine: OpenEngine, verb: str, timeout: float | None
) -> None:
    """A verb on the handler's own instance returns what is saved."""
    order = Workflow("order")

    async def ask(ctx: WorkflowContext) -> str:
        result: FluxResult = await OWN[verb](engine, order)
        return result.status.value

    order.step("pay", noting("pay", [])).step("ask", ask, timeout=timeout)
    engine = await open_engine(**FAR)
    async with asyncio.timeout(30):
        result = await engine.execute(order, id="order-1")
    assert (result.status, step_of(result, "ask").output) == ("completed", "running")


async def test_a_handler_cannot_restart_itself(open_engine: OpenEngine) -> None:
    """A verb that changes an instance is refused in its own handlers: it does not rest."""
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> None:
        await engine.restart(ctx.id, "pay")

    engine = await open_engine(**FAR)
    async with asyncio.timeout(30):
        result = await engine.execute(order, id="order-1")
    assert result.error is not None
    assert result.error.type == InvalidTransitionError.__name__


async def test_a_handler_may_wait_for_others(open_engine: OpenEngine) -> None:
    """A verb on another instance waits for the end of that."""
    parent = Workflow("parent")

    @parent.step
    async def ask(ctx: WorkflowContext) -> str:
        result = await engine.execute(sequence("pack", "ship"), id=f"{ctx.id}:parcel")
        return result.status.value

    engine = await open_engine()
    async with asyncio.timeout(30):
        result = await engine.execute(parent, id="order-1")
    assert step_of(result, "ask").output == "completed"


# Handlers that ignore their cancellation


@pytest.mark.parametrize("verb", OWN)
async def test_who_waits_for_a_stubborn_step_is_told(open_engine: OpenEngine, verb: str) -> None:
    """A verb ends with its engine, though the handler ignores its cancellation."""
    go_on, ran = asyncio.Event(), list[str]()
    order, engine = stubborn(go_on, ran), await open_engine(grace=0.02)
    await engine.start(order, id="order-1")
    await until(lambda: ran)
    waiting = asyncio.create_task(OWN[verb](engine, order))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        await engine.close()
        with pytest.raises(EngineClosedError):
            await waiting
    go_on.set()


async def test_who_waits_for_a_lost_stubborn_step_is_served(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A verb whose engine lost the instance gets the result of the one that took it."""
    go_on, ran, clock = asyncio.Event(), list[str](), ManualClock()
    order, line = stubborn(go_on, ran), Line(storage)
    first = await open_engine(line, clock=clock, lease=30, poll=100)
    executing = asyncio.create_task(first.execute(order, id="order-1"))
    await until(lambda: ran)
    line.is_cut = True
    await passing(clock, 31)
    second = await open_engine(workflows=[order], clock=clock, lease=30)
    await second.resume("order-1")
    result = await as_time_passes(clock, executing)
    assert (step_of(result, "pay").output, ran) == ("pay 2", ["pay 1", "pay 2"])
    go_on.set()


# Opening and closing


def flux_tasks() -> list[str]:
    """The names of the engines' tasks."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith("flux ")]


async def test_opening_at_once_is_opening_once(storage: WorkflowStorage) -> None:
    """Two `init` at one time leave nothing open when the engine is closed."""
    line = Line(storage)
    engine = FluxEngine(line)
    await asyncio.gather(engine.init(), engine.init())
    assert line.users == 1
    await engine.close()
    assert (line.users, flux_tasks()) == (0, [])


async def test_a_cancelled_close_is_finished(storage: WorkflowStorage) -> None:
    """A `close` whose caller goes is awaited by the next one; nothing is left open."""
    ran, line = list[str](), Line(storage)

    async def pay(ctx: WorkflowContext) -> None:
        ran.append("pay")
        await asyncio.sleep(60)

    engine = FluxEngine(line, config=FluxConfig(grace=0.05))
    await engine.init()
    await engine.start(Workflow("order").step("pay", pay), id="order-1")
    await until(lambda: ran)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    async with asyncio.timeout(30):
        await engine.close()
    assert (line.users, flux_tasks(), closing.cancelled()) == (0, [], True)
