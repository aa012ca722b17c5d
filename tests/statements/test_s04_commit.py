"""S4: a committed step that has succeeded never runs again, unless it was undone."""

from typing import Any

import pytest

from flux import (
    CompensationContext,
    FluxEngine,
    StepCompensatedError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of
from saves import DiedError, Saves


def paid_order(ran: list[str], **options: Any) -> Workflow:
    """Pack, charge (committed), ship; `options` are those of `charge`."""
    order = Workflow("order").step("pack", noting("pack", ran))
    return order.commit("charge", noting("charge", ran), **options).step(
        "ship", noting("ship", ran)
    )


async def test_s04_a_restart_replays_a_commit(engine: FluxEngine) -> None:
    """A restart runs the plain steps anew and leaves the committed one as it is."""
    ran: list[str] = []
    await engine.execute(paid_order(ran), id="order-1")
    result = await engine.restart("order-1", "pack")
    assert result.status is WorkflowStatus.COMPLETED
    assert ran == ["pack", "charge", "ship", "pack", "ship"]


async def test_s04_a_restart_from_the_commit_replays_it(engine: FluxEngine) -> None:
    """A restart from a committed step does not run it either."""
    ran: list[str] = []
    await engine.execute(paid_order(ran), id="order-1")
    await engine.restart("order-1", "charge")
    assert ran == ["pack", "charge", "ship", "ship"]


async def test_s04_every_further_restart_replays_it(engine: FluxEngine) -> None:
    """A commit that was replayed is replayed by the next restart too."""
    ran: list[str] = []
    await engine.execute(paid_order(ran), id="order-1")
    for _ in range(3):
        await engine.restart("order-1", "pack")
    assert ran.count("charge") == 1


async def test_s04_a_resume_leaves_a_commit_alone(engine: FluxEngine) -> None:
    """`resume` and `retry_step` after a later failure do not run the committed step."""
    ran: list[str] = []
    order = Workflow("order").commit("charge", noting("charge", ran)).step("ship", Flaky(2))
    await engine.execute(order, id="order-1")
    await engine.resume("order-1")
    result = await engine.retry_step("order-1", "ship")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["charge"])


async def test_s04_a_commit_may_be_an_option(engine: FluxEngine) -> None:
    """`step(commit=True)` and the decorator `commit` declare the same."""
    ran: list[str] = []
    order = sequence("charge", ran=ran, commit=True)

    @order.commit
    async def send(ctx: WorkflowContext) -> None:
        ran.append("send")

    await engine.execute(order, id="order-1")
    await engine.restart("order-1", "charge")
    assert ran == ["charge", "send"]


async def test_s04_a_failed_commit_runs_again(engine: FluxEngine) -> None:
    """Only success commits: a commit step that failed is run by retries, resume and restart."""
    charge = Flaky(3)
    order = Workflow("order").commit("charge", charge, retries=0)
    await engine.execute(order, id="order-1")
    await engine.resume("order-1")
    await engine.restart("order-1", "charge")
    result = await engine.retry_step("order-1", "charge")
    assert (result.status, charge.attempts) == (WorkflowStatus.COMPLETED, [1, 2, 3, 4])


async def test_s04_a_crash_after_the_commit_leaves_it_alone(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A commit whose save was the last thing that a process did is not run by the next one."""
    ran: list[str] = []
    clock = JumpingClock()
    first = await open_engine(Saves(storage, die_after=3), clock=clock, **FAR)
    with pytest.raises(DiedError):
        await first.execute(paid_order(ran), id="order-1")
    clock.advance(FAR["lease"])
    second = await open_engine(workflows=[paid_order(ran)], clock=clock, **FAR)
    await second.resume("order-1")
    await second.restart("order-1", "pack")
    assert ran.count("charge") == 1


async def test_s04_a_replay_gives_output_and_data(engine: FluxEngine) -> None:
    """Steps after a replayed commit see its first output and its first data changes."""
    order, seen = Workflow("order"), []

    @order.commit
    async def charge(ctx: WorkflowContext) -> dict[str, int]:
        ctx.data["paid"] = 900
        return {"receipt": 1}

    @order.step
    async def ship(ctx: WorkflowContext) -> None:
        seen.append((ctx.data["paid"], ctx.output("charge")))

    await engine.execute(order, id="order-1")
    await engine.restart("order-1", "charge")
    assert seen == [(900, {"receipt": 1})] * 2


async def test_s04_a_replay_keeps_its_place_in_the_order(engine: FluxEngine) -> None:
    """The data changes of a commit come after those of the steps before it, run anew or not."""

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["order"] = [*ctx.data.get("order", []), ctx.step]
        ctx.data["last"] = ctx.step

    order = Workflow("order").step("first", write).commit("second", write).step("third", write)
    await engine.execute(order, id="order-1")
    result = await engine.restart("order-1", "first")
    assert result.data == {"order": ["first", "second", "third"], "last": "third"}
    assert (await engine.get("order-1")).data == result.data
    assert [entry.name for entry in result.history] == ["first", "second", "third"]


async def test_s04_a_replayed_commit_overrides_what_came_before(engine: FluxEngine) -> None:
    """A key that a plain step sets anew is set by the commit after it, as it was at first."""
    order, run = Workflow("order"), []

    @order.step
    async def quote(ctx: WorkflowContext) -> None:
        run.append(1)
        ctx.data["price"] = ctx.data["quoted"] = len(run)

    @order.commit
    async def agree(ctx: WorkflowContext) -> None:
        ctx.data["price"] = 100

    await engine.execute(order, id="order-1")
    result = await engine.restart("order-1", "quote")
    assert result.data == {"price": 100, "quoted": 2}
    assert (await engine.get("order-1")).data == result.data


async def test_s04_predicates_are_asked_anew(engine: FluxEngine) -> None:
    """From the restart point on predicates decide again, before it they do not."""
    answers: list[str] = []
    order = Workflow("order")
    for name in ("a", "b", "c"):

        def when(ctx: WorkflowContext, name: str = name) -> bool:
            answers.append(name)
            return True

        order.step(name, noting(name, []), when=when)
    await engine.execute(order, id="order-1")
    await engine.restart("order-1", "b")
    assert answers == ["a", "b", "c", "b", "c"]


async def test_s04_a_restart_rebuilds_the_data(engine: FluxEngine) -> None:
    """The step that a restart begins with sees `data` as it was before it had run."""
    order, seen = Workflow("order"), []

    def step(ctx: WorkflowContext) -> None:
        seen.append((ctx.step, sorted(ctx.data)))
        ctx.data[ctx.step] = True

    order.step("a", step).step("b", step).step("c", step)
    await engine.execute(order, id="order-1")
    await engine.restart("order-1", "b")
    assert seen[3:] == [("b", ["a"]), ("c", ["a", "b"])]


async def test_s04_a_restart_tells_replaced_entries_apart(engine: FluxEngine) -> None:
    """The history has one entry a step; what was replaced comes on request, with its run."""
    await engine.execute(sequence("a", "b"), id="order-1")
    await engine.restart("order-1", "b")
    state = await engine.get("order-1")
    whole = await engine.get("order-1", replaced=True)
    assert [(entry.name, entry.run) for entry in state.history] == [("a", 1), ("b", 2)]
    assert [(e.name, e.run) for e in whole.history if e.replaced] == [("b", 1)]


async def test_s04_a_compensated_commit_runs_anew(engine: FluxEngine) -> None:
    """A commit that was undone counts as not done: a restart runs it."""
    ran: list[str] = []
    order = Workflow("order").commit("charge", noting("charge", ran), compensate=noting("-", ran))
    order.step("ship", Flaky(1))
    first = await engine.execute(order, id="order-1")
    result = await engine.restart("order-1", "charge")
    assert (first.status, result.status) == ("rolled_back", "completed")
    assert ran == ["charge", "-", "charge"]


async def test_s04_no_restart_from_after_an_undone_step(engine: FluxEngine) -> None:
    """A restart from after a compensated step names the earliest one to start from."""
    order = sequence("pack").step("a", noting("a", []), compensate=noting("-a", []))
    order.step("b", noting("b", []), compensate=noting("-b", [])).step("ship", Flaky(1))
    before = await engine.execute(order, id="order-1")
    for step in ("b", "ship"):
        with pytest.raises(StepCompensatedError, match="restart from 'a'") as caught:
            await engine.restart("order-1", step)
        assert (caught.value.step, caught.value.earliest) == (step, "a")
    assert await engine.get("order-1") == before.state
    assert (await engine.restart("order-1", "a")).status is WorkflowStatus.COMPLETED


async def test_s04_a_replaced_completion_is_owed(engine: FluxEngine) -> None:
    """A rollback after a restart undoes both completions of a step, each by its key and output."""
    order, undone = Workflow("order"), []
    pay, ship = Flaky(0), Flaky(0)

    async def charge(ctx: WorkflowContext) -> int:
        await pay(ctx)
        return len(pay.keys)

    async def refund(ctx: CompensationContext) -> None:
        undone.append((ctx.step_key, ctx.output("charge")))

    order.step("charge", charge, compensate=refund).step("ship", ship)
    await engine.execute(order, id="order-1")
    ship.times = None
    result = await engine.restart("order-1", "charge")
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert undone == [(pay.keys[1], 2), (pay.keys[0], 1)]


async def test_s04_a_commit_off_the_new_path_is_owed(engine: FluxEngine) -> None:
    """A commit that a restart does not reach again is undone by a later rollback."""
    express, undone = [True], list[str]()
    order, ship = sequence("pack"), Flaky(0)
    order.commit(
        "express",
        noting("express", []),
        when=lambda ctx: express[0],
        compensate=noting("-", undone),
    )
    order.step("ship", ship)
    await engine.execute(order, id="order-1")
    express[0], ship.times = False, None
    result = await engine.restart("order-1", "pack")
    assert (result.status, undone) == (WorkflowStatus.ROLLED_BACK, ["-"])


async def test_s04_a_replayed_commit_is_undone_once(engine: FluxEngine) -> None:
    """A commit that a restart replayed is one completion, and is undone once."""
    undone, ship = list[str](), Flaky(0)
    order = Workflow("order").commit("charge", noting("", []), compensate=noting("-", undone))
    order.step("ship", ship)
    await engine.execute(order, id="order-1")
    ship.times = None
    result = await engine.restart("order-1", "charge")
    assert (result.status, undone) == (WorkflowStatus.ROLLED_BACK, ["-"])


async def test_s04_commit_is_no_pivot(engine: FluxEngine) -> None:
    """A commit with a compensator is undone like any step, and what came before it too."""
    undone: list[str] = []
    order = sequence("pack", compensate=noting("-pack", undone))
    order.commit("charge", noting("", []), compensate=noting("-charge", undone))
    result = await engine.execute(order.step("ship", Flaky(None)))
    assert (result.status, undone) == (WorkflowStatus.ROLLED_BACK, ["-charge", "-pack"])


async def test_s04_a_commit_without_compensator_stands(engine: FluxEngine) -> None:
    """A commit that nothing can undo stays completed in a rollback."""
    order = sequence("pack", compensate=noting("", [])).commit("charge", noting("", []))
    result = await engine.execute(order.step("ship", Flaky(None)))
    assert step_of(result, "charge").status == "completed"
    assert step_of(result, "pack").status == "compensated"
