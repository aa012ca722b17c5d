"""Steps beside each other write one key of the data: a conflict, or a merge."""

import asyncio
from typing import Any

import pytest

from flux import (
    DataConflictError,
    DefinitionError,
    FluxEngine,
    InvalidTransitionError,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStatus,
    wait,
)
from graphs import Gates, graph, saved, signalled, statuses, writing
from opening import OpenEngine
from sagas import noting, step_of
from undoing import Lives, rested
from waits import becomes, ended

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK
FAILED = WorkflowStatus.FAILED


def added(first: Any, second: Any) -> Any:
    return first + second


# Conflicts


async def test_g1_two_values_of_one_key_conflict(engine: FluxEngine) -> None:
    """The error names both steps and the key; both count as completed, and are undone."""
    gates, write = Gates(), writing(a=1, b=2)
    order = graph(write, undo=gates.undo, a="", b="")
    result = await engine.execute(order)
    assert result.error is not None
    assert (result.status, result.error.type) == (ROLLED_BACK, DataConflictError.__name__)
    assert result.error.message == (
        "steps 'a' and 'b' run beside each other and wrote different values to data['key']; "
        "let one come after the other, or declare workflow.merge('key', …)"
    )
    assert gates.undone == ["b completed", "a completed"]


async def test_g1_a_conflict_needs_no_overlap(open_engine: OpenEngine) -> None:
    """Steps that run one after the other, but need not, conflict all the same."""
    engine = await open_engine(max_parallel_steps=1)
    result = await engine.execute(graph(writing(a=1, c=2), a="", b="", c="b"))
    assert result.error is not None
    assert "steps 'a' and 'c'" in result.error.message
    assert statuses(result) == {"a": "completed", "b": "completed", "c": "completed"}


@pytest.mark.parametrize("late", [1, None])
async def test_g1_a_deletion_is_a_value(engine: FluxEngine, late: int | None) -> None:
    """One that deletes and one that sets conflict; two that delete do not."""
    order = graph(writing(z=0, a=None, b=late), z="", a="z", b="z", c="ab")
    result = await engine.execute(order)
    assert result.status is (COMPLETED if late is None else FAILED)
    assert ("c" in statuses(result), result.data == {}) == (late is None, late is None)


async def test_g1_the_same_value_is_no_conflict(engine: FluxEngine) -> None:
    """Nor are different keys, nor one that is written back as it was."""
    result = await engine.execute(graph(writing(a=[1], b=[1]), a="", b="", c="ab"))
    assert (result.status, result.data) == (COMPLETED, {"key": [1]})


async def test_g1_ancestors_may_be_overwritten(engine: FluxEngine) -> None:
    """What comes after another step in the graph, however far, overwrites its value."""
    write = writing(a=1, b=2, d=3, j=4)
    result = await engine.execute(graph(write, a="", b="a", c="a", d="b", j="cd"))
    assert (result.status, result.data) == (COMPLETED, {"key": 4})


async def test_g1_an_older_write_of_a_side_conflicts(engine: FluxEngine) -> None:
    """Of a side that wrote twice the first value counts as well."""
    result = await engine.execute(graph(writing(a=1, b=2, c=2), a="", b="a", c=""))
    assert result.error is not None
    assert "steps 'a' and 'c'" in result.error.message


async def test_g1_a_suspended_step_has_written(engine: FluxEngine) -> None:
    """What a handler changed before its wait is in conflict from then on."""

    async def ask(ctx: WorkflowContext) -> Any:
        ctx.data["key"] = 1
        return wait("answer")

    gates = Gates()
    order = Workflow("order").step("a", ask, after=(), compensate=gates.undo)
    order.step("z", noting("z", []), after=()).step("b", writing(b=2), after="z")
    result = await engine.execute(order)
    assert result.error is not None
    assert (result.status, gates.undone) == (ROLLED_BACK, ["a unknown"])
    assert result.error.type == DataConflictError.__name__


async def test_g1_a_conflict_lets_running_siblings_finish(engine: FluxEngine) -> None:
    """As any failure: what runs is saved, then all is undone."""
    gates = Gates()
    order = graph(gates, undo=gates.undo, c="")
    for name, value in (("a", 1), ("b", 2)):
        order.step(name, writing(**{name: value}), after=(), compensate=gates.undo)
    await engine.start(order, id="o")
    state = await becomes(engine, lambda state: len(statuses(state)) == 3)
    await saved(engine, "b")
    assert state.status is WorkflowStatus.RUNNING
    gates.let("c")
    assert (await ended(engine)).status is ROLLED_BACK
    assert gates.undone == ["c completed", "b completed", "a completed"]


async def test_g1_a_conflict_is_found_after_a_crash(lives: Lives) -> None:
    """One side was written by a process that is dead."""
    order = Workflow("order").step("a", writing(a=1), after=()).step("z", noting("z", []), after=())
    order.step("b", lives.dying(1, writing(b=2)), after="z")
    await lives.start(order, id="o")
    state = await rested(await lives.next(order), "o")
    assert (state.status, state.error and state.error.type) == (FAILED, "DataConflictError")


async def test_g1_a_resume_does_not_hide_a_conflict(engine: FluxEngine) -> None:
    """No step has failed that could be tried again; a restart runs both anew."""
    values = {"a": 1, "b": 2}

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["key"] = values[ctx.step]

    order = Workflow("order").step("z", noting("z", [])).step("a", write, after="z")
    await engine.execute(order.step("b", write, after="z"), id="o")
    with pytest.raises(InvalidTransitionError, match="restart\\(\\) from one of"):
        await engine.resume("o")
    values["a"] = 2
    assert (await engine.restart("o", "z")).data == {"key": 2}


async def test_g1_a_replayed_commit_has_written(engine: FluxEngine) -> None:
    """After a restart the other side writes another value: that conflicts with the commit's."""
    values = {"a": 1}

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["key"] = values["a"]

    order = Workflow("order").step("e", noting("e", [])).step("a", write)
    order.commit("c", writing(c=1), after="e")
    assert (await engine.execute(order, id="o")).status is COMPLETED
    values["a"] = 2
    result = await engine.restart("o", "e")
    assert (result.status, result.error and result.error.type) == (FAILED, "DataConflictError")


# Merges


async def merged(engine: FluxEngine, write: Any, **after: str) -> tuple[Any, dict[str, Any]]:
    """The value of the key in the end, and what each step saw, where values are added up."""
    seen: dict[str, Any] = {}

    async def act(ctx: WorkflowContext) -> None:
        seen[ctx.step] = ctx.data.get("key")
        await write(ctx)

    workflow = graph(act, fail_fast=False, undo=None, **after)
    result = await engine.execute(workflow.merge("key", added), id="o")
    assert result.status is COMPLETED
    assert (await engine.get("o")).data == result.data
    return result.data.get("key"), seen


async def test_g1_a_merge_makes_one_value(engine: FluxEngine) -> None:
    """The join and the whole have the same."""
    value, seen = await merged(engine, writing(a=1, b=2), a="", b="", j="ab")
    assert (value, seen["j"]) == (3, 3)


async def test_g1_equal_values_are_merged_too(engine: FluxEngine) -> None:
    """Two ones add up to two, whoever looks."""
    value, seen = await merged(engine, writing(a=1, b=1), a="", b="", x="", j="ab", k="jx")
    assert (value, seen["j"], seen["k"]) == (2, 2, 2)


async def test_g1_a_partial_join_sees_its_part(engine: FluxEngine) -> None:
    """It sees what came before it alone, the whole has all."""
    write = writing(a=1, b=2, c=4)
    value, seen = await merged(engine, write, a="", b="", c="", j="ab", k="jc")
    assert (value, seen["j"], seen["k"]) == (7, 3, 7)


async def test_g1_a_join_may_write_over_the_merged(engine: FluxEngine) -> None:
    """What it writes counts for its sources; only what is beside it is merged with that."""
    write = writing(a=1, b=2, c=4, j=10)
    value, seen = await merged(engine, write, a="", b="", c="", j="ab", k="jc")
    assert (value, seen["j"], seen["k"]) == (14, 3, 14)


async def test_g1_a_side_that_wrote_twice_counts_once(engine: FluxEngine) -> None:
    """Its last value is merged."""
    value, seen = await merged(engine, writing(a=1, b=2, c=4), a="", b="a", c="", j="bc")
    assert (value, seen["b"], seen["j"]) == (6, 1, 6)


async def test_g1_a_merge_is_in_order_of_completion(engine: FluxEngine) -> None:
    """The function gets the value of the step that completed first, then the other's."""
    gates = Gates()

    async def write(ctx: WorkflowContext) -> None:
        await gates(ctx)
        ctx.data["key"] = [ctx.step]

    await engine.start(graph(write, a="", b="", c="").merge("key", added), id="o")
    await gates.begun(*"abc")
    for name in "cab":
        gates.let(name)
        await saved(engine, name)
    assert (await ended(engine)).data == {"key": ["c", "a", "b"]}


async def test_g1_a_deleted_value_is_not_merged(engine: FluxEngine) -> None:
    """One that deletes has nothing to add; when all delete, the key is gone."""
    write = writing(z=1, a=None, b=5, j=7, p=None, q=None)
    value, seen = await merged(engine, write, z="", a="z", b="z", j="ab", p="j", q="j", k="pq")
    assert (seen["j"], seen["k"], value) == (5, None, None)


@pytest.mark.parametrize("merge", [lambda a, b: 1 / 0, lambda a, b: {a, b}])
async def test_g1_a_merge_that_fails_is_a_conflict(engine: FluxEngine, merge: Any) -> None:
    """It raised, or returned what cannot be kept: the error says so."""
    gates = Gates()
    order = graph(writing(a=1, b=2), undo=gates.undo, a="", b="").merge("key", merge)
    result = await engine.execute(order)
    assert result.error is not None
    assert (result.status, result.error.type) == (ROLLED_BACK, DataConflictError.__name__)
    assert "'a' and 'b'" in result.error.message
    assert "their merge" in result.error.message
    assert len(gates.undone) == 2


async def test_g1_a_merge_survives_a_crash(lives: Lives) -> None:
    """The next process has the same data."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))

    order = graph(writing(a=1, b=2, c=4), a="", b="", c="").merge("key", added)
    order.step("j", lives.dying(1, look), after=("a", "b")).step("k", look, after=("j", "c"))
    await lives.start(order, id="o")
    state = await rested(await lives.next(order), "o")
    assert ([data["key"] for data in seen], state.data) == ([3, 3, 7], {"key": 7})


async def test_g1_a_merge_is_made_anew_after_a_restart(engine: FluxEngine) -> None:
    """A replayed commit keeps its own value, and is merged with the new ones."""
    values = {"a": 1}

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["key"] = values["a"]

    order = Workflow("order").merge("key", added).step("e", noting("e", [])).step("a", write)
    order.step("x", noting("x", []), after="e").commit("c", writing(c=10), after="x")
    assert (await engine.execute(order, id="o")).data == {"key": 11}
    values["a"] = 2
    assert (await engine.restart("o", "e")).data == {"key": 12}
    assert (await engine.get("o")).data == {"key": 12}


async def test_g1_what_is_shown_meanwhile_is_merged(engine: FluxEngine) -> None:
    """Also while the instance waits, as another process sees it."""
    order = graph(writing(a=1, b=2), a="", b="").merge("key", added).wait("w", "go", after="a")
    await engine.execute(order, id="o")
    state: WorkflowState = await engine.get("o")
    assert (state.status, state.data) == (WorkflowStatus.SUSPENDED, {"key": 3})
    assert (await signalled(engine, "go")).data == {"key": 3}
    assert step_of(await engine.get("o"), "w").status == "completed"


async def test_g1_compensators_see_the_merged(engine: FluxEngine) -> None:
    """In a rollback the data is the whole's, and what a compensator writes counts."""
    seen: list[Any] = []

    async def undo(ctx: Any) -> None:
        seen.append(ctx.data["key"])
        ctx.data["key"] = 0

    order = graph(writing(a=1, b=2), undo=undo, a="", b="").merge("key", added)

    async def refuse(ctx: WorkflowContext) -> None:
        raise RuntimeError("declined")

    result = await engine.execute(order.step("c", refuse, after=("a", "b")))
    assert (result.status, seen, result.data) == (ROLLED_BACK, [3, 0], {"key": 0})


@pytest.mark.parametrize("function", [None, 5, asyncio.sleep])
def test_g1_a_merge_is_a_plain_function(function: Any) -> None:
    """Another thing is refused when the workflow is built."""
    with pytest.raises(DefinitionError, match="merge\\('key'\\)"):
        graph(noting("", []), a="").merge("key", function).build()
