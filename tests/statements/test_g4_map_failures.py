"""Graph, 4: the items of a map are retried, fail and are undone each by itself."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InvalidTransitionError,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStatus,
    done,
    not_done,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR, JumpingClock
from maps import HeldItems, Packer, mapping, output_of, results_of, statuses
from opening import OpenEngine
from sagas import heedless, noting, step_of, until
from undoing import fail
from waits import HeldThread, becomes, ended
from waits import backs_off as retried_later

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED
ROLLED_BACK, ROLLBACK_FAILED = WorkflowStatus.ROLLED_BACK, WorkflowStatus.ROLLBACK_FAILED
AT_ONCE = Retry(2, initial=0)


async def released(engine: FluxEngine) -> None:
    """Return when nobody drives the instance any more."""
    async with asyncio.timeout(5):
        while (await engine.diagnose("o")).driven_until is not None:  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)


# Attempts


async def test_g4_an_item_is_retried_alone(engine: FluxEngine) -> None:
    """Only the one that failed, with the same key and an attempt number one higher."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        packer.broken = {"b"} if ctx.attempt < 3 else set()
        return await packer(ctx)

    result = await engine.execute(mapping(pack, retries=AT_ONCE))
    assert results_of(result) == ["packed a", "packed b", "packed c"]
    assert packer.attempts == {"a": [1], "b": [1, 2, 3], "c": [1]}
    assert len(set(packer.keys["b"])) == 1
    assert step_of(result, "pack[1]").retries == 2


async def test_g4_retries_are_counted_by_item(engine: FluxEngine) -> None:
    """What one item has used up is not missing for another."""
    packer = Packer("a", "c")
    order = mapping(packer, retries=AT_ONCE, on_item_failure="continue")
    result = await engine.execute(order)
    assert packer.attempts == {"a": [1, 2, 3], "b": [1], "c": [1, 2, 3]}
    assert output_of(result)["failed"] == 2


async def test_g4_back_offs_of_items_overlap(open_engine: OpenEngine) -> None:
    """An item that waits for its next attempt keeps no other from going on."""
    engine = await open_engine(clock=(clock := JumpingClock()), **FAR)
    began = clock.monotonic()
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        packer.broken = {ctx.item} if ctx.attempt == 1 else set()
        return await packer(ctx)

    order = mapping(pack, retries=Retry(1, delay=lambda error, failed: 60.0))
    result = await engine.execute(order)
    assert output_of(result)["succeeded"] == 3
    assert packer.packed == ["a", "b", "c", "a", "b", "c"]
    assert clock.monotonic() - began >= 60


async def test_g4_a_long_back_off_leaves_the_process(open_engine: OpenEngine) -> None:
    """Where all that is left backs off for longer than a lease, nobody drives the instance."""
    engine = await open_engine(clock=(clock := ManualClock()), lease=30)
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        packer.broken = {"b"} if ctx.attempt == 1 else set()
        return await packer(ctx)

    order = mapping(pack, retries=Retry(1, delay=lambda error, failed: 90.0))
    await engine.start(order, id="o")
    await becomes(engine, retried_later("pack[1]"))
    await released(engine)
    clock.advance(90)
    result = await ended(engine, clock=clock)
    assert results_of(result) == ["packed a", "packed b", "packed c"]
    assert packer.attempts == {"a": [1], "b": [1, 2], "c": [1]}


async def test_g4_the_timeout_is_that_of_an_item(engine: FluxEngine) -> None:
    """One that takes too long is cut off, and its outcome is unknown; the others go on."""

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 1:
            await asyncio.Event().wait()
        return ctx.item

    order = mapping(pack, timeout=0.02, on_item_failure="continue")
    result = await engine.execute(order)
    assert results_of(result) == ["a", None, "c"]
    assert output_of(result)["errors"] == [
        {
            "index": 1,
            "type": "StepTimeoutError",
            "message": "step 'pack[1]' took longer than 0.02 s",
        }
    ]
    assert step_of(result, "pack[1]").outcome == "unknown"


async def test_g4_a_retried_failure_is_no_failure(engine: FluxEngine) -> None:
    """With "stop", an item that succeeds at its second attempt stops nothing."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> str:
        packer.broken = {"a"} if ctx.attempt == 1 else set()
        return await packer(ctx)

    result = await engine.execute(mapping(pack, retries=AT_ONCE, concurrency=1))
    assert (result.status, packer.packed) == (COMPLETED, ["a", "a", "b", "c"])


# At most once


@pytest.mark.parametrize(
    ("answer", "results"),
    [(lambda item: done(f"saw {item}"), ["a", "saw b"]), (lambda item: not_done, ["a", "b"])],
)
async def test_g4_an_item_is_verified(engine: FluxEngine, answer: Any, results: Any) -> None:
    """An at-most-once item that timed out is asked about, alone, with its item at hand."""
    asked = list[Any]()

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.item == "b" and ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.item

    async def verify(ctx: WorkflowContext) -> Any:
        asked.append((ctx.item, ctx.step))
        return answer(ctx.item)

    options = {"timeout": 0.02, "retries": AT_ONCE}
    order = mapping(pack, ["a", "b"], at_most_once=True, verify=verify, **options)
    result = await engine.execute(order)
    assert (results_of(result), asked) == (results, [("b", "pack[1]")])


async def test_g4_a_doubtful_item_fails(engine: FluxEngine) -> None:
    """Without a verifier an at-most-once item that timed out is not run again."""
    calls = list[int]()

    async def pack(ctx: WorkflowContext) -> Any:
        calls.append(ctx.attempt)
        await asyncio.Event().wait()

    order = mapping(pack, ["a"], at_most_once=True, timeout=0.02, retries=AT_ONCE)
    result = await engine.execute(order, id="o")
    assert (result.status, calls) == (FAILED, [1])
    with pytest.raises(InvalidTransitionError, match=r"retry_step\(id, 'pack\[0\]'\)"):
        await engine.resume("o")


async def test_g4_a_person_runs_a_doubtful_item(engine: FluxEngine) -> None:
    """`retry_step` names it, and it runs."""

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.item == "b" and ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.item

    order = mapping(pack, ["a", "b"], at_most_once=True, timeout=0.02)
    await engine.execute(order, id="o")
    result = await engine.retry_step("o", "pack[1]")
    assert (result.status, results_of(result)) == (COMPLETED, ["a", "b"])


@pytest.mark.parametrize("output", [5, [1], {"a": 1, "b": 2}])
async def test_g4_a_verified_batch_has_as_many_results(engine: FluxEngine, output: Any) -> None:
    """What a verifier says of a batch needs one result for each item, too."""

    async def pack(ctx: WorkflowContext) -> Any:
        await asyncio.Event().wait()

    async def verify(ctx: WorkflowContext) -> Any:
        return done(output)

    order = mapping(pack, ["a", "b"], batch_size=2, at_most_once=True, verify=verify, timeout=0.02)
    result = await engine.execute(order)
    assert result.status is FAILED
    assert "BatchResultError: pack[0] has 2 items" in str(result.error)


# When an item fails


async def test_g4_continue_tells_of_failures(engine: FluxEngine) -> None:
    """The others run, what follows runs, and the output says which failed and why."""
    packer, ran = Packer("a", "c"), list[str]()
    order = mapping(packer, concurrency=1, on_item_failure="continue")
    result = await engine.execute(order.step("ship", noting("ship", ran)))
    assert (result.status, result.error, ran) == (COMPLETED, None, ["ship"])
    assert output_of(result) == {
        "results": [None, "packed b", None],
        "succeeded": 1,
        "failed": 2,
        "errors": [
            {"index": 0, "type": "ValueError", "message": "a is broken"},
            {"index": 2, "type": "ValueError", "message": "c is broken"},
        ],
    }


async def test_g4_all_may_fail(engine: FluxEngine) -> None:
    """With "continue" a map completes even if no item succeeded."""
    order = mapping(Packer("a", "b", "c"), on_item_failure="continue")
    result = await engine.execute(order)
    assert result.status is COMPLETED
    assert (output_of(result)["succeeded"], output_of(result)["failed"]) == (0, 3)


async def test_g4_a_failed_batch_counts_its_items(engine: FluxEngine) -> None:
    """Each of them has an error, with its index in the list."""

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 1:
            raise ValueError("broken")
        return ctx.items

    order = mapping(pack, [1, 2, 3, 4, 5], batch_size=2, on_item_failure="continue")
    output = output_of(await engine.execute(order))
    assert (output["results"], output["succeeded"]) == ([1, 2, None, None, 5], 3)
    assert [error["index"] for error in output["errors"]] == [2, 3]


async def test_g4_stop_is_the_default(engine: FluxEngine) -> None:
    """After a failure no other item begins, and the map has failed with its error."""
    packer = Packer("b")
    result = await engine.execute(mapping(packer, concurrency=1))
    assert (result.status, packer.packed) == (FAILED, ["a", "b"])
    message = "MapFailedError: map 'pack': pack[1] failed: ValueError: b is broken"
    assert str(result.error) == message
    assert result.error is not None
    assert str(result.error.cause) == "ValueError: b is broken"
    assert statuses(result) == {"pack": "failed", "pack[0]": "completed", "pack[1]": "failed"}


async def test_g4_stop_lets_the_others_finish(engine: FluxEngine) -> None:
    """Items that run when one fails end as they do, and are undone as such."""
    held = HeldItems()

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 1:
            await held.began[0].wait()
            raise ValueError("broken")
        return await held(ctx)

    order = mapping(pack, list(range(5)), concurrency=2, compensate=held.undo)
    await engine.start(order, id="o")
    await becomes(engine, lambda state: statuses(state).get("pack[1]") == "failed")
    held.go_on[0].set()
    result = await engine.result("o")
    assert (result.status, held.calls) == (ROLLED_BACK, [0])
    assert held.undone == [(0, "completed")]


async def test_g4_the_first_failure_is_told(engine: FluxEngine) -> None:
    """Where several items fail, the map names the one that failed first."""
    second, third = asyncio.Event(), asyncio.Event()

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 0 and ctx.attempt == 1:
            raise RuntimeError("again")
        if ctx.index == 0:
            second.set()
            await third.wait()
        await second.wait()
        raise ValueError(f"{ctx.item} is broken")

    await engine.start(
        mapping(pack, ["a", "b"], retries=Retry(1, initial=0, retry_on=RuntimeError)), id="o"
    )
    await becomes(engine, lambda state: statuses(state).get("pack[1]") == "failed")
    third.set()
    result = await engine.result("o")
    assert str(result.error).endswith("pack[1] failed: ValueError: b is broken")


async def test_g4_stop_closes_what_waits(engine: FluxEngine) -> None:
    """An item that waits for a signal goes no further; it has acted, and is undone as unknown."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 2:
            raise ValueError("broken")
        return wait("go")

    order = mapping(pack, compensate=packer.undo)
    result = await engine.execute(order)
    assert (result.status, packer.outcomes) == (ROLLED_BACK, [("b", "unknown"), ("a", "unknown")])


async def cancelled_by_another(engine: FluxEngine, handler: Any, did: list[Any]) -> Any:
    """A map of which item 2 fails once item 1 runs in `handler`; all can be undone."""
    running = asyncio.Event()

    async def pack(ctx: WorkflowContext) -> Any:
        if ctx.index == 0:
            return "done"
        if ctx.index == 2:
            await running.wait()
            raise ValueError("broken")
        running.set()
        return await handler(ctx)

    async def undo(ctx: Any) -> None:
        did.append((ctx.index, str(ctx.outcome)))

    order = mapping(pack, [0, 1, 2, 3], concurrency=2, on_item_failure="cancel", compensate=undo)
    return await engine.execute(order, id="o")


async def test_g4_cancel_cancels_those_that_run(engine: FluxEngine) -> None:
    """What it did is unknown, and undone before what had completed."""
    did, told = list[Any](), list[str]()

    async def hang(ctx: WorkflowContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    result = await cancelled_by_another(engine, hang, did)
    assert (result.status, told) == (ROLLED_BACK, ["cancelled"])
    assert did == [(1, "unknown"), (0, "completed")]
    assert str(result.error).endswith("pack[2] failed: ValueError: broken")
    assert "pack[3]" not in statuses(result)


async def test_g4_a_result_in_the_grace_counts(engine: FluxEngine) -> None:
    """An item that ends well although it was cancelled has completed."""
    did = list[Any]()

    async def end_well(ctx: WorkflowContext) -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "in time"

    result = await cancelled_by_another(engine, end_well, did)
    assert did == [(1, "completed"), (0, "completed")]
    assert step_of(result, "pack[1]").output == "in time"


async def test_g4_an_item_that_ignores_its_cancellation(engine: FluxEngine) -> None:
    """After the grace it is left behind; its outcome is unknown and it is undone."""
    did = list[Any]()

    async def ignore(ctx: WorkflowContext) -> None:
        await heedless(1.0)

    result = await cancelled_by_another(engine, ignore, did)
    assert result.status is ROLLED_BACK
    assert did == [(1, "unknown"), (0, "completed")]


@pytest.mark.parametrize(("heeds", "outcome"), [(True, "completed"), (False, "unknown")])
async def test_g4_a_sync_item_is_told_to_end(engine: FluxEngine, heeds: bool, outcome: str) -> None:
    """A plain handler sees `ctx.cancelled()`; one that does not look is left behind."""
    thread, did = HeldThread(heeds=heeds), list[Any]()

    async def pack(ctx: WorkflowContext) -> Any:
        await thread.has_begun()
        raise ValueError("broken")

    def either(ctx: WorkflowContext) -> Any:
        return thread(ctx) if ctx.index == 0 else pack(ctx)

    async def undo(ctx: Any) -> None:
        did.append((ctx.index, str(ctx.outcome)))

    result = await engine.execute(
        mapping(either, [0, 1], on_item_failure="cancel", compensate=undo)
    )
    thread.go_on.set()
    assert (result.status, did) == (ROLLED_BACK, [(0, outcome)])


async def test_g4_cancel_ends_a_back_off(open_engine: OpenEngine) -> None:
    """An item that waits for its next attempt when another fails is not called again."""
    engine = await open_engine(lease=60)
    calls, backs_off = list[Any](), asyncio.Event()

    async def pack(ctx: WorkflowContext) -> None:
        calls.append((ctx.index, ctx.attempt))
        if ctx.index == 0:
            raise OSError("again")
        await backs_off.wait()
        raise ValueError("broken")

    pause = Retry(1, delay=lambda error, failed: 0.3 if isinstance(error, OSError) else None)
    await engine.start(mapping(pack, [0, 1], on_item_failure="cancel", retries=pause), id="o")
    await becomes(engine, retried_later("pack[0]"))
    backs_off.set()
    result = await engine.result("o")
    assert (result.status, calls) == (FAILED, [(0, 1), (1, 1)])


async def test_g4_others_beside_the_map_are_not_cancelled(engine: FluxEngine) -> None:
    """Only the map's own items are: a step beside it runs to its end."""
    audited = asyncio.Event()

    async def audit(ctx: WorkflowContext) -> str:
        audited.set()
        await asyncio.sleep(0.05)
        return "audited"

    async def pack(ctx: WorkflowContext) -> None:
        await audited.wait()
        raise ValueError("broken")

    order = mapping(pack, on_item_failure="cancel").step("audit", audit, after=())
    assert step_of(await engine.execute(order), "audit").output == "audited"


@pytest.mark.parametrize("whole", [True, False])
async def test_g4_a_failed_map_fails_fast(engine: FluxEngine, whole: bool) -> None:
    """In a group with `fail_fast`, or such a workflow, it cancels what runs beside it."""
    audited, told = asyncio.Event(), list[str]()

    async def audit(ctx: WorkflowContext) -> None:
        audited.set()
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def pack(ctx: WorkflowContext) -> None:
        await audited.wait()
        raise ValueError("broken")

    order = Workflow("order", fail_fast=whole).map("pack", lambda ctx: [1], pack)
    order.parallel("checks", ["pack", audit], fail_fast=not whole)
    result = await engine.execute(order)
    assert (result.status, told) == (FAILED, ["cancelled"])


# Undoing


def completed(index: int) -> Callable[[WorkflowState], bool]:
    """Whether this item has."""
    return lambda state: statuses(state).get(f"pack[{index}]") in ("completed", "compensated")


async def test_g4_items_are_undone_in_reverse(engine: FluxEngine) -> None:
    """In the reverse order of their completion, each with its item, key and output."""
    held, packer = HeldItems(), Packer()

    async def pack(ctx: WorkflowContext) -> str:
        await held.go_on[ctx.index].wait()
        return await packer(ctx)

    order = mapping(pack, compensate=packer.undo).step("ship", fail)
    await engine.start(order, id="o")
    for index in (1, 2, 0):
        held.go_on[index].set()
        await becomes(engine, completed(index))
    result = await engine.result("o")
    assert (result.status, packer.undone) == (ROLLED_BACK, ["a", "c", "b"])
    assert packer.outputs == {item: f"packed {item}" for item in "abc"}
    assert packer.step_keys == {item: packer.keys[item][0] for item in "abc"}
    assert packer.undo_keys["c"] == "o:pack[2]:1:compensate"


async def test_g4_the_map_itself_is_not_undone(engine: FluxEngine) -> None:
    """The compensator is for the items: it is called once for each, and no more."""
    calls = list[str]()

    async def undo(ctx: WorkflowContext) -> None:
        calls.append(ctx.step)

    order = mapping(Packer(), compensate=undo, concurrency=1).step("ship", fail)
    result = await engine.execute(order)
    assert (result.status, calls) == (ROLLED_BACK, ["pack[2]", "pack[1]", "pack[0]"])
    assert step_of(result, "pack").compensation is None


async def test_g4_undone_between_other_steps(engine: FluxEngine) -> None:
    """Items stand among the others in the order of completion."""
    did = list[str]()

    async def undo(ctx: WorkflowContext) -> None:
        did.append(ctx.step)

    order = Workflow("order").step("a", noting("a", []), compensate=undo)
    order.map("pack", lambda ctx: [1, 2], noting("x", []), compensate=undo, concurrency=1)
    order.step("b", noting("b", []), compensate=undo).step("ship", fail)
    await engine.execute(order)
    assert did == ["b", "pack[1]", "pack[0]", "a"]


async def test_g4_batches_are_undone(engine: FluxEngine) -> None:
    """A batch is undone in one call, with its items."""
    undone = list[Any]()

    async def pack(ctx: WorkflowContext) -> Any:
        return ctx.items

    async def undo(ctx: WorkflowContext) -> None:
        undone.append((ctx.index, ctx.items, ctx.output(ctx.step)))

    order = mapping(pack, [1, 2, 3], batch_size=2, compensate=undo, concurrency=1)
    await engine.execute(order.step("ship", fail))
    assert undone == [(1, [3], [3]), (0, [1, 2], [1, 2])]


async def test_g4_a_failed_item_has_not_happened(engine: FluxEngine) -> None:
    """With "continue", a later rollback undoes the items that completed, and no others."""
    packer = Packer("b")
    order = mapping(packer, concurrency=1, on_item_failure="continue", compensate=packer.undo)
    await engine.execute(order.step("ship", fail))
    assert packer.undone == ["c", "a"]


async def test_g4_unknown_items_are_undone_latest_first(engine: FluxEngine) -> None:
    """Those whose outcome is unknown come first, the one that began last before the others."""
    held = HeldItems(0)

    async def pack(ctx: WorkflowContext) -> Any:
        try:
            return await held(ctx)
        except asyncio.CancelledError:
            if ctx.index == 1:
                await until(lambda: 2 not in held.running)
                await asyncio.sleep(0.01)
            raise

    await engine.start(mapping(pack, concurrency=2, compensate=held.undo), id="o")
    await until(lambda: held.running == {1, 2})
    await engine.cancel("o")
    await engine.result("o")
    assert held.undone == [(2, "unknown"), (1, "unknown"), (0, "completed")]


async def test_g4_a_compensator_of_an_item_is_retried(engine: FluxEngine) -> None:
    """By its own policy, with the same key."""
    attempts = list[tuple[str, int, str]]()

    async def undo(ctx: WorkflowContext) -> None:
        attempts.append((ctx.item, ctx.attempt, ctx.idempotency_key))
        if ctx.item == "b" and ctx.attempt == 1:
            raise RuntimeError("again")

    order = mapping(
        Packer(), ["a", "b"], compensate=undo, compensate_retries=AT_ONCE, concurrency=1
    )
    result = await engine.execute(order.step("ship", fail), id="o")
    assert result.status is ROLLED_BACK
    assert [one[:2] for one in attempts] == [("b", 1), ("b", 2), ("a", 1)]
    assert attempts[0][2] == attempts[1][2]


async def rollback_failed_at(engine: FluxEngine, broken: list[str], did: list[str]) -> Any:
    """A map whose items cannot be undone while they are in `broken`."""

    async def undo(ctx: WorkflowContext) -> None:
        if ctx.item in broken:
            raise RuntimeError("cannot undo")
        did.append(ctx.item)

    order = mapping(Packer(), compensate=undo, concurrency=1).step("ship", fail)
    return await engine.execute(order, id="o")


async def test_g4_a_failed_undo_of_an_item_is_retried(engine: FluxEngine) -> None:
    """`retry_rollback` goes on where it stood."""
    broken, did = ["b"], list[str]()
    assert (await rollback_failed_at(engine, broken, did)).status is ROLLBACK_FAILED
    broken.clear()
    result = await engine.retry_rollback("o")
    assert (result.status, did) == (ROLLED_BACK, ["c", "b", "a"])


async def test_g4_a_failed_undo_of_an_item_is_skipped(engine: FluxEngine) -> None:
    """`skip_compensation` takes the name of the item."""
    did = list[str]()
    assert (await rollback_failed_at(engine, ["b"], did)).status is ROLLBACK_FAILED
    result = await engine.skip_compensation("o", "pack[1]", reason="by hand")
    assert (result.status, did) == (ROLLED_BACK, ["c", "a"])


async def test_g4_another_item_is_not_skipped(engine: FluxEngine) -> None:
    """`skip_compensation` refuses what did not fail, and names what did."""
    await rollback_failed_at(engine, ["b"], [])
    for name in ("pack", "pack[0]"):
        with pytest.raises(InvalidTransitionError, match=r"is that of 'pack\[1\]'"):
            await engine.skip_compensation("o", name, reason="by hand")


# What handles a failure


async def test_g4_a_fallback_stands_in_for_a_map(engine: FluxEngine) -> None:
    """It is the map that has failed, not the instance."""
    order = mapping(Packer("b"), concurrency=1, fallback="by_hand")
    order.step("by_hand", noting("by hand", []))
    result = await engine.execute(order)
    assert result.status is COMPLETED
    assert step_of(result, "pack").handled_by == "by_hand"
    assert statuses(result) == {
        "pack": "failed",
        "pack[0]": "completed",
        "pack[1]": "failed",
        "by_hand": "completed",
    }


async def test_g4_a_handler_of_a_map(engine: FluxEngine) -> None:
    """`on_error` diverts, and `ctx.failure` is the map's error."""
    seen, ran = list[str](), list[str]()

    async def notify(ctx: Any) -> None:
        seen.append(str(ctx.failure))

    order = mapping(Packer("b"), concurrency=1).step("ship", noting("ship", ran))
    order.on_error(notify, steps=["pack"])
    result = await engine.execute(order)
    assert (result.status, ran) == (COMPLETED, [])
    assert seen == ["MapFailedError: map 'pack': pack[1] failed: ValueError: b is broken"]


async def test_g4_others_go_on_after_a_map(engine: FluxEngine) -> None:
    """With `on_error="continue"` what comes after it runs; its output is None then."""
    seen = list[Any]()

    async def ship(ctx: WorkflowContext) -> None:
        seen.append(ctx.output("pack"))

    order = mapping(Packer("b"), concurrency=1, on_error="continue").step("ship", ship)
    result = await engine.execute(order)
    assert (result.status, seen) == (COMPLETED, [None])


async def test_g4_a_fallback_for_what_is_no_list(engine: FluxEngine) -> None:
    """It stands in for a map that never had items, too."""
    order = mapping(Packer(), lambda ctx: None, fallback="by_hand")
    order.step("by_hand", noting("by hand", []))
    result = await engine.execute(order)
    assert (result.status, statuses(result)["by_hand"]) == (COMPLETED, "completed")


async def test_g4_items_that_completed_before_a_fallback(engine: FluxEngine) -> None:
    """They stand; a later rollback undoes them."""
    packer = Packer("c")
    order = mapping(packer, concurrency=1, fallback="by_hand", compensate=packer.undo)
    order.step("by_hand", noting("by hand", [])).step("ship", fail, after="pack")
    result = await engine.execute(order)
    assert (result.status, packer.undone) == (ROLLED_BACK, ["b", "a"])


# Once more


async def test_g4_resume_runs_failed_items(engine: FluxEngine) -> None:
    """Only these, with the same key, and those that were never begun."""
    packer = Packer("b")
    failed = await engine.execute(mapping(packer, concurrency=1), id="o")
    packer.broken.clear()
    result = await engine.resume("o")
    assert (failed.status, result.status, result.error) == (FAILED, COMPLETED, None)
    assert packer.packed == ["a", "b", "b", "c"]
    assert packer.attempts["b"] == [1, 2]
    assert len(set(packer.keys["b"])) == 1


async def test_g4_resume_gives_fresh_retries(engine: FluxEngine) -> None:
    """An item that fails again has all its retries anew."""
    packer = Packer("b")
    await engine.execute(mapping(packer, concurrency=1, retries=AT_ONCE), id="o")
    assert (await engine.resume("o")).status is FAILED
    assert packer.attempts["b"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["pack", "pack[1]"])
async def test_g4_retry_step_runs_failed_items(engine: FluxEngine, name: str) -> None:
    """Whether the map is named or its item that failed."""
    packer = Packer("b")
    await engine.execute(mapping(packer, concurrency=1), id="o")
    packer.broken.clear()
    result = await engine.retry_step("o", name)
    assert (result.status, packer.packed) == (COMPLETED, ["a", "b", "b", "c"])
    assert results_of(result) == ["packed a", "packed b", "packed c"]


async def test_g4_resume_leaves_handled_items(engine: FluxEngine) -> None:
    """An item whose failure was let pass stays failed when a later step is tried again."""
    packer, down = Packer("b"), [True]

    async def ship(ctx: WorkflowContext) -> None:
        if down[0]:
            raise RuntimeError("down")

    order = mapping(packer, on_item_failure="continue").step("ship", ship)
    await engine.execute(order, id="o")
    down.clear()
    down.append(False)
    result = await engine.resume("o")
    assert (result.status, packer.packed) == (COMPLETED, ["a", "b", "c"])
    assert statuses(result)["pack[1]"] == "failed"


async def test_g4_resume_asks_for_a_list_again(engine: FluxEngine) -> None:
    """A map that failed for want of a list has none: it is asked again."""
    lists: list[Any] = [None, [1, 2]]
    await engine.execute(mapping(Packer(), lambda ctx: lists.pop(0)), id="o")
    result = await engine.resume("o")
    assert (result.status, results_of(result)) == (COMPLETED, ["packed 1", "packed 2"])


@pytest.mark.parametrize("name", ["pack", "start"])
async def test_g4_restart_runs_all_items_again(engine: FluxEngine, name: str) -> None:
    """From the map, or from before it: the list is asked for anew, the keys are new."""
    packer, lists = Packer(), [["a", "b", "c"], ["x", "b"]]
    order = Workflow("order").step("start", noting("start", []))
    order.map("pack", lambda ctx: lists.pop(0), packer, concurrency=1)
    await engine.execute(order, id="o")
    result = await engine.restart("o", name)
    assert packer.packed == ["a", "b", "c", "x", "b"]
    assert results_of(result) == ["packed x", "packed b"]
    assert statuses(result) == dict.fromkeys(["start", "pack", "pack[0]", "pack[1]"], "completed")
    assert packer.keys["b"] == ["o:pack[1]:1", "o:pack[1]:2"]


async def test_g4_restart_from_after_a_map(engine: FluxEngine) -> None:
    """The map stands, with all its items."""
    packer, seen = Packer(), list[Any]()

    async def ship(ctx: WorkflowContext) -> None:
        seen.append(ctx.output("pack")["succeeded"])

    await engine.execute(mapping(packer).step("ship", ship), id="o")
    result = await engine.restart("o", "ship")
    assert (packer.packed, seen, len(result.history)) == (["a", "b", "c"], [3, 3], 5)


async def test_g4_restart_from_after_undone_items(engine: FluxEngine) -> None:
    """It is refused, naming the map as the earliest step to start from."""
    packer = Packer()
    order = mapping(packer, compensate=packer.undo).step("ship", fail)
    assert (await engine.execute(order, id="o")).status is ROLLED_BACK
    with pytest.raises(RuntimeError, match=r"restart from 'pack'"):
        await engine.restart("o", "ship")


async def test_g4_restart_after_a_rollback(engine: FluxEngine) -> None:
    """Items that were undone run anew, with keys of their own."""
    packer, down = Packer(), [True]

    async def ship(ctx: WorkflowContext) -> None:
        if down.pop():
            raise RuntimeError("down")

    order = mapping(packer, compensate=packer.undo, concurrency=1).step("ship", ship)
    await engine.execute(order, id="o")
    down.append(False)
    result = await engine.restart("o", "pack")
    assert (result.status, packer.packed) == (COMPLETED, ["a", "b", "c"] * 2)
    assert packer.keys["a"] == ["o:pack[0]:1", "o:pack[0]:2"]


async def test_g4_restart_from_an_item(engine: FluxEngine) -> None:
    """An item is no place to start from: nothing is lost by asking for it."""
    packer = Packer()
    order = mapping(packer, concurrency=1).step("ship", noting("ship", []))
    await engine.execute(order, id="o")
    with pytest.raises(InvalidTransitionError, match=r"restart\(id, 'pack'\) runs the whole"):
        await engine.restart("o", "pack[1]")
    assert len((await engine.get("o")).history) == 5


async def test_g4_what_a_restart_replaced_is_undone(engine: FluxEngine) -> None:
    """With the item, key and output that it had then, also where the list is another now."""
    lists, undone = [["a", "b"], ["x"]], list[Any]()
    down = [True, False]

    async def undo(ctx: Any) -> None:
        undone.append((ctx.item, ctx.step_key, ctx.output(ctx.step)))

    async def ship(ctx: WorkflowContext) -> None:
        if not down.pop():
            return
        raise RuntimeError("down")

    order = mapping(Packer(), lambda ctx: lists.pop(0), compensate=undo, concurrency=1)
    await engine.execute(order.step("ship", ship), id="o")
    result = await engine.restart("o", "pack")
    assert result.status is ROLLED_BACK
    assert undone == [
        ("x", "o:pack[0]:2", "packed x"),
        ("b", "o:pack[1]:1", "packed b"),
        ("a", "o:pack[0]:1", "packed a"),
    ]


@pytest.mark.parametrize("name", ["pack[9]", "pack[0]"])
async def test_g4_retry_step_of_what_has_not_failed(engine: FluxEngine, name: str) -> None:
    """It says so, and changes nothing."""
    await engine.execute(mapping(Packer("b"), concurrency=1), id="o")
    before = await engine.get("o")
    with pytest.raises(LookupError, match="it has not failed"):
        await engine.retry_step("o", name)
    assert await engine.get("o") == before


async def test_g4_retry_step_of_an_item_that_was_let_pass(engine: FluxEngine) -> None:
    """Its failure is in the map's output: it is no step to be tried again."""
    order = mapping(Packer("b"), on_item_failure="continue").step("ship", fail)
    await engine.execute(order, id="o")
    with pytest.raises(LookupError, match="it has not failed"):
        await engine.retry_step("o", "pack[1]")


@pytest.mark.parametrize("status", ["failed", "running"])
async def test_g4_a_step_beside_a_failed_map_is_retried(engine: FluxEngine, status: str) -> None:
    """It runs, though a map before it in the order stays failed, which had, or was about to."""
    weighed = list[int]()
    seen_as = (status, "failed")  # it may have gone on before somebody looks

    async def weigh(ctx: WorkflowContext) -> None:
        weighed.append(ctx.attempt)
        while weighed == [1] and statuses(await engine.get("o"))["pack"] not in seen_as:  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0)
        if ctx.attempt == 1:
            raise RuntimeError("no scales")

    order = mapping(fail, ["a"], after=()).step("weigh", weigh, after=())
    assert (await engine.execute(order, id="o")).status is FAILED
    result = await engine.retry_step("o", "weigh")
    assert (result.status, weighed) == (FAILED, [1, 2])
    assert (statuses(result)["pack"], statuses(result)["weigh"]) == ("failed", "completed")


async def test_g4_resume_runs_what_was_cancelled(engine: FluxEngine) -> None:
    """Items that another's failure ended run again, with their keys, and so does the rest."""
    packer, hanging = Packer("a"), asyncio.Event()

    async def pack(ctx: WorkflowContext) -> str:
        if ctx.item == "b" and ctx.attempt == 1:
            hanging.set()
            await asyncio.Event().wait()
        await hanging.wait()
        return await packer(ctx)

    order = mapping(pack, concurrency=2, on_item_failure="cancel")
    assert (await engine.execute(order, id="o")).status is FAILED
    packer.broken.clear()
    result = await engine.resume("o")
    assert results_of(result) == ["packed a", "packed b", "packed c"]
    assert packer.attempts == {"a": [1, 2], "b": [2], "c": [1]}
    assert packer.keys["b"] == ["o:pack[1]:1"]


async def test_g4_restart_of_items_that_wait(engine: FluxEngine) -> None:
    """They have acted: one that the new list does not have is undone with the rest."""
    packer, lists = Packer(), [["a", "b"], ["a"]]

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go")

    order = mapping(ask, lambda ctx: lists.pop(0), compensate=packer.undo)
    await engine.execute(order.step("ship", fail), id="o")
    assert (await engine.restart("o", "pack")).status is WorkflowStatus.SUSPENDED
    await engine.signal("o", "go")
    assert (await engine.get("o")).status is ROLLED_BACK
    assert packer.outcomes == [("b", "unknown"), ("a", "completed")]


async def test_g4_a_map_as_a_fallback(engine: FluxEngine) -> None:
    """What stands in for a step may be a map."""
    packer = Packer()
    order = Workflow("order").step("all", fail, fallback="each")
    order.map("each", lambda ctx: ["a", "b"], packer)
    result = await engine.execute(order)
    assert (result.status, results_of(result, "each")) == (COMPLETED, ["packed a", "packed b"])


def standing_in(
    packer: Packer, lists: list[list[str]], fails: list[bool], **options: Any
) -> Workflow:
    """A workflow whose step "all" fails as often as it says, and whose map "pack" stands in."""

    async def pack_all(ctx: WorkflowContext) -> None:
        if fails.pop(0):
            raise RuntimeError("too many at once")

    order = Workflow("order").step("all", pack_all, fallback="pack")
    return order.map("pack", lambda ctx: lists.pop(0), packer, concurrency=1, **options)


@pytest.mark.parametrize("again", [["x", "y", "z"], ["x"]], ids=["longer", "shorter"])
async def test_g4_a_fallback_that_failed_has_another_list(
    engine: FluxEngine, again: list[str]
) -> None:
    """When the step it stood in for fails again, the items of the first list count no more."""
    packer = Packer("b")
    order = standing_in(packer, [["a", "b"], again], [True, True])
    assert (await engine.execute(order, id="o")).status is FAILED
    result = await engine.resume("o")
    assert (result.status, packer.packed) == (COMPLETED, ["a", "b", *again])
    assert results_of(result) == [f"packed {item}" for item in again]
    assert len(result.history) == 2 + len(again)


async def test_g4_a_fallback_that_is_not_needed_leaves_no_items(engine: FluxEngine) -> None:
    """When the step it stood in for is done after all, neither the map nor its items count."""
    packer = Packer("b")
    await engine.execute(standing_in(packer, [["a", "b"]], [True, False]), id="o")
    result = await engine.resume("o")
    assert (result.status, packer.packed) == (COMPLETED, ["a", "b"])
    assert statuses(result) == {"all": "completed"}


async def test_g4_commit_items_of_a_fallback(engine: FluxEngine) -> None:
    """Each is compared with the list that it ran of, though one run has had several."""
    packer, lists = Packer("b"), [["a", "b"], ["x", "b", "c"], ["x", "y"]]
    order = standing_in(packer, lists, [True, True, True], commit=True)
    await engine.execute(order, id="o")
    assert (await engine.resume("o")).status is FAILED
    result = await engine.resume("o")
    assert (packer.packed, results_of(result)) == (
        ["a", "b", "x", "b", "y"],
        ["packed x", "packed y"],
    )


async def test_g4_a_map_as_a_handler(engine: FluxEngine) -> None:
    """Its items see why it runs."""
    seen = list[Any]()

    async def notify(ctx: Any) -> None:
        seen.append((ctx.item, str(ctx.failure)))

    order = Workflow("order").step("ship", fail)
    order.map("notify", lambda ctx: ["kim", "lee"], notify).on_error("notify", steps=["ship"])
    result = await engine.execute(order)
    told = "RuntimeError: declined"
    assert (result.status, seen) == (COMPLETED, [("kim", told), ("lee", told)])


# Items that are not run again


async def test_g4_commit_items_are_replayed(engine: FluxEngine) -> None:
    """Where the item at that index is the same; another item, or a new one, runs."""
    packer, lists = Packer(), [["a", "b"], ["a", "x", "b"]]
    order = mapping(packer, lambda ctx: lists.pop(0), commit=True, concurrency=1)
    await engine.execute(order, id="o")
    result = await engine.restart("o", "pack")
    assert packer.packed == ["a", "b", "x", "b"]
    assert results_of(result) == ["packed a", "packed x", "packed b"]


async def test_g4_commit_items_are_compared_as_json(engine: FluxEngine) -> None:
    """1 is neither true nor 1.0."""
    packer, lists = Packer(), [[1, 1, 1], [True, 1.0, 1]]
    order = mapping(packer, lambda ctx: lists.pop(0), commit=True, concurrency=1)
    await engine.execute(order, id="o")
    result = await engine.restart("o", "pack")
    assert results_of(result) == ["packed True", "packed 1.0", "packed 1"]


async def test_g4_commit_items_of_an_earlier_list(engine: FluxEngine) -> None:
    """One that the list between did not have is still not run again."""
    packer, lists = Packer(), [["a", "b"], ["a"], ["a", "b"]]
    order = mapping(packer, lambda ctx: lists.pop(0), commit=True, concurrency=1)
    await engine.execute(order, id="o")
    await engine.restart("o", "pack")
    result = await engine.restart("o", "pack")
    assert (packer.packed, results_of(result)) == (["a", "b"], ["packed a", "packed b"])


async def test_g4_commit_items_are_those_that_ran(engine: FluxEngine) -> None:
    """An item that an earlier list had, but that never ran, has nothing to replay."""
    packer, lists = Packer("bad"), [["a", "b"], ["bad", "x"], ["a", "x"]]
    order = mapping(packer, lambda ctx: lists.pop(0), commit=True, concurrency=1)
    await engine.execute(order, id="o")
    assert (await engine.restart("o", "pack")).status is FAILED
    result = await engine.restart("o", "pack")
    assert results_of(result) == ["packed a", "packed x"]


async def test_g4_commit_items_beside_another_map(engine: FluxEngine) -> None:
    """They are compared with the list of their own map, whatever another one ran over since."""
    packer, wrapper = Packer(), Packer()
    order = mapping(packer, ["a", "b"], commit=True, concurrency=1, after=())
    order.map("wrap", lambda ctx: ["x", "y"], wrapper, concurrency=1, after=())
    await engine.execute(order, id="o")
    result = await engine.restart("o", "pack")
    assert results_of(result) == ["packed a", "packed b"]
    assert (packer.packed, wrapper.packed) == (["a", "b"], ["x", "y"])


async def test_g4_commit_items_bring_their_data(engine: FluxEngine) -> None:
    """What an item wrote is replayed with it."""

    async def pack(ctx: WorkflowContext) -> None:
        ctx.data[f"item {ctx.index}"] = ctx.item

    await engine.execute(mapping(pack, ["a", "b"], commit=True), id="o")
    result = await engine.restart("o", "pack")
    assert result.data == {"item 0": "a", "item 1": "b"}


async def test_g4_commit_batches_of_another_size(
    open_engine: OpenEngine,
) -> None:
    """A batch that now has other items is another batch."""
    ran = list[Any]()

    def order(size: int) -> Workflow:
        async def pack(ctx: WorkflowContext) -> Any:
            ran.append(ctx.items)
            return ctx.items

        return mapping(pack, [1, 2, 3], commit=True, batch_size=size, concurrency=1)

    first = await open_engine()
    await first.execute(order(2), id="o")
    second = await open_engine(workflows=[order(3)])
    result = await second.restart("o", "pack")
    assert (ran, results_of(result)) == ([[1, 2], [3], [1, 2, 3]], [1, 2, 3])


async def test_g4_an_owed_commit_item_is_undone(engine: FluxEngine) -> None:
    """One that the new list does not reach is undone with the rest."""
    packer, lists, down = Packer(), [["a", "b"], ["a"]], [True, False]

    async def ship(ctx: WorkflowContext) -> None:
        if down.pop():
            raise RuntimeError("down")

    order = mapping(
        packer, lambda ctx: lists.pop(0), commit=True, compensate=packer.undo, concurrency=1
    )
    await engine.execute(order.step("ship", ship), id="o")
    result = await engine.restart("o", "pack")
    assert result.status is ROLLED_BACK
    assert (packer.packed, packer.undone) == (["a", "b"], ["b", "a"])
