"""S7: each attempt works on its own copy of `data`, and only what a step completes with stays."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest
from attrs import Factory, define

from flux import (
    CompensationContext,
    FluxEngine,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from opening import OpenEngine
from sagas import Flaky, noting, sequence
from saves import Saves

ONCE_MORE = Retry(1, initial=0)


def change_all(data: Any) -> None:
    """Change `data` in every way there is."""
    data["new"] = 1
    data["replaced"] = "other"
    data["list"].append(3)
    data["dict"]["inner"]["deep"] = "changed"
    del data["deleted"]


FIRST: dict[str, Any] = {
    "replaced": "this",
    "list": [1, 2],
    "dict": {"inner": {"deep": "kept"}},
    "deleted": True,
}


def changing(order: Workflow, end: Any, **options: Any) -> list[Any]:
    """Add a step that makes `FIRST`, and one that changes all, ends as `end` does, then looks."""
    seen: list[Any] = []

    @order.step
    async def make(ctx: WorkflowContext) -> None:
        ctx.data.update(FIRST)

    async def change(ctx: WorkflowContext) -> None:
        seen.append(deepcopy(ctx.data))
        if ctx.attempt == 1:
            change_all(ctx.data)
            await end()

    chosen: dict[str, Any] = {"retries": ONCE_MORE} | options
    order.step("change", change, **chosen)
    return seen


# What does not count


async def test_s07_a_failed_attempt_leaves_no_trace(engine: FluxEngine) -> None:
    """The attempt after one that raised sees `data` as it was, in depth; so do later steps."""
    order = Workflow("order")

    async def fail() -> None:
        raise RuntimeError("no")

    seen = changing(order, fail)
    result = await engine.execute(order)
    assert seen == [FIRST, FIRST]
    assert (result.status, result.data) == (WorkflowStatus.COMPLETED, FIRST)


async def test_s07_a_timed_out_attempt_leaves_no_trace(engine: FluxEngine) -> None:
    """The attempt after one that took too long sees `data` as it was."""
    order = Workflow("order")
    seen = changing(order, lambda: asyncio.sleep(60), timeout=0.02)
    result = await engine.execute(order)
    assert seen == [FIRST, FIRST]
    assert (result.status, result.data) == (WorkflowStatus.COMPLETED, FIRST)


async def test_s07_a_cancelled_attempt_leaves_no_trace(engine: FluxEngine) -> None:
    """The attempt after one that was cancelled sees `data` as it was."""
    order = Workflow("order")

    async def cancel() -> None:
        raise asyncio.CancelledError

    seen = changing(order, cancel)
    result = await engine.execute(order)
    assert seen == [FIRST, FIRST]
    assert (result.status, result.data) == (WorkflowStatus.COMPLETED, FIRST)


async def test_s07_an_interrupted_attempt_leaves_no_trace(open_engine: OpenEngine) -> None:
    """What an attempt had changed when its engine stopped is not seen by the next engine's."""
    order, changed = Workflow("order"), asyncio.Event()

    async def hang() -> None:
        changed.set()
        await asyncio.sleep(60)

    seen = changing(order, hang)
    first = await open_engine(grace=0.02)
    await first.start(order, id="order-1")
    await changed.wait()
    await first.close()
    second = await open_engine(workflows=[order])
    result = await second.resume("order-1")
    assert (seen, result.data) == ([FIRST, FIRST], FIRST)


async def test_s07_a_failed_step_leaves_no_trace(engine: FluxEngine) -> None:
    """What the last attempt of a step that failed for good changed is not in `data`."""
    order = Workflow("order")

    async def fail() -> None:
        raise RuntimeError("no")

    changing(order, fail, retries=0)
    result = await engine.execute(order)
    assert (result.status, result.data) == (WorkflowStatus.FAILED, FIRST)


async def test_s07_a_predicate_leaves_no_trace(engine: FluxEngine) -> None:
    """A predicate that changes `data` changes nothing."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(FIRST))

    def when(ctx: WorkflowContext) -> bool:
        change_all(ctx.data)
        return True

    order.step("look", noting("look", []), when=when)
    assert (await engine.execute(order)).data == FIRST


async def test_s07_a_failed_compensation_leaves_no_trace(engine: FluxEngine) -> None:
    """A compensator sees `data` as it is now; only the attempt that succeeds changes it."""
    order, seen = Workflow("order"), []

    async def undo(ctx: CompensationContext) -> None:
        seen.append(deepcopy(ctx.data))
        ctx.data["list"].append(len(seen))
        if len(seen) == 1:
            raise RuntimeError("no")

    order.step(
        "make",
        lambda ctx: ctx.data.update(list=[0]),
        compensate=undo,
        compensate_retries=ONCE_MORE,
    )
    result = await engine.execute(order.step("fail", Flaky(None)))
    assert seen == [{"list": [0]}, {"list": [0]}]
    assert (result.status, result.data) == (WorkflowStatus.ROLLED_BACK, {"list": [0, 2]})


async def test_s07_changes_to_the_input_are_not_kept(engine: FluxEngine) -> None:
    """Every attempt of every step sees the input as it was given."""
    order, seen = Workflow("order"), []

    async def change(ctx: WorkflowContext) -> None:
        seen.append(list(ctx.input["lines"]))
        ctx.input["lines"].append("x")
        if len(seen) == 1:
            raise RuntimeError("no")

    order.step("a", change, retries=ONCE_MORE).step("b", change)
    given = {"lines": ["A1"]}
    result = await engine.execute(order, given)
    assert (seen, given) == ([["A1"]] * 3, {"lines": ["A1"]})
    assert result.state.input == given


async def test_s07_a_late_change_is_not_seen(engine: FluxEngine) -> None:
    """An object that a step put into `data` and changes after its end is a copy for all others."""
    order, kept = Workflow("order"), list[list[int]]()

    @order.step
    async def make(ctx: WorkflowContext) -> list[int]:
        kept.append([1])
        ctx.data["list"] = kept[0]
        return kept[0]

    @order.step
    async def look(ctx: WorkflowContext) -> list[Any]:
        kept[0].append(2)
        return [ctx.data["list"], ctx.output("make")]

    result = await engine.execute(order)
    assert (result.history[1].output, result.data) == ([[1], [1]], {"list": [1]})


# What counts


async def test_s07_all_changes_of_a_completed_step_stay(engine: FluxEngine) -> None:
    """Set, replaced, changed in depth, deleted: the next step sees it, and so does the result."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(FIRST))
    order.step("change", lambda ctx: change_all(ctx.data))
    order.step("look", lambda ctx: dict(ctx.data.items()))
    result = await engine.execute(order)
    expected = {
        "replaced": "other",
        "list": [1, 2, 3],
        "dict": {"inner": {"deep": "changed"}},
        "new": 1,
    }
    assert (result.data, result.history[2].output) == (expected, expected)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data.pop("a"), id="pop"),
        pytest.param(lambda data: data.__delitem__("a"), id="del"),
        pytest.param(lambda data: data.clear(), id="clear"),
    ],
)
async def test_s07_a_deleted_key_is_a_change(open_engine: OpenEngine, change: Any) -> None:
    """A key that a step deletes is gone for later steps, and for an engine that reads it anew."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(a=1))

    async def delete(ctx: WorkflowContext) -> None:
        change(ctx.data)

    order.step("delete", delete).step("look", lambda ctx: sorted(ctx.data))
    engine, other = await open_engine(), await open_engine(workflows=[order])
    result = await engine.execute(order, id="order-1")
    assert result.history[2].output == []
    assert (await other.get("order-1")).data == {}


async def test_s07_data_may_be_replaced(engine: FluxEngine) -> None:
    """`ctx.data = {...}` sets its keys and deletes all others."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(a=1, b=2))

    async def replace(ctx: WorkflowContext) -> None:
        ctx.data = {"b": 3, "c": 4}

    assert (await engine.execute(order.step("replace", replace))).data == {"b": 3, "c": 4}


async def test_s07_data_behaves_like_a_dict(engine: FluxEngine) -> None:
    """Whatever one does with a dict can be done with `ctx.data`, with the values read back."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(a=[1], b={"c": None}))

    def look(ctx: WorkflowContext) -> None:
        plain, data = {"a": [1], "b": {"c": None}}, ctx.data
        assert data == plain
        assert dict(data) == {**data} == data.copy() == data | {} == {} | data == plain
        assert (list(data), list(data.values()), len(data)) == (["a", "b"], [[1], {"c": None}], 2)
        assert (data.get("a"), data.get("x", 7), "a" in data) == ([1], 7, True)
        assert (data.setdefault("a", 0), data.pop("b"), data.popitem()) == (
            [1],
            {"c": None},
            ("a", [1]),
        )

    result = await engine.execute(order.step("look", look))
    assert (str(result.error), result.data) == ("None", {})


async def test_s07_data_is_the_fold_of_the_history(open_engine: OpenEngine) -> None:
    """An engine that reads the instance anew, from its history alone, sees the same `data`."""
    order = Workflow("order")
    for number in range(5):

        def write(ctx: WorkflowContext, number: int = number) -> None:
            ctx.data[f"step-{number}"] = number
            ctx.data["last"] = number
            ctx.data.pop(f"step-{number - 2}", None)

        order.step(f"step-{number}", write)
    engine, other = await open_engine(), await open_engine(workflows=[order])
    result = await engine.execute(order, id="order-1")
    assert result.data == {"step-3": 3, "step-4": 4, "last": 4}
    assert (await other.get("order-1")).data == result.data


async def test_s07_only_changed_keys_are_saved(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A key that a step reads, or does not touch, is not in its save."""
    saves = Saves(storage)
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(big="x" * 30_000, read=[1]))
    order.step("look", lambda ctx: ctx.data.update(sum=sum(ctx.data["read"])))
    engine = await open_engine(saves)
    await engine.execute(order)
    body = saves.entries[2][0].body
    assert b'"sum"' in body
    assert b'"read"' not in body
    assert b'"big"' not in body


async def test_s07_a_save_does_not_grow_with_the_steps(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The hundredth step writes as much as the tenth: one entry and a head of the same size."""
    saves, order = Saves(storage), Workflow("order")

    def write(ctx: WorkflowContext) -> str:
        ctx.data[ctx.step] = "x" * 100
        return "done"

    for number in range(100, 200):
        order.step(f"step-{number}", write)
    engine = await open_engine(saves)
    await engine.execute(order)
    sizes = [
        len(made.payload) + sum(len(entry.body) for entry in entries)
        for made, entries in zip(saves.made, saves.entries, strict=True)
    ]
    assert abs(sizes[10] - sizes[99]) < 20
    assert {len(entries) for entries in saves.entries[1:]} == {1}


# Which of it a step sees


async def test_s07_a_step_sees_all_before_it_in_a_sequence(engine: FluxEngine) -> None:
    """In a sequence `data` is what all the steps before made of it."""
    order, seen = Workflow("order"), []

    def write(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data.items()))
        ctx.data[ctx.step] = True

    order.step("a", write).step("b", write).step("c", write)
    await engine.execute(order)
    assert seen == [{}, {"a": True}, {"a": True, "b": True}]


async def test_s07_a_step_does_not_see_its_siblings(engine: FluxEngine) -> None:
    """Of two branches neither sees what the other did; the step that joins them sees both."""
    order, seen = Workflow("order"), {}

    def write(ctx: WorkflowContext) -> None:
        seen[ctx.step] = sorted(ctx.data)
        ctx.data[ctx.step] = True

    order.step("start", write)
    order.step("left", write, after="start").step("right", write, after="start")
    order.step("join", write, after=("left", "right"))
    await engine.execute(order)
    assert seen == {
        "start": [],
        "left": ["start"],
        "right": ["start"],
        "join": ["left", "right", "start"],
    }


async def test_s07_a_join_folds_in_order_of_completion(open_engine: OpenEngine) -> None:
    """Where both branches set a key, they are merged in that order, for all that follows."""
    engine = await open_engine(max_parallel_steps=1)
    order = Workflow("order").merge("last", lambda first, second: f"{first} {second}")

    def write(ctx: WorkflowContext) -> None:
        ctx.data["last"] = ctx.step

    order.step("start", write)
    order.step("left", write, after="start").step("right", write, after="start")
    order.step("join", lambda ctx: ctx.data["last"], after=("left", "right"))
    result = await engine.execute(order)
    assert (result.history[3].output, result.data) == ("left right", {"last": "left right"})


async def test_s07_an_entry_sees_nothing(engine: FluxEngine) -> None:
    """A step with `after=()` has no step before it, so it sees the first `data`."""
    order = sequence("first").step("write", lambda ctx: ctx.data.update(a=1))
    order.step("alone", lambda ctx: dict(ctx.data.items()), after=())
    result = await engine.execute(order)
    assert result.data == {"a": 1}
    assert [entry.output for entry in result.history if entry.name == "alone"] == [{}]


async def test_s07_typed_data_is_isolated_too(engine: FluxEngine) -> None:
    """With a data class, a failed attempt leaves no trace either."""

    @define
    class Data:
        lines: list[str] = Factory(list)

    order, seen = Workflow("order", data=Data), []

    async def change(ctx: WorkflowContext) -> None:
        seen.append(list(ctx.data.lines))
        ctx.data.lines.append(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise RuntimeError("no")

    result = await engine.execute(order.step("change", change, retries=ONCE_MORE))
    assert seen == [[], []]
    assert result.data == Data(lines=["attempt 2"])
