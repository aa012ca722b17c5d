"""Several steps of one instance at a time: joins, waits, back-offs, and what stops them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flux import (
    DeadlineExceededError,
    DefinitionChangedError,
    DefinitionError,
    FluxEngine,
    JoinNotMetError,
    Retry,
    StepCompensatedError,
    SystemClock,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from graphs import Gates, diamond, graph, names, saved, signalled, statuses
from opening import OpenEngine
from sagas import Flaky, noting, step_of, until
from saves import Saves
from settling import passing, watched
from undoing import Lives, fail, rested
from waits import LONG, HeldThread, Moments, backs_off, becomes, ended

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK
CANCELLED, FAILED = WorkflowStatus.CANCELLED, WorkflowStatus.FAILED
PAUSED, RUNNING = WorkflowStatus.PAUSED, WorkflowStatus.RUNNING
SUSPENDED = WorkflowStatus.SUSPENDED


# Diamonds and bounds


async def test_g1_a_diamond_runs_its_sides_together(engine: FluxEngine) -> None:
    """Both begin before either has ended; the join begins when both have, and only once."""
    gates = Gates("a")
    await engine.start(diamond(gates), id="o")
    await gates.begun("b", "c")
    gates.let("c", "d")
    await saved(engine, "c")
    assert gates.ran == ["a", "b", "c"]
    gates.let("b")
    assert ((await ended(engine)).status, gates.ran) == (COMPLETED, [*"abcd"])


async def test_g1_a_diamond_is_undone_in_reverse(engine: FluxEngine) -> None:
    """In the reverse order of completion, not of declaration."""
    gates = Gates("a")
    gates.fail("d")
    await engine.start(diamond(gates), id="o")
    await gates.begun("b", "c")
    gates.let("c")
    await saved(engine, "c")
    gates.let("b")
    assert (await ended(engine)).status is ROLLED_BACK
    assert gates.undone == ["b completed", "c completed", "a completed"]


async def test_g1_a_plain_handler_runs_beside_an_async_one(engine: FluxEngine) -> None:
    """Two threads and a coroutine, all under way at once."""
    gates, first, second = Gates(), HeldThread(), HeldThread()
    order = graph(gates, a="").step("b", first, after=()).step("c", second, after=())
    await engine.start(order, id="o")
    await gates.begun("a")
    await first.has_begun()
    await second.has_begun()
    gates.let("a")
    first.go_on.set()
    second.go_on.set()
    assert (await ended(engine)).status is COMPLETED


class Most:
    """A handler that knows how many of its calls were under way at once, at the most."""

    def __init__(self) -> None:
        self.at_once = 0
        self._running = 0

    async def __call__(self, ctx: WorkflowContext) -> None:
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        for _ in range(20):
            await asyncio.sleep(0)
        self._running -= 1


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"when": lambda ctx: True}, {"retries": 2}])
async def test_g1_no_more_than_max_parallel_steps(
    open_engine: OpenEngine, most: int, options: dict[str, Any]
) -> None:
    """Whatever the steps declare, at most so many of one instance run at once."""
    engine, act = await open_engine(max_parallel_steps=most), Most()
    order = Workflow("order")
    for name in "abcde":
        order.step(name, act, after=(), **options)
    assert ((await engine.execute(order)).status, act.at_once) == (COMPLETED, most)


async def test_g1_reopened_steps_keep_the_bound(open_engine: OpenEngine) -> None:
    """Unfinished steps that a restart takes up again count as all others do."""
    act = Most()

    async def doubt(ctx: WorkflowContext) -> None:
        await act(ctx)
        if ctx.attempt == 1:
            raise TimeoutError

    order = Workflow("order").step("a", noting("a", []))
    for name in "bcd":
        order.step(name, doubt, after="a", unknown_on=TimeoutError)
    failed = await (await open_engine(max_parallel_steps=3)).execute(order, id="o")
    assert (failed.status, act.at_once) == (FAILED, 3)
    act.at_once = 0
    engine = await open_engine(workflows=[order], max_parallel_steps=1)
    assert ((await engine.restart("o", "a")).status, act.at_once) == (COMPLETED, 1)


# Joins


async def test_g1_join_any_begins_with_the_first(engine: FluxEngine) -> None:
    """It runs once, while the other still runs; the instance waits for that one too."""
    gates = Gates("a", "j")
    order = graph(gates, a="", b="").step("j", gates, after=("a", "b"), join="any")
    await engine.start(order, id="o")
    await gates.begun("j", "b")
    state = await saved(engine, "j")
    assert state.status is RUNNING
    gates.let("b")
    assert ((await ended(engine)).status, sorted(gates.ran)) == (COMPLETED, ["a", "b", "j"])


async def test_g1_join_n_begins_with_the_nth(engine: FluxEngine) -> None:
    """Two of three."""
    gates = Gates("j")
    order = graph(gates, a="", b="", c="").step("j", gates, after=("a", "b", "c"), join=2)
    await engine.start(order, id="o")
    await gates.begun(*"abc")
    gates.let("c")
    await saved(engine, "c")
    assert "j" not in gates.ran
    gates.let("b")
    await gates.begun("j")
    gates.let("a")
    assert ((await ended(engine)).status, gates.ran.count("j")) == (COMPLETED, 1)


@pytest.mark.parametrize("join", ["all", 2])
async def test_g1_a_join_not_met_fails_the_instance(engine: FluxEngine, join: Any) -> None:
    """The error names the steps that are missing; what was done is undone."""
    did: list[str] = []
    order = Workflow("order").step("z", noting("z", did), compensate=noting("undo z", did))
    order.step("a", fail, after="z").step("b", fail, after="z")
    order.step("c", noting("c", did), after="z")
    order.on_error(noting("h", []), steps=["a", "b"], name="h")
    order.step("j", noting("j", did), after=("a", "b", "c"), join=join)
    result = await engine.execute(order)
    assert (result.status, did) == (ROLLED_BACK, ["z", "c", "undo z"])
    assert result.error is not None
    assert result.error.type == JoinNotMetError.__name__
    assert "step 'j'" in result.error.message
    assert "no way leads on from 'a', 'b'" in result.error.message


@pytest.mark.parametrize("join", [None, "any", 1])
async def test_g1_a_join_is_met_by_those_that_ran(engine: FluxEngine, join: Any) -> None:
    """By default one taken edge is enough, once all are settled."""
    did: list[str] = []
    order = Workflow("order").step("a", fail, after=()).step("c", noting("c", did), after=())
    order.on_error(noting("h", []), steps="a", name="h")
    order.step("j", noting("j", did), after=("a", "c"), join=join)
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["c", "j"])


async def test_g1_a_join_of_nothing_never_runs(engine: FluxEngine) -> None:
    """If none of its edges was taken a step has not failed, whatever its join."""
    did: list[str] = []
    order = Workflow("order").step("a", fail).on_error(noting("h", did), name="h")
    order.step("j", noting("j", did), after="a", join="all").step("k", noting("k", did))
    result = await engine.execute(order)
    assert (result.status, did, names(result)) == (COMPLETED, ["h"], ["a", "h"])


async def test_g1_a_skipped_source_meets_a_join(engine: FluxEngine) -> None:
    """A predicate that said no has settled its step, as in a sequence."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", did), when=lambda ctx: False)
    order.step("b", noting("b", did), after=())
    order.step("j", noting("j", did), after=("a", "b"), join="all")
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["b", "j"])


@pytest.mark.parametrize(
    ("join", "told"),
    [
        ("all", "branch 'r' chooses one case, and leaves out"),
        (2, "branch 'r' chooses one case, and leaves out"),
        (3, "it comes after 2 steps: x, y"),
    ],
)
def test_g1_a_join_that_can_never_be_met_is_not_built(join: Any, told: str) -> None:
    """Where it can be seen: exclusive cases, or more edges than there are."""
    order = Workflow("order").branch("r", on=fail, cases={1: ("x", fail), 2: ("y", fail)})
    order.step("j", fail, after=("x", "y"), join=join)
    with pytest.raises(DefinitionError, match="'j': join=") as refused:
        order.build()
    assert told in str(refused.value)


def test_g1_a_join_of_a_case_and_its_branch_is_not_built() -> None:
    """What comes after a branch with one case comes after the case, or after none."""
    order = Workflow("order").branch("r", on=fail, cases={1: ("x", fail)}, default=None)
    with pytest.raises(DefinitionError, match="can never be met"):
        order.step("j", fail, join="all").build()


# Saves


@pytest.mark.parametrize("sides", [2, 5])
async def test_s02_a_parallel_step_costs_one_save(
    storage: WorkflowStorage, open_engine: OpenEngine, sides: int
) -> None:
    """Steps beside each other that end one by one are saved as in a sequence: N + 1."""
    saves, gates = Saves(storage), Gates("a", "j")
    between = [f"s{number}" for number in range(sides)]
    order = graph(gates, a="")
    for name in between:
        order.step(name, gates, after="a")
    engine = await open_engine(saves)
    await engine.start(order.step("j", gates, after=between), id="o")
    for name in between:
        await gates.begun(name)
        gates.let(name)
        await saved(engine, name)
        await saved(engine, name)
    await ended(engine)
    assert len(saves.made) == sides + 2 + 1


async def test_s02_what_ends_together_is_saved_together(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Two handlers that end while a save is made need one save, and no more."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.execute(graph(noting("", []), a="", b="", c="", j="abc"))
    assert len(saves.made) <= 1 + 3 + 1


async def test_s02_the_intent_names_all_in_order(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """All that is about to run, in the order of the graph; the first one is `current_step`."""
    saves, gates = Saves(storage), Gates()
    engine = await open_engine(saves)
    order = graph(gates, one="", two="", six="", ten="", last="")
    state = await engine.start(order, id="o")
    assert saves.made[0].intent == ("one", "two", "six", "ten", "last")
    assert state.current_step == "one"
    gates.let("two")
    await until(lambda: len(saves.made) > 1)
    assert saves.made[1].intent == ("one", "six", "ten", "last")


async def test_s02_a_skipped_sibling_costs_nothing(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Nor does a branch, or what it leaves out."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    order = Workflow("order").step("a", noting("a", []))
    order.branch("r", on=lambda ctx: 1, cases={1: ("x", noting("", [])), 2: ("y", fail)})
    order.step("s", fail, after="a", when=lambda ctx: False)
    await engine.execute(order.step("j", noting("j", []), after=("r", "x", "y", "s")))
    assert len(saves.made) == 3 + 1


# A wait in one branch


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def waiting(gates: Gates, **options: Any) -> Workflow:
    """A step "a" beside a wait for "go", after which "x" runs."""
    order = graph(gates, undo=gates.undo, a="").wait("w", "go", after=(), **options)
    return order.step("x", gates, after="w", compensate=gates.undo)


async def test_g1_a_signal_is_taken_while_another_runs(engine: FluxEngine) -> None:
    """What comes after the wait runs at once, beside the step that still does."""
    gates = Gates("x")
    await engine.start(waiting(gates), id="o")
    await gates.begun("a")
    await saved(engine, "w", "suspended")
    await engine.signal("o", "go", {"by": "kim"}, wait=False)
    state = await saved(engine, "x")
    assert (state.status, step_of(state, "w").output) == (RUNNING, {"by": "kim"})
    gates.let("a")
    assert ((await ended(engine)).status, gates.ran) == (COMPLETED, ["a", "x"])


async def test_g1_a_signal_from_another_process_is_taken(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The driver sees it when it renews its lease at the latest."""
    gates = Gates("x")
    engine = await open_engine(lease=0.15)
    await engine.start(waiting(gates), id="o")
    await saved(engine, "w", "suspended")
    other = await open_engine(poll=60)
    await other.signal("o", "go", wait=False)
    await gates.begun("x")
    gates.let("a")
    assert (await ended(engine)).status is COMPLETED


async def test_g1_it_rests_when_the_others_have_ended(engine: FluxEngine) -> None:
    """While one runs it is no rest; then the instance is suspended."""
    gates = Gates("x")
    running = asyncio.create_task(engine.execute(waiting(gates), id="o"))
    await gates.begun("a")
    state = await saved(engine, "w", "suspended")
    assert state.status is RUNNING
    gates.let("a")
    assert (await running).status is SUSPENDED
    assert (await signalled(engine, "go")).status is COMPLETED


async def test_g1_a_timeout_beside_a_running_step(
    open_engine: OpenEngine, clock: ManualClock
) -> None:
    """The wait ends in time, though the other step goes on."""
    engine, gates = await open_engine(clock=clock, **LONG), Gates("x")
    order = waiting(gates, timeout=60, on_timeout="continue", default="nobody")
    await engine.start(order, id="o")
    await saved(engine, "w", "suspended")
    clock.advance(59)
    assert statuses(await engine.get("o"))["w"] == "suspended"
    clock.advance(1)
    # The wait may have begun to be slept out only after the time had been set.
    state = await becomes(
        engine, lambda state: statuses(state).get("x") == "completed", clock=clock
    )
    assert (step_of(state, "w").output, state.status) == ("nobody", RUNNING)
    gates.let("a")
    assert (await ended(engine)).status is COMPLETED


async def test_g1_a_timeout_that_fails_lets_the_others_finish(
    open_engine: OpenEngine, clock: ManualClock
) -> None:
    """A wait that fails is a failure as any other: the sibling ends, and is undone."""
    engine, gates = await open_engine(clock=clock, **LONG), Gates()
    await engine.start(waiting(gates, timeout=60), id="o")
    await saved(engine, "w", "suspended")
    clock.advance(60)
    # As above.
    await becomes(engine, lambda state: statuses(state).get("w") == "failed", clock=clock)
    gates.let("a")
    result = await ended(engine)
    assert (result.status, gates.did) == (ROLLED_BACK, ["a", "undo a completed"])


async def test_g1_two_waits_in_two_branches(engine: FluxEngine) -> None:
    """Each takes its own signal, in whichever order they come."""
    gates = Gates("x", "y")
    order = Workflow("order").wait("v", after=()).wait("w", after=())
    order.step("x", gates, after="v").step("y", gates, after="w")
    assert (await engine.execute(order, id="o")).status is SUSPENDED
    assert ((await signalled(engine, "w", 2)).status, gates.ran) == (SUSPENDED, ["y"])
    result = await signalled(engine, "v", 1)
    assert (result.status, gates.ran) == (COMPLETED, ["y", "x"])
    assert [step_of(result, name).output for name in "vw"] == [1, 2]


async def test_g1_one_signal_goes_to_one_of_two(engine: FluxEngine) -> None:
    """Two handlers that wait for one name: the first in the graph takes the first signal."""

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go")

    order = graph(ask, a="", b="")
    await engine.execute(order, id="o")
    result = await signalled(engine, "go", 1)
    assert (result.status, statuses(result)) == (SUSPENDED, {"a": "completed", "b": "suspended"})
    result = await signalled(engine, "go", 2)
    assert [step_of(result, name).output for name in "ab"] == [1, 2]


async def test_g1_two_sleeps_wake_one_by_one(open_engine: OpenEngine, clock: ManualClock) -> None:
    """The instance is due at the earliest of what its branches wait for."""
    engine, gates = await open_engine(clock=clock, **LONG), Gates("x", "y")
    order = Workflow("order").sleep("v", 60, after=()).sleep("w", timedelta(days=1), after=())
    order.step("x", gates, after="v").step("y", gates, after="w")
    await engine.execute(order, id="o")
    clock.advance(60)
    await gates.begun("x")
    await becomes(engine, lambda state: state.status is SUSPENDED and "x" in statuses(state))
    clock.advance(86_400)
    assert ((await ended(engine, clock=clock)).status, gates.ran) == (COMPLETED, ["x", "y"])


# Back-offs


def later(seconds: float) -> Retry:
    return Retry(1, delay=lambda error, failed: seconds)


@pytest.mark.parametrize("pause", [10, 1000])
async def test_g1_a_back_off_beside_a_running_step(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock, pause: float
) -> None:
    """Shorter or longer than the lease: the next attempt comes in time, the other runs on."""
    engine = await open_engine(watched(storage), clock=clock, lease=100, poll=10_000)
    gates, act = Gates(), Flaky(1)
    await engine.start(graph(gates, a="").step("b", act, after=(), retries=later(pause)), id="o")
    await becomes(engine, backs_off("b"))
    await passing(clock, 0)
    for _ in range(10):
        await passing(clock, pause / 10)
    await until(lambda: len(act.attempts) == 2)
    assert act.pauses == [pause]
    gates.let("a")
    assert (await ended(engine)).status is COMPLETED


@pytest.mark.parametrize(
    ("options", "pause", "timeout"),
    [
        ({"at_most_once": True}, 10, None),
        ({"at_most_once": True}, 1000, None),
        ({}, 10, None),
        ({}, 1000, None),
        ({}, 1000, 50),
    ],
)
async def test_g1_a_signal_in_a_back_off_is_taken_at_once(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    clock: ManualClock,
    options: dict[str, Any],
    pause: float,
    timeout: float | None,
) -> None:
    """One branch waits, the other is between two attempts: the signal does not wait for those."""
    gates = Gates("x")
    engine = await open_engine(watched(storage), clock=clock, lease=100, poll=10_000)
    order = Workflow("order").step("b", Flaky(1), after=(), retries=later(pause), **options)
    order.wait("w", "go", timeout, after=()).step("x", gates, after="w")
    await engine.start(order, id="o")
    await becomes(engine, lambda state: statuses(state) == {"b": "running", "w": "suspended"})
    await passing(clock, 1)
    await engine.signal("o", "go", wait=False)
    await saved(engine, "x")
    await passing(clock, 0)
    await passing(clock, pause)
    assert (await ended(engine)).status is COMPLETED


async def test_g1_an_attempt_beside_another_is_one_save(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A failed attempt costs one more save, as in a sequence."""
    saves, gates, act = Saves(storage), Gates(), Flaky(2)
    engine = await open_engine(saves)
    order = graph(gates, a="").step("b", act, after=(), retries=Retry(2, initial=0))
    await engine.start(order, id="o")
    await saved(engine, "b")
    gates.let("a")
    await ended(engine)
    assert len(saves.made) == 1 + 2 + 2


# Pause, cancel, deadline, stop


async def test_s26_a_pause_waits_for_all_that_run(engine: FluxEngine) -> None:
    """They end and are saved, nothing new begins; a resume goes on with what comes after."""
    gates = Gates("x", "y", "j")
    await engine.start(graph(gates, a="", b="", x="a", y="b", j="xy"), id="o")
    await gates.begun("a", "b")
    await engine.pause("o")
    gates.let("a")
    state = await saved(engine, "a")
    assert state.status is RUNNING
    gates.let("b")
    state = await becomes(engine, lambda state: state.status is PAUSED)
    assert sorted(gates.ran) == ["a", "b"]
    result = await engine.resume("o")
    assert (result.status, sorted(gates.ran[2:])) == (COMPLETED, ["j", "x", "y"])


async def test_s26_a_paused_wait_takes_its_signal_later(engine: FluxEngine) -> None:
    """A signal that comes while the others end, or in the pause, is there at the resume."""
    gates = Gates("x")
    await engine.start(waiting(gates), id="o")
    await saved(engine, "w", "suspended")
    await engine.pause("o")
    await engine.signal("o", "go", wait=False)
    gates.let("a")
    await becomes(engine, lambda state: state.status is PAUSED)
    assert gates.ran == ["a"]
    assert ((await engine.resume("o")).status, gates.ran) == (COMPLETED, ["a", "x"])


@pytest.mark.parametrize("rollback", [True, False])
async def test_s26_a_cancel_stops_all_that_run(engine: FluxEngine, rollback: bool) -> None:
    """Handlers, waits and back-offs alike; with a rollback the unknown are undone first."""
    gates = Gates("z")
    order = graph(gates, undo=gates.undo, z="", a="z", b="z")
    order.wait("w", "go", after="z")
    order.step("r", Flaky(None), after="z", retries=later(60), compensate=gates.undo)
    await engine.start(order, id="o")
    await gates.begun("a", "b")
    await becomes(engine, lambda state: {"r", "w"} <= {*names(state)})
    await engine.cancel("o", rollback=rollback)
    result = await ended(engine)
    assert (result.status, sorted(gates.cancelled)) == (CANCELLED, ["a", "b"])
    undone = ["a unknown", "b unknown", "z completed"] if rollback else []
    assert sorted(gates.undone) == undone
    assert gates.undone[-1:] == undone[-1:]
    assert {step_of(result, name).status for name in "rw"} == {"failed"}


async def test_s26_what_ends_in_the_grace_counts(open_engine: OpenEngine) -> None:
    """Of two cancelled handlers one returns, and is undone as completed, after the other."""
    engine, gates, thread = await open_engine(grace=5), Gates(), HeldThread(heeds=True)
    order = graph(gates, undo=gates.undo, a="")
    await engine.start(order.step("b", thread, after=(), compensate=gates.undo), id="o")
    await gates.begun("a")
    await thread.has_begun()
    await engine.cancel("o")
    result = await ended(engine)
    assert (result.status, gates.undone) == (CANCELLED, ["a unknown", "b completed"])


@pytest.mark.parametrize("turns", range(6))
async def test_s26_a_cancel_is_heard_however_it_comes(
    storage: WorkflowStorage, open_engine: OpenEngine, turns: int
) -> None:
    """Right before, between or after the calls of two handlers: they do not run on for ever."""
    gates, moments, tasks = Gates("z"), Moments(storage), list[asyncio.Task[Any]]()
    engine = await open_engine(moments)

    async def cancel() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.cancel("o")

    async def soon() -> None:
        tasks.append(asyncio.create_task(cancel()))

    moments.after(lambda save: {*save.intent} == {"a", "b"}, soon)
    await engine.start(graph(gates, z="", a="z", b="z"), id="o")
    assert (await ended(engine)).status is CANCELLED
    await asyncio.gather(*tasks)


async def test_s26_a_cancel_while_the_lease_is_asked_for(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """A driver that is not sure of its lease asks, and looks into the inbox once more."""
    gates, moments = Gates("z"), Moments(storage)
    engine = await open_engine(moments, clock=clock, lease=100, poll=10_000)

    async def late() -> None:
        moments.at_renewal = lambda: engine.cancel("o")
        clock.advance(99.9)

    moments.after(lambda save: {*save.intent} == {"a", "b"}, late)
    await engine.start(graph(gates, z="", a="z", b="z"), id="o")
    assert (await ended(engine)).status is CANCELLED


async def test_s26_a_cancel_before_the_calls_calls_nothing(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """One that was saved before the intent was acted upon lets none of them begin."""
    gates, moments = Gates("z"), Moments(storage)
    engine = await open_engine(moments)
    moments.after(lambda save: {*save.intent} == {"a", "b"}, lambda: engine.cancel("o"))
    await engine.start(graph(gates, undo=gates.undo, z="", a="z", b="z"), id="o")
    assert ((await ended(engine)).status, gates.did) == (CANCELLED, ["z", "undo z completed"])


async def test_s26_a_cancel_after_a_failure(engine: FluxEngine) -> None:
    """Siblings that still run are told to end; the instance ends as cancelled, undone."""
    gates = Gates("z")
    await engine.start(graph(gates, undo=gates.undo, z="", a="z", b="z"), id="o")
    await gates.begun("a", "b")
    gates.fail("a")
    await saved(engine, "a", "failed")
    await engine.cancel("o")
    result = await ended(engine)
    assert (result.status, gates.undone) == (CANCELLED, ["b unknown", "z completed"])


async def test_s16_the_deadline_stops_all_that_run(
    open_engine: OpenEngine, clock: ManualClock
) -> None:
    """As a cancel does; the instance has failed then."""
    engine, gates = await open_engine(clock=clock, **LONG), Gates("z")
    order = graph(gates, undo=gates.undo, z="", a="z", b="z").wait("w", "go", after="z")
    await engine.start(order.deadline(60), id="o")
    await gates.begun("a", "b")
    await saved(engine, "w", "suspended")
    clock.advance(60)
    result = await ended(engine)
    assert result.error is not None
    assert (result.status, result.error.type) == (ROLLED_BACK, DeadlineExceededError.__name__)
    assert sorted(gates.undone[:2]) == ["a unknown", "b unknown"]
    assert gates.undone[2:] == ["z completed"]


async def test_s27_a_stop_saves_what_ends_in_the_grace(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Of two one ends in time and is not run again; nothing new begins."""
    gates = Gates("d")
    first = await open_engine(grace=0.5)
    await first.start(graph(gates, a="", b="", c="a", d="bc"), id="o")
    await gates.begun("a", "b")
    closing = asyncio.create_task(first.close())
    await asyncio.sleep(0)
    gates.let("a")
    await closing
    assert gates.ran == ["a", "b"]
    gates.let("b", "c")
    second = await open_engine(workflows=[graph(gates, a="", b="", c="a", d="bc")])
    assert (await rested(second, "o")).status is COMPLETED
    assert sorted(gates.ran[2:]) == ["b", "c", "d"]


class Counting(SystemClock):
    """A clock that knows how often somebody began to sleep by it."""

    def __init__(self) -> None:
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


async def test_s27_a_stop_beside_a_timer_does_not_spin(open_engine: OpenEngine) -> None:
    """While a handler uses its grace, and another branch waits until some time, nothing turns."""
    clock, gates = Counting(), Gates()
    engine = await open_engine(clock=clock, grace=0.3)
    await engine.start(waiting(gates, timeout=3600), id="o")
    await saved(engine, "w", "suspended")
    before = clock.sleeps
    await engine.close()
    assert clock.sleeps - before < 50


# Restart, changed code


async def test_s04_a_commit_in_a_branch_is_replayed(engine: FluxEngine) -> None:
    """A restart runs the plain steps of both sides anew, and lets the commit stand."""
    gates = Gates(*"abcd")
    order = (
        graph(gates, a="", b="a").commit("c", gates, after="a").step("d", gates, after=("b", "c"))
    )
    await engine.execute(order, id="o")
    gates.did.clear()
    result = await engine.restart("o", "a")
    assert (result.status, sorted(gates.ran)) == (COMPLETED, ["a", "b", "d"])
    assert step_of(result, "c").output == "c"


async def test_s04_a_restart_from_one_side(engine: FluxEngine) -> None:
    """The other side keeps its results; the join runs anew."""
    gates = Gates(*"abcd")
    await engine.execute(diamond(gates), id="o")
    gates.did.clear()
    result = await engine.restart("o", "c")
    assert (result.status, gates.ran) == (COMPLETED, ["c", "d"])
    assert [step_of(result, name).run for name in "abcd"] == [1, 1, 2, 2]


async def test_s04_no_restart_from_a_join_that_was_undone(engine: FluxEngine) -> None:
    """The error names what was undone before it."""
    gates = Gates(*"abc")
    gates.fail("d")
    assert (await engine.execute(diamond(gates), id="o")).status is ROLLED_BACK
    with pytest.raises(StepCompensatedError, match="'a'"):
        await engine.restart("o", "d")
    gates.let("d")
    assert (await engine.restart("o", "a")).status is COMPLETED


async def test_s04_a_restart_of_a_suspended_graph(engine: FluxEngine) -> None:
    """The wait beside is none of the restart's business, but not settled: it waits anew."""
    gates = Gates("a", "x")
    await engine.execute(waiting(gates), id="o")
    result = await engine.restart("o", "a")
    assert (result.status, gates.ran) == (SUSPENDED, ["a", "a"])
    assert ((await signalled(engine, "go")).status, gates.ran) == (COMPLETED, ["a", "a", "x"])


async def test_s28_a_new_branch_beside_is_fine(lives: Lives) -> None:
    """Code that has a step more, before none that was begun, goes on, and runs it."""
    did: list[str] = []
    old = Workflow("order").step("a", lives.dying(1, noting("a", did)))
    await lives.start(old, id="o")
    new = Workflow("order").step("a", noting("a", did)).step("b", noting("b", did), after=())
    new.step("j", noting("j", did), after=("a", "b"))
    state = await rested(await lives.next(new), "o")
    assert (state.status, sorted(did)) == (COMPLETED, ["a", "a", "b", "j"])


async def test_s28_a_new_step_before_one_side_is_refused(lives: Lives) -> None:
    """The refusal names the step that is new and the one that was begun."""
    gates = Gates("a")
    engine = await lives.next(diamond(gates))
    await engine.start("graph", id="o")
    await gates.begun("b", "c")
    lives.die()
    new = graph(gates, a="", n="a", b="a", c="an", d="bc")
    engine = await lives.next(new)
    with pytest.raises(DefinitionChangedError, match="'n' is new before step 'c'"):
        await engine.resume("o")


async def test_s28_a_join_may_get_another_source(lives: Lives) -> None:
    """As long as it was not begun."""
    gates = Gates("a")
    engine = await lives.next(diamond(gates))
    await engine.start("graph", id="o")
    await gates.begun("b", "c")
    lives.die()
    gates.let(*"bcdn")
    state = await rested(await lives.next(graph(gates, a="", b="a", c="a", n="", d="bcn")), "o")
    assert (state.status, gates.ran[-1], sorted(gates.ran[3:])) == (COMPLETED, "d", [*"bcdn"])
