"""What stands in for steps and compensators, and which attempts fail."""

import math
from datetime import timedelta
from typing import Any

import pytest

from flux import (
    OutcomeUnknownError,
    Retry,
    UnknownStepError,
    Workflow,
    WorkflowContext,
    wait,
)
from flux.testing import TestEngine
from shop_flow import BIG, nothing, order_of, route_of, setup_of


async def test_a_mock_returns() -> None:
    """What the mock returns is the step's output, and the real step does not run."""
    seen: list[str] = []
    order = order_of(seen)
    async with TestEngine(order) as t:
        mock = t.mock("charge", returns={"paid": 900})
        run = await t.run(order, {"sku": "A1"})
    run.status("completed").output("charge", {"paid": 900})
    assert seen == ["reserve", "ship"]
    assert [call.idempotency_key for call in mock.calls] == [f"{run.id}:charge:1"]


async def test_a_mock_raises() -> None:
    """What the mock raises fails each attempt, under the step's own retries."""
    order = order_of()
    async with TestEngine(order) as t:
        mock = t.mock("charge", raises=ConnectionError("down"))
        run = await t.run(order)
    run.failed_with(ConnectionError, match="down").retried("charge", times=2)
    run.compensated("reserve")
    assert [call.attempt for call in mock.calls] == [1, 2, 3]


@pytest.mark.parametrize("name", ["reserve", "charge"])
async def test_a_mock_is_a_function(name: str) -> None:
    """A plain or async function stands in for a step in the loop or in a thread."""

    async def slow(ctx: WorkflowContext) -> str:
        await nothing(ctx)
        return f"slow {ctx.step}"

    def quick(ctx: WorkflowContext) -> str:
        return f"quick {ctx.step}"

    order = order_of()
    async with TestEngine(order) as t:
        t.mock(name, slow)
        (await t.run(order)).output(name, f"slow {name}")
        t.mock(name, quick)
        (await t.run(order)).output(name, f"quick {name}")


async def test_a_mock_may_wait() -> None:
    """A function that returns a wait suspends the step, as a handler would."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("charge", lambda ctx: wait("paid"))
        run = await t.run(order)
        await run.waits_for("paid").signal("paid", 900)
    run.status("completed").output("charge", 900)


async def test_a_wait_is_mocked() -> None:
    """A step that waits need not wait."""
    setup = setup_of()
    async with TestEngine(setup) as t:
        t.mock("stack.ready", returns="at once")
        (await t.run(setup)).status("completed")


async def test_a_choice_is_mocked() -> None:
    """The mock of a branch is its choice."""
    route = route_of()
    async with TestEngine(route) as t:
        t.mock("route", returns="FR")
        run = await t.run(route, {"country": "NL"})
    run.ran("vat").did_not_run("ask").output("route", "FR")


async def test_a_child_is_mocked() -> None:
    """A whole child is mocked as one step; nothing of it runs."""
    setup = setup_of()
    async with TestEngine(setup) as t:
        t.mock("provision", returns={"address": "10.0.0.1"})
        run = await t.run(setup)
        run.status("completed").output("provision", {"address": "10.0.0.1"})
        assert await t.children(run) == []


async def test_steps_of_children_are_mocked() -> None:
    """A step that only a child has is named alone, or with its workflow."""
    setup = setup_of()
    async with TestEngine(setup) as t:
        t.mock("stack.vm", raises=ValueError("no room"))
        t.mock("ready", returns=None)
        run = await t.run(setup)
        run.compensated("reserve")
        [child] = await t.children(run)
    child.failed_with(ValueError, match="no room").compensated("net")
    assert run.error is not None
    assert run.error.type == "ChildFailedError"


async def test_items_are_mocked() -> None:
    """The mock of a map runs for each item; an attempt fails for one of them, or for all."""
    flow = Workflow("flow")
    flow.map("deploy", over=lambda ctx: ["a", "b"], retries=2)(nothing)
    async with TestEngine(flow) as t:
        t.mock("deploy", lambda ctx: f"deployed {ctx.item}")
        t.fail("deploy", ConnectionError())
        t.fail("deploy[1]", ConnectionError(), attempt=2)
        run = await t.run(flow)
    assert run.step("deploy").output["results"] == ["deployed a", "deployed b"]
    run.retried("deploy[0]", times=1).retried("deploy[1]", times=2)


async def test_compensators_are_mocked() -> None:
    """What undoes a step is mocked on its own, and sees the key of the step."""
    seen: list[str] = []
    order = order_of(seen)
    async with TestEngine(order) as t:
        t.mock("ship", raises=RuntimeError("lost"))
        undo = t.mock_compensation("reserve")
        run = await t.run(order)
    run.compensated("charge", "reserve")
    assert seen == ["reserve", "charge", "refund"]
    assert [call.step_key for call in undo.calls] == [f"{run.id}:reserve:1"]  # type: ignore[attr-defined]


async def test_one_attempt_fails() -> None:
    """The attempt that is to fail does, and the next one is the real one."""
    seen: list[str] = []
    order = order_of(seen)
    async with TestEngine(order) as t:
        t.fail("charge", ConnectionError("reset"), attempt=1)
        run = await t.run(order)
    run.status("completed").retried("charge", times=1)
    assert seen == ["reserve", "charge", "ship"]
    assert [a.error.message for a in run.step("charge").attempts] == ["reset"]


async def test_one_error_may_be_raised_often() -> None:
    """The traceback of each attempt tells of that attempt alone."""
    flow = Workflow("flow").step("a", nothing, retries=4)
    async with TestEngine(flow) as t:
        t.fail("a", ConnectionError("reset"), attempt=range(1, 5))
        run = await t.run(flow)
    lengths = {len(attempt.error.traceback) for attempt in run.step("a").attempts}
    assert len(lengths) == 1


async def test_an_attempt_of_a_compensator_fails() -> None:
    """So does an attempt to undo a step."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("ship", raises=RuntimeError())
        t.fail_compensation("charge", ConnectionError(), attempt=(1, 2))
        run = await t.run(order)
    run.status("rolled_back").compensated("charge", "reserve")
    undone = run.step("charge").compensation
    assert undone is not None
    assert undone.attempts == 3


async def test_an_attempt_fails_with_its_outcome_unknown() -> None:
    """A step that may have acted is undone as well."""
    order = order_of()
    async with TestEngine(order) as t:
        t.fail("charge", OutcomeUnknownError("reset"), attempt=(1, 2, 3))
        run = await t.run(order)
    run.status("rolled_back").compensated("charge", "reserve")


async def test_a_mock_takes_time() -> None:
    """So much time of the clock passes, and no other."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("charge", returns=1, takes=timedelta(hours=3))
        begun = t.now
        run = await t.run(order)
        assert t.now - begun == timedelta(hours=3)
    assert run.step("charge").duration == 3 * 3600


async def test_a_mock_that_takes_too_long_times_out() -> None:
    """The attempt ends at the step's timeout, by the clock, and its outcome is unknown."""
    flow = Workflow("flow")
    policy = Retry(1, initial=10, jitter=False)
    flow.step("a", nothing, timeout=5, retries=policy, compensate=nothing)
    async with TestEngine(flow) as t:
        t.mock("a", takes=math.inf)
        begun = t.now
        run = await t.run(flow)
        assert (t.now - begun).total_seconds() == 5 + 10 + 5
    run.status("rolled_back").retried("a", times=1).compensated("a")
    assert [str(attempt.ended) for attempt in run.step("a").attempts] == ["timed_out"] * 2
    assert str(run.error) == "StepTimeoutError: step 'a' took longer than 5 s"


async def test_the_last_mock_counts() -> None:
    """A step may be mocked anew between two runs, and within one."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("ship", returns=1)
        run = await t.run(order, BIG)
        t.mock("ship", returns=2)
        await run.signal("approved")
    run.output("ship", 2)


async def test_the_shape_stays() -> None:
    """A run with mocks is one of the real workflow: an engine without them goes on with it."""
    from flux import FluxEngine
    from flux_storages import MemoryStorage

    storage, order = MemoryStorage(), order_of()
    await storage.init(_clock())
    async with TestEngine(order, storage=storage) as t:
        t.mock("charge", returns=1)
        run = await t.run(order, BIG)
    async with FluxEngine(storage, workflows=[order], clock=t.clock) as engine:
        result = await engine.signal(run.id, "approved", {"by": "kim"})
    assert result is not None
    assert (result.status, result.history[-1].output) == ("completed", {"by": "kim"})


def _clock() -> Any:
    from flux import SystemClock

    return SystemClock()


@pytest.mark.parametrize("name", ["chrage", "stack.chrage", "order.charge"])
async def test_an_unknown_step_is_refused(name: str) -> None:
    """A name that no workflow has is an error that names those there are."""
    t = TestEngine(setup_of())
    with pytest.raises(UnknownStepError, match="vm"):
        t.mock(name)
    with pytest.raises(UnknownStepError):
        t.fail(name, ValueError())


async def test_a_name_of_two_workflows_is_refused() -> None:
    """Where several workflows have a step, the test says which one it means."""
    one, two = Workflow("one").step("a", nothing), Workflow("two").step("a", nothing)
    async with TestEngine(one, two) as t:
        with pytest.raises(ValueError, match=r"several workflows have a step 'a'.*one\.a, two\.a"):
            t.mock("a")
        t.mock("two.a", returns=2)
        t.mock("a", returns=1, workflow="one")
        (await t.run("one")).output("a", 1)
        (await t.run("two")).output("a", 2)


def test_nothing_is_mocked_that_is_not_there() -> None:
    """A step without a compensator has none to mock; a mock is one thing."""
    t = TestEngine(order_of())
    with pytest.raises(ValueError, match="'ship' of workflow 'order' has no compensator"):
        t.mock_compensation("ship")
    with pytest.raises(ValueError, match="a mock is one of these"):
        t.mock("ship", returns=1, raises=ValueError())


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda t: t.fail("charge", "down"), TypeError, "'down' cannot be raised; give an error"),
        (lambda t: t.mock("charge", raises="down"), TypeError, "'down' cannot be raised"),
        (lambda t: t.mock("charge", raises=int), TypeError, "cannot be raised"),
        (lambda t: t.mock("charge", 3), TypeError, "3 is no function of the context"),
        (lambda t: t.mock(3), TypeError, "3 is no name of a step"),
        (lambda t: t.fail("charge", OSError, attempt=0), ValueError, "are counted from 1"),
        (lambda t: t.fail("charge", OSError, attempt=(1, 0)), ValueError, "are counted from 1"),
        (lambda t: t.fail("charge", OSError, attempt="1"), ValueError, "are counted from 1"),
        (lambda t: t.fail("charge", OSError, attempt=()), ValueError, "name one at least"),
    ],
)
def test_stand_ins_that_make_no_sense(act: Any, error: type[Exception], told: str) -> None:
    """What could only fail otherwise than the test says, or never, is refused at once."""
    with pytest.raises(error, match=told):
        act(TestEngine(order_of()))
