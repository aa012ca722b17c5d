"""Groups: steps that are bounded together, and that may fail together."""

import asyncio
from typing import Any

import pytest

from flux import DefinitionError, FluxEngine, Retry, Workflow, WorkflowContext, WorkflowStatus
from graphs import Gates, saved, signalled, statuses
from opening import OpenEngine
from sagas import Flaky, noting, step_of
from undoing import Lives, fail, rested
from waits import becomes, ended

COMPLETED, ROLLED_BACK = WorkflowStatus.COMPLETED, WorkflowStatus.ROLLED_BACK
FAILED, SUSPENDED = WorkflowStatus.FAILED, WorkflowStatus.SUSPENDED


def grouped(gates: Gates, *members: Any, **options: Any) -> Workflow:
    """A step "a", a group "g" of these members, and "z"."""
    order = Workflow("order").step("a", gates, compensate=gates.undo)
    return order.parallel("g", members, **options).step("z", gates)


def steps(gates: Gates, *names: str) -> list[Any]:
    return [(name, gates) for name in names]


async def test_g3_members_run_together(engine: FluxEngine) -> None:
    """What is declared next waits for all of them."""
    gates = Gates("a", "z")
    await engine.start(grouped(gates, *steps(gates, "b", "c", "d")), id="o")
    await gates.begun("b", "c", "d")
    gates.let("c", "b")
    await saved(engine, "b")
    assert "z" not in gates.ran
    gates.let("d")
    assert ((await ended(engine)).status, gates.ran[-1]) == (COMPLETED, "z")


async def test_g3_members_of_every_kind(engine: FluxEngine) -> None:
    """A function, a named one, a step, the name of a step, and a list of these in sequence."""
    did: list[str] = []

    async def first(ctx: WorkflowContext) -> None:
        did.append(ctx.step)

    order = Workflow("order")
    third = order.step(noted("third", did))
    order.step("fourth", first).wait("fifth", "go")
    order.parallel("g", [first, ("second", first), third, ["fourth", ("last", first)], "fifth"])
    result = await engine.execute(order.step("z", first), id="o")
    assert (result.status, sorted(did)) == (
        SUSPENDED,
        ["first", "fourth", "last", "second", "third"],
    )
    assert did.index("fourth") < did.index("last")
    assert ((await signalled(engine, "go")).status, did[-1]) == (COMPLETED, "z")


def noted(name: str, did: list[str]) -> Any:
    async def act(ctx: WorkflowContext) -> None:
        did.append(ctx.step)

    act.__name__ = name
    return act


async def test_g3_the_name_stands_for_all_ends(engine: FluxEngine) -> None:
    """`after="g"` waits for the last of each chain."""
    gates = Gates("a", "b", "y", "z")
    order = grouped(gates, [("b", gates), ("c", gates)], ("d", gates))
    order.step("y", gates, after="g")
    await engine.start(order, id="o")
    await gates.begun("c", "d")
    gates.let("d")
    await saved(engine, "d")
    assert "y" not in gates.ran
    gates.let("c")
    assert ((await ended(engine)).status, sorted(gates.ran[-2:])) == (COMPLETED, ["y", "z"])


async def test_g3_after_says_where_it_begins(engine: FluxEngine) -> None:
    """Given `after=()` its members are entries."""
    gates = Gates()
    order = grouped(gates, *steps(gates, "b", "c"), after=())
    await engine.start(order, id="o")
    await gates.begun("a", "b", "c")
    gates.let("a", "b", "c", "z")
    assert (await ended(engine)).status is COMPLETED


# Bounds


class Most:
    """Steps of which a test sees how many are under way."""

    def __init__(self) -> None:
        self.at_once = 0
        self.running = 0

    async def __call__(self, ctx: WorkflowContext) -> None:
        self.running += 1
        self.at_once = max(self.at_once, self.running)
        for _ in range(20):
            await asyncio.sleep(0)
        self.running -= 1


@pytest.mark.parametrize("concurrency", [1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"when": lambda ctx: True}])
async def test_g3_no_more_than_its_concurrency(
    engine: FluxEngine, concurrency: int, options: dict[str, Any]
) -> None:
    """However many members there are, and whatever they declare."""
    act, order = Most(), Workflow("order")
    for name in "abcdef":
        order.step(name, act, **options)
    order.parallel("g", ["a", "b", ["c", "d"], "e", "f"], concurrency=concurrency)
    assert (await engine.execute(order)).status is COMPLETED
    assert act.at_once == concurrency


async def test_g3_a_map_counts_as_a_member(engine: FluxEngine) -> None:
    """With a concurrency of one, its items do not run beside another member."""
    act = Most()
    order = Workflow("order").step("a", act).step("b", act)
    order.map("m", lambda ctx: [1, 2], act, concurrency=1)
    order.parallel("g", ["a", "m", "b"], concurrency=1)
    assert ((await engine.execute(order)).status, act.at_once) == (COMPLETED, 1)


async def test_g3_a_wait_keeps_its_place(engine: FluxEngine) -> None:
    """A member that waits is under way: with one place the next begins when it has ended."""
    gates = Gates("b", "z", "a")
    order = Workflow("order").wait("w", "go").step("b", gates)
    order.parallel("g", ["w", "b"], concurrency=1)
    assert ((await engine.execute(order, id="o")).status, gates.ran) == (SUSPENDED, [])
    assert ((await signalled(engine, "go")).status, gates.ran) == (COMPLETED, ["b"])


async def test_g3_a_back_off_keeps_its_place(engine: FluxEngine) -> None:
    """So is one between two attempts."""
    did: list[str] = []
    act = Flaky(1)
    order = Workflow("order").step("a", act, retries=Retry(1, initial=0.05, jitter=False))
    order.step("b", noting("b", did), when=lambda ctx: len(act.attempts) == 2)
    order.parallel("g", ["a", "b"], concurrency=1)
    assert ((await engine.execute(order)).status, did) == (COMPLETED, ["b"])


async def test_g3_a_place_is_kept_over_a_crash(lives: Lives) -> None:
    """What had begun goes on first; what had not does not take its place."""
    gates = Gates()
    order = Workflow("order").parallel("g", steps(gates, "b", "c", "d"), concurrency=2)
    engine = await lives.next(order)
    await engine.start("order", id="o")
    await gates.begun("b", "c")
    gates.let("b")
    await gates.begun("d")
    lives.die()
    engine = await lives.next(order)
    gates.let("c", "d")
    state = await rested(engine, "o")
    assert (state.status, sorted(gates.calls[3:])) == (
        COMPLETED,
        [("c", 2, "o:c:1"), ("d", 2, "o:d:1")],
    )


async def test_g3_a_place_is_kept_where_there_are_fewer(lives: Lives) -> None:
    """What had begun goes on, though the group may run less at once by now."""
    gates = Gates()

    def order(concurrency: int) -> Workflow:
        return Workflow("order").parallel("g", steps(gates, "b", "c"), concurrency=concurrency)

    engine = await lives.next(order(2))
    await engine.start("order", id="o")
    await gates.begun("b", "c")
    lives.die()
    engine = await lives.next(order(1))
    gates.let("b", "c")
    assert (await rested(engine, "o")).status is COMPLETED


async def test_g3_others_are_not_bound(engine: FluxEngine) -> None:
    """Steps outside of the group, and those of another one, run beside it."""
    gates = Gates()
    order = Workflow("order").parallel("g", steps(gates, "b", "c"), concurrency=1)
    order.parallel("h", steps(gates, "d", "e"), concurrency=1, after=())
    order.step("f", gates, after=())
    await engine.start(order, id="o")
    await gates.begun("b", "d", "f")
    assert len(gates.ran) == 3
    gates.let(*"bcdef")
    assert (await ended(engine)).status is COMPLETED


async def test_g3_the_engine_bounds_a_group(open_engine: OpenEngine) -> None:
    """A group without a bound has that of the instance."""
    engine, act = await open_engine(max_parallel_steps=2), Most()
    order = Workflow("order").parallel("g", [(name, act) for name in "abcde"])
    assert ((await engine.execute(order)).status, act.at_once) == (COMPLETED, 2)


# Failing


async def test_g3_fail_fast_cancels_the_group_alone(engine: FluxEngine) -> None:
    """A step outside of it finishes."""
    gates = Gates("a")
    order = Workflow("order").step("x", gates, after=(), compensate=gates.undo)
    order.parallel("g", steps(gates, "b", "c"), fail_fast=True, after=())
    await engine.start(order, id="o")
    await gates.begun("b", "c", "x")
    gates.fail("b")
    await saved(engine, "b", "failed")
    gates.let("x")
    result = await ended(engine)
    assert (result.status, gates.cancelled) == (ROLLED_BACK, ["c"])
    assert gates.undone == ["x completed"]


async def test_g3_a_failure_outside_lets_the_group_finish(engine: FluxEngine) -> None:
    """`fail_fast` is about the failures of its members."""
    gates = Gates()
    order = Workflow("order").step("x", gates, after=())
    order.parallel("g", steps(gates, "b", "c"), fail_fast=True, after=())
    await engine.start(order, id="o")
    await gates.begun("b", "c", "x")
    gates.fail("x")
    await saved(engine, "x", "failed")
    gates.let("b", "c")
    result = await ended(engine)
    assert (result.status, gates.cancelled) == (FAILED, [])
    assert statuses(result) == {"b": "completed", "c": "completed", "x": "failed"}


async def test_g3_without_fail_fast_members_finish(engine: FluxEngine) -> None:
    """Those that run; those that wait for a place never begin."""
    gates = Gates("a")
    order = grouped(gates, *steps(gates, "b", "c", "d"), concurrency=2)
    await engine.start(order, id="o")
    await gates.begun("b", "c")
    gates.fail("b")
    await saved(engine, "b", "failed")
    gates.let("c", "d")
    result = await ended(engine)
    assert (result.status, gates.ran) == (ROLLED_BACK, ["a", "b", "c"])


async def test_g3_fail_fast_ends_back_offs_and_waits(engine: FluxEngine) -> None:
    """Members that do not run at the moment go no further either."""
    gates, act = Gates(), Flaky(None)
    order = Workflow("order").wait("w", "go").step("b", gates)
    order.step("r", act, retries=Retry(5, initial=60))
    order.parallel("g", ["w", "b", "r"], fail_fast=True)
    await engine.start(order, id="o")
    await becomes(
        engine, lambda s: statuses(s) == {"w": "suspended", "r": "running", "b": "running"}
    )
    gates.fail("b")
    result = await ended(engine)
    assert (result.status, len(act.attempts)) == (FAILED, 1)
    assert statuses(result) == {"w": "failed", "r": "failed", "b": "failed"}


async def test_g3_a_group_is_undone_in_reverse(engine: FluxEngine) -> None:
    """In the reverse order of completion, not of declaration."""
    gates = Gates("a")
    order = Workflow("order")
    for name in "bcd":
        order.step(name, gates, compensate=gates.undo)
    order.parallel("g", ["b", "c", "d"]).step("z", fail)
    await engine.start(order, id="o")
    await gates.begun(*"bcd")
    for name in "cd":
        gates.let(name)
        await saved(engine, name)
    gates.let("b")
    assert (await ended(engine)).status is ROLLED_BACK
    assert gates.undone == ["b completed", "d completed", "c completed"]


async def test_g3_a_member_may_fail_and_go_on(engine: FluxEngine) -> None:
    """A group with a member that was continued after, and one that a fallback stands in for."""
    gates = Gates("d", "f", "z")
    order = Workflow("order").step("b", gates, on_error="continue")
    order.step("c", gates, fallback="f").step("f", gates)
    order.parallel("g", ["b", "c", ("d", gates)], fail_fast=True).step("z", gates, join="all")
    gates.fail("b", "c")
    result = await engine.execute(order)
    assert (result.status, gates.ran[-2:]) == (COMPLETED, ["f", "z"])
    assert [step_of(result, name).handled_by for name in "bcd"] == ["flux:continue", "f", None]


# Refused


@pytest.mark.parametrize(
    ("members", "options", "problem"),
    [
        ([], {}, "group 'g' has no steps"),
        (["nowhere"], {}, "group 'g': 'nowhere' is no step"),
        (["a", "a"], {}, "step 'a' stands at 2 places"),
        (["a"], {"concurrency": 0}, "group 'g': concurrency is a number of 1 or more, not 0"),
        (["a"], {"fail_fast": 1}, "group 'g': fail_fast is True or False, not 1"),
        (["a"], {"after": "nowhere"}, "after='nowhere' is no step"),
    ],
)
def test_g3_a_group_that_makes_no_sense(
    members: list[Any], options: dict[str, Any], problem: str
) -> None:
    """It is refused when the workflow is built, and the group is named."""
    order = Workflow("order").step("a", fail).parallel("g", members, **options)
    with pytest.raises(DefinitionError) as refused:
        order.build()
    assert problem in str(refused.value)


@pytest.mark.parametrize("member", [5, ("a", fail, fail), {"a": fail}])
def test_g3_what_is_no_member(member: Any) -> None:
    """It is refused at once."""
    with pytest.raises(TypeError, match="is no member"):
        Workflow("order").parallel("g", [member])


def test_g3_a_step_of_another_workflow() -> None:
    """It is no member either."""
    foreign = Workflow("other").step(noted("a", []))
    with pytest.raises(DefinitionError, match="is no step of it"):
        Workflow("order").parallel("g", [foreign])
