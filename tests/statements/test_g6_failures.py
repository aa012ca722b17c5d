"""A step fails among others: what becomes of its siblings, and what may run in its stead."""

import asyncio
from typing import Any

import pytest

from flux import (
    DataConflictError,
    FluxEngine,
    JoinNotMetError,
    OutcomeUnknownError,
    Retry,
    StepNotCompletedError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    not_done,
    wait,
)
from graphs import Gates, diamond, graph, names, saved, signalled, statuses, writing
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, heedless, noting, step_of, until
from undoing import fail
from waits import HeldThread, becomes, ended

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK
FAILED = WorkflowStatus.FAILED


async def failed_beside(engine: FluxEngine, gates: Gates, order: Workflow, step: str) -> None:
    """Start the order, let all entries begin, and this one fail, which is saved."""
    await engine.start(order, id="o")
    await gates.begun(*(one.name for one in order.build().steps if not one.after))
    gates.fail(step)
    await becomes(engine, lambda state: statuses(state).get(step) == "failed")


# Siblings that run


async def test_g1_siblings_finish_before_the_rollback(engine: FluxEngine) -> None:
    """They are saved, and undone in the reverse order of their completion."""
    gates = Gates()
    order = graph(gates, undo=gates.undo, a="", b="", c="", d="")
    await failed_beside(engine, gates, order, "b")
    for name in "ca":
        gates.let(name)
        await saved(engine, name)
    gates.let("d")
    result = await ended(engine)
    assert (result.status, str(result.error)) == (ROLLED_BACK, "RuntimeError: b declined")
    assert gates.undone == ["d completed", "a completed", "c completed"]


async def test_g1_status_runs_until_the_siblings_ended(engine: FluxEngine) -> None:
    """Nothing is undone, and nothing new begins, while one still runs."""
    gates = Gates()
    order = graph(gates, undo=gates.undo, a="", b="", c="", x="a")
    await failed_beside(engine, gates, order, "b")
    gates.let("a", "x")
    state = await becomes(engine, lambda state: "a" in statuses(state))
    assert (state.status, gates.did) == (WorkflowStatus.RUNNING, ["a", "b", "c"])
    gates.let("c")
    assert (await ended(engine)).status is ROLLED_BACK
    assert gates.ran == ["a", "b", "c"]


async def test_g1_running_siblings_are_shown(engine: FluxEngine) -> None:
    """Those that still finish after a failure are in the history, as running."""
    gates = Gates()
    await failed_beside(engine, gates, graph(gates, a="", b=""), "b")
    assert statuses(await engine.get("o")) == {"a": "running", "b": "failed"}
    gates.let("a")
    await ended(engine)


async def test_g1_a_further_attempt_is_no_compensation(engine: FluxEngine) -> None:
    """A sibling in its second attempt, after one in doubt, is shown as running."""
    gates = Gates()
    order = graph(gates, a="")
    order.step("b", gates, after=(), retries=Retry(1, initial=0), compensate=gates.undo)
    await engine.start(order, id="o")
    await gates.begun("a", "b")
    gates.fail("b", error=OutcomeUnknownError("no answer"))
    gates.hold("b")
    await until(lambda: gates.ran.count("b") == 2)
    gates.fail("a")
    state = await saved(engine, "a", "failed")
    assert statuses(state)["b"] == "running"
    gates.let("b")
    assert ((await ended(engine)).status, gates.undone) == (ROLLED_BACK, ["b completed"])


async def test_g1_a_siblings_retries_end_with_the_failure(engine: FluxEngine) -> None:
    """One whose attempt raises after the failure is not tried again, and is not undone."""
    gates = Gates()
    order = graph(gates, a="").step("b", gates, after=(), retries=9, compensate=gates.undo)
    await failed_beside(engine, gates, order, "a")
    gates.fail("b")
    result = await ended(engine)
    assert (result.status, gates.did) == (FAILED, ["a", "b"])
    assert statuses(result) == {"a": "failed", "b": "failed"}


async def test_g1_a_sibling_in_a_back_off_is_not_called(open_engine: OpenEngine) -> None:
    """A back-off ends with the failure, even if another sibling goes on for longer."""
    gates, clock = Gates(), JumpingClock()
    engine = await open_engine(clock=clock, **FAR)
    policy = Retry(1, delay=lambda error, failed: FAR["lease"] / 2)
    order = graph(gates, a="", c="").step("b", gates, after=(), retries=policy)
    await engine.start(order, id="o")
    await gates.begun("a", "b", "c")
    gates.fail("b")
    await becomes(engine, lambda state: step_of(state, "b").retry_at is not None)
    gates.fail("a")
    await saved(engine, "a", "failed")
    clock.advance(FAR["lease"] / 2)
    gates.let("b", "c")
    result = await ended(engine)
    assert (result.status, gates.ran) == (FAILED, ["a", "c", "b"])


async def test_g1_a_waiting_sibling_is_closed(engine: FluxEngine) -> None:
    """It has acted, in a way that nobody knows: it is undone first."""
    gates = Gates()

    async def ask(ctx: WorkflowContext) -> Any:
        gates.did.append("ask")
        return wait("answer")

    order = graph(gates, undo=gates.undo, a="", b="")
    order.step("ask", ask, after=(), compensate=gates.undo)
    gates.let("a")
    await engine.start(order, id="o")
    await saved(engine, "ask", "suspended")
    gates.fail("b")
    result = await ended(engine)
    assert (result.status, gates.undone) == (ROLLED_BACK, ["ask unknown", "a completed"])


async def test_g1_the_first_cause_is_kept(engine: FluxEngine) -> None:
    """When a sibling fails as well, the instance's error is the first one; both are shown."""
    gates = Gates()
    await failed_beside(engine, gates, graph(gates, a="", b=""), "b")
    gates.fail("a")
    result = await ended(engine)
    assert (result.status, str(result.error)) == (FAILED, "RuntimeError: b declined")
    assert str(step_of(result, "a").error) == "RuntimeError: a declined"


async def test_g1_no_fallback_after_a_final_failure(engine: FluxEngine) -> None:
    """A sibling that fails when the instance has turned back is not rescued any more."""
    gates = Gates("f")
    order = graph(gates, a="").step("b", gates, after=(), fallback="f").step("f", gates)
    await engine.start(order, id="o")
    await gates.begun("a", "b")
    gates.fail("a")
    await saved(engine, "a", "failed")
    gates.fail("b")
    result = await ended(engine)
    assert (result.status, gates.ran) == (FAILED, ["a", "b"])


async def test_g1_a_rescued_failure_stops_nobody(engine: FluxEngine) -> None:
    """The others go on, and the order to its end."""
    gates = Gates("b", "f", "d")
    order = Workflow("order").step("a", gates, after=(), fallback="f").step("f", gates)
    order.step("b", gates, after=()).step("d", gates, after=("a", "b"))
    gates.fail("a")
    result = await engine.execute(order)
    assert (result.status, gates.ran) == (COMPLETED, ["a", "b", "f", "d"])


# Fail fast


async def fast(engine: FluxEngine, gates: Gates, order: Workflow) -> Any:
    """The result once "a" has failed, while all that began are at their gates."""
    await engine.start(order, id="o")
    await gates.begun(*(one.name for one in order.build().steps if not one.after))
    gates.fail("a")
    return await ended(engine)


async def test_g1_fail_fast_cancels_running_handlers(engine: FluxEngine) -> None:
    """Their outcome is unknown: they are undone first, the latest started first."""
    gates = Gates("z")
    order = graph(gates, undo=gates.undo, fail_fast=True, z="", a="z", b="z", c="z")
    await engine.start(order, id="o")
    await gates.begun(*"abc")
    gates.fail("a")
    result = await ended(engine)
    assert (result.status, sorted(gates.cancelled)) == (ROLLED_BACK, ["b", "c"])
    assert sorted(gates.undone[:2]) == ["b unknown", "c unknown"]
    assert gates.undone[2:] == ["z completed"]
    assert str(result.error) == "RuntimeError: a declined"


async def test_g1_fail_fast_tells_a_thread(open_engine: OpenEngine) -> None:
    """A sync handler sees it, and what it returns within the grace counts."""
    engine = await open_engine(grace=5)
    gates, thread = Gates(), HeldThread(heeds=True)
    order = graph(gates, fail_fast=True, a="")
    order.step("b", thread, after=(), compensate=gates.undo)
    await engine.start(order, id="o")
    await thread.has_begun()
    await gates.begun("a")
    gates.fail("a")
    await ended(engine)
    assert (thread.told, gates.undone) == ([True], ["b completed"])


async def test_g1_fail_fast_leaves_a_deaf_thread(engine: FluxEngine) -> None:
    """One that does not look is left behind after the grace, with an unknown outcome."""
    gates, thread = Gates(), HeldThread()
    order = graph(gates, fail_fast=True, a="")
    order.step("b", thread, after=(), compensate=gates.undo)
    await engine.start(order, id="o")
    await thread.has_begun()
    await gates.begun("a")
    gates.fail("a")
    result = await ended(engine)
    thread.go_on.set()
    assert (result.status, gates.undone) == (ROLLED_BACK, ["b unknown"])


async def test_g1_fail_fast_leaves_a_heedless_handler(open_engine: OpenEngine) -> None:
    """So is an async handler that ignores its cancellation; the cause is kept."""
    engine = await open_engine(grace=0.05)
    gates, began = Gates(), asyncio.Event()

    async def ignore(ctx: WorkflowContext) -> None:
        began.set()
        await heedless(1)

    order = graph(gates, fail_fast=True, a="")
    order.step("b", ignore, after=(), compensate=gates.undo)
    await engine.start(order, id="o")
    await began.wait()
    gates.fail("a")
    result = await ended(engine)
    assert (result.status, gates.undone) == (ROLLED_BACK, ["b unknown"])
    assert str(result.error) == "RuntimeError: a declined"


async def test_g1_fail_fast_not_for_what_was_handled(engine: FluxEngine) -> None:
    """A failure that lets the others go on, or that a fallback stands in for, cancels nobody."""
    gates = Gates("f")
    order = Workflow("order", fail_fast=True).step("a", gates, after=(), on_error="continue")
    order.step("b", gates, after=(), fallback="f").step("f", gates).step("c", gates, after=())
    gates.fail("a", "b")
    await engine.start(order, id="o")
    await gates.begun("c", "f")
    await saved(engine, "f")
    gates.let("c")
    assert ((await ended(engine)).status, gates.cancelled) == (COMPLETED, [])


async def test_g1_fail_fast_when_a_wait_times_out(open_engine: OpenEngine) -> None:
    """A failure is a failure, though no handler ended by it."""
    clock = JumpingClock()
    engine = await open_engine(clock=clock, **FAR)
    gates = Gates()
    order = graph(gates, fail_fast=True, b="").wait("a", timeout=60, after=())
    async with asyncio.timeout(5):
        result = await engine.execute(order)
    assert (result.status, gates.cancelled) == (FAILED, ["b"])


async def test_g1_fail_fast_when_a_predicate_raises(engine: FluxEngine) -> None:
    """The same for a step whose predicate raised while another one ran."""
    gates = Gates()

    def refuse(ctx: WorkflowContext) -> bool:
        raise RuntimeError("nobody knows")

    order = graph(gates, fail_fast=True, a="", b="").step("c", gates, after="a", when=refuse)
    await engine.start(order, id="o")
    await gates.begun("a", "b")
    gates.let("a")
    assert ((await ended(engine)).status, gates.cancelled) == (FAILED, ["b"])


async def test_g1_fail_fast_when_data_conflict(engine: FluxEngine) -> None:
    """The same for two steps that wrote different values to one key."""
    gates = Gates()
    write = writing(a=1, b=2)
    order = graph(gates, fail_fast=True, c="").step("a", write, after=()).step("b", write, after=())
    async with asyncio.timeout(5):
        result = await engine.execute(order)
    assert result.error is not None
    assert (result.error.type, gates.cancelled) == (DataConflictError.__name__, ["c"])


async def test_g1_fail_fast_though_a_pause_is_asked_for(engine: FluxEngine) -> None:
    """A request that waits for the running steps does not keep them from being cancelled."""
    gates = Gates()
    await engine.start(graph(gates, fail_fast=True, a="", b=""), id="o")
    await gates.begun("a", "b")
    await engine.pause("o")
    gates.fail("a")
    assert ((await ended(engine)).status, gates.cancelled) == (FAILED, ["b"])


# Let the others go on


async def test_g6_continue_lets_the_others_go_on(engine: FluxEngine) -> None:
    """What comes after the failed step runs, sees no output of it, and the history says so."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        seen.append(ctx.output("a"))

    order = Workflow("order").step("a", fail, on_error="continue").step("b", look)
    result = await engine.execute(order)
    assert (result.status, seen, result.error) == (COMPLETED, [None], None)
    a = step_of(result, "a")
    assert (a.status, str(a.error), a.handled_by) == (
        "failed",
        "RuntimeError: declined",
        "flux:continue",
    )


async def test_g6_continue_takes_the_edge_to_a_join(engine: FluxEngine) -> None:
    """A join of all is met by a step that failed and lets the others go on."""
    did: list[str] = []
    order = Workflow("order").step("a", fail, after=(), on_error="continue")
    order.step("b", noting("b", did), after=())
    order.step("j", noting("j", did), after=("a", "b"), join="all")
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["b", "j"])


async def test_g6_continue_comes_after_the_retries(engine: FluxEngine) -> None:
    """A failure is handled when it is final, not before."""
    act = Flaky(None)
    order = Workflow("order").step("a", act, retries=Retry(2, initial=0), on_error="continue")
    result = await engine.execute(order)
    assert (result.status, act.attempts) == (COMPLETED, [1, 2, 3])


async def test_g6_an_unknown_one_is_still_undone(engine: FluxEngine) -> None:
    """A step that may have acted and was continued after is undone by a later rollback."""
    gates = Gates("b")
    order = Workflow("order")
    order.step("a", gates, on_error="continue", compensate=gates.undo)
    order.step("b", gates, compensate=gates.undo).step("c", fail)
    gates.fail("a", error=OutcomeUnknownError("no answer"))
    result = await engine.execute(order)
    assert (result.status, gates.undone) == (ROLLED_BACK, ["a unknown", "b completed"])


async def test_g6_a_timed_out_wait_may_continue(open_engine: OpenEngine) -> None:
    """A declared wait that fails lets the others go on, or has a fallback, as any step."""
    did: list[str] = []
    engine = await open_engine(clock=JumpingClock(), **FAR)
    order = Workflow("order").wait("a", timeout=60, on_error="continue")
    order.wait("b", timeout=60, fallback="f").step("f", noting("f", did))
    result = await engine.execute(order.step("c", noting("c", did)), id="o")
    result = await ended(engine)
    assert (result.status, did) == (COMPLETED, ["f", "c"])


# Fallbacks


async def test_g6_a_fallback_stands_in(engine: FluxEngine) -> None:
    """It knows the error; what comes after the step comes after it, and sees its output."""
    seen: list[Any] = []

    async def stand_in(ctx: WorkflowContext) -> str:
        seen.append(str(ctx.failure))
        return "by f"

    async def look(ctx: WorkflowContext) -> None:
        seen.append((ctx.output("a"), ctx.output("f")))

    order = Workflow("order").step("a", fail, fallback="f").step("f", stand_in).step("b", look)
    result = await engine.execute(order)
    assert (result.status, seen) == (COMPLETED, ["RuntimeError: declined", ("by f", "by f")])
    assert (step_of(result, "a").handled_by, names(result)) == ("f", ["a", "f", "b"])


async def test_g6_a_fallback_never_starts_by_itself(engine: FluxEngine) -> None:
    """Nor does a handler; they have no entry, and the output is the step's own."""
    did: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        did.append((ctx.output("a"), ctx.failure))

    order = Workflow("order").step("f", noting("f", did)).step("a", noting("a", did), fallback="f")
    order.on_error(noting("h", did), name="h").step("b", look)
    result = await engine.execute(order)
    assert (result.status, did, names(result)) == (COMPLETED, ["a", ("a", None)], ["a", "b"])


async def test_g6_fallbacks_cascade(engine: FluxEngine) -> None:
    """When the fallback fails as well, its own one stands in for both."""
    seen: list[Any] = []

    async def look(ctx: WorkflowContext) -> None:
        seen.append((ctx.output("a"), ctx.output("f"), str(ctx.data["why"])))

    async def last(ctx: WorkflowContext) -> str:
        ctx.data["why"] = str(ctx.failure)
        return "by g"

    async def second(ctx: WorkflowContext) -> None:
        raise ValueError("f declined")

    order = Workflow("order").step("a", fail, fallback="f").step("b", look)
    order.step("f", second, fallback="g").step("g", last)
    result = await engine.execute(order)
    assert (result.status, names(result)) == (COMPLETED, ["a", "f", "g", "b"])
    assert seen == [("by g", "by g", "ValueError: f declined")]
    assert [step_of(result, name).handled_by for name in "afg"] == ["f", "g", None]


async def test_g6_a_failed_fallback_fails_the_instance(engine: FluxEngine) -> None:
    """The error is the fallback's; what was done is undone, the step it stood in for is not."""
    gates = Gates("a")
    order = graph(gates, undo=gates.undo, a="")
    order.step("b", gates, compensate=gates.undo, fallback="f")
    order.step("f", gates, compensate=gates.undo).step("c", gates)
    gates.fail("b", "f")
    result = await engine.execute(order)
    assert (result.status, str(result.error)) == (ROLLED_BACK, "RuntimeError: f declined")
    assert gates.did == ["a", "b", "f", "undo a completed"]


async def test_g6_a_fallback_is_undone_in_its_place(engine: FluxEngine) -> None:
    """It completed after what came before it, and before what came after."""
    gates = Gates("a", "f", "c")
    order = graph(gates, undo=gates.undo, a="")
    order.step("b", gates, compensate=gates.undo, fallback="f")
    order.step("f", gates, compensate=gates.undo).step("c", gates, compensate=gates.undo)
    gates.fail("b")
    await engine.execute(order.step("d", fail))
    assert gates.undone == ["c completed", "f completed", "a completed"]


async def test_g6_one_fallback_for_two_steps(engine: FluxEngine) -> None:
    """It runs once, after both have ended, and stands in for both."""
    gates = Gates("f", "c")
    order = Workflow("order")
    for name in "ab":
        order.step(name, gates, after=(), fallback="f")
    order.step("f", gates).step("c", gates, after=("a", "b"), join="all")
    gates.fail("a")
    await engine.start(order, id="o")
    await saved(engine, "a", "failed")
    assert gates.ran == ["a", "b"]
    gates.fail("b")
    assert ((await ended(engine)).status, gates.ran[2:]) == (COMPLETED, ["f", "c"])


async def test_g6_a_fallback_with_a_predicate(engine: FluxEngine) -> None:
    """One that is skipped is past: what comes after the failed step runs."""
    did: list[str] = []
    order = Workflow("order").step("a", fail, fallback="f")
    order.step("f", noting("f", did), when=lambda ctx: False).step("b", noting("b", did))
    result = await engine.execute(order)
    assert (result.status, did, statuses(result)["f"]) == (COMPLETED, ["b"], "skipped")


# Handlers


class BusyError(Exception):
    """What some of the steps raise."""


async def busy(ctx: WorkflowContext) -> None:
    raise BusyError("try later")


async def test_g6_a_handler_diverts(engine: FluxEngine) -> None:
    """What is after the failed step does not run, what is after the handler does."""
    did: list[str] = []
    order = Workflow("order").step("a", fail).step("b", noting("b", did))
    order.on_error(noting("h", did), name="h").step("tell", noting("tell", did), after="h")
    result = await engine.execute(order)
    assert (result.status, result.error, did) == (COMPLETED, None, ["h", "tell"])
    assert (names(result), step_of(result, "a").handled_by) == (["a", "h", "tell"], "h")


@pytest.mark.parametrize(
    ("step", "expected"),
    [("a", ["for a"]), ("b", ["for busy"]), ("c", ["for the rest"])],
)
async def test_g6_handlers_are_chosen_by_step_and_error(
    engine: FluxEngine, step: str, expected: list[str]
) -> None:
    """Of those that fit, the one declared first."""
    did: list[str] = []
    order = Workflow("order")
    for name in "abc":
        failing = {"a": busy, "b": busy, "c": fail}[name]
        order.step(name, failing if name == step else noting(name, []))
    order.on_error(noting("for a", did), steps="a", name="h1")
    order.on_error(noting("for busy", did), errors=BusyError, name="h2")
    order.on_error(noting("for the rest", did), steps=["a", "b", "c"], name="h3")
    assert ((await engine.execute(order)).status, did) == (COMPLETED, expected)


async def test_g6_a_fallback_goes_before_handlers(engine: FluxEngine) -> None:
    """Handlers come to it when the fallback has failed too."""
    did: list[str] = []
    order = Workflow("order").on_error(noting("h", did), name="h", after=())
    order.step("a", fail, fallback="f").step("f", busy)
    result = await engine.execute(order)
    assert (result.status, did) == (COMPLETED, ["h"])
    assert [step_of(result, name).handled_by for name in "af"] == ["f", "h"]


async def test_g6_handlers_know_subclasses(engine: FluxEngine) -> None:
    """As `except` does."""
    did: list[str] = []

    async def refuse(ctx: WorkflowContext) -> None:
        raise ConnectionRefusedError("no")

    order = Workflow("order").step("a", refuse)
    order.on_error(noting("h", did), errors=(KeyError, OSError), name="h")
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["h"])


async def test_g6_no_handler_fits(engine: FluxEngine) -> None:
    """A failure of another type, or of another step, fails the instance."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", [])).step("b", fail)
    order.on_error(noting("h", did), errors=BusyError, name="h")
    order.on_error(noting("i", did), steps="a", name="i")
    assert ((await engine.execute(order)).status, did) == (FAILED, [])


async def test_g6_handlers_do_not_handle_themselves(engine: FluxEngine) -> None:
    """A handler for any step is not for handlers, nor for what comes after one."""
    did: list[str] = []
    for failing in ("h", "tell"):
        order = Workflow(f"order-{failing}").step("a", fail)
        for name in ("h", "tell"):
            act = fail if name == failing else noting(name, did)
            if name == "h":
                order.on_error(act, name="h")
            else:
                order.step("tell", act, after="h")
        result = await engine.execute(order)
        assert (result.status, str(result.error)) == (FAILED, "RuntimeError: declined")
    assert did == ["h"]


async def test_g6_a_declared_step_may_be_a_handler(engine: FluxEngine) -> None:
    """Named instead of given; with a decorator it is a step that can be undone."""
    did: list[str] = []
    order = Workflow("order").step("clean", noting("clean", did)).step("a", busy)
    order.on_error("clean", errors=BusyError)

    @order.on_error(steps="b")
    async def never(ctx: WorkflowContext) -> None:
        did.append("never")

    order.step("b", noting("b", did), after="a")
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["clean"])


async def test_g6_a_handler_waits_for_all_that_it_is_for(engine: FluxEngine) -> None:
    """Of two steps beside each other both fail: it runs once, and sees the last error."""
    gates, seen = Gates(), list[str]()

    async def handle(ctx: WorkflowContext) -> None:
        seen.append(str(ctx.failure))

    order = graph(gates, a="", b="").on_error(handle, name="h")
    await engine.start(order, id="o")
    await gates.begun("a", "b")
    gates.fail("a")
    await saved(engine, "a", "failed")
    gates.fail("b")
    assert ((await ended(engine)).status, seen) == (COMPLETED, ["RuntimeError: b declined"])


async def test_g6_a_join_that_is_not_met_may_be_handled(engine: FluxEngine) -> None:
    """The failures that Flux makes are failures like any other."""
    did: list[str] = []
    order = Workflow("order").step("a", fail).step("b", noting("b", did), after=())
    order.on_error(noting("h", did), steps="a", name="h")
    order.step("j", noting("j", did), after=("a", "b"), join="all", fallback="f")
    order.step("f", noting("f", did))
    result = await engine.execute(order)
    assert (result.status, sorted(did)) == (COMPLETED, ["b", "f", "h"])
    assert step_of(result, "j").error is not None
    assert str(step_of(result, "j").error).startswith(JoinNotMetError.__name__)


# Later


async def test_g6_resume_leaves_what_was_handled(engine: FluxEngine) -> None:
    """Only the failures that nobody handled are tried again."""
    gates, last = Gates("b", "f"), Flaky(1)
    order = Workflow("order").step("a", gates, fallback="f").step("f", gates)
    order.step("b", gates).step("c", gates, on_error="continue").step("d", last)
    gates.fail("a", "c")
    assert (await engine.execute(order, id="o")).status is FAILED
    result = await engine.resume("o")
    assert (result.status, gates.ran) == (COMPLETED, ["a", "f", "b", "c"])
    assert (last.attempts, step_of(result, "a").handled_by) == ([1, 2], "f")


async def test_g6_retry_step_refuses_what_was_handled(engine: FluxEngine) -> None:
    """Its fallback has run; a restart from it runs both anew."""
    order = Workflow("order").step("a", fail, on_error="continue").step("b", Flaky(1))
    await engine.execute(order, id="o")
    with pytest.raises(StepNotCompletedError, match="'a'"):
        await engine.retry_step("o", "a")
    assert (await engine.retry_step("o", "b")).status is COMPLETED


async def test_g6_restart_from_after_an_unused_fallback(engine: FluxEngine) -> None:
    """What had no reason to run does not stand in the way."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", did), fallback="f").step("f", noting("f", did))
    order.on_error(noting("h", did), name="h")
    order.step("b", noting("b", did)).step("c", noting("c", did), after=("b", "h"))
    await engine.execute(order, id="o")
    assert (await engine.restart("o", "b")).status is COMPLETED
    assert did == ["a", "b", "c", "b", "c"]


async def test_g6_restart_replaces_the_fallback(engine: FluxEngine) -> None:
    """The step succeeds this time: its fallback's commit is still owed, and undone later."""
    gates = Gates("f", "b")
    order = Workflow("order").step("a", gates, fallback="f")
    order.commit("f", gates, compensate=gates.undo).step("b", gates, compensate=gates.undo)
    order.step("c", gates)
    gates.fail("a", "c")
    assert (await engine.execute(order, id="o")).status is ROLLED_BACK
    gates.let("c")
    result = await engine.restart("o", "a")
    assert (result.status, names(result)) == (COMPLETED, ["a", "f", "b", "c"])
    gates.let("a")
    gates.fail("c")
    gates.did.clear()
    result = await engine.restart("o", "a")
    assert gates.did == ["a", "b", "c", *map("undo {} completed".format, "bbf")]
    assert names(result) == ["a", "b", "c"]


async def test_g6_resume_goes_on_with_closed_siblings(engine: FluxEngine) -> None:
    """What was closed since another failed is reopened: it waits again."""
    act = Flaky(1)
    order = Workflow("order").wait("w", "go", after=()).step("a", act, after=())
    assert (await engine.execute(order, id="o")).status is FAILED
    assert (await engine.resume("o")).status is WorkflowStatus.SUSPENDED
    assert (await signalled(engine, "go")).status is COMPLETED


async def test_g6_retry_step_of_one_of_two(engine: FluxEngine) -> None:
    """The named step runs, then the other failure counts again; with both retried it goes on."""
    gates = Gates("c")
    order = graph(gates, a="", b="", c="ab")
    gates.fail("a", "b")
    assert (await engine.execute(order, id="o")).status is FAILED
    gates.let("a", "b")
    result = await engine.retry_step("o", "a")
    assert (str(result.error), gates.ran) == ("RuntimeError: b declined", ["a", "b", "a"])
    result = await engine.retry_step("o", "b")
    assert (result.status, gates.ran) == (COMPLETED, ["a", "b", "a", "b", "c"])


async def test_g6_a_verifier_that_says_no_leads_to_the_fallback(engine: FluxEngine) -> None:
    """An at-most-once step without further attempts has failed with its own error."""
    did: list[str] = []

    async def verify(ctx: WorkflowContext) -> Any:
        did.append("verify")
        return not_done

    order = Workflow("order")
    order.step("a", busy, at_most_once=True, verify=verify, unknown_on=BusyError, fallback="f")
    result = await engine.execute(order.step("f", noting("f", did)))
    assert (result.status, did) == (COMPLETED, ["verify", "f"])
    assert str(step_of(result, "a").error) == "BusyError: try later"


async def test_g6_diamond_with_a_rescued_branch(engine: FluxEngine) -> None:
    """In a rollback over a fallback in a branch all comes in the reverse order of completion."""
    gates = Gates("a", "f")
    order = diamond(gates).step("f", gates, compensate=gates.undo)
    order.on_error("f", steps="b")
    gates.fail("b", "d")
    await engine.start(order, id="o")
    await gates.begun("f")
    await saved(engine, "f")
    gates.let("c")
    await until(lambda: "d" in gates.ran)
    assert (await ended(engine)).status is ROLLED_BACK
    assert gates.undone == ["c completed", "f completed", "a completed"]
