"""Limits: so many instances with one key are at work, or begin in a time, on one storage."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from flux import (
    FluxEngine,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR
from leasing import head_of
from limits import Desk, customer
from opening import OpenEngine
from sagas import Flaky, until
from saves import DiedError
from settling import passing, watched
from sharing import Sharing

PENDING, COMPLETED = WorkflowStatus.PENDING, WorkflowStatus.COMPLETED
SUSPENDED, CANCELLED = WorkflowStatus.SUSPENDED, WorkflowStatus.CANCELLED
FAILED, PAUSED = WorkflowStatus.FAILED, WorkflowStatus.PAUSED


async def waiting(engine: FluxEngine, id: str) -> None:
    """Wait until the instance waits for its turn."""
    async with asyncio.timeout(10):
        while "its turn" not in (await engine.diagnose(id)).because:  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)


async def until_suspended(engine: FluxEngine, id: str) -> None:
    async with asyncio.timeout(10):
        while (await engine.get(id)).status is not SUSPENDED:  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)


# Places


async def test_one_at_a_time(engine: FluxEngine) -> None:
    """Of one key only so many are at work at once; `execute` waits until its turn has come."""
    desk = Desk(closed=True, concurrency=2)
    orders = [engine.execute(desk.order, {"customer": "kim"}) for _ in range(8)]
    desk.open_with(2)
    results = await asyncio.gather(*orders)
    assert [result.status for result in results] == [COMPLETED] * 8
    assert desk.most == {"kim": 2}


async def test_other_keys_go_beside(engine: FluxEngine) -> None:
    """Who has another key does not wait."""
    desk = Desk(closed=True, concurrency=1)
    for name in ("kim", "lee", "pat"):
        await engine.start(desk.order, {"customer": name}, id=name)
    await until(lambda: sorted(desk.came) == ["kim", "lee", "pat"])
    desk.opened.set()


async def test_without_a_key(engine: FluxEngine) -> None:
    """A limit without a key counts all instances of the workflow together."""
    desk = Desk()
    desk.order.limit(concurrency=1)
    names = ("kim", "lee", "pat")
    await asyncio.gather(*(engine.execute(desk.order, {"customer": name}) for name in names))
    assert len(desk.came) == 3
    assert set(desk.most.values()) == {1}


async def test_in_the_order_of_arrival(engine: FluxEngine) -> None:
    """Those that wait go in as they came."""
    desk = Desk(closed=True, concurrency=1)
    ids = [f"o-{number}" for number in random.sample(range(100), 8)]
    for id in ids:
        await engine.start(desk.order, {"customer": "kim"}, id=id)
        await (until(lambda: desk.came) if id == ids[0] else waiting(engine, id))
    desk.opened.set()
    await asyncio.gather(*map(engine.result, ids))
    assert desk.came == ids


async def test_waits_as_a_due_instance(storage: WorkflowStorage, engine: FluxEngine) -> None:
    """One that waits is pending, nobody drives it, and it is due some time without being told."""
    desk = Desk(closed=True, concurrency=1)
    await engine.start(desk.order, id="a")
    await until(lambda: desk.came)
    await engine.start(desk.order, id="b")
    await waiting(engine, "b")
    head = await head_of(storage, "b")
    assert (head.status, head.lease_until, head.intent) == (PENDING, None, ())
    assert head.wake_at is not None
    assert head.wake_at <= head.updated_at + timedelta(seconds=31)
    desk.opened.set()
    await engine.result("b")


async def test_place_is_held_while_it_waits(engine: FluxEngine) -> None:
    """One that is suspended keeps its place until it has ended."""
    order = Workflow("order").limit(concurrency=1).step("ask", lambda ctx: wait("go"))
    assert (await engine.execute(order, id="a")).status is SUSPENDED
    await engine.start(order, id="b")
    await waiting(engine, "b")
    await engine.signal("a", "go")
    await until_suspended(engine, "b")


@pytest.mark.parametrize("ends", ["fails", "is undone", "is cancelled"])
async def test_any_end_makes_room(engine: FluxEngine, ends: str) -> None:
    """However an instance ends, its place goes to the next; while it is undone it keeps it."""
    order = Workflow("order").limit(concurrency=1)
    undo = (lambda ctx: None) if ends == "is undone" else None
    order.step("reserve", lambda ctx: None, compensate=undo)
    order.step("ask", lambda ctx: wait("go"))
    order.step("ship", Flaky(times=None))
    await engine.execute(order, id="a")
    await engine.start(order, id="b")
    await waiting(engine, "b")
    await (engine.cancel("a") if ends == "is cancelled" else engine.signal("a", "go"))
    await until_suspended(engine, "b")
    assert (await engine.get("a")).status.is_ended


async def test_across_engines(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Engines that share a storage share its limits."""
    desk = Desk(closed=True, concurrency=2)
    engines = [await open_engine(workflows=[desk.order]) for _ in range(3)]
    orders = [
        engines[number % 3].execute(desk.order, {"customer": "kim"}, id=f"o-{number}")
        for number in range(12)
    ]
    desk.open_with(2)
    results = await asyncio.gather(*orders)
    assert [result.status for result in results] == [COMPLETED] * 12
    assert desk.most == {"kim": 2}
    assert Counter(desk.came) == {f"o-{number}": 1 for number in range(12)}


async def test_changes_at_once(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Engines that ask at the same moment take no place twice, and lose none."""
    desk = Desk(closed=True, concurrency=3)
    engines = [await open_engine(Sharing(storage)) for _ in range(4)]
    orders = [engine.execute(desk.order, {"customer": "kim"}) for engine in engines * 5]
    desk.open_with(3)
    results = await asyncio.gather(*orders)
    assert {result.status for result in results} == {COMPLETED}
    assert desk.most == {"kim": 3}


async def test_next_is_told_at_once(open_engine: OpenEngine) -> None:
    """Nobody waits for a poll or a lease: who leaves lets the next one know."""
    engine = await open_engine(poll=600, lease=600)
    desk = Desk(concurrency=1)
    orders = [engine.execute(desk.order) for _ in range(4)]
    results = await asyncio.wait_for(asyncio.gather(*orders), 20)
    assert {result.status for result in results} == {COMPLETED}


async def test_children_are_limited(engine: FluxEngine) -> None:
    """A sub-workflow waits for its turn as any other instance, and its parent for it."""
    desk = Desk(closed=True, concurrency=1)
    parent = Workflow("parent").child("serve", desk.order)
    for id in ("p", "q"):
        await engine.start(parent, id=id)
    desk.opened.set()
    results = [await engine.result(id, timeout=20) for id in ("p", "q")]
    assert {result.status for result in results} == {COMPLETED}
    assert (len(desk.came), desk.most) == (2, {"all": 1})


async def test_same_id_takes_one_place(engine: FluxEngine) -> None:
    """Whoever starts an instance again that waits waits for the same one."""
    desk = Desk(closed=True, concurrency=1)
    await engine.start(desk.order, id="a")
    await until(lambda: desk.came)
    await engine.start(desk.order, id="b")
    await waiting(engine, "b")
    again = asyncio.create_task(engine.execute(desk.order, id="b"))
    desk.opened.set()
    assert (await again).status is COMPLETED
    assert desk.came == ["a", "b"]


async def test_ended_id_takes_no_place(engine: FluxEngine) -> None:
    """Executing an instance that has ended disturbs nobody."""
    desk = Desk(concurrency=1)
    await engine.execute(desk.order, id="a")
    assert (await engine.execute(desk.order, id="a")).status is COMPLETED
    assert (await engine.execute(desk.order, id="b")).status is COMPLETED


async def test_diagnosis(storage: WorkflowStorage, engine: FluxEngine) -> None:
    """`diagnose` says which limit an instance waits for; nothing of it is left afterwards."""
    desk = Desk(closed=True, concurrency=1)
    await engine.start(desk.order, {"customer": "kim"}, id="a")
    await until(lambda: desk.came)
    await engine.start(desk.order, {"customer": "kim"}, id="b")
    await waiting(engine, "b")
    told = await engine.diagnose("b")
    assert told.because == 'it waits for its turn: limit concurrency=1 for key "kim"'
    assert told.comes_next == "step 'serve' runs"
    assert told.due_at is not None
    desk.opened.set()
    await engine.result("b")
    assert ((await engine.get("b")).reason, (await engine.diagnose("b")).signals) == (None, ())
    assert [call.consumed_by for call in await storage.signals("b")] == ["turn"]


# Leaving the queue


async def test_cancel_while_it_waits(engine: FluxEngine) -> None:
    """One that is cancelled while it waits never begins, and those behind it move up."""
    desk = Desk(closed=True, concurrency=1)
    await engine.start(desk.order, id="a")
    await until(lambda: desk.came)
    for id in ("b", "c"):
        await engine.start(desk.order, id=id)
        await waiting(engine, id)
    await engine.cancel("b")
    assert (await engine.result("b")).status is CANCELLED
    desk.opened.set()
    assert (await engine.result("c")).status is COMPLETED
    assert desk.came == ["a", "c"]


async def test_deadline_while_it_waits(open_engine: OpenEngine) -> None:
    """The deadline counts from the start: one that waits too long fails; versions share limits."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **FAR)
    patient, hasty = Workflow("order"), Workflow("order", version="2", deadline=60)
    for order in (patient, hasty):
        order.limit(concurrency=1).step("ask", lambda ctx: wait("go"))
    await engine.execute(patient, id="a")
    await engine.start(hasty, id="b")
    await waiting(engine, "b")
    clock.advance(61)
    result = await engine.result("b")
    assert (result.status, result.error and result.error.type) == (FAILED, "DeadlineExceededError")
    assert result.history == ()


async def test_pause_while_it_waits(engine: FluxEngine) -> None:
    """A paused one does not wait in line; resumed, it asks again."""
    desk = Desk(closed=True, concurrency=1)
    await engine.start(desk.order, id="a")
    await until(lambda: desk.came)
    for id in ("b", "c"):
        await engine.start(desk.order, id=id)
        await waiting(engine, id)
    await engine.pause("b")
    assert (await engine.execute(desk.order, id="b")).status is PAUSED
    desk.opened.set()
    assert (await engine.result("c")).status is COMPLETED
    assert desk.came == ["a", "c"]
    assert (await engine.resume("b")).status is COMPLETED
    assert desk.came == ["a", "c", "b"]


async def test_pause_gives_back_what_it_held(engine: FluxEngine) -> None:
    """One that has a place of one limit, waits for another, and is paused, gives the first back."""
    desk = Desk(closed=True, concurrency=1)
    desk.order.limit(concurrency=1)
    for id, name in (("l1", "lee"), ("k1", "kim"), ("k2", "kim")):
        await engine.start(desk.order, {"customer": name}, id=id)
        await (waiting(engine, id) if id != "l1" else desk.has(1))
    assert (await engine.diagnose("k2")).because.endswith('for key "kim"')
    await engine.pause("k1")
    async with asyncio.timeout(10):
        while not (await engine.diagnose("k2")).because.endswith("concurrency=1"):  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)
    desk.opened.set()
    assert (await engine.result("k2")).status is COMPLETED


async def test_signal_while_it_waits(engine: FluxEngine) -> None:
    """A signal that comes too early is kept, and does not let it in."""
    order = Workflow("order").limit(concurrency=1).step("ask", lambda ctx: wait("go"))
    await engine.execute(order, id="a")
    await engine.start(order, id="b")
    await waiting(engine, "b")
    await engine.signal("b", "go", "early", wait=False)
    await waiting(engine, "b")
    assert (await engine.get("b")).status is PENDING
    await engine.signal("a", "go")
    result = await engine.result("b", timeout=10)
    assert (result.status, result.history[0].output) == (COMPLETED, "early")


# Again


async def test_restart_asks_again(engine: FluxEngine) -> None:
    """One that has ended gave its place back: restarted, it waits for another turn."""
    desk = Desk(closed=True, concurrency=1)
    desk.opened.set()
    await engine.execute(desk.order, id="a")
    desk.opened.clear()
    await engine.start(desk.order, id="b")
    await until(lambda: desk.came == ["a", "b"])
    again = asyncio.create_task(engine.restart("a", "serve"))
    await waiting(engine, "a")
    assert desk.came == ["a", "b"]
    desk.opened.set()
    assert (await again).status is COMPLETED
    assert desk.came == ["a", "b", "a"]


async def test_resume_asks_again(engine: FluxEngine) -> None:
    """So it is with one that has failed and is resumed."""
    order = Workflow("order").limit(concurrency=1)
    order.step("ask", lambda ctx: wait("go"))
    order.step("ship", Flaky(times=1))
    await engine.execute(order, id="a")
    await engine.signal("a", "go")
    assert (await engine.execute(order, id="b")).status is SUSPENDED
    again = asyncio.create_task(engine.resume("a"))
    await waiting(engine, "a")
    await engine.signal("b", "go")
    assert (await again).status is COMPLETED


async def test_restart_of_a_live_one(engine: FluxEngine) -> None:
    """One that has not ended keeps its place when it is restarted."""
    order = Workflow("order").limit(concurrency=1).step("ask", lambda ctx: wait("go"))
    await engine.execute(order, id="a")
    await engine.start(order, id="b")
    await waiting(engine, "b")
    assert (await engine.restart("a", "ask")).status is SUSPENDED
    await waiting(engine, "b")


# Rates


def most_within(window: float, times: list[float]) -> int:
    """How many of these times lie within a window of so many seconds, wherever it begins."""
    return max(sum(0 <= time - begin < window for time in times) for begin in times)


async def served(clock: ManualClock, engine: FluxEngine, *ids: str) -> None:
    """Let time pass until these have completed."""
    ends = asyncio.gather(*map(engine.result, ids))
    async with asyncio.timeout(30):
        while not ends.done():
            await passing(clock, 2.5)
    assert {result.status for result in await ends} == {COMPLETED}


async def test_rate(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """No more than so many begin within the time, wherever that is laid; the others later."""
    clock = ManualClock()
    engine = await open_engine(Sharing(watched(storage)), clock=clock, **FAR)
    desk = Desk(rate="3/m")
    ids = [f"o-{number}" for number in range(8)]
    for number, id in enumerate(ids):
        clock.advance(20 if number == 2 else 0)
        await engine.start(desk.order, id=id)
        await (waiting(engine, id) if number > 2 else desk.has(number + 1))
    await served(clock, engine, *ids)
    assert desk.came == ids
    assert [came - desk.came_at[0] for came in desk.came_at] == [0, 0, 20, 60, 60, 80, 120, 120]


async def test_rates_count_together(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Of several rates each is kept."""
    clock = ManualClock()
    engine = await open_engine(Sharing(watched(storage)), clock=clock, **FAR)
    desk = Desk(rate="2/s")
    desk.order.limit(rate="5/m")
    ids = [f"o-{number}" for number in range(9)]
    for id in ids:
        await engine.start(desk.order, id=id)
    await served(clock, engine, *ids)
    assert most_within(1, desk.came_at) == 2
    assert most_within(60, desk.came_at) == 5


async def test_who_never_began_does_not_count(open_engine: OpenEngine) -> None:
    """One that one rate let in, while another kept it waiting, has not begun if it is cancelled."""
    engine = await open_engine(clock=ManualClock(), **FAR)
    desk = Desk(rate="1/h")
    desk.order.limit(rate="1/m")
    await engine.execute(desk.order, {"customer": "lee"})
    for id in ("k1", "k2"):
        await engine.start(desk.order, {"customer": "kim"}, id=id)
        await waiting(engine, id)
        assert (await engine.diagnose(id)).because.endswith("limit rate=1 in 60 s")
        await engine.cancel(id)
        assert (await engine.result(id)).status is CANCELLED


async def test_limits_of_others_do_not_block(engine: FluxEngine) -> None:
    """Who waits for its own key takes no place from others in a limit that all share."""
    desk = Desk(closed=True)
    desk.order.limit(concurrency=2).limit(key=customer, concurrency=1)
    await engine.start(desk.order, {"customer": "kim"}, id="k1")
    await until(lambda: desk.came)
    await engine.start(desk.order, {"customer": "kim"}, id="k2")
    await waiting(engine, "k2")
    await engine.start(desk.order, {"customer": "lee"}, id="l1")
    await until(lambda: desk.came == ["k1", "l1"])
    desk.opened.set()
    assert (await engine.result("k2")).status is COMPLETED


# When something goes wrong


async def test_key_that_raises(engine: FluxEngine) -> None:
    """A key function that raises fails the instance before anything has run."""
    ran: list[str] = []
    order = Workflow("order").limit(key=lambda ctx: ctx.input["customer"], concurrency=1)
    order.step("serve", lambda ctx: ran.append(ctx.id))
    result = await engine.execute(order, {})
    assert (result.status, str(result.error)) == (FAILED, "KeyError: 'customer'")
    assert ran == []


async def test_killed_before_it_left(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A place whose holder ended in a process that died right then is free after a lease."""
    desk = Desk(concurrency=1)
    dying = Sharing(storage, die_after=3)  # created, admitted, ended
    with pytest.raises(DiedError):
        await (await open_engine(dying)).execute(desk.order, id="a")
    engine = await open_engine(lease=0.3)
    assert (await engine.get("a")).status is COMPLETED
    result = await asyncio.wait_for(engine.execute(desk.order, id="b"), 10)
    assert (result.status, desk.came) == (COMPLETED, ["a", "b"])


async def test_deleted_before_it_left(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """So it is if that holder was deleted since."""
    desk = Desk(concurrency=1)
    dying = Sharing(storage, die_after=3)
    with pytest.raises(DiedError):
        await (await open_engine(dying)).execute(desk.order, id="a")
    engine = await open_engine(lease=0.3)
    await engine.delete("a")
    result = await asyncio.wait_for(engine.execute(desk.order, id="b"), 10)
    assert result.status is COMPLETED


async def test_killed_before_it_left_the_line(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """One that was cancelled in a process that died right then holds nobody up."""
    desk = Desk(closed=True, concurrency=1)
    engine = await open_engine(Sharing(storage), workflows=[desk.order], poll=600)
    dying = Sharing(storage, die_after=3)  # created, waits, cancelled
    mortal = await open_engine(dying)
    await engine.start(desk.order, id="a")
    await desk.has(1)
    await mortal.start(desk.order, id="b")
    await waiting(mortal, "b")
    with suppress(DiedError):
        await mortal.cancel("b")
    await until(lambda: dying.is_dead)
    await engine.start(desk.order, id="c")
    await waiting(engine, "c")
    desk.opened.set()
    assert (await engine.result("c", timeout=20)).status is COMPLETED


@pytest.mark.parametrize("save", [1, 2])
async def test_killed_holder_keeps_its_place(
    storage: WorkflowStorage, open_engine: OpenEngine, save: int
) -> None:
    """Who takes over what a dead process began has its place, and the next waits for its end."""
    desk = Desk(concurrency=1)
    dying = Sharing(storage, die_after=save)  # created, admitted
    with pytest.raises(DiedError):
        await (await open_engine(dying, lease=0.3)).execute(desk.order, id="a")
    engine = await open_engine(workflows=[desk.order], lease=0.3)
    await asyncio.gather(engine.result("a"), engine.execute(desk.order, id="b"))
    assert sorted(desk.came) == ["a", "b"]
    assert desk.most == {"all": 1}


async def test_values_out_of_reach(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """An instance that has ended has ended, though its place could not be given back."""
    sharing = Sharing(storage)
    order = Workflow("order").limit(concurrency=1)

    @order.step
    async def serve(ctx: WorkflowContext) -> None:
        sharing.is_out = True

    engine = await open_engine(sharing, lease=0.3)
    assert (await engine.execute(order, id="a")).status is COMPLETED
    sharing.is_out = False
    result = await asyncio.wait_for(engine.execute(order, id="b"), 10)
    assert result.status is COMPLETED
