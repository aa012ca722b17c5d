"""What a test says of a run, and what it reads when that is wrong."""

from collections.abc import AsyncIterator, Callable

import pytest

from flux import UnknownStepError, Workflow, WorkflowContext
from flux.testing import Run, TestEngine
from flux_storages import MemoryStorage
from shop_flow import BIG, nothing, order_of

Check = Callable[[Run], object]


@pytest.fixture
async def failed() -> AsyncIterator[Run]:
    """A run whose second attempt of "charge" worked, and whose "ship" has failed."""
    order = order_of()
    async with TestEngine(order) as t:
        t.fail("charge", ConnectionError("reset"))
        t.mock("ship", raises=RuntimeError("lost"))
        yield await t.run(order, {"sku": "A1"}, id="order-1")


@pytest.fixture
async def waiting() -> AsyncIterator[Run]:
    """A run that waits for its approval."""
    async with TestEngine() as t:
        yield await t.run(order_of(), BIG, id="order-2")


async def test_checks_hold(failed: Run, waiting: Run) -> None:
    """What is right is no error, and checks are chained."""
    failed.ran("reserve", "ship").did_not_run("approval").order("reserve", "charge", "ship")
    failed.output("charge", {"paid": True}).retried("charge").retried("reserve", times=0)
    failed.compensated("charge", "reserve").status("rolled_back")
    failed.failed_with(RuntimeError, match="los.")
    waiting.waits_for("approved").compensated().status("suspended").did_not_run("ship")


@pytest.mark.parametrize(
    ("check", "expected", "found"),
    [
        (
            lambda run: run.ran("reserve", "approval"),
            "'reserve', 'approval' ran",
            "'approval' did not run; what ran: 'reserve', 'charge', 'ship'",
        ),
        (
            lambda run: run.did_not_run("reserve", "approval"),
            "'reserve', 'approval' did not run",
            "'reserve' ran",
        ),
        (
            lambda run: run.order("ship", "reserve"),
            "'ship' → 'reserve', in this order",
            "'reserve' → 'ship'",
        ),
        (
            lambda run: run.order("reserve", "approval"),
            "'reserve', 'approval' ran",
            "'approval' did not run; what ran: 'reserve', 'charge', 'ship'",
        ),
        (
            lambda run: run.output("charge", {"paid": False}),
            "the output of 'charge' is {'paid': False}",
            "it is {'paid': True}",
        ),
        (
            lambda run: run.output("ship", None),
            "the output of 'ship' is None",
            "it has none: it is failed",
        ),
        (
            lambda run: run.retried("charge", times=2),
            "'charge' was retried 2 times",
            "it was retried once",
        ),
        (lambda run: run.retried("ship"), "'ship' was retried", "it was retried 0 times"),
        (
            lambda run: run.compensated("reserve", "charge"),
            "'reserve' → 'charge' undone, in this order, and nothing else",
            "'charge' → 'reserve' undone",
        ),
        (
            lambda run: run.compensated("charge"),
            "'charge' undone, in this order, and nothing else",
            "'charge' → 'reserve' undone",
        ),
        (lambda run: run.status("failed"), "the status is 'failed'", "'rolled_back'"),
        (
            lambda run: run.waits_for("approved"),
            "it waits for 'approved'",
            "it waits for nothing; it is rolled_back",
        ),
        (
            lambda run: run.failed_with(RuntimeError, match="found"),
            "it failed with RuntimeError whose message matches 'found'",
            "it has RuntimeError: lost",
        ),
        (
            lambda run: run.failed_with(ConnectionError),
            "it failed with ConnectionError",
            "it has RuntimeError: lost",
        ),
    ],
)
async def test_checks_fail_with_the_history(
    failed: Run, check: Check, expected: str, found: str
) -> None:
    """What is wrong is told with what was expected, what was found, and what happened."""
    with pytest.raises(AssertionError) as raised:
        check(failed)
    assert str(raised.value) == f"expected: {expected}\n   found: {found}\n\n{failed}"


async def test_history_is_a_table(failed: Run) -> None:
    """A run prints as a line for itself and one for each step."""
    assert str(failed).splitlines() == [
        "order order-1 is rolled_back: RuntimeError: lost",
        "  step      status       attempts  what came of it",
        '  reserve   compensated  1         {"reservation":1}',
        '  charge    compensated  2         {"paid":true}',
        "  approval  skipped",
        "  ship      failed       1         RuntimeError: lost",
    ]


async def test_history_tells_of_waits(waiting: Run) -> None:
    """A step that waits says what for, and until when."""
    last = str(waiting).splitlines()[-1]
    assert last == (
        "  approval  suspended  1         waits for 'approved' until 2026-01-03 00:00:00"
    )


@pytest.mark.parametrize(
    "check",
    [
        lambda run: run.ran("chrage"),
        lambda run: run.did_not_run("chrage"),
        lambda run: run.order("reserve", "chrage"),
        lambda run: run.output("chrage", None),
        lambda run: run.retried("chrage", times=0),
        lambda run: run.compensated("chrage"),
        lambda run: run.step("chrage"),
    ],
)
async def test_a_misspelt_step_is_refused(failed: Run, check: Check) -> None:
    """A name that the workflow does not have is no step that did not run."""
    with pytest.raises(UnknownStepError, match="chrage"):
        check(failed)


async def test_status_is_text_and_check(failed: Run) -> None:
    """The status is compared, or checked; one that there is not is refused."""
    assert failed.status == "rolled_back"
    assert failed.status != "failed"
    with pytest.raises(ValueError, match="finished"):
        failed.status("finished")


async def test_a_step_that_was_not_reached_has_no_entry(waiting: Run) -> None:
    """The entry of a step is there once it was reached."""
    assert waiting.step("charge").output == {"paid": True}
    with pytest.raises(AssertionError, match=r"(?s)'ship' was reached.*it was not.*approval"):
        waiting.step("ship")


def deploy_of(regions: int = 3) -> Workflow:
    """A map "deploy" over regions, each undone, and "announce", which fails."""
    flow = Workflow("rollout")
    flow.map("deploy", lambda ctx: list(range(regions)), nothing, compensate=nothing, concurrency=1)
    return flow.step("announce", fails)


async def fails(ctx: WorkflowContext) -> None:
    raise RuntimeError("no")


async def test_undone_items() -> None:
    """The items of a map are undone one by one, under their own names."""
    async with TestEngine() as t:
        run = await t.run(deploy_of())
    run.compensated("deploy[2]", "deploy[1]", "deploy[0]")


async def test_undoing_of_items_that_takes_time() -> None:
    """What undoes an item may be a mock that takes its time."""
    flow = deploy_of(1)
    async with TestEngine(flow) as t:
        mock = t.mock_compensation("deploy", takes=60)
        run = await t.run(flow)
    run.compensated("deploy[0]")
    assert [call.step for call in mock.calls] == ["deploy[0]"]


@pytest.mark.parametrize("name", ["charge[0]", "deploy[x]", "deploy[-1]", "deploy[]"])
async def test_items_that_cannot_be(name: str) -> None:
    """What is no item of a map is an unknown step, for checks and for stand-ins."""
    order, rollout = order_of(), deploy_of()
    async with TestEngine(order, rollout) as t:
        run = await t.run(rollout if name.startswith("deploy") else order)
        with pytest.raises(UnknownStepError, match="has no step"):
            run.did_not_run(name)
        with pytest.raises(UnknownStepError, match="has no step"):
            t.mock(name, returns=1)
        with pytest.raises(UnknownStepError, match="has no step"):
            t.fail(name, RuntimeError())


async def test_undone_before_a_restart() -> None:
    """What was undone and then ran anew is not undone, as the history says."""
    order = order_of()
    async with TestEngine(order) as t:
        t.mock("ship", raises=RuntimeError("lost"))
        run = await t.run(order)
        run.compensated("charge", "reserve")
        t.mock("ship", returns=1)
        await run.restart("reserve")
    run.status("completed").compensated()


async def test_undone_in_an_earlier_engine() -> None:
    """What was undone before a run was found counts as well."""
    order, storage = order_of(), MemoryStorage()
    async with TestEngine(order, storage=storage) as t:
        t.mock("ship", raises=RuntimeError("lost"))
        id = (await t.run(order)).id
    async with TestEngine(order, storage=storage) as t:
        (await t.find(id)).compensated("charge", "reserve")


@pytest.mark.parametrize(
    ("check", "error", "told"),
    [
        (lambda run: run.ran(), ValueError, "name a step at least"),
        (lambda run: run.did_not_run(), ValueError, "name a step at least"),
        (lambda run: run.order(), ValueError, "name a step at least"),
        (lambda run: run.order("ship", "ship"), ValueError, "a step has one place in the order"),
        (lambda run: run.waits_for(), ValueError, "name a signal at least"),
        (lambda run: run.ran(["ship"]), TypeError, r"\['ship'\] is no name of a step"),
        (lambda run: run.status("complete"), ValueError, "'complete' is no status; there are pend"),
        (lambda run: run.failed_with("lost"), TypeError, "'lost' is no class of errors"),
    ],
)
async def test_checks_that_say_nothing(
    check: Check, error: type[Exception], told: str, failed: Run
) -> None:
    """A check that makes no sense is an error that says why, whatever happened."""
    with pytest.raises(error, match=told):
        check(failed)
