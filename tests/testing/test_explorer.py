"""The crash explorer on workflows that are right: no crash makes a difference."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flux import (
    Cache,
    FluxConfig,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStorage,
    done,
    not_done,
)
from flux.testing import CrashReport, advance, cancel, explore, signal
from flux_storages import SQLiteStorage

World = dict[str, Any]


@pytest.fixture
def world() -> World:
    """What the steps act on, by idempotency key."""
    return {}


@pytest.fixture
def act(world: World) -> Callable[[Any], Any]:
    async def act(ctx: WorkflowContext) -> str:
        await asyncio.sleep(0)
        world[ctx.idempotency_key] = ctx.input.get("item", ctx.step)
        ctx.data[ctx.step] = "acted"
        return ctx.step

    return act


@pytest.fixture
def undo(world: World) -> Callable[[Any], Any]:
    def undo(ctx: Any) -> None:
        world.pop(ctx.step_key, None)

    return undo


def check(report: CrashReport, *, saves: int, points: int) -> None:
    """Nothing was found, in so many runs."""
    assert report.ok, str(report)
    assert (report.saves, report.points) == (saves, points)
    assert report.unreached == ()


async def decline(ctx: WorkflowContext) -> None:
    raise RuntimeError("declined")


async def test_sequence(act: Any, undo: Any, world: World) -> None:
    """Two steps are three saves; a failure after them and their undoing are three more."""
    order = Workflow("order").step("a", act, compensate=undo).commit("b", act, compensate=undo)
    check(await explore(order, effects=world), saves=3 + 6, points=9 + 9)


async def test_without_rollback(act: Any, undo: Any, world: World) -> None:
    """The made-up failure can be left out; where nothing can be undone there is none."""
    order = Workflow("order").step("a", act, compensate=undo)
    check(await explore(order, effects=world, rollback=False), saves=2, points=6)
    check(await explore(Workflow("order").step("a", act), effects=world), saves=2, points=6)


async def test_nothing_was_done(act: Any, undo: Any) -> None:
    """Where a failure at the end finds nothing to undo, its save is a crash point all the same."""
    order = Workflow("order").step("a", act, compensate=undo, when=lambda ctx: False)
    check(await explore(order), saves=1 + 2, points=3 + 3)


async def test_own_failure(act: Any, undo: Any, world: World) -> None:
    """A workflow that fails by itself has its rollback explored, and the failing step."""
    order = Workflow("order").step("a", act, compensate=undo)
    order.step("b", act, compensate=undo).step("c", decline, compensate=undo)
    check(await explore(order, effects=world), saves=6, points=18)


async def test_failure_with_nothing_to_undo(undo: Any, world: World) -> None:
    """That a crash makes a failed step one to be undone, which may have acted, is right."""
    order = Workflow("order").step("a", decline, compensate=undo)
    check(await explore(order, effects=world), saves=2, points=6)


async def test_undoing_of_a_failed_step(act: Any, undo: Any) -> None:
    """What the undoing of a step changes that only a crash lets be undone is no difference."""

    async def note(ctx: Any) -> None:
        ctx.data["undone"] = ctx.step

    order = Workflow("order").step("a", act, compensate=undo).step("b", decline, compensate=note)
    check(await explore(order), saves=4, points=12)


async def test_failure_beside_others(act: Any, undo: Any, world: World) -> None:
    """What had begun when a step failed beside it depends on the order, and is undone."""

    async def later(ctx: WorkflowContext) -> None:
        await asyncio.sleep(0.05 if ctx.attempt == 1 else 0)
        await decline(ctx)

    order = Workflow("order").step("c", act, after=(), compensate=undo)
    order.step("d", act, after="c", compensate=undo).step("e", later, after=())
    report = await explore(order, effects=world)
    assert report.ok, str(report)


async def test_child_beside_a_failure(act: Any, undo: Any, world: World) -> None:
    """How far a sub-workflow had come when a step failed beside it depends on the order."""
    stack = Workflow("stack").step("net", act, compensate=undo)
    stack.limit(concurrency=1)  # it begins a save later
    order = Workflow("order").child("provision", stack, after=())
    order.step("fail", decline, after=()).step("end", act, after=("provision", "fail"))
    report = await explore(order, effects=world)
    assert report.ok, str(report)


async def test_parallel(act: Any, undo: Any, world: World) -> None:
    """Steps that run beside each other, in the loop and in threads."""

    def plain(ctx: WorkflowContext) -> str:
        world[ctx.idempotency_key] = ctx.step
        return ctx.step

    order = Workflow("order").step("a", act, compensate=undo)
    order.step("b", plain, after="a", compensate=undo).step("c", act, after="a", compensate=undo)
    order.step("d", plain, after=("b", "c"), compensate=undo)
    report = await explore(order, effects=world)
    assert report.ok, str(report)
    assert report.points >= 27


async def test_map(act: Any, undo: Any, world: World) -> None:
    """The items of a map."""
    order = Workflow("order").map("ask", lambda ctx: [1, 2, 3], act, compensate=undo)
    report = await explore(order, effects=world)
    assert report.ok, str(report)
    assert report.points >= 15


async def test_child(act: Any, undo: Any, world: World) -> None:
    """The saves of a sub-workflow are crash points as well; a signal finds it by its step."""
    stack = Workflow("stack").step("net", act, compensate=undo).wait("ok", "approved")
    stack.step("vm", act, compensate=undo)
    setup = Workflow("setup").step("a", act, compensate=undo).child("stack", stack)
    report = await explore(setup, effects=world, script=[signal("approved", to="stack")])
    check(report, saves=9 + 15, points=27 + 18)


async def test_named_child(act: Any, world: World) -> None:
    """A sub-workflow that is named by a text is given beside the one that is explored."""
    setup = Workflow("setup").child("stack", "stack")
    stack = Workflow("stack").step("net", act)
    report = await explore([setup, stack], effects=world)
    assert report.ok, str(report)
    assert report.points >= 12


async def test_workflow_in_itself(act: Any, undo: Any, world: World) -> None:
    """A workflow may run itself, by its name."""
    tree = Workflow("tree").step("leaf", act)
    tree.child(
        "twig",
        "tree",
        input=lambda ctx: {"height": 0},
        when=lambda ctx: ctx.input.get("height", 1) > 0,
    )
    assert (await explore(tree, effects=world)).ok


@pytest.mark.parametrize("chosen", ["gift", "none"])
async def test_rollback_after_a_branch(chosen: str, act: Any, undo: Any, world: World) -> None:
    """The made-up failure comes after whatever the last branch chose, also nothing."""
    order = Workflow("order").step("a", act, compensate=undo)
    cases: dict[Any, Any] = {"gift": ("b", act), "none": None}
    order.branch("route", on=lambda ctx: chosen, cases=cases)
    report = await explore(order, effects=world)
    alone = await explore(order, effects=world, rollback=False)
    assert report.ok, str(report)
    assert report.points > alone.points


async def test_signals_and_timers(act: Any, undo: Any, world: World) -> None:
    """The script is played at the rests of the run; days of waiting cost nothing."""
    order = Workflow("order").sleep("cool-down", 3600).wait("paid", timeout=5 * 86_400)
    order.step("ship", act, compensate=undo)
    script = [advance(hours=2), advance(days=4), signal("paid", {"by": "kim"})]
    assert (await explore(order, effects=world, script=script)).ok


@pytest.mark.parametrize("days", [1, 3])
async def test_timeouts(days: int, act: Any, world: World) -> None:
    """Time passes so far as the script says, and after it to whatever is due."""
    late = {"late": True}
    order = Workflow("order").wait("paid", timeout=2 * 86_400, on_timeout="continue", default=late)
    order.step("ship", act, when=lambda ctx: ctx.output("paid") == late)
    script = [advance(days=days), *([signal("paid", {})] if days == 1 else [])]
    check(
        await explore(order, effects=world, script=script),
        saves=3 + (days == 3),
        points=3 * (3 + (days == 3)),
    )


async def test_what_is_due_meanwhile() -> None:
    """While the script lets time pass, each timer is acted on when it is due."""
    outputs: list[Any] = []
    order = Workflow("order").sleep("cool-down", 3600)
    order.wait("paid", timeout=86_400, on_timeout="continue", default="late")
    order.step("note", lambda ctx: outputs.append(ctx.output("paid"))).wait("more")
    report = await explore(order, script=[advance(hours=30), signal("paid", "early")])
    assert report.ok, str(report)
    assert set(outputs) == {"late"}


async def test_cancel(act: Any, undo: Any, world: World) -> None:
    """A cancel by the script, and the rollback after it."""
    order = Workflow("order").step("a", act, compensate=undo).wait("paid")
    report = await explore(order, effects=world, script=[cancel()])
    check(report, saves=5, points=15)


async def test_rest_is_no_stuck_instance(act: Any, world: World) -> None:
    """An instance for which no signal comes waits, with a crash as without."""
    order = Workflow("order").step("a", act).wait("paid")
    check(await explore(order, effects=world), saves=3, points=9)


async def test_retries(act: Any, world: World) -> None:
    """Back-offs, short or of hours, take no time."""

    async def third_time(ctx: WorkflowContext) -> Any:
        return await (decline if ctx.attempt < 3 else act)(ctx)

    again = Retry(3, initial=7200, maximum=86_400)
    order = Workflow("order").step("a", third_time, retries=again)
    check(await explore(order, effects=world), saves=6, points=18)


async def test_settings(act: Any, world: World) -> None:
    """The engines have the settings that are given."""
    outcomes = iter([False, True, False, True] + 20 * [True])

    async def flaky(ctx: WorkflowContext) -> Any:
        return await (act if next(outcomes) else decline)(ctx)

    order = Workflow("order").step("a", flaky)
    report = await explore(
        order, effects=world, config=FluxConfig(default_retries=1), only="2:after"
    )
    assert report.ok, str(report)


async def test_at_most_once(act: Any, undo: Any, world: World) -> None:
    """A step that gives up when nobody knows whether it acted ends otherwise by design."""
    order = Workflow("order").step("a", act, compensate=undo)
    order.step("b", act, at_most_once=True, compensate=undo)
    report = await explore(order, effects=world, rollback=False)
    assert report.ok, str(report)
    assert report.given_up == ("2:after", "3:before")


async def test_verified(act: Any, world: World) -> None:
    """One whose verifier knows ends as without the crash."""
    order = Workflow("order").step("a", act)

    @order.step(at_most_once=True)
    async def pay(ctx: WorkflowContext) -> Any:
        return await act(ctx)

    @pay.verify
    async def has_paid(ctx: WorkflowContext) -> Any:
        if ctx.idempotency_key not in world:
            return await asyncio.sleep(0, not_done)
        ctx.data["pay"] = "acted"
        return done("pay")

    check(await explore(order, effects=world), saves=3, points=9)


async def test_shared_values(act: Any, world: World) -> None:
    """Workflows with limits, caches and shared values."""

    async def count(ctx: WorkflowContext) -> Any:
        await ctx.storage.set("seen", True)
        return await ctx.storage.get("seen")

    order = Workflow("order").step("a", count).step("b", lambda ctx: 7, pure=True, cache=Cache())
    order.limit(concurrency=1)
    report = await explore(order, effects=world)
    assert report.ok, str(report)


async def test_sqlite(act: Any, undo: Any, world: World, tmp_path: Path) -> None:
    """Each run has a storage of its own; it may be a file."""
    numbers = itertools.count()

    async def fresh() -> WorkflowStorage:
        return SQLiteStorage(tmp_path / f"{next(numbers)}.db", synchronous="normal")

    order = Workflow("order").step("a", act, compensate=undo).wait("paid")
    report = await explore(order, effects=world, storage=fresh, script=[signal("paid")])
    assert report.ok, str(report)
    assert next(numbers) == 4 + report.points


async def test_dead_handlers_are_dropped(world: World) -> None:
    """What runs in a process that dies goes no further, not even to its `finally`."""

    async def slow(ctx: WorkflowContext) -> None:
        try:
            await asyncio.sleep(0.02)
        finally:
            world["ends"] = world.get("ends", 0) + 1

    async def fast(ctx: WorkflowContext) -> None:
        """A handler that ends before the other."""

    order = Workflow("order").parallel("both", [fast, slow])
    report = await explore(order, effects=world, only="2:after")
    assert report.ok, str(report)
    assert report.points == 1


async def test_threads_end_before_death(world: World) -> None:
    """A plain handler cannot be stopped: what it still does comes before the next process."""
    order = Workflow("order")

    def slow(ctx: WorkflowContext) -> None:
        time.sleep(0.02)
        world.setdefault("calls", []).append(ctx.attempt)

    async def fast(ctx: WorkflowContext) -> None:
        assert ctx.attempt == 1 or world["calls"] == [1]

    order.parallel("both", [fast, slow])
    report = await explore(order, effects=world, only="2:before")
    (finding,) = report.findings
    assert finding.difference == "effects.calls: [1,2] instead of [1]"
