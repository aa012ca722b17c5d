"""S18: a signal is saved before `signal()` returns, kept, and consumed once."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from flux import (
    Checkpoint,
    FluxEngine,
    FluxResult,
    InstanceNotFoundError,
    NotJSONError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    sleep,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import noting, step_of
from saves import DiedError, Saves
from waits import LONG, Held, Moments, about_to_run, asking, becomes, ended, resting_as

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED


async def inbox(engine: FluxEngine, id: str = "o") -> list[tuple[Any, str | None]]:
    """The payloads that have come, in order, each with the step that took it."""
    return [(signal.payload, signal.taken_by) for signal in (await engine.diagnose(id)).signals]


async def signalled(
    engine: FluxEngine, name: str, payload: Any = None, id: str = "o"
) -> FluxResult:
    """The result for whoever sends a signal and waits."""
    result = await engine.signal(id, name, payload)
    assert result is not None
    return result


# Saved


async def test_s18_saved_before_signal_returns(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The process that took the signal dies right after: another one goes on with it."""
    order, saves, clock = asking([]), Saves(storage), ManualClock()
    first = await open_engine(saves, clock=clock, **LONG)
    await first.execute(order, id="o")
    sender = await open_engine(saves, clock=clock, **LONG)
    assert await sender.signal("o", "approved", "yes", wait=False) is None
    saves.die()
    second = await open_engine(workflows=[order], clock=clock, **LONG)
    result = await ended(second, clock=clock)
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "yes")


async def test_s18_whoever_waits_no_longer_has_sent_it(engine: FluxEngine) -> None:
    """Cancelling the task that awaits `signal` leaves the signal where it is."""
    ship = Held()
    await engine.execute(Workflow("order").wait("approved").step("ship", ship), id="o")
    sending = asyncio.create_task(engine.signal("o", "approved"))
    await ship.began.wait()
    sending.cancel()
    ship.go_on.set()
    assert (await ended(engine)).status is COMPLETED


async def test_s18_waiting_is_for_the_next_rest(engine: FluxEngine) -> None:
    """`signal` returns when the instance has come to its next wait, or to its end."""
    await engine.execute(Workflow("order").wait("a").wait("b"), id="o")
    first = await signalled(engine, "a")
    assert (first.status, first.state.current_step) == (SUSPENDED, "b")
    assert (await signalled(engine, "b")).status is COMPLETED


async def test_s18_without_waiting_it_goes_on_at_once(open_engine: OpenEngine) -> None:
    """With `wait=False` the instance goes on in the same process, although no time passes."""
    engine = await open_engine(clock=ManualClock())
    await engine.execute(asking([]), id="o")
    assert await engine.signal("o", "approved", wait=False) is None
    assert (await ended(engine)).status is COMPLETED


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "payload"),
        ({"at": [1, {2, 3}]}, "payload.at[1]"),
        ({7: "seven"}, "payload"),
        (float("nan"), "payload"),
        ("\ud800", "payload"),
    ],
)
async def test_s18_a_payload_is_json(engine: FluxEngine, payload: Any, path: str) -> None:
    """What JSON would change is refused by name, and nothing is saved."""
    await engine.execute(asking([]), id="o")
    with pytest.raises(NotJSONError) as refused:
        await engine.signal("o", "approved", payload)
    assert refused.value.path.startswith(path)
    assert await inbox(engine) == []
    assert (await engine.get("o")).status is SUSPENDED


@pytest.mark.parametrize("name", ["flux:cancel", "flux:pause", "flux:", "", " ", None, 7])
async def test_s18_a_name_is_nobody_elses(engine: FluxEngine, name: Any) -> None:
    """Names of the engine's own, and what is no name, are refused: nothing happens."""
    await engine.execute(asking([]), id="o")
    with pytest.raises(ValueError, match="names no signal"):
        await engine.signal("o", name, {"rollback": True, "reason": None})
    assert ((await engine.get("o")).status, await inbox(engine)) == (SUSPENDED, [])


# Early


async def test_s18_one_before_the_wait_is_kept(engine: FluxEngine) -> None:
    """A signal that comes while an earlier step runs is there when the wait begins."""
    first = Held()
    order = Workflow("order").step("first", first).wait("ask", "approved")
    running = asyncio.create_task(engine.execute(order, id="o"))
    await first.began.wait()
    await engine.signal("o", "approved", "early", wait=False)
    first.go_on.set()
    result = await running
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "early")


async def test_s18_one_before_the_first_step_is_kept(open_engine: OpenEngine) -> None:
    """A signal to an instance that nobody has driven yet is there when its wait begins."""
    engine, busy = await open_engine(max_instances=1), Held()
    await engine.start(Workflow("busy").step("a", busy), id="busy")
    await engine.start(Workflow("order").wait("ask", "approved"), id="o")
    assert (await engine.get("o")).status is WorkflowStatus.PENDING
    await engine.signal("o", "approved", "early", wait=False)
    busy.go_on.set()
    assert step_of(await ended(engine), "ask").output == "early"


async def test_s18_one_for_a_later_wait_is_kept(engine: FluxEngine) -> None:
    """A signal that nobody waits for yet wakes no step, and is taken when its turn comes."""
    await engine.execute(Workflow("order").wait("a").wait("b"), id="o")
    assert (await signalled(engine, "b", "early")).state.current_step == "a"
    assert await inbox(engine) == [("early", None)]
    assert (await signalled(engine, "a", "late")).status is COMPLETED
    assert await inbox(engine) == [("early", "b"), ("late", "a")]


async def test_s18_one_is_kept_over_many_rests(engine: FluxEngine) -> None:
    """Later signals are taken meanwhile, each by another driver: the early one is not passed by."""
    await engine.execute(Workflow("order").wait("a").wait("b").wait("c"), id="o")
    for name in "cab":
        result = await signalled(engine, name, name)
    assert [entry.output for entry in result.history] == ["a", "b", "c"]


async def test_s18_one_from_its_own_handler_is_kept(engine: FluxEngine) -> None:
    """A handler may signal its own instance: the verb returns after the save, and does not wait."""
    seen: list[FluxResult | None] = []

    async def tell(ctx: WorkflowContext) -> None:
        seen.append(await engine.signal(ctx.id, "approved", "own"))

    order = Workflow("order").step("tell", tell).wait("ask", "approved")
    async with asyncio.timeout(30):
        result = await engine.execute(order, id="o")
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "own")
    assert [one.status for one in seen if one is not None] == ["running"]


async def test_s18_one_from_its_own_timed_handler(engine: FluxEngine) -> None:
    """The same where the handler has a timeout, and so a task of its own."""

    async def tell(ctx: WorkflowContext) -> None:
        await engine.signal(ctx.id, "approved", "own")

    order = Workflow("order").step("tell", tell, timeout=5).wait("ask", "approved")
    async with asyncio.timeout(30):
        assert (await engine.execute(order, id="o")).status is COMPLETED


async def test_s18_one_from_another_instance(engine: FluxEngine) -> None:
    """A handler that signals another instance waits for the rest of that one."""

    async def tell(ctx: WorkflowContext) -> str:
        return str((await signalled(engine, "approved", "from tell")).status)

    await engine.execute(asking([]), id="o")
    result = await engine.execute(Workflow("teller").step("tell", tell))
    assert step_of(result, "tell").output == "completed"


# In order


async def test_s18_two_of_one_name_in_order(engine: FluxEngine) -> None:
    """Both come early: the first wait takes the first, the second the second."""
    order = Workflow("order").sleep("nap", 0.05).wait("a", "paid").wait("b", "paid")
    await engine.execute(order, id="o")
    await engine.signal("o", "paid", 1, wait=False)
    await engine.signal("o", "paid", 2, wait=False)
    result = await ended(engine)
    assert [step_of(result, name).output for name in "ab"] == [1, 2]


async def test_s18_a_second_one_is_kept_for_the_second_wait(engine: FluxEngine) -> None:
    """Two come while the first wait is suspended, a third one later."""
    order = Workflow("order").wait("a", "paid").wait("b", "paid").wait("c", "paid")
    await engine.execute(order, id="o")
    await asyncio.gather(*(engine.signal("o", "paid", n, wait=False) for n in (1, 2)))
    await becomes(engine, lambda state: state.current_step == "c")
    result = await signalled(engine, "paid", 3)
    numbers = [step_of(result, name).output for name in "abc"]
    assert (sorted(numbers[:2]), numbers[2]) == ([1, 2], 3)
    assert [taker for _, taker in await inbox(engine)] == ["a", "b", "c"]


async def test_s18_many_at_once_are_all_taken(open_engine: OpenEngine) -> None:
    """Twenty signals at one instant, by two engines: each wait takes one, in their order."""
    order = Workflow("order")
    for n in range(20):
        order.wait(f"wait-{n}", "paid")
    engines = [await open_engine(workflows=[order]) for _ in range(2)]
    await engines[0].execute(order, id="o")
    await asyncio.gather(*(engines[n % 2].signal("o", "paid", n) for n in range(20)))
    result = await ended(engines[0])
    assert sorted(entry.output for entry in result.history) == list(range(20))
    assert [entry.output for entry in result.history] == [n for n, _ in await inbox(engines[0])]


async def test_s18_other_names_are_left_alone(engine: FluxEngine) -> None:
    """A signal of another name wakes nobody, and stays unconsumed."""
    await engine.execute(asking([]), id="o")
    assert (await signalled(engine, "declined", 1)).status is SUSPENDED
    assert (await signalled(engine, "approved", 2)).status is COMPLETED
    assert await inbox(engine) == [(1, None), (2, "ask")]


async def test_s18_other_instances_are_left_alone(engine: FluxEngine) -> None:
    """A signal reaches the instance that it was sent to and no other."""
    order = asking([])
    for id in ("o", "p"):
        await engine.execute(order, id=id)
    await signalled(engine, "approved", id="p")
    assert ((await engine.get("o")).status, await inbox(engine)) == (SUSPENDED, [])


# Consumed


async def test_s18_consumed_by_the_completing_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The save that has the result of the waiting step consumes the signal, and no other does."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(asking([]), id="o")
    await signalled(engine, "approved")
    made = [save for save in saves.made if isinstance(save, Checkpoint)]
    assert [(save.intent, dict(save.consumed)) for save in made] == [
        (("ask",), {}),
        ((), {}),
        (("ship",), {1: "ask"}),
        ((), {}),
    ]


@pytest.mark.parametrize("death", [{"die_before": 4}, {"die_after": 4}])
async def test_s18_a_crash_consumes_all_or_nothing(
    storage: WorkflowStorage, open_engine: OpenEngine, death: dict[str, Any]
) -> None:
    """The process dies at that save: the signal is taken once, by this process or the next."""
    did: list[str] = []
    order, clock = asking(did), ManualClock()
    first = await open_engine(Saves(storage, **death), clock=clock)
    await first.execute(order, id="o")
    with suppress(DiedError):
        await first.signal("o", "approved", "yes")
    clock.advance(31)
    second = await open_engine(workflows=[order], clock=clock)
    result = await ended(second, clock=clock)
    assert (result.status, did) == (COMPLETED, ["reserve", "ask", "ship"])
    assert step_of(result, "ask").output == "yes"
    assert await inbox(second) == [("yes", "ask")]


async def test_s18_consumed_ones_are_kept_until_delete(engine: FluxEngine) -> None:
    """The inbox of an ended instance can be looked at; a new one with its id has a new inbox."""
    order = asking([])
    await engine.execute(order, id="o")
    await signalled(engine, "approved", 1)
    assert await inbox(engine) == [(1, "ask")]
    await engine.delete("o")
    assert (await engine.execute(order, id="o")).status is SUSPENDED
    assert await inbox(engine) == []


# While the wait is just being saved


class Race:
    """An order whose suspension is being saved while another process sends its signal."""

    def __init__(self, storage: WorkflowStorage, open_engine: OpenEngine) -> None:
        self.moments = Moments(storage)
        self.order = asking([])
        self.clock = ManualClock()
        self._open_engine = open_engine

    async def run(self) -> tuple[FluxEngine, FluxResult]:
        """The engine that drives, and what its caller got."""
        engine = await self._open()
        async with asyncio.timeout(30):
            return engine, await engine.execute(self.order, id="o")

    async def start(self) -> FluxEngine:
        """The engine that drives; nobody waits."""
        engine = await self._open()
        await engine.start(self.order, id="o")
        return engine

    async def _open(self) -> FluxEngine:
        self.sender = await self._open_engine(clock=self.clock)
        return await self._open_engine(self.moments, workflows=[self.order], clock=self.clock)

    async def send(self) -> None:
        await self.sender.signal("o", "approved", "raced", wait=False)


@pytest.fixture
def race(storage: WorkflowStorage, open_engine: OpenEngine) -> Race:
    return Race(storage, open_engine)


async def test_s18_before_the_suspension_is_saved(race: Race) -> None:
    """It is in the inbox when the wait is saved, though its driver has not seen it: not lost."""
    race.moments.before(resting_as("suspended"), race.send)
    engine, result = await race.run()
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "raced")
    assert await inbox(engine) == [("raced", "ask")]


async def test_s18_right_after_the_suspension_is_saved(race: Race) -> None:
    """It comes to an instance at rest whose driver does not know yet that it rests: not lost."""
    race.moments.after(resting_as("suspended"), race.send)
    engine, _ = await race.run()
    result = await ended(engine, clock=race.clock)
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "raced")


async def test_s18_a_started_instance_goes_on(race: Race) -> None:
    """Nobody waits for it, and no time passes: its engine goes on at once all the same."""
    race.moments.before(resting_as("suspended"), race.send)
    engine = await race.start()
    assert (await ended(engine)).status is COMPLETED


async def test_s18_while_the_intent_is_saved(race: Race) -> None:
    """It comes right before the handler that will wait for it is called."""
    race.moments.after(about_to_run("ask"), race.send)
    _, result = await race.run()
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "raced")


async def test_s18_while_the_handler_runs(race: Race) -> None:
    """It is sent by another process while the handler that will wait for it runs."""

    async def ask(ctx: WorkflowContext) -> Any:
        await race.send()
        return sleep(0)

    race.order = Workflow("order").step("ask", ask).wait("approved")
    _, result = await race.run()
    assert (result.status, step_of(result, "approved").output) == (COMPLETED, "raced")


async def test_s18_the_same_engine_may_send_it(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The driver's own engine takes the signal while the suspension is being saved."""
    moments = Moments(storage)
    engine = await open_engine(moments, clock=ManualClock())
    for about in (moments.before, moments.after):
        about(resting_as("suspended"), lambda: engine.signal("o", "approved", wait=False))
    order = Workflow("order").wait("a", "approved").wait("b", "approved")
    async with asyncio.timeout(30):
        await engine.execute(order, id="o")
    assert (await ended(engine)).status is COMPLETED


async def test_s18_while_the_first_signal_is_taken(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A second one of the same name comes while the first is being consumed: it is not lost."""
    moments, clock = Moments(storage), ManualClock()
    engine = await open_engine(moments, clock=clock)
    sender = await open_engine(clock=clock)
    order = Workflow("order").wait("a", "paid").wait("b", "paid")
    await engine.execute(order, id="o")
    moments.before(resting_as("suspended"), lambda: sender.signal("o", "paid", 2, wait=False))
    result = await signalled(engine, "paid", 1)
    assert [entry.output for entry in result.history] == [1, 2]


async def test_s18_one_nobody_waits_for_ends_nothing(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A signal that comes while the end is being saved is kept, and the instance ends."""
    moments, clock = Moments(storage), ManualClock()
    engine = await open_engine(moments, clock=clock)
    sender = await open_engine(clock=clock)
    moments.before(resting_as("completed"), lambda: sender.signal("o", "late", 1, wait=False))
    order = Workflow("order").step("a", noting("a", []))
    assert (await engine.execute(order, id="o")).status is COMPLETED
    assert await inbox(engine) == [(1, None)]


# Two engines


async def test_s18_sent_by_one_driven_by_another(open_engine: OpenEngine) -> None:
    """A process that does not know the workflow sends; the worker finds it at its next poll."""
    clock = ManualClock()
    worker = await open_engine(workflows=[asking([])], clock=clock, **LONG)
    await worker.execute("order", id="o")
    sender = await open_engine(clock=clock, **LONG)
    await sender.signal("o", "approved", "yes", wait=False)
    result = await ended(worker, clock=clock)
    assert step_of(result, "ask").output == "yes"


async def test_s18_the_sender_waits_for_the_worker(open_engine: OpenEngine) -> None:
    """A process that does not know the workflow waits until the worker brought it to rest."""
    worker = await open_engine(workflows=[asking([])])
    await worker.execute("order", id="o")
    sender = await open_engine()
    async with asyncio.timeout(30):
        result = await signalled(sender, "approved", "yes")
    assert (result.status, step_of(result, "ask").output) == (COMPLETED, "yes")


async def test_s18_the_sender_waits_for_a_running_step(open_engine: OpenEngine) -> None:
    """Another process drives the instance: `signal` returns when that has brought it to rest."""
    first = Held()
    order = Workflow("order").step("first", first).wait("approved")
    worker = await open_engine(workflows=[order])
    await worker.start("order", id="o")
    await first.began.wait()
    sender = await open_engine(workflows=[order])
    sending = asyncio.create_task(signalled(sender, "approved", "yes"))
    await becomes_known(worker)
    assert not sending.done()
    first.go_on.set()
    assert (await sending).status is COMPLETED


async def test_s18_the_sender_may_drive_it(open_engine: OpenEngine) -> None:
    """An engine that knows the workflow goes on itself, whoever ran the steps before."""
    did: list[str] = []
    first = await open_engine(workflows=[asking([])])
    await first.execute("order", id="o")
    await first.close()
    second = await open_engine(workflows=[asking(did)])
    assert (await signalled(second, "approved")).status is COMPLETED
    assert did == ["ship"]


async def test_s18_a_waiting_caller_sees_another_engine_go_on(open_engine: OpenEngine) -> None:
    """`result` in one process returns when a signal sent in another has ended the instance."""
    order = asking([])
    first = await open_engine(workflows=[order])
    await first.execute(order, id="o")
    waiting = asyncio.create_task(ended(first))
    second = await open_engine(workflows=[order])
    await signalled(second, "approved")
    assert (await waiting).status is COMPLETED


async def test_s18_unknown_instances_get_none(engine: FluxEngine) -> None:
    """A signal for nobody is an error, with and without waiting."""
    for wait in (True, False):
        with pytest.raises(InstanceNotFoundError, match="no instance 'o'"):
            await engine.signal("o", "approved", wait=wait)


async def becomes_known(engine: FluxEngine) -> None:
    """Wait until the signal is in the inbox."""
    async with asyncio.timeout(30):
        while not await inbox(engine):  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)


async def test_s18_a_sleeper_in_between(open_engine: OpenEngine) -> None:
    """A signal that comes while the instance sleeps is taken by the wait after the sleep."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order").sleep("nap", 60).wait("approved").step("ship", noting("ship", did))
    await engine.execute(order, id="o")
    assert (await signalled(engine, "approved")).state.current_step == "nap"
    clock.advance(60)
    assert ((await ended(engine, clock=clock)).status, did) == (COMPLETED, ["ship"])
