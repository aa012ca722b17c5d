"""A process dies while several steps of an instance run beside each other (S3, S5, S12, S13)."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from flux import (
    FluxEngine,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStatus,
    WorkflowStorage,
    done,
    not_done,
)
from graphs import Gates, diamond, graph, names, saved, signalled, statuses
from jumping import FAR
from opening import OpenEngine
from sagas import noting, step_of, until
from saves import DiedError, Saves
from settling import passing
from undoing import Lives, rested
from waits import becomes

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK


class Deaths:
    """An instance "o" of which a test lets the first process die with steps at their gates."""

    def __init__(self, lives: Lives) -> None:
        self.gates = Gates()
        self._lives = lives

    async def first(self, workflow: Workflow, *begun: str) -> FluxEngine:
        """A process in which these steps have begun."""
        engine = await self._lives.next(workflow)
        await engine.start(workflow, id="o")
        await self.gates.begun(*begun)
        return engine

    async def second(self, workflow: Workflow, **config: Any) -> WorkflowState:
        """The end, with another process that begins now; the first one dies."""
        self._lives.die()
        return await rested(await self.next(workflow, **config), "o")

    async def next(self, workflow: Workflow, **config: Any) -> FluxEngine:
        """Another process; the one before dies."""
        self._lives.die()
        return await self._lives.next(workflow, **config)


@pytest.fixture
def deaths(lives: Lives) -> Deaths:
    return Deaths(lives)


# On the way forward


async def test_g1_a_saved_sibling_is_not_run_again(deaths: Deaths) -> None:
    """Of three steps one was saved: the other two run again, as second attempts, same keys."""
    gates, three = deaths.gates, graph(deaths.gates, a="", b="", c="", j="abc")
    engine = await deaths.first(three, "a", "b", "c")
    gates.let("b")
    await saved(engine, "b")
    gates.let("a", "c", "j")
    state = await deaths.second(three)
    assert state.status is COMPLETED
    assert sorted(gates.calls[:3]) == [("a", 1, "o:a:1"), ("b", 1, "o:b:1"), ("c", 1, "o:c:1")]
    assert sorted(gates.calls[3:5]) == [("a", 2, "o:a:1"), ("c", 2, "o:c:1")]
    assert gates.calls[5:] == [("j", 1, "o:j:1")]


@pytest.mark.parametrize("save", range(1, 4))
async def test_g1_it_ends_the_same_wherever_it_dies(lives: Lives, save: int) -> None:
    """After whichever save the process dies: what was saved then is not run again."""
    gates = Gates(*"abcd")
    await lives.start(diamond(gates), id="o", die_after=save)
    before = await (await lives.next()).get("o")
    known = [entry.name for entry in before.history if entry.status == "completed"]
    gates.did.clear()
    state = await rested(await lives.next(diamond(gates)), "o")
    assert statuses(state) == dict.fromkeys("abcd", "completed")
    assert sorted([*known, *gates.did]) == [*"abcd"]


@pytest.mark.parametrize("save", range(1, 4))
async def test_g1_an_effect_without_a_save_happens_again(
    storage: WorkflowStorage, open_engine: OpenEngine, save: int
) -> None:
    """A process that dies before a save loses just what that save would have told."""
    gates, saves = Gates(*"abcd"), Saves(storage, die_before=save + 1)
    dead = await open_engine(saves, workflows=[diamond(gates)], lease=0.1)
    with suppress(DiedError):
        await dead.start("graph", id="o")
    await until(lambda: saves.is_dead)
    engine = await open_engine(workflows=[diamond(gates)], lease=0.1, poll=0.01)
    state = await rested(engine, "o")
    keys = {key for _, _, key in gates.calls}
    assert (state.status, keys) == (COMPLETED, {f"o:{name}:1" for name in "abcd"})
    assert len(gates.calls) in (5, 6)


async def test_g1_the_join_sees_what_was_saved_before(lives: Lives) -> None:
    """Outputs and data of siblings of two processes come together in the join."""
    seen: list[Any] = []

    async def write(ctx: WorkflowContext) -> str:
        ctx.data[ctx.step] = ctx.attempt
        return ctx.step

    async def look(ctx: WorkflowContext) -> None:
        seen.append((dict(ctx.data), ctx.output("b"), ctx.output("c")))

    order = Workflow("order").step("b", write, after=())
    order.step("c", lives.dying(1, write), after=()).step("d", look, after=("b", "c"))
    await lives.start(order, id="o")
    await rested(await lives.next(order), "o")
    assert [(data["c"], *outputs) for data, *outputs in seen] == [(2, "b", "c")]


async def test_g1_a_choice_is_not_asked_for_again(lives: Lives) -> None:
    """What a branch chose is history: after a crash in a case its selector is not called."""
    asked, did = list[str](), list[str]()

    def choose(ctx: WorkflowContext) -> str:
        asked.append("route")
        return "x" if len(asked) == 1 else "y"

    order = Workflow("order").branch(
        "route",
        on=choose,
        cases={"x": ("x", lives.dying(1, noting("x", did))), "y": ("y", noting("y", did))},
    )
    await lives.start(order.step("z", noting("z", did)), id="o")
    state = await rested(await lives.next(order), "o")
    assert (asked, did) == (["route"], ["x", "x", "z"])
    assert statuses(state)["y"] == "skipped"


async def test_g1_a_crash_beside_a_wait_leaves_it_waiting(deaths: Deaths) -> None:
    """The waiting branch is not begun again, and takes its signal in the next process."""
    gates = deaths.gates
    order = graph(gates, a="", b="").wait("w", "go", after=())
    order.step("x", gates, after="w")
    engine = await deaths.first(order, "a", "b")
    await saved(engine, "w", "suspended")
    gates.let("a", "b", "x")
    engine = await deaths.next(order)
    state = await becomes(engine, lambda state: state.status is WorkflowStatus.SUSPENDED)
    assert sorted(gates.calls[2:]) == [("a", 2, "o:a:1"), ("b", 2, "o:b:1")]
    assert step_of(state, "w").attempt_count == 1
    assert (await signalled(engine, "go")).status is COMPLETED


async def test_g1_a_back_off_is_no_interruption(deaths: Deaths, lives: Lives) -> None:
    """Of two steps one runs and one is in a back-off: the crash interrupts the first one alone."""
    gates = deaths.gates
    policy = Retry(1, delay=lambda error, failed: 10 * FAR["lease"])
    order = graph(gates, a="").step("b", gates, after=(), retries=policy)
    engine = await deaths.first(order, "a", "b")
    gates.fail("b")
    await becomes(engine, lambda state: step_of(state, "b").retry_at is not None)
    gates.let("a", "b")
    engine = await deaths.next(order)
    await saved(engine, "a")
    assert gates.calls[2:] == [("a", 2, "o:a:1")]
    await passing(lives.clock, 10 * FAR["lease"])
    state = await rested(engine, "o")
    assert gates.calls[3:] == [("b", 2, "o:b:1")]
    assert [attempt.ended for attempt in step_of(state, "b").attempts] == ["failed"]


async def test_g1_parked_names_all_that_ran(deaths: Deaths) -> None:
    """An instance recovered too often is parked, and goes on with all of them."""
    gates, two = deaths.gates, graph(deaths.gates, a="", b="")
    await deaths.first(two, "a", "b")
    gates.did.clear()
    await deaths.next(two)
    await gates.begun("a", "b")
    engine = await deaths.next(two, max_recoveries=1)
    state = await rested(engine, "o")
    assert state.reason is not None
    assert "'a' and 'b' without progress" in state.reason
    gates.let("a", "b")
    assert (await engine.resume("o")).status is COMPLETED


# At most once


async def test_s05_an_interrupted_sibling_without_verifier_fails_all(deaths: Deaths) -> None:
    """Its outcome is unknown, the instance turns back, and the other one is not called again."""
    gates = deaths.gates
    order = graph(gates, undo=gates.undo, a="")
    order.step("b", gates, after=(), at_most_once=True, compensate=gates.undo)
    await deaths.first(order, "a", "b")
    state = await deaths.second(order)
    assert (state.status, sorted(gates.ran)) == (ROLLED_BACK, ["a", "b"])
    assert sorted(gates.undone) == ["a unknown", "b unknown"]


@pytest.mark.parametrize("answer", [done("found"), not_done])
async def test_s05_an_interrupted_sibling_is_asked_about(deaths: Deaths, answer: Any) -> None:
    """The verifier decides for the one, while the other simply runs again."""
    gates = deaths.gates

    async def verify(ctx: WorkflowContext) -> Any:
        gates.did.append("verify")
        return answer

    order = graph(gates, a="").step("b", gates, after=(), at_most_once=True, verify=verify)
    await deaths.first(order, "a", "b")
    gates.let("a", "b")
    state = await deaths.second(order)
    again = ["a", "verify"] if answer is not not_done else ["a", "b", "verify"]
    assert (state.status, sorted(gates.did[2:])) == (COMPLETED, again)


# Between a final failure and the ends of its siblings


async def failing(deaths: Deaths) -> Workflow:
    """A diamond of which "b" has failed, which is saved, while "c" is at its gate."""
    order = diamond(deaths.gates)
    deaths.gates.let("a")
    engine = await deaths.first(order, "b", "c")
    deaths.gates.fail("b")
    await saved(engine, "b", "failed")
    assert (await engine.get("o")).status is WorkflowStatus.RUNNING
    return order


async def test_s13_nothing_forward_after_a_saved_failure(deaths: Deaths) -> None:
    """What had begun is unknown and undone first; neither it nor what follows is called."""
    order = await failing(deaths)
    deaths.gates.let(*"bcd")
    state = await deaths.second(order)
    assert (state.status, str(state.error)) == (ROLLED_BACK, "RuntimeError: b declined")
    assert sorted(deaths.gates.ran) == ["a", "b", "c"]
    assert deaths.gates.undone == ["c unknown", "a completed"]


async def test_s13_a_result_saved_after_the_failure_counts(deaths: Deaths) -> None:
    """A sibling that ended before the crash is undone as completed, in reverse order."""
    gates = deaths.gates
    order = graph(gates, undo=gates.undo, a="", b="", c="", d="")
    engine = await deaths.first(order, *"abcd")
    gates.fail("b")
    await saved(engine, "b", "failed")
    for name in "ca":
        gates.let(name)
        await saved(engine, name)
    state = await deaths.second(order)
    assert (state.status, gates.undone) == (
        ROLLED_BACK,
        ["d unknown", "a completed", "c completed"],
    )


async def test_s11_what_began_last_is_undone_first(deaths: Deaths) -> None:
    """Also if it has an entry by an earlier attempt, and what began before it has none yet."""
    gates = deaths.gates

    async def again(ctx: WorkflowContext) -> str:
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        return await gates(ctx)

    order = graph(gates, undo=gates.undo, a="", b="", x="")
    order.step("c", again, after="a", retries=Retry(1, initial=0), compensate=gates.undo)
    engine = await deaths.first(order, "a", "b", "x")
    gates.let("a")
    await gates.begun("c")
    gates.fail("x")
    await saved(engine, "x", "failed")
    assert (await deaths.second(order)).status is ROLLED_BACK
    assert gates.undone == ["c unknown", "b unknown", "a completed"]


async def test_s13_a_wait_beside_a_failure_takes_no_signal(deaths: Deaths) -> None:
    """After the crash the waiting branch is closed, though its signal has come."""
    gates = deaths.gates
    order = graph(gates, undo=gates.undo, a="", b="").wait("w", "go", after=())
    engine = await deaths.first(order.step("x", gates, after="w"), "a", "b")
    gates.fail("a")
    await saved(engine, "a", "failed")
    await engine.signal("o", "go", wait=False)
    state = await deaths.second(order)
    assert (state.status, gates.undone) == (ROLLED_BACK, ["b unknown"])
    assert statuses(state) == {"w": "failed", "a": "failed", "b": "compensated"}


async def test_s13_an_interrupted_sibling_is_not_asked_about(deaths: Deaths) -> None:
    """Its verifier is for going on; on the way back it is undone as unknown."""
    gates = deaths.gates
    order = graph(gates, a="")
    asks = noting("verify", gates.did)
    order.step("b", gates, after=(), at_most_once=True, verify=asks, compensate=gates.undo)
    engine = await deaths.first(order, "a", "b")
    gates.fail("a")
    await saved(engine, "a", "failed")
    state = await deaths.second(order)
    assert (state.status, gates.did[2:]) == (ROLLED_BACK, ["undo b unknown"])


# In a rollback, and where a failure was handled


async def test_s12_a_crash_in_the_rollback_of_a_diamond(deaths: Deaths) -> None:
    """The rollback goes on where it was: what was undone stays undone."""
    gates, stuck = deaths.gates, asyncio.Event()

    async def undo(ctx: Any) -> None:
        await gates.undo(ctx)
        if ctx.step == "b" and ctx.attempt == 1:
            stuck.set()
            await asyncio.Event().wait()

    order = graph(gates, undo=undo, a="", b="a", c="a", d="bc")
    gates.let("a", "b")
    engine = await deaths.first(order, "c")
    await saved(engine, "b")
    gates.let("c")
    gates.fail("d")
    await stuck.wait()
    state = await deaths.second(order)
    assert state.status is ROLLED_BACK
    assert gates.undone == ["c completed", "b completed", "b completed", "a completed"]


async def test_g6_a_crash_in_a_fallback(deaths: Deaths) -> None:
    """The fallback runs again, the step that it stands in for does not."""
    gates = deaths.gates
    order = Workflow("order").step("a", gates, fallback="f").step("f", gates)
    order.step("b", gates).step("c", gates, after=())
    gates.fail("a")
    await deaths.first(order, "c", "f")
    gates.let("b", "c", "f")
    state = await deaths.second(order)
    assert state.status is COMPLETED
    assert sorted(gates.calls[3:]) == [("b", 1, "o:b:1"), ("c", 2, "o:c:1"), ("f", 2, "o:f:1")]


async def test_g6_an_interrupted_step_may_have_a_fallback(deaths: Deaths) -> None:
    """An at-most-once step of which nobody knows has failed, and its fallback runs instead."""
    gates = deaths.gates
    order = Workflow("order").step("a", gates, at_most_once=True, fallback="f")
    order.step("f", gates).step("b", gates).step("c", gates, after=())
    await deaths.first(order, "a", "c")
    gates.let("b", "c", "f")
    state = await deaths.second(order)
    assert (state.status, sorted(gates.ran[2:])) == (COMPLETED, ["b", "c", "f"])


async def test_g6_an_interrupted_step_may_have_a_handler(deaths: Deaths) -> None:
    """Its error is found by type, also where only a base class is named."""
    gates = deaths.gates
    order = Workflow("order").step("a", gates, at_most_once=True)
    order.on_error(gates, name="h", errors=Exception)
    await deaths.first(order, "a")
    gates.let("h")
    state = await deaths.second(order)
    assert (state.status, gates.ran, names(state)) == (COMPLETED, ["a", "h"], ["a", "h"])
