"""Graph, 4: a map whose process dies, waits or is told to stop goes on where it was."""

import asyncio
from typing import Any

import pytest

from flux import (
    DefinitionChangedError,
    FluxEngine,
    FluxResult,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    done,
    sleep,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR, JumpingClock
from maps import HeldItems, Packer, mapping, output_of, results_of, statuses
from opening import OpenEngine
from sagas import noting, step_of, until
from saves import DiedError, Saves
from undoing import Lives, fail
from waits import LONG, Held, becomes, ended

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED
ROLLED_BACK, CANCELLED = WorkflowStatus.ROLLED_BACK, WorkflowStatus.CANCELLED
SUSPENDED, PAUSED = WorkflowStatus.SUSPENDED, WorkflowStatus.PAUSED


# A process that dies


async def test_g4_saved_items_are_not_run_again(lives: Lives) -> None:
    """The others run again, with the same key and an attempt number one higher."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b" and ctx.attempt == 1:
            lives.die()
        return await packer(ctx)

    order = mapping(pack, concurrency=1)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert results_of(result) == ["packed a", "packed b", "packed c"]
    assert packer.attempts == {"a": [1], "b": [1, 2], "c": [1]}
    assert packer.keys["b"] == ["o:pack[1]:1"] * 2


async def test_g4_all_that_ran_are_run_again(lives: Lives) -> None:
    """Whatever was under way beside each other when the process died."""
    packer, all_there = Packer(), asyncio.Barrier(3)

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.attempt == 1:
            await all_there.wait()
            lives.die()
        return await packer(ctx)

    order = mapping(pack)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert results_of(result) == ["packed a", "packed b", "packed c"]
    assert packer.attempts == {item: [1, 2] for item in "abc"}
    assert [entry.attempt_count for entry in result.history[1:]] == [2, 2, 2]


async def test_g4_the_list_is_history(lives: Lives) -> None:
    """It is not asked for again: the items stay what they were."""
    lists, packer = [["a", "b"], ["x"]], Packer()
    order = mapping(lives.dying(1, packer), lambda ctx: lists.pop(0), concurrency=1)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert (results_of(result), len(lists)) == (["packed a", "packed b"], 1)


@pytest.mark.parametrize("died_at", range(1, 6))
@pytest.mark.parametrize("after", [True, False])
async def test_g4_wherever_it_dies(
    storage: WorkflowStorage, open_engine: OpenEngine, died_at: int, after: bool
) -> None:
    """An item runs twice only if its result was not saved; all results come out."""
    packer, clock = Packer(), JumpingClock()
    order = mapping(packer, concurrency=1).step("ship", noting("ship", []))
    deaths: dict[str, Any] = {"die_after" if after else "die_before": died_at}
    first = await open_engine(Saves(storage, **deaths), clock=clock, **FAR)
    with pytest.raises(DiedError):
        await first.execute(order, id="o")
    clock.advance(FAR["lease"])
    second = await open_engine(workflows=[order], clock=clock, **FAR)
    result = await second.execute(order, id="o")
    assert (result.status, results_of(result)) == (COMPLETED, [f"packed {i}" for i in "abc"])
    again = [] if after or not 2 <= died_at <= 4 else [["a", "b", "c"][died_at - 2]]
    assert sorted(packer.packed) == sorted(["a", "b", "c", *again])


async def test_g4_failures_of_items_are_kept(lives: Lives) -> None:
    """With "continue", one that failed before the crash is not tried again."""
    packer = Packer("a")

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b" and ctx.attempt == 1:
            lives.die()
        return await packer(ctx)

    order = mapping(pack, concurrency=1, on_item_failure="continue")
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert packer.attempts["a"] == [1]
    assert output_of(result)["results"] == [None, "packed b", "packed c"]


async def test_g4_used_up_retries_are_kept(lives: Lives) -> None:
    """An item's failed attempts count after a crash; the interrupted one is no failure."""
    packer = Packer("a")

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.attempt == 2:
            lives.die()
        return await packer(ctx)

    order = mapping(pack, ["a"], retries=Retry(1, initial=0))
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert (result.status, packer.attempts["a"]) == (FAILED, [1, 2, 3])


async def test_g4_an_interrupted_item_is_verified(lives: Lives) -> None:
    """At most once holds for each item: only those that were under way are asked about."""
    asked, packer = list[Any](), Packer()

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b":
            lives.die()
        return await packer(ctx)

    async def verify(ctx: WorkflowContext) -> Any:
        asked.append(ctx.item)
        return done("was packed")

    order = mapping(pack, concurrency=1, at_most_once=True, verify=verify)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert (asked, packer.packed) == (["b"], ["a", "b", "c"])
    assert results_of(result) == ["packed a", "was packed", "packed c"]


async def test_g4_a_doubtful_item_after_a_crash(lives: Lives) -> None:
    """Without a verifier it fails as unknown and is undone first."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b":
            lives.die()
        return await packer(ctx)

    order = mapping(pack, concurrency=1, at_most_once=True, compensate=packer.undo)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    assert (result.status, packer.packed) == (ROLLED_BACK, ["a", "b"])
    assert packer.outcomes == [("b", "unknown"), ("a", "completed")]


async def test_g4_what_failed_meanwhile_is_closed(lives: Lives) -> None:
    """An item that was under way when its map had failed goes no further, handled or not."""
    packer, running = Packer("b"), Held()

    async def pack(ctx: WorkflowContext) -> Any:
        return await (running if ctx.item == "a" else packer)(ctx)

    order = mapping(pack, ["a", "b"], fallback="by_hand").step("by_hand", noting("by_hand", []))
    engine = await lives.next(order)
    await engine.start(order, id="o")
    await becomes(engine, lambda state: statuses(state).get("pack[1]") == "failed")
    lives.die()
    running.go_on.set()
    result = await (await lives.next(order)).resume("o")
    assert (result.status, running.calls) == (COMPLETED, 1)
    assert statuses(result) == {
        "pack": "failed",
        "pack[0]": "failed",
        "pack[1]": "failed",
        "by_hand": "completed",
    }
    assert step_of(result, "pack[0]").outcome == "unknown"


async def test_g4_a_crash_after_a_failure(lives: Lives) -> None:
    """Once an item has failed the map for good, no item is called; those under way are unknown."""
    packer, running = Packer("b"), Held()

    async def pack(ctx: WorkflowContext) -> Any:
        return await (running if ctx.item == "a" else packer)(ctx)

    order = mapping(pack, concurrency=2, compensate=packer.undo)
    engine = await lives.next(order)
    await engine.start(order, id="o")
    await becomes(engine, lambda state: statuses(state).get("pack[1]") == "failed")
    lives.die()
    result = await (await lives.next(order)).resume("o")
    assert (result.status, running.calls, packer.packed) == (ROLLED_BACK, 1, ["b"])
    assert packer.outcomes == [("a", "unknown")]


async def test_g4_poisonous_items(lives: Lives) -> None:
    """Items that kill their process again and again are parked, by their names."""

    async def kill(ctx: WorkflowContext) -> None:
        lives.die()

    order = mapping(kill, ["a"])
    await lives.start(order, id="o")
    for _ in range(2):
        await lives.next(order, max_recoveries=2)
        await lives.died()
    engine = await lives.next(order, max_recoveries=2)
    state = await becomes(engine, lambda state: state.status is WorkflowStatus.PARKED)
    assert "'pack[0]'" in str((await engine.diagnose("o")).because)
    assert step_of(state, "pack[0]").attempt_count == 3


@pytest.mark.parametrize("item", ["a", "b", "c"])
async def test_g4_a_crash_in_the_rollback(lives: Lives, item: str) -> None:
    """It goes on with the item that was being undone, and undoes none twice that was saved."""
    packer, dead = Packer(), list[str]()

    async def undo(ctx: Any) -> None:
        if ctx.item == item and not dead:
            dead.append(item)
            lives.die()
        await packer.undo(ctx)

    order = mapping(packer, concurrency=1, compensate=undo).step("ship", fail)
    await lives.start(order, id="o")
    result = await (await lives.next(order)).resume("o")
    expected = ["c", "b", "a"]
    expected.insert(expected.index(item), item)
    assert (result.status, packer.undone) == (ROLLED_BACK, expected)
    assert packer.outputs == {item: f"packed {item}" for item in "abc"}


async def test_g4_batches_keep_their_size(lives: Lives) -> None:
    """Another `batch_size` in the next process counts for the next list alone."""
    ran = list[Any]()

    def order(size: int) -> Workflow:
        async def pack(ctx: WorkflowContext) -> Any:
            if ctx.index == 1 and ctx.attempt == 1:
                lives.die()
            ran.append(ctx.items)
            return ctx.items

        return mapping(pack, list(range(7)), batch_size=size, concurrency=1)

    await lives.start(order(2), id="o")
    result = await (await lives.next(order(3))).resume("o")
    assert results_of(result) == list(range(7))
    assert ran == [[0, 1], [2, 3], [2, 3], [4, 5], [6]]


async def test_g4_a_smaller_bound_after_a_crash(lives: Lives) -> None:
    """What was begun goes on first, and no more run at once than the new `concurrency`."""
    all_there, held = asyncio.Barrier(4), HeldItems()

    async def die(ctx: WorkflowContext) -> None:
        await all_there.wait()
        lives.die()
        await asyncio.Event().wait()

    await lives.start(mapping(die, list(range(6)), concurrency=4), id="o")
    engine = await lives.next(mapping(held, list(range(6)), concurrency=2))
    await until(lambda: len(held.running) >= 2)
    for index in range(6):
        held.go_on[index].set()
    assert results_of(await engine.resume("o")) == list(range(6))
    assert (held.calls, held.most) == (list(range(6)), 2)


# Items that wait


async def went(engine: FluxEngine, payload: Any) -> FluxResult:
    """The result at the next rest, once the signal "go" was sent."""
    result = await engine.signal("o", "go", payload)
    assert result is not None
    return result


def asks(did: list[Any] | None = None, items: Any = range(10), **options: Any) -> Workflow:
    """A map each of whose items waits for the signal "go"."""

    async def ask(ctx: WorkflowContext) -> Any:
        if did is not None:
            did.append(ctx.index)
        return wait("go")

    return mapping(ask, list(items), **options)


async def test_g4_ten_items_wait(engine: FluxEngine) -> None:
    """Signals are taken in the order of arrival, by the items in their order."""
    did = list[Any]()
    assert (await engine.execute(asks(did), id="o")).status is SUSPENDED
    for number in range(9):
        result = await went(engine, number)
        assert (result.status, step_of(result, f"pack[{number}]").output) == (SUSPENDED, number)
    result = await went(engine, 9)
    assert (result.status, results_of(result)) == (COMPLETED, list(range(10)))
    assert did == list(range(10))


async def test_g4_signals_before_the_items(engine: FluxEngine) -> None:
    """Those that come early are kept, and taken in order."""
    first = Held()

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go")

    order = Workflow("order").step("first", first).map("pack", lambda ctx: [0, 1, 2], ask)
    await engine.start(order, id="o")
    await first.began.wait()
    for number in range(3):
        await engine.signal("o", "go", number, wait=False)
    first.go_on.set()
    assert results_of(await engine.result("o")) == [0, 1, 2]


async def test_g4_a_bounded_map_of_waits(engine: FluxEngine) -> None:
    """With `concurrency` the next item begins when one has its signal."""
    did = list[Any]()
    await engine.execute(asks(did, range(4), concurrency=2), id="o")
    begun = [list(did)]
    for number in range(4):
        await engine.signal("o", "go", number)
        begun.append(list(did))
    assert begun == [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert (await engine.get("o")).status is COMPLETED


async def test_g4_waiting_items_survive_a_restart(lives: Lives) -> None:
    """Another process takes the signals; no handler is called again."""
    did = list[Any]()
    order = asks(did, range(3))
    assert (await (await lives.next(order)).execute(order, id="o")).status is SUSPENDED
    lives.die()
    engine = await lives.next(order)
    for number in range(2):
        await engine.signal("o", "go", number)
    result = await went(engine, 2)
    assert (results_of(result), did) == ([0, 1, 2], [0, 1, 2])


async def test_g4_waits_beyond_a_smaller_bound(open_engine: OpenEngine) -> None:
    """An item that waits already hears its signal, whatever `concurrency` is now."""

    async def ask(ctx: WorkflowContext) -> Any:
        return wait(f"go {ctx.item}")

    first = await open_engine()
    await first.execute(mapping(ask, list(range(4)), concurrency=4), id="o")
    await first.close()
    engine = await open_engine(workflows=[mapping(ask, list(range(4)), concurrency=2)])
    result = await engine.signal("o", "go 3", "went")
    assert result is not None
    assert step_of(result, "pack[3]").output == "went"


async def test_g4_items_sleep(open_engine: OpenEngine) -> None:
    """Each for its own time, with nobody driving meanwhile; the results are in order."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)

    async def doze(ctx: WorkflowContext) -> Any:
        return sleep(ctx.item)

    began = clock.now()
    resting = await engine.execute(mapping(doze, [3, 1, 2]), id="o")
    assert resting.status is SUSPENDED
    result = await ended(engine, clock=clock)
    assert (result.status, results_of(result)) == (COMPLETED, [None] * 3)
    times = [step_of(result, f"pack[{index}]").completed_at for index in range(3)]
    assert [time and round((time - began).total_seconds()) for time in times] == [3, 1, 2]


async def test_g4_an_items_wait_times_out(open_engine: OpenEngine) -> None:
    """It fails like any other; those that had their signal have completed."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go", timeout=60)

    await engine.execute(mapping(ask, on_item_failure="continue"), id="o")
    await engine.signal("o", "go", "yes")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, results_of(result)) == (COMPLETED, ["yes", None, None])
    assert [error["type"] for error in output_of(result)["errors"]] == ["WaitTimeoutError"] * 2


async def test_g4_one_sleeps_while_one_backs_off(open_engine: OpenEngine) -> None:
    """Each goes on at its own time, whichever comes first."""
    clock, called = ManualClock(), list[Any]()
    engine = await open_engine(clock=clock, lease=0.5)

    async def either(ctx: WorkflowContext) -> Any:
        called.append((ctx.index, round(clock.monotonic())))
        if ctx.index == 0:
            return sleep(2)
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return sleep(2)

    pause = Retry(1, delay=lambda error, failed: 1.0)
    await engine.start(mapping(either, [0, 1], retries=pause), id="o")
    result = await ended(engine, clock=clock)
    assert (result.status, called) == (COMPLETED, [(0, 0), (1, 0), (1, 1)])
    times = [step_of(result, f"pack[{index}]").completed_at for index in (0, 1)]
    assert [time and round((time - clock.now()).total_seconds()) for time in times] == [-1, 0]


async def test_g4_some_wait_while_others_run(engine: FluxEngine) -> None:
    """A signal is taken while another item is at work."""
    held = HeldItems()

    async def either(ctx: WorkflowContext) -> Any:
        return wait("go") if ctx.index == 0 else await held(ctx)

    await engine.start(mapping(either, [0, 1]), id="o")
    await held.began[1].wait()
    await becomes(engine, lambda state: statuses(state).get("pack[0]") == "suspended")
    await engine.signal("o", "go", "went", wait=False)
    await becomes(engine, lambda state: statuses(state)["pack[0]"] == "completed")
    assert held.running == {1}
    held.go_on[1].set()
    assert results_of(await engine.result("o")) == ["went", 1]


async def test_g4_waiting_items_are_cancelled(engine: FluxEngine) -> None:
    """They have acted: they are undone as unknown, the latest first, then what completed."""
    packer = Packer()
    order = asks(items="abc", compensate=packer.undo)
    await engine.execute(order, id="o")
    await engine.signal("o", "go")
    await engine.cancel("o")
    assert (await engine.result("o")).status is CANCELLED
    assert packer.outcomes == [("c", "unknown"), ("b", "unknown"), ("a", "completed")]


# What people ask for while items run


async def test_g4_pause_lets_items_finish(engine: FluxEngine) -> None:
    """Those that run end and are saved, no other begins; `resume` goes on with the rest."""
    held = HeldItems()
    await engine.start(mapping(held, list(range(5)), concurrency=2), id="o")
    await until(lambda: held.running == {0, 1})
    await engine.pause("o")
    held.go_on[0].set()
    held.go_on[1].set()
    state = await becomes(engine, lambda state: state.status is PAUSED)
    assert statuses(state) == {"pack": "running", "pack[0]": "completed", "pack[1]": "completed"}
    for index in range(2, 5):
        held.go_on[index].set()
    result = await engine.resume("o")
    assert (results_of(result), held.calls) == (list(range(5)), list(range(5)))


async def test_g4_cancel_cancels_running_items(engine: FluxEngine) -> None:
    """What completed is undone after what was cancelled; nothing else begins."""
    held = HeldItems(0)
    order = mapping(held, list(range(5)), concurrency=2, compensate=held.undo)
    await engine.start(order, id="o")
    await until(lambda: held.running == {1, 2})
    await engine.cancel("o", reason="enough")
    result = await engine.result("o")
    assert (result.status, held.calls) == (CANCELLED, [0, 1, 2])
    assert held.undone == [(2, "unknown"), (1, "unknown"), (0, "completed")]


async def test_g4_cancel_without_rollback(engine: FluxEngine) -> None:
    """It ends as it is."""
    held = HeldItems(0)
    order = mapping(held, list(range(5)), concurrency=2, compensate=held.undo)
    await engine.start(order, id="o")
    await until(lambda: held.running == {1, 2})
    await engine.cancel("o", rollback=False)
    result = await engine.result("o")
    assert (result.status, held.undone) == (CANCELLED, [])
    assert statuses(result)["pack[0]"] == "completed"


async def test_g4_a_deadline_ends_a_map(open_engine: OpenEngine) -> None:
    """Running items as in a cancel, then rollback."""
    clock, held = ManualClock(), HeldItems(0)
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", deadline=60)
    order.map("pack", lambda ctx: list(range(5)), held, concurrency=2, compensate=held.undo)
    await engine.start(order, id="o")
    await until(lambda: held.running == {1, 2})
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert result.status is ROLLED_BACK
    assert str(result.error).startswith("DeadlineExceededError")
    assert held.undone == [(2, "unknown"), (1, "unknown"), (0, "completed")]


async def test_g4_a_deadline_of_waiting_items(open_engine: OpenEngine) -> None:
    """It ends those that only wait as well."""
    clock, packer = ManualClock(), Packer()
    engine = await open_engine(clock=clock, **LONG)

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go")

    order = Workflow("order", deadline=60)
    order.map("pack", lambda ctx: ["a", "b"], ask, compensate=packer.undo)
    await engine.execute(order, id="o")
    clock.advance(60)
    result = await ended(engine, clock=clock)
    assert (result.status, packer.undone) == (ROLLED_BACK, ["b", "a"])


async def test_g4_a_stopping_engine_gives_items_grace(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """What ends in it is saved, nothing else begins; the next engine runs what is left."""
    held = HeldItems()
    order = mapping(held, list(range(4)), concurrency=2)
    first = await open_engine(grace=5)
    await first.start(order, id="o")
    await until(lambda: held.running == {0, 1})
    closing = asyncio.create_task(first.close())
    await asyncio.sleep(0)
    for index in range(4):
        held.go_on[index].set()
    await closing
    assert held.calls == [0, 1]
    second = await open_engine(workflows=[order])
    result = await second.result("o", timeout=5)
    assert (results_of(result), held.calls) == (list(range(4)), list(range(4)))


async def test_g4_a_stopping_engine_interrupts_items(open_engine: OpenEngine) -> None:
    """What does not end in the grace is run again elsewhere, with the same key."""
    keys = dict[int, list[str]]()
    begun = asyncio.Event()

    async def pack(ctx: WorkflowContext) -> Any:
        keys.setdefault(ctx.index, []).append(ctx.idempotency_key)
        if ctx.index == 1 and ctx.attempt == 1:
            begun.set()
            await asyncio.Event().wait()
        return ctx.item

    order = mapping(pack, concurrency=1)
    first = await open_engine(grace=0.02)
    await first.start(order, id="o")
    await begun.wait()
    await first.close()
    result = await (await open_engine(workflows=[order])).result("o", timeout=5)
    assert results_of(result) == ["a", "b", "c"]
    assert {index: len(found) for index, found in keys.items()} == {0: 1, 1: 2, 2: 1}
    assert len(set(keys[1])) == 1


# Code that has changed


async def begun_map(lives: Lives, packer: Packer, **options: Any) -> None:
    """Let a process die in the second item of a map."""

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b":
            lives.die()
        return await packer(ctx)

    await lives.start(mapping(pack, concurrency=1, **options), id="o")
    packer.packed.clear()


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (Workflow("order").step("pack", Packer()), "was begun as a map and is a step now"),
        (Workflow("order").map("load", list, Packer()), "was begun and is no longer there"),
        (mapping(Packer(), commit=True), "was begun with commit=False and has commit=True"),
    ],
)
async def test_g4_a_begun_map_that_has_changed(lives: Lives, now: Workflow, why: str) -> None:
    """The instance cannot go on with another kind of step, nor without the map."""
    await begun_map(lives, Packer())
    engine = await lives.next(now)
    with pytest.raises(DefinitionChangedError, match=f"step 'pack' {why}"):
        await engine.resume("o")


async def test_g4_items_whose_compensator_is_gone(open_engine: OpenEngine) -> None:
    """They are not forgotten: their rollback does not go on without it."""
    first = await open_engine()
    order = mapping(Packer(), concurrency=1, compensate=fail).step("ship", fail)
    await first.execute(order, id="o")
    second = await open_engine(workflows=[mapping(Packer()).step("ship", fail)])
    missing = "step 'pack' is to be undone and has no compensator any more"
    with pytest.raises(DefinitionChangedError, match=missing):
        await second.retry_rollback("o")
    assert (await second.get("o")).status is WorkflowStatus.ROLLBACK_FAILED


async def test_g4_items_of_a_step_are_undone(lives: Lives) -> None:
    """A rollback needs only the compensator: it gets the items that there were."""
    packer = Packer()
    await begun_map(lives, packer, compensate=packer.undo)
    engine = await lives.next(Workflow("order").step("pack", packer, compensate=packer.undo))
    await engine.cancel("o")
    assert (await engine.result("o", timeout=5)).status is CANCELLED
    assert packer.outcomes == [("b", "unknown"), ("a", "completed")]


async def test_g4_another_list_is_no_change(lives: Lives) -> None:
    """What `over` gives, and all policies, may be others: what was begun goes on as it was."""
    packer = Packer()
    await begun_map(lives, packer)
    order = mapping(packer, ["x"], concurrency=2, on_item_failure="continue", retries=1)
    result = await (await lives.next(order)).resume("o")
    assert results_of(result) == ["packed a", "packed b", "packed c"]
