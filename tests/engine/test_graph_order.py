"""`after` in full: the order in which steps are ready, and that a step sees its ancestors alone."""

import asyncio
from typing import Any

import pytest

from flux import FluxEngine, StepNotCompletedError, Workflow, WorkflowContext, WorkflowStatus
from opening import OpenEngine
from sagas import Flaky, noting, step_of
from undoing import Lives, fail, rested


def graph(handler: Any, **after: str) -> Workflow:
    """A workflow of these steps, each with its sources in one word: `c="ab"`."""
    workflow = Workflow("graph").merge("last", lambda first, second: second)
    for name, sources in after.items():
        workflow.step(name, handler, after=tuple(sources))
    return workflow


async def order_of(engine: FluxEngine, **after: str) -> str:
    """The steps of this graph in the order in which they ran."""
    ran: list[str] = []

    async def note(ctx: WorkflowContext) -> None:
        ran.append(ctx.step)

    result = await engine.execute(graph(note, **after))
    assert result.status is WorkflowStatus.COMPLETED
    return "".join(ran)


async def test_ready_steps_run_in_order_of_declaration(engine: FluxEngine) -> None:
    """Of several entries, and of several that a step has made ready."""
    assert await order_of(engine, c="", a="", b="") == "cab"


async def test_a_step_waits_for_all_its_sources(engine: FluxEngine) -> None:
    """A join, declared first, runs when the last of its sources has ended."""
    assert await order_of(engine, j="xy", x="", z="", y="z") == "xzyj"


async def test_a_step_made_ready_late_is_not_overtaken(open_engine: OpenEngine) -> None:
    """One declared before those that are ready already runs before them, where one has room."""
    engine = await open_engine(max_parallel_steps=1)
    assert await order_of(engine, a="", b="d", c="", d="a", e="") == "acdbe"


@pytest.mark.parametrize("most", [1, 2, 50])
async def test_so_many_steps_at_a_time(open_engine: OpenEngine, most: int) -> None:
    """Independent steps run at the same time, as far as the engine's setting lets them."""
    engine = await open_engine(max_parallel_steps=most)
    running: list[str] = []
    found = 0

    async def look(ctx: WorkflowContext) -> None:
        nonlocal found
        running.append(ctx.step)
        found = max(found, len(running))
        await asyncio.sleep(0.005)
        running.remove(ctx.step)

    await engine.execute(graph(look, a="", b="", c="", d="abc"))
    assert found == min(most, 3)


async def test_history_is_in_the_order_of_running(engine: FluxEngine) -> None:
    """Not in that of declaration."""
    result = await engine.execute(graph(noting("x", []), j="xy", x="", y=""))
    assert [entry.name for entry in result.history] == ["x", "y", "j"]


async def seen_by(engine: FluxEngine, **after: str) -> dict[str, dict[str, str]]:
    """What each step of this graph finds in `data`, where each writes its name to two keys."""
    seen: dict[str, dict[str, str]] = {}

    async def look(ctx: WorkflowContext) -> None:
        seen[ctx.step] = dict(ctx.data)
        ctx.data[ctx.step] = ctx.step
        ctx.data["last"] = ctx.step

    result = await engine.execute(graph(look, **after))
    seen["result"] = result.data
    return seen


async def test_s07_a_step_sees_its_ancestors_data_alone(engine: FluxEngine) -> None:
    """What a step of another branch has written is not there, though it ran before."""
    seen = await seen_by(engine, a="", b="", c="a", d="bc")
    assert seen["b"] == {}
    assert seen["c"] == {"a": "a", "last": "a"}
    assert seen["d"] == {"a": "a", "b": "b", "c": "c", "last": "c"}


async def test_s07_a_join_sees_its_branches_in_order_of_completion(engine: FluxEngine) -> None:
    """Of two that wrote one key, the one that completed last counts."""
    assert (await seen_by(engine, x="", y="", j="yx"))["j"]["last"] == "y"


async def test_s07_the_instance_has_the_data_of_all(engine: FluxEngine) -> None:
    """Seen from outside, `data` is the fold of the whole history."""
    seen = await seen_by(engine, a="", b="", c="a")
    assert seen["result"] == {"a": "a", "b": "b", "c": "c", "last": "c"}


async def test_s07_a_deleted_key_is_a_change(engine: FluxEngine) -> None:
    """A branch that deletes a key hides it from those after it, not from the others."""
    seen: dict[str, Any] = {}

    async def act(ctx: WorkflowContext) -> None:
        seen[ctx.step] = dict(ctx.data)
        if ctx.step == "a":
            ctx.data["key"] = 1
        if ctx.step == "b":
            del ctx.data["key"]

    await engine.execute(graph(act, a="", b="a", c="a", d="b", e="c"))
    assert (seen["c"], seen["d"], seen["e"]) == ({"key": 1}, {}, {"key": 1})


async def test_s07_a_predicate_sees_what_its_step_sees(engine: FluxEngine) -> None:
    """The ancestors' data, not that of another branch."""
    seen: list[Any] = []

    async def write(ctx: WorkflowContext) -> None:
        ctx.data[ctx.step] = True

    def when(ctx: WorkflowContext) -> bool:
        seen.append(dict(ctx.data))
        return True

    order = Workflow("order").step("a", write).step("b", write, after=())
    await engine.execute(order.step("c", write, after="b", when=when))
    assert seen == [{"b": True}]


async def test_s07_a_resumed_graph_sees_the_same(lives: Lives) -> None:
    """A process that takes over folds the same data for the next step."""
    seen: list[Any] = []

    async def write(ctx: WorkflowContext) -> None:
        seen.append((ctx.step, dict(ctx.data)))
        ctx.data[ctx.step] = True

    order = Workflow("order").step("a", write).step("b", write, after=())
    order.step("c", lives.dying(1, write), after="a")
    await lives.start(order, id="o")
    state = await rested(await lives.next(order), "o")
    assert seen == [("a", {}), ("b", {}), ("c", {"a": True}), ("c", {"a": True})]
    assert state.data == {"a": True, "b": True, "c": True}


async def test_skipped_source_does_not_hold_up(engine: FluxEngine) -> None:
    """A step after a skipped one runs, as in a sequence."""
    ran: list[str] = []
    order = Workflow("order").step("a", noting("a", ran), when=lambda ctx: False)
    order.step("b", noting("b", ran), after=()).step("c", noting("c", ran), after=("a", "b"))
    assert (await engine.execute(order)).status is WorkflowStatus.COMPLETED
    assert ran == ["b", "c"]


async def test_output_of_another_branch_can_be_asked_for(engine: FluxEngine) -> None:
    """`output` knows every step that has run; one that has not raises."""
    seen: list[Any] = []

    async def ask(ctx: WorkflowContext) -> None:
        seen.append(ctx.output("a"))
        try:
            ctx.output("z")
        except StepNotCompletedError as error:
            seen.append(str(error))

    order = Workflow("order").step("a", noting("a", [])).step("c", noting("c", []), after=())
    order.step("b", ask, after="c")
    await engine.execute(order.step("z", noting("z", []), after="b"))
    assert seen == ["a", "step 'z' has no result: it has not been reached"]


async def test_a_failure_stops_all_branches(open_engine: OpenEngine) -> None:
    """Steps of other branches that are still to come do not run, those that ran are undone."""
    engine = await open_engine(max_parallel_steps=1)
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", did), compensate=noting("undo a", did))
    order.step("pay", fail, after=()).step("b", noting("b", did), after=())
    result = await engine.execute(order)
    assert (result.status, did) == (WorkflowStatus.ROLLED_BACK, ["a", "undo a"])


async def test_restart_runs_what_comes_after_in_the_graph(engine: FluxEngine) -> None:
    """Steps of other branches keep their results."""
    ran: list[str] = []

    async def note(ctx: WorkflowContext) -> None:
        ran.append(ctx.step)

    await engine.execute(graph(note, a="", b="", c="a", d="b", e="cd"), id="o")
    ran.clear()
    await engine.restart("o", "a")
    assert ran == ["a", "c", "e"]


async def test_resume_of_a_failed_graph_runs_the_other_branch(engine: FluxEngine) -> None:
    """What had not been reached when a step failed comes after it."""
    pay, ran = Flaky(1), list[str]()
    order = Workflow("order").step("pay", pay).step("b", noting("b", ran), after=())
    await engine.execute(order.step("c", noting("c", ran)), id="o")
    result = await engine.resume("o")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["b", "c"])
    assert step_of(result, "pay").output == "done"


async def test_a_new_driver_finds_all_that_is_done(engine: FluxEngine) -> None:
    """Whatever several branches had come to before: nothing runs twice."""
    did: list[str] = []
    order = Workflow("order")
    for name, after in {"a": "", "b": "", "c": "a", "d": "b"}.items():
        order.step(name, noting(name, did), after=tuple(after))
    await engine.execute(order.wait("w", "go", after=("c", "d")), id="o")
    result = await engine.signal("o", "go")
    assert result is not None
    assert (result.status, sorted(did)) == (WorkflowStatus.COMPLETED, ["a", "b", "c", "d"])


async def test_all_that_a_step_makes_ready_runs(engine: FluxEngine) -> None:
    """Also where another step had already made the first of it ready."""
    did, began = list[str](), asyncio.Event()

    async def late(ctx: WorkflowContext) -> None:
        await began.wait()

    async def early(ctx: WorkflowContext) -> None:
        began.set()

    order = Workflow("order").step("a", late, after=()).step("b", noting("b", []), after=())
    order.step("x", early, after=("a", "b"), join="any").step("y", noting("y", did), after="a")
    result = await engine.execute(order)
    assert (result.status, did) == (WorkflowStatus.COMPLETED, ["y"])


@pytest.mark.parametrize("works", [True, False])
async def test_a_handler_that_comes_after_its_step(engine: FluxEngine, works: bool) -> None:
    """It runs once, whether the step was done or failed."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", []) if works else fail)
    order.step("b", noting("b", did), after="a").step("c", noting("c", did), after="b")
    result = await engine.execute(order.on_error("b", steps=["a"]))
    assert (result.status, did) == (WorkflowStatus.COMPLETED, ["b", "c"])
