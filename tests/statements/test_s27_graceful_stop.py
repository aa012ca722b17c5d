"""S27: a closing engine gives running steps the grace, saves what ended, and hands leases back."""

import asyncio
import threading
from typing import Any

import pytest

from flux import (
    Checkpoint,
    CompensationContext,
    EngineClosedError,
    FluxEngine,
    Retry,
    StepStatus,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from leasing import head_of
from opening import OpenEngine
from sagas import Flaky, heedless, noting, sequence, step_of, until
from saves import Saves
from settling import passing, watched


@pytest.fixture
def storage(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for whose answers `passing` waits."""
    return watched(storage)


def order_with(act: Any, ran: list[str], **options: Any) -> Workflow:
    """An order that acts, then ships."""
    return Workflow("order").step("act", act, **options).step("ship", noting("ship", ran))


async def closing(engine: FluxEngine) -> asyncio.Task[None]:
    """The closing of the engine, once it has begun."""
    task = asyncio.create_task(engine.close())
    async with asyncio.timeout(30):
        while True:
            try:
                await engine.count()
            except EngineClosedError:
                return task
            await asyncio.sleep(0.001)


async def close(engine: FluxEngine, go_on: asyncio.Event) -> None:
    """Close the engine, and let `go_on` happen in its grace."""
    closed = await closing(engine)
    go_on.set()
    await closed


async def started(engine: FluxEngine, order: Workflow, ran: list[str]) -> None:
    """Start "order-1" and wait until its first step runs."""
    await engine.start(order, id="order-1")
    await until(lambda: ran)


async def test_s27_a_step_that_ends_in_time_is_saved(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A step that ends within the grace counts; the next one is left to the next engine."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def act(ctx: WorkflowContext) -> str:
        ran.append("act")
        await go_on.wait()
        return "acted"

    order = order_with(act, ran)
    first = await open_engine(clock=clock, grace=5)
    await started(first, order, ran)
    await close(first, go_on)
    second = await open_engine(clock=clock)
    assert ran == ["act"]
    assert step_of(await second.get("order-1"), "act").output == "acted"


async def test_s27_a_plain_step_gets_the_grace_too(open_engine: OpenEngine) -> None:
    """A handler in a thread that ends within the grace counts."""
    clock, ran, go_on = ManualClock(), list[str](), threading.Event()

    def act(ctx: WorkflowContext) -> str:
        ran.append("act")
        go_on.wait(5)
        return "acted"

    first, second = await open_engine(clock=clock, grace=5), await open_engine(clock=clock)
    await started(first, order_with(act, ran), ran)
    closed = await closing(first)
    go_on.set()
    await closed
    assert step_of(await second.get("order-1"), "act").output == "acted"


async def test_s27_another_engine_goes_on_at_once(open_engine: OpenEngine) -> None:
    """After a close nobody waits for a lease: the clock need not move."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await go_on.wait()

    order = order_with(act, ran)
    first = await open_engine(clock=clock, grace=5, lease=3000)
    await started(first, order, ran)
    await close(first, go_on)
    second = await open_engine(workflows=[order], clock=clock)
    result = await asyncio.wait_for(second.resume("order-1"), 30)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["act", "ship"])


async def test_s27_a_step_that_does_not_end_is_cut_off(open_engine: OpenEngine) -> None:
    """A handler that runs beyond the grace is cancelled, and runs again elsewhere at once."""
    clock, ran = ManualClock(), list[str]()

    async def act(ctx: WorkflowContext) -> None:
        ran.append(f"act {ctx.attempt}")
        if ctx.attempt == 1:
            try:
                await asyncio.sleep(60)
            finally:
                ran.append(f"cancelled {ctx.cancelled()}")

    order = order_with(act, ran)
    first = await open_engine(clock=clock, grace=0.05, lease=3000)
    await started(first, order, ran)
    await first.close()
    second = await open_engine(workflows=[order], clock=clock)
    result = await asyncio.wait_for(second.resume("order-1"), 30)
    assert result.status is WorkflowStatus.COMPLETED
    assert [line for line in ran if "cancelled" not in line] == ["act 1", "act 2", "ship"]
    assert [line.split()[0] for line in ran][1] == "cancelled"


async def test_s27_a_plain_step_is_told_to_end(open_engine: OpenEngine) -> None:
    """A handler in a thread that runs beyond the grace sees `ctx.cancelled()`."""
    ran, told = list[str](), threading.Event()

    def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        while not ctx.cancelled():
            told.wait(0.002)
        told.set()

    first = await open_engine(grace=0.02)
    await started(first, order_with(act, ran), ran)
    await first.close()
    await until(told.is_set)


async def test_s27_a_stubborn_step_does_not_keep_it_open(open_engine: OpenEngine) -> None:
    """A handler that ignores its cancellation is left behind, and its lease handed back."""
    clock, ran = ManualClock(), list[str]()

    async def act(ctx: WorkflowContext) -> None:
        ran.append(f"act {ctx.attempt}")
        if ctx.attempt == 1:
            await heedless(1)

    order = order_with(act, ran)
    first = await open_engine(clock=clock, grace=0.02, lease=3000)
    await started(first, order, ran)
    await asyncio.wait_for(first.close(), 0.8)
    second = await open_engine(workflows=[order], clock=clock)
    result = await asyncio.wait_for(second.resume("order-1"), 30)
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["act 1", "act 2", "ship"])


async def test_s27_a_back_off_is_handed_back_with_its_time(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A close in a back-off does not wait for it; the instance is due when the attempt is."""
    clock, saves, act = ManualClock(), Saves(storage), Flaky(1)
    order = Workflow("order").step("act", act, retries=Retry(1, initial=20, jitter=False))
    first = await open_engine(saves, clock=clock, grace=5)
    await first.start(order, id="order-1")
    await until(lambda: len(saves.made) == 2)
    clock.advance(5)
    await asyncio.wait_for(first.close(), 2)
    last = saves.made[-1]
    assert isinstance(last, Checkpoint)
    assert (act.attempts, last.intent, last.lease, last.wake) == ([1], (), None, 15)


async def test_s27_a_rollback_is_handed_back_too(open_engine: OpenEngine) -> None:
    """A compensator gets the grace; the rest of the rollback is left to the next engine."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def undo(ctx: CompensationContext) -> None:
        ran.append(f"undo {ctx.step}")
        await go_on.wait()

    order = sequence("a", "b", compensate=undo).step("fail", Flaky(None))
    first = await open_engine(clock=clock, grace=5)
    await started(first, order, ran)
    await close(first, go_on)
    assert ran == ["undo b"]
    second = await open_engine(workflows=[order], clock=clock)
    result = await asyncio.wait_for(second.resume("order-1"), 30)
    assert (result.status, ran) == (WorkflowStatus.ROLLED_BACK, ["undo b", "undo a"])


@pytest.mark.parametrize("verb", ["execute", "result", "resume"])
async def test_s27_who_waits_is_told(open_engine: OpenEngine, verb: str) -> None:
    """A verb that still waits when its engine closes raises `EngineClosedError`."""
    ran: list[str] = []

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await asyncio.sleep(60)

    order = order_with(act, ran)
    engine = await open_engine(grace=0.02)
    await started(engine, order, ran)
    verbs = {
        "execute": lambda: engine.execute(order, id="order-1"),
        "result": lambda: engine.result("order-1"),
        "resume": lambda: engine.resume("order-1"),
    }
    waiting = asyncio.create_task(verbs[verb]())
    await asyncio.sleep(0.01)
    await engine.close()
    with pytest.raises(EngineClosedError):
        await waiting


async def test_s27_who_waits_gets_what_ended_in_time(open_engine: OpenEngine) -> None:
    """A verb whose instance ends within the grace returns its result."""
    go_on, ran = asyncio.Event(), list[str]()

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await go_on.wait()

    engine = await open_engine(grace=5)
    executing = asyncio.create_task(engine.execute(Workflow("order").step("act", act)))
    await until(lambda: ran)
    await close(engine, go_on)
    assert (await executing).status is WorkflowStatus.COMPLETED


async def test_s27_nothing_new_is_begun(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """While it closes an engine takes no verb and claims nothing."""
    ran, go_on = list[str](), asyncio.Event()

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await go_on.wait()

    order = order_with(act, ran)
    engine = await open_engine(grace=5)
    await started(engine, order, ran)
    closed = await closing(engine)
    with pytest.raises(EngineClosedError):
        await engine.execute(order)
    go_on.set()
    await closed
    assert ran == ["act"]


async def test_s27_closing_an_idle_engine_is_quick(open_engine: OpenEngine) -> None:
    """An engine that drives nothing closes without waiting for the grace or the poll."""
    engine = await open_engine(grace=60, poll=60)
    await engine.execute(sequence("pay"))
    await asyncio.wait_for(engine.close(), 1)


async def test_s27_a_storage_that_fails_does_not_keep_it_open(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """When leases cannot be handed back they run out by themselves; the engine closes."""
    ran, saves = list[str](), Saves(storage)

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await asyncio.sleep(60)

    engine = await open_engine(saves, grace=0.02)
    await started(engine, order_with(act, ran), ran)
    saves.die()
    await asyncio.wait_for(engine.close(), 2)


async def test_s27_the_error_in_the_block_is_kept(storage: WorkflowStorage) -> None:
    """`async with` closes the engine on an error too, and lets the error through."""
    engine = FluxEngine(storage)

    async def use() -> None:
        async with engine:
            await engine.execute(sequence("pay"))
            raise StorageError("mine")

    with pytest.raises(StorageError, match="mine"):
        await use()
    with pytest.raises(EngineClosedError):
        await engine.count()


# What is handed back


async def test_s27_all_leases_are_handed_back(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """After a close nothing is leased, whether it ended in time or was cut off; all is due."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def act(ctx: WorkflowContext) -> None:
        ran.append(ctx.id)
        await (go_on.wait() if ctx.id == "order-0" else asyncio.sleep(60))

    engine = await open_engine(clock=clock, grace=0.2, lease=3000)
    for number in range(4):
        await engine.start(order_with(act, []), id=f"order-{number}")
    await until(lambda: len(ran) == 4)
    await close(engine, go_on)
    await open_engine(clock=clock)
    heads = [await head_of(storage, f"order-{number}") for number in range(4)]
    assert [(head.lease_until, head.wake_at) for head in heads] == [(None, clock.now())] * 4


async def test_s27_a_wait_that_comes_in_time_is_saved(open_engine: OpenEngine) -> None:
    """A step that returns a wait within the grace is suspended, and does not run again."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def ask(ctx: WorkflowContext) -> object:
        ran.append("ask")
        await go_on.wait()
        return wait("ok")

    order = order_with(ask, ran)
    first = await open_engine(clock=clock, grace=5, lease=3000)
    await started(first, order, ran)
    await close(first, go_on)
    second = await open_engine(workflows=[order], clock=clock)
    assert step_of(await second.get("order-1"), "act").status is StepStatus.SUSPENDED
    result = await asyncio.wait_for(second.signal("order-1", "ok"), 30)
    assert result is not None
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["ask", "ship"])


# What waits


async def test_s27_what_waits_is_left_as_it_is(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A suspended instance costs a close no time, and is not touched."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, grace=60)
    for number in range(3):
        await engine.execute(Workflow("order").wait("ok", timeout=90), id=f"order-{number}")
    before = [await head_of(storage, f"order-{number}") for number in range(3)]
    await asyncio.wait_for(engine.close(), 1)
    await open_engine(clock=clock)
    assert [await head_of(storage, f"order-{number}") for number in range(3)] == before


async def test_s27_what_waits_is_taken_by_another(open_engine: OpenEngine) -> None:
    """Its signal and its time are acted on by another engine at once."""
    clock, order = ManualClock(), Workflow("order").wait("ok", timeout=60, on_timeout="continue")
    first = await open_engine(clock=clock, lease=3000)
    for id in ("order-1", "order-2"):
        await first.execute(order, id=id)
    await first.close()
    second = await open_engine(workflows=[order], clock=clock, poll=3000)
    result = await asyncio.wait_for(second.signal("order-1", "ok"), 30)
    assert result is not None
    assert result.status is WorkflowStatus.COMPLETED
    await passing(clock, 60)
    late = await asyncio.wait_for(second.result("order-2"), 30)
    assert late.status is WorkflowStatus.COMPLETED


async def test_s27_nothing_is_claimed_any_more(open_engine: OpenEngine) -> None:
    """What becomes due while an engine closes is left to others."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        await go_on.wait()

    sleeping = Workflow("nap").sleep("nap", 60).step("woken", noting("woken", ran))
    engine = await open_engine(clock=clock, grace=5, poll=1)
    await engine.execute(sleeping, id="nap-1")
    await started(engine, order_with(act, ran), ran)
    closed = await closing(engine)
    await passing(clock, 61)
    assert (ran, closed.done()) == (["act"], False)
    go_on.set()
    await closed
    assert ran == ["act"]


async def test_s27_a_signal_is_kept(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A signal whose sender is told that the engine closes is saved all the same."""
    clock, ran = ManualClock(), list[str]()

    async def act(ctx: WorkflowContext) -> None:
        ran.append("act")
        if ctx.attempt == 1:
            await asyncio.sleep(60)

    order = Workflow("order").step("act", act).wait("ok")
    engine = await open_engine(clock=clock, grace=0.02, lease=3000)
    await started(engine, order, ran)
    sending = asyncio.create_task(engine.signal("order-1", "ok", "signed"))
    await passing(clock, 0)
    await engine.close()
    with pytest.raises(EngineClosedError):
        await sending
    second = await open_engine(workflows=[order], clock=clock)
    result = await asyncio.wait_for(second.result("order-1"), 30)
    assert step_of(result, "ok").output == "signed"


async def test_s27_a_predicate_gets_the_grace_too(open_engine: OpenEngine) -> None:
    """The result before it is saved, though nothing follows it here."""
    clock, ran, go_on = ManualClock(), list[str](), asyncio.Event()

    async def when(ctx: WorkflowContext) -> bool:
        ran.append("when")
        await go_on.wait()
        return True

    order = sequence("a", ran=ran).step("b", noting("b", ran), when=when)
    first = await open_engine(clock=clock, grace=5, lease=3000)
    await first.start(order, id="order-1")
    await until(lambda: "when" in ran)
    await close(first, go_on)
    second = await open_engine(workflows=[order], clock=clock)
    assert (step_of(await second.get("order-1"), "a").output, ran) == ("a", ["a", "when"])
    result = await asyncio.wait_for(second.resume("order-1"), 30)
    assert (result.status, ran.count("a"), ran[-1]) == (WorkflowStatus.COMPLETED, 1, "b")
