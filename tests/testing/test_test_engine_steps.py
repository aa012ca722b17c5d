"""Going through a run step by step."""

from datetime import timedelta

import pytest

from flux import Workflow, WorkflowContext
from flux.testing import TestEngine
from shop_flow import BIG, nothing, order_of


async def test_steps_come_as_they_end() -> None:
    """Each step comes with its status and output, in order."""
    order = order_of()
    async with TestEngine(order) as t:
        steps = t.steps(order, {"sku": "A1"})
        seen = [(step.name, str(step.status), step.output) async for step in steps]
    assert seen == [
        ("reserve", "completed", {"reservation": 1}),
        ("charge", "completed", {"paid": True}),
        ("approval", "skipped", None),
        ("ship", "completed", None),
    ]
    steps.run.status("completed")


async def test_the_instance_stands_still() -> None:
    """Between two steps nothing has begun, however long the test looks, and time may pass."""
    seen: list[str] = []
    order = order_of(seen)
    ran: list[list[str]] = []
    async with TestEngine(order) as t:
        async for _ in t.steps(order):
            await t.advance(days=1)
            ran.append(list(seen))
    assert ran == [
        ["reserve"],
        ["reserve", "charge"],
        ["reserve", "charge"],
        ["reserve", "charge", "ship"],
    ]


async def test_the_rollback_comes_as_well() -> None:
    """A step that failed comes, and then each that is undone."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("charge", raises=RuntimeError("declined"))
        seen = [(step.name, str(step.status)) async for step in t.steps(order)]
    assert seen == [
        ("reserve", "completed"),
        ("charge", "failed"),
        ("reserve", "compensated"),
    ]


async def test_a_signal_is_sent_between() -> None:
    """A step that waits comes when it begins to; a signal lets the steps go on."""
    order = order_of()
    async with TestEngine(order) as t:
        steps = t.steps(order, BIG)
        seen = []
        async for step in steps:
            seen.append(f"{step.name} {step.status}")
            if step.status == "suspended":
                await steps.run.waits_for("approved").signal("approved", {"by": "kim"})
    assert seen[2:] == ["approval suspended", "approval completed", "ship completed"]
    steps.run.output("ship", {"by": "kim"})


async def test_steps_end_where_a_run_would() -> None:
    """Without the signal there is no next step; the run goes on as any other."""
    order = order_of()
    async with TestEngine(order) as t:
        steps = t.steps(order, BIG)
        names = [step.name async for step in steps]
        assert names == ["reserve", "charge", "approval"]
        await steps.run.waits_for("approved").signal("approved")
    steps.run.status("completed")


async def test_sleeps_and_retries_are_passed() -> None:
    """Time jumps between the steps as it does in a run."""
    flow = Workflow("flow").step("a", nothing, retries=2)
    flow.sleep("night", timedelta(days=1)).step("b", nothing)
    async with TestEngine(flow) as t:
        t.fail("a", ConnectionError())
        seen = [(step.name, str(step.status)) async for step in t.steps(flow)]
    assert seen == [
        ("a", "completed"),
        ("night", "suspended"),
        ("night", "completed"),
        ("b", "completed"),
    ]


async def test_steps_beside_each_other_come_one_by_one() -> None:
    """Each of them comes, and then what is after both."""

    def slow(ctx: WorkflowContext) -> str:
        return ctx.step

    flow = Workflow("flow").parallel("both", [("a", slow), ("b", nothing)]).step("c", nothing)
    async with TestEngine(flow) as t:
        seen = [step.name async for step in t.steps(flow)]
    assert sorted(seen[:2]) == ["a", "b"]
    assert seen[2:] == ["c"]


async def test_a_loop_may_be_left() -> None:
    """After a break the run stands still until it is let go."""
    order = order_of()
    async with TestEngine(order) as t:
        steps = t.steps(order)
        async for step in steps:
            if step.name == "reserve":
                break
        await t.settle()
        steps.run.did_not_run("charge")
        await steps.run.settle()
        steps.run.status("completed")


async def test_there_is_no_run_before_the_first_step() -> None:
    """The run begins when its first step is asked for."""
    async with TestEngine() as t:
        steps = t.steps(order_of())
        with pytest.raises(RuntimeError, match="first step"):
            _ = steps.run


async def test_a_refused_input_is_raised() -> None:
    """What `run` would raise comes with the first step."""
    flow = Workflow("flow", validate=lambda given: "sku" in given).step("a", nothing)
    async with TestEngine() as t:
        with pytest.raises(ValueError, match="validator"):
            await anext(t.steps(flow))


async def test_left_in_the_midst() -> None:
    """What stands still at a step when the test leaves the engine begins no other step."""
    seen: list[str] = []
    async with TestEngine() as t:
        async for _ in t.steps(order_of(seen)):
            break
    assert seen == ["reserve"]
