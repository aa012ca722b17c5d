"""S22: an instance is found by values of its input, and one value has one live instance."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from flux import (
    AmbiguousCorrelationError,
    CorrelationError,
    CorrelationTakenError,
    FluxEngine,
    FluxResult,
    InputError,
    InstanceConflictError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    SignalConflictError,
    UnknownWorkflowError,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
    WorkflowStorage,
    WorkflowSummary,
)
from flux.testing import ManualClock
from flux_storages import MemoryStorage
from opening import OpenEngine
from records import record
from sagas import noting, step_of, until
from saves import Saves
from undoing import fail

Verb = Callable[[FluxEngine], Coroutine[Any, Any, Any]]

KEYS = ("request_id", "company_id")
LEAD = {"request_id": "r-1", "company_id": 7}
OTHER = {"request_id": "r-2", "company_id": 7}


def lead(name: str = "lead", *, by: str | Sequence[str] = KEYS, **options: Any) -> Workflow:
    """A workflow that waits for "paid", for ever."""
    return Workflow(name, correlate_by=by, **options).wait("pay", "paid")


def order(ran: list[str] | None = None) -> Workflow:
    """One that is found by "sku"; with `fails` in its input it fails, else it waits for "paid"."""

    async def check(ctx: WorkflowContext) -> None:
        (ran if ran is not None else []).append(ctx.id)
        if ctx.input.get("fails"):
            raise RuntimeError("declined")

    return Workflow("order", correlate_by="sku").step("check", check).wait("pay", "paid")


# Finding


@pytest.mark.parametrize(
    "correlation",
    [LEAD, {"company_id": 7, "request_id": "r-1"}, {"request_id": "r-1"}, {"company_id": 7}],
    ids=["all keys", "in another order", "the first key", "the second key"],
)
async def test_s22_found_by_another_engine(
    open_engine: OpenEngine, correlation: dict[str, Any]
) -> None:
    """All keys find an instance, and so does a subset of them that no other one shares."""
    first, second = await open_engine(), await open_engine(workflows=[lead()])
    await first.execute(lead(), LEAD, id="lead-1")
    result = await second.deliver("paid", {"by": "kim"}, correlation=correlation)
    assert result is not None
    assert (result.id, result.status) == ("lead-1", WorkflowStatus.COMPLETED)
    assert step_of(result, "pay").output == {"by": "kim"}


async def test_s22_each_gets_its_own(engine: FluxEngine) -> None:
    """Of two instances that differ in one key, each gets what was sent to its full key."""
    for id, keys in (("one", LEAD), ("two", OTHER)):
        await engine.execute(lead(), keys, id=id)
    results = [
        await engine.deliver("paid", keys["request_id"], correlation=keys) for keys in (OTHER, LEAD)
    ]
    seen = [(result.id, step_of(result, "pay").output) for result in results if result is not None]
    assert seen == [("two", "r-2"), ("one", "r-1")]


@pytest.mark.parametrize("value", ["7", 7, True, "true", "", "ä ö", 'a"b', -1, 2**63])
async def test_s22_values_keep_their_type(engine: FluxEngine, value: object) -> None:
    """A text, a number and a bool are different values, however they are written."""
    values = ["7", 7, True, "true", "", "ä ö", 'a"b', -1, 2**63]
    for number, given in enumerate(values):
        await engine.execute(order(), {"sku": given}, id=f"order-{number}")
    result = await engine.deliver("paid", correlation={"sku": value})
    found = [n for n, given in enumerate(values) if (given, type(given)) == (value, type(value))]
    assert result is not None
    assert result.id == f"order-{found[0]}"


async def test_s22_saved_and_not_awaited(open_engine: OpenEngine, storage: WorkflowStorage) -> None:
    """With `wait=False` the signal is saved, and whoever drives the instance takes it."""
    engine = await open_engine(workflows=[order()])
    await engine.execute("order", {"sku": "A1"}, id="order-1")
    assert await engine.deliver("paid", correlation={"sku": "A1"}, wait=False) is None
    assert [kept.signal.name for kept in await storage.signals("order-1")] == ["paid"]
    assert (await engine.result("order-1", timeout=5)).status is WorkflowStatus.COMPLETED


async def test_s22_found_before_it_waits(engine: FluxEngine) -> None:
    """An instance is found from its first save on, also while it runs."""
    go_on, ran = asyncio.Event(), list[str]()

    async def prepare(ctx: WorkflowContext) -> None:
        ran.append(ctx.step)
        await go_on.wait()

    early = Workflow("early", correlate_by="sku").step("prepare", prepare).wait("pay", "paid")
    await engine.start(early, {"sku": "A1"}, id="early-1")
    await until(lambda: ran)
    await engine.deliver("paid", 9, correlation={"sku": "A1"}, wait=False)
    go_on.set()
    assert step_of(await engine.result("early-1", timeout=5), "pay").output == 9


async def test_s22_a_process_without_workflows_delivers(open_engine: OpenEngine) -> None:
    """Where no workflow is registered the index alone decides."""
    driving, sending = await open_engine(workflows=[order()]), await open_engine()
    await driving.execute("order", {"sku": "A1"}, id="order-1")
    await sending.deliver("paid", correlation={"sku": "A1"}, wait=False)
    assert (await driving.result("order-1", timeout=5)).status is WorkflowStatus.COMPLETED


async def test_s22_a_process_without_workflows_waits(open_engine: OpenEngine) -> None:
    """There it waits for the next rest, to which another process drives the instance."""
    driving, sending = await open_engine(workflows=[order()]), await open_engine()
    await driving.execute("order", {"sku": "A1"}, id="order-1")
    async with asyncio.timeout(30):
        result = await sending.deliver("paid", correlation={"sku": "A1"})
    assert result is not None
    assert result.status is WorkflowStatus.COMPLETED


async def test_s22_within_a_workflow(engine: FluxEngine) -> None:
    """Of two workflows with the same key and value, `workflow` names the one that is meant."""
    orders, parcels = order(), lead("parcel", by="sku")
    await engine.execute(orders, {"sku": "A1"}, id="order-1")
    await engine.execute(parcels, {"sku": "A1"}, id="parcel-1")
    with pytest.raises(AmbiguousCorrelationError, match=r"order-1|parcel-1"):
        await engine.deliver("paid", correlation={"sku": "A1"})
    by_name = await engine.deliver("paid", correlation={"sku": "A1"}, workflow="order")
    by_itself = await engine.deliver("paid", correlation={"sku": "A1"}, workflow=parcels)
    assert by_name is not None
    assert by_itself is not None
    assert (by_name.id, by_itself.id) == ("order-1", "parcel-1")


async def test_s22_keys_of_an_older_version(engine: FluxEngine) -> None:
    """An instance is found by the keys of its own version, registered beside a newer one."""
    await engine.execute(lead(by="request_id"), {"request_id": 1}, id="old")
    await engine.execute(lead(by="company_id", version="2"), {"company_id": 2}, id="new")
    results = [
        await engine.deliver("paid", correlation=keys)
        for keys in ({"request_id": 1}, {"company_id": 2})
    ]
    assert [result.id for result in results if result is not None] == ["old", "new"]


# Finding none, or several


async def test_s22_several_fit(engine: FluxEngine, storage: WorkflowStorage) -> None:
    """A subset of the keys that several live instances share is refused; nobody gets anything."""
    await engine.execute(lead(), LEAD, id="one")
    await engine.execute(lead(), OTHER, id="two")
    with pytest.raises(AmbiguousCorrelationError) as raised:
        await engine.deliver("paid", correlation={"company_id": 7})
    assert sorted(raised.value.ids) == ["one", "two"]
    assert str(raised.value).startswith("several live instances have the correlation")
    assert str(raised.value).endswith("or call signal() with an id")
    assert [await storage.signals(id) for id in ("one", "two")] == [(), ()]


async def test_s22_ended_ones_do_not_count(engine: FluxEngine) -> None:
    """A subset is unambiguous as soon as all but one of the instances have ended."""
    await engine.execute(lead(), LEAD, id="one")
    await engine.execute(lead(), OTHER, id="two")
    await engine.signal("two", "paid")
    result = await engine.deliver("paid", correlation={"company_id": 7})
    assert result is not None
    assert result.id == "one"


@pytest.mark.parametrize("correlation", [{"sku": "B2"}, {"sku": "a1"}])
async def test_s22_none_fits(engine: FluxEngine, correlation: dict[str, Any]) -> None:
    """A value that no instance has raises `InstanceNotFoundError`, which tells the correlation."""
    await engine.execute(order(), {"sku": "A1"})
    with pytest.raises(InstanceNotFoundError, match="'sku': "):
        await engine.deliver("paid", correlation=correlation)


async def test_s22_an_ended_one_is_not_found(engine: FluxEngine) -> None:
    """An instance that has ended is found no more, and nothing is revived."""
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    await engine.deliver("paid", correlation={"sku": "A1"})
    with pytest.raises(InstanceNotFoundError):
        await engine.deliver("paid", correlation={"sku": "A1"})
    assert (await engine.get("order-1")).status is WorkflowStatus.COMPLETED


async def test_s22_one_that_rolls_back_is_live(engine: FluxEngine) -> None:
    """An instance whose rollback failed is found, and takes no signal."""
    stuck = Workflow("stuck", correlate_by="sku").step("a", noting("a", []), compensate=fail)
    await engine.execute(stuck.step("b", fail), {"sku": "A1"})
    with pytest.raises(InvalidTransitionError, match="rollback_failed, so it cannot take a signal"):
        await engine.deliver("paid", correlation={"sku": "A1"})


async def test_s22_a_deleted_one_is_not_found(engine: FluxEngine) -> None:
    """With an ended instance its keys are gone: a known signal id finds nothing."""
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    await engine.deliver("paid", correlation={"sku": "A1"}, signal_id="e-1")
    await engine.delete("order-1")
    with pytest.raises(InstanceNotFoundError):
        await engine.deliver("paid", correlation={"sku": "A1"}, signal_id="e-1")


# Bad correlations


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        ({"skuu": 1}, "correlation 'skuu': no workflow here is found by it; there are: sku"),
        ({"sku": 1, "x": 1}, "correlation 'x': no workflow here is found by it; there are: sku"),
        ({1: 1}, "correlation '1': no workflow here is found by it; there are: sku"),
        ({}, "correlation '{}': give a dict with at least one key"),
        (None, "correlation 'None': give a dict with at least one key"),
        (["sku"], "correlation \"['sku']\": give a dict with at least one key"),
        ({"sku": 1.5}, "correlation 'sku': its value is a str, an int or a bool, not float"),
        ({"sku": None}, "correlation 'sku': its value is a str, an int or a bool, not NoneType"),
        ({"sku": ["A"]}, "correlation 'sku': its value is a str, an int or a bool, not list"),
        ({"sku": b"A"}, "correlation 'sku': its value is a str, an int or a bool, not bytes"),
        ({"sku": 2**64}, "correlation 'sku': Integer exceeds 64-bit range"),
    ],
)
async def test_s22_a_correlation_that_can_find_nothing(
    engine: FluxEngine, correlation: Any, message: str
) -> None:
    """An unknown key or a value of a wrong type raises `CorrelationError`, which names it."""
    await engine.execute(order(), {"sku": "A1"})
    with pytest.raises(CorrelationError) as raised:
        await engine.deliver("paid", correlation=correlation)
    assert str(raised.value) == message


async def test_s22_keys_of_two_workflows(engine: FluxEngine) -> None:
    """Keys that no workflow has together find nothing."""
    await engine.execute(lead("a", by="request_id"), LEAD)
    await engine.execute(lead("b", by="company_id"), LEAD)
    with pytest.raises(CorrelationError, match="no workflow here is found by all of them"):
        await engine.deliver("paid", correlation=LEAD)


async def test_s22_a_key_of_another_workflow(engine: FluxEngine) -> None:
    """Within a workflow its own keys alone count."""
    await engine.execute(order(), {"sku": "A1"})
    await engine.execute(lead(), LEAD)
    with pytest.raises(CorrelationError, match="there are: sku"):
        await engine.deliver("paid", correlation=LEAD, workflow="order")


async def test_s22_an_unknown_workflow(engine: FluxEngine) -> None:
    """A name that nobody registered is refused."""
    with pytest.raises(UnknownWorkflowError):
        await engine.deliver("paid", correlation={"sku": "A1"}, workflow="order")


@pytest.mark.parametrize("input", [{}, {"sku": None}, {"sku": 1.5}, {"sku": {"a": 1}}])
async def test_s22_an_input_without_its_key(engine: FluxEngine, input: dict[str, Any]) -> None:
    """An input whose key is missing or no value to look up is refused; nothing is saved."""
    ran: list[str] = []
    with pytest.raises(InputError, match="correlation 'sku'") as raised:
        await engine.execute(order(ran), input)
    assert (raised.value.field, ran, await engine.count()) == ("sku", [], 0)


# One live instance a key

STARTS: dict[str, Verb] = {
    "execute": lambda engine: engine.execute("order", {"sku": "A1"}, id="order-2"),
    "start": lambda engine: engine.start("order", {"sku": "A1"}, id="order-2"),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])
async def test_s22_a_second_start_is_refused(
    open_engine: OpenEngine, start: Verb, here: bool
) -> None:
    """While one lives, another of the same correlation cannot start; nothing is saved or run."""
    ran: list[str] = []
    engine = await open_engine(workflows=[order(ran)])
    await engine.execute("order", {"sku": "A1"}, id="order-1")
    with pytest.raises(InstanceConflictError) as raised:
        await start(engine if here else await open_engine(workflows=[order(ran)]))
    assert isinstance(raised.value, CorrelationTakenError)
    assert (raised.value.id, raised.value.holder) == ("order-2", "order-1")
    assert str(raised.value) == (
        "instance 'order-2' cannot run: the live instance 'order-1' has the same correlation; "
        "wait for its end, or declare the workflow with unique=False"
    )
    assert ([summary.id for summary in await engine.list()], ran) == (["order-1"], ["order-1"])


async def test_s22_a_second_start_without_room_is_refused(open_engine: OpenEngine) -> None:
    """Also by an engine that only could leave it for later."""
    engine = await open_engine(workflows=[order()])
    await engine.execute("order", {"sku": "A1"}, id="order-1")
    go_on, ran = asyncio.Event(), list[str]()

    async def hold(ctx: WorkflowContext) -> None:
        ran.append(ctx.step)
        await go_on.wait()

    full = await open_engine(workflows=[order()], max_instances=1)
    await full.start(Workflow("busy").step("hold", hold))
    await until(lambda: ran)
    with pytest.raises(CorrelationTakenError, match="'order-1' has the same correlation"):
        await full.start("order", {"sku": "A1"}, id="order-2")
    go_on.set()
    assert await engine.count(WorkflowFilter(name="order")) == 1


async def test_s22_the_same_run_is_no_second_one(engine: FluxEngine) -> None:
    """`execute` with the id of the live instance returns that one."""
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    again = await engine.execute(order(), {"sku": "A1"}, id="order-1")
    assert (again.id, again.status) == ("order-1", WorkflowStatus.SUSPENDED)


async def test_s22_ten_starts_at_once(open_engine: OpenEngine) -> None:
    """Of ten starts at the same instant, on several engines, one is made."""
    engines = [await open_engine(workflows=[order()]) for _ in range(3)]
    starts = (engines[n % 3].start("order", {"sku": "A1"}, id=f"order-{n}") for n in range(10))
    answers = await asyncio.gather(*starts, return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, CorrelationTakenError)]
    assert len(made) == 1
    assert await engines[0].count() == 1


async def test_s22_another_key_may_start(engine: FluxEngine) -> None:
    """One that differs in a part of the key, or is of another workflow, is another one."""
    for workflow, keys in ((lead(), LEAD), (lead(), OTHER), (lead("deal"), LEAD)):
        await engine.execute(workflow, keys)
    assert await engine.count() == 3


async def _end(engine: FluxEngine, how: str) -> None:
    if how == "completed":
        await engine.signal("order-1", "paid")
    else:
        await engine.cancel("order-1", rollback=False)
    await engine.result("order-1", timeout=5)


@pytest.mark.parametrize("how", ["completed", "cancelled"])
async def test_s22_an_end_frees_the_key(engine: FluxEngine, how: str) -> None:
    """When the live one has ended, another may start, and is the one that is found."""
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    await _end(engine, how)
    await engine.execute(order(), {"sku": "A1"}, id="order-2")
    result = await engine.deliver("paid", correlation={"sku": "A1"})
    assert result is not None
    assert (result.id, (await engine.get("order-1")).status) == ("order-2", how)


async def test_s22_a_failure_frees_the_key(engine: FluxEngine) -> None:
    """A failed instance is no live one."""
    await engine.execute(order(), {"sku": "A1", "fails": True}, id="order-1")
    result = await engine.execute(order(), {"sku": "A1"}, id="order-2")
    assert result.status is WorkflowStatus.SUSPENDED


async def test_s22_what_needs_a_person_is_live(engine: FluxEngine) -> None:
    """A paused instance and one whose rollback failed keep their keys."""
    stuck = Workflow("stuck", correlate_by="sku").step("a", noting("a", []), compensate=fail)
    await engine.execute(stuck.step("b", fail), {"sku": "A1"})
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    await engine.pause("order-1")
    for workflow in (stuck, order()):
        with pytest.raises(CorrelationTakenError):
            await engine.start(workflow, {"sku": "A1"})


async def test_s22_unique_may_be_lifted(engine: FluxEngine) -> None:
    """With `unique=False` several may live, and a key that they share is ambiguous."""
    many = lead(unique=False)
    for id in ("one", "two"):
        await engine.execute(many, LEAD, id=id)
    with pytest.raises(AmbiguousCorrelationError):
        await engine.deliver("paid", correlation=LEAD)
    await engine.signal("one", "paid")
    result = await engine.deliver("paid", correlation=LEAD)
    assert result is not None
    assert result.id == "two"


# Living again

REVIVALS: dict[str, Verb] = {
    "resume": lambda engine: engine.resume("order-1"),
    "retry_step": lambda engine: engine.retry_step("order-1", "check"),
    "restart": lambda engine: engine.restart("order-1", "check"),
}


@pytest.mark.parametrize("revive", REVIVALS.values(), ids=REVIVALS)
async def test_s22_no_second_one_is_revived(
    engine: FluxEngine, storage: WorkflowStorage, revive: Verb
) -> None:
    """What would make a second live instance is refused; that one stays as it was, and free."""
    ran: list[str] = []
    await engine.execute(order(ran), {"sku": "A1", "fails": True}, id="order-1")
    await engine.execute(order(ran), {"sku": "A1"}, id="order-2")
    before = await engine.get("order-1")
    with pytest.raises(CorrelationTakenError) as raised:
        await revive(engine)
    assert (raised.value.id, raised.value.holder) == ("order-1", "order-2")
    assert (await engine.get("order-1"), ran) == (before, ["order-1", "order-2"])
    head = await _head(storage, "order-1")
    assert (head.lease_until, head.wake_at) == (None, None)
    await engine.delete("order-1")


async def _head(storage: WorkflowStorage, id: str) -> Any:
    stored = await storage.load(id, history=False)
    assert stored is not None
    return stored[0]


@pytest.mark.parametrize("revive", REVIVALS.values(), ids=REVIVALS)
async def test_s22_another_engine_may_revive_it_later(
    open_engine: OpenEngine, revive: Verb
) -> None:
    """After a refusal it can be revived at once, anywhere, when the key is free."""
    ran, clock = list[str](), ManualClock()
    first, second = [await open_engine(workflows=[order(ran)], clock=clock) for _ in range(2)]
    await first.execute("order", {"sku": "A1", "fails": True}, id="order-1")
    await first.execute("order", {"sku": "A1"}, id="order-2")
    with pytest.raises(CorrelationTakenError):
        await revive(first)
    await second.signal("order-2", "paid")
    result: FluxResult = await asyncio.wait_for(revive(second), 30)
    assert (result.status, ran) == ("failed", ["order-1", "order-2", "order-1"])


async def test_s22_who_lives_again_holds_its_key(engine: FluxEngine) -> None:
    """A restarted instance is the live one: a new start is refused, and it is found."""
    await engine.execute(order(), {"sku": "A1"}, id="order-1")
    await engine.signal("order-1", "paid")
    await engine.restart("order-1", "pay")
    with pytest.raises(CorrelationTakenError):
        await engine.start(order(), {"sku": "A1"}, id="order-2")
    result = await engine.deliver("paid", "again", correlation={"sku": "A1"})
    assert result is not None
    assert (result.id, step_of(result, "pay").output) == ("order-1", "again")


async def test_s22_a_start_and_a_restart_at_once(open_engine: OpenEngine) -> None:
    """Of a start and a restart at the same instant, on two engines, one is made."""
    engines = [await open_engine(workflows=[order()]) for _ in range(2)]
    await engines[0].execute("order", {"sku": "A1"}, id="order-1")
    await engines[0].signal("order-1", "paid")
    answers = await asyncio.gather(
        engines[0].restart("order-1", "check"),
        engines[1].start("order", {"sku": "A1"}, id="order-2"),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, CorrelationTakenError)]
    live = await engines[0].count(WorkflowFilter(status=["running", "suspended"]))
    assert (len(refused), live) == (1, 1)


# What an ended one knows


async def _ended(engine: FluxEngine, id: str, *, signal_id: str) -> None:
    await engine.execute(order(), {"sku": "A1"}, id=id)
    await engine.deliver("paid", {"by": "kim"}, correlation={"sku": "A1"}, signal_id=signal_id)


async def test_s22_a_known_signal_id_is_acknowledged(engine: FluxEngine) -> None:
    """A repeated delivery returns the instance that took it, though that has ended."""
    await _ended(engine, "order-1", signal_id="e-1")
    again = await engine.deliver("paid", {"by": "kim"}, correlation={"sku": "A1"}, signal_id="e-1")
    assert again is not None
    assert (again.id, again.status) == ("order-1", WorkflowStatus.COMPLETED)
    assert len((await engine.diagnose("order-1")).signals) == 1


async def test_s22_a_known_signal_id_with_another_payload(engine: FluxEngine) -> None:
    """The same id with another payload is refused as by a live instance."""
    await _ended(engine, "order-1", signal_id="e-1")
    with pytest.raises(SignalConflictError):
        await engine.deliver("paid", {"by": "pat"}, correlation={"sku": "A1"}, signal_id="e-1")


@pytest.mark.parametrize("signal_id", ["e-2", None])
async def test_s22_an_unknown_signal_id_finds_nothing(
    engine: FluxEngine, signal_id: str | None
) -> None:
    """An ended instance takes no new signal."""
    await _ended(engine, "order-1", signal_id="e-1")
    with pytest.raises(InstanceNotFoundError):
        await engine.deliver("paid", correlation={"sku": "A1"}, signal_id=signal_id)


async def test_s22_the_newest_ended_one_is_asked(engine: FluxEngine) -> None:
    """What an older one knows is not acknowledged: the newest one alone is asked."""
    await _ended(engine, "order-1", signal_id="e-1")
    await _ended(engine, "order-2", signal_id="e-2")
    again = await engine.deliver("paid", {"by": "kim"}, correlation={"sku": "A1"}, signal_id="e-2")
    assert again is not None
    assert again.id == "order-2"
    with pytest.raises(InstanceNotFoundError):
        await engine.deliver("paid", {"by": "kim"}, correlation={"sku": "A1"}, signal_id="e-1")


async def test_s22_a_live_one_comes_first(engine: FluxEngine) -> None:
    """While one lives, a signal id that an ended one knows is new, and delivered."""
    await _ended(engine, "order-1", signal_id="e-1")
    await engine.execute(order(), {"sku": "A1"}, id="order-2")
    result = await engine.deliver("paid", correlation={"sku": "A1"}, signal_id="e-1")
    assert result is not None
    assert result.id == "order-2"


class Slow(Saves):
    """A storage on which something happens between the look for an instance and the signal."""

    meanwhile: Callable[[], Coroutine[Any, Any, Any]] | None = None

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        found = await super().list(filter)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


async def test_s22_it_ends_while_it_is_looked_for(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Nothing is delivered to an instance that ends between the look and the delivery."""
    slow = Slow(storage)
    engine = await open_engine(slow, workflows=[order()])
    await engine.execute("order", {"sku": "A1"}, id="order-1")
    slow.meanwhile = lambda: engine.signal("order-1", "paid", "first")
    with pytest.raises((InstanceNotFoundError, InstanceEndedError)):
        await engine.deliver("paid", "second", correlation={"sku": "A1"})
    assert step_of(await engine.get("order-1"), "pay").output == "first"


# Labels


async def test_s22_the_index_is_not_shown(engine: FluxEngine) -> None:
    """The labels of an instance are those that its user gave."""
    await engine.execute(lead(), LEAD, id="lead-1", labels={"city": "Oslo"})
    (summary,) = await engine.list()
    assert summary.labels == {"city": "Oslo"}
    assert (await engine.get("lead-1")).labels == {"city": "Oslo"}


async def test_s22_the_index_cannot_be_forged(engine: FluxEngine) -> None:
    """Names of labels that begin as the engine's own do are refused."""
    with pytest.raises(ValueError, match="'flux:' is reserved for the engine"):
        await engine.start(order(), {"sku": "A1"}, labels={"flux:by:sku": '"B2"'})


# What it costs


class Asked(Saves):
    """A storage that notes what is listed."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.listed: list[tuple[WorkflowFilter, int]] = []

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        found = await super().list(filter)
        self.listed.append((filter, len(found)))
        return found


@pytest.mark.parametrize("correlation", [LEAD, {"request_id": "r-1"}])
async def test_s22_a_delivery_asks_the_index(
    storage: WorkflowStorage, open_engine: OpenEngine, correlation: dict[str, Any]
) -> None:
    """However many live, a delivery is one listing by label, and one instance is its answer."""
    asked = Asked(storage)
    engine = await open_engine(asked, max_instances=200)
    starts = (engine.start(lead(), {**LEAD, "request_id": f"r-{n}"}) for n in range(60))
    await asyncio.gather(*starts)
    await engine.deliver("paid", correlation=correlation, wait=False)
    ((filter, found),) = asked.listed
    assert (found, bool(filter.labels), filter.limit <= 10) == (1, True, True)


async def test_s22_the_index_does_not_scan() -> None:
    """On memory a delivery takes the same steps among 10,000 live instances as among ten.

    On the storages with a server or a file the tests of the storages look at their indexes.
    """

    async def steps(live: int) -> int:
        storage = MemoryStorage()
        async with FluxEngine(storage, workflows=[order()], clock=ManualClock()) as engine:
            for number in range(live):
                labels = {"flux:by:sku": f'"B{number}"'}
                await storage.create(record(f"other-{number}", status="suspended", labels=labels))
            await engine.execute("order", {"sku": "A1"})
            calls = 0

            def count(*_: object) -> None:
                nonlocal calls
                calls += 1

            sys.setprofile(count)
            try:
                await engine.deliver("paid", correlation={"sku": "A1"})
            finally:
                sys.setprofile(None)
        return calls

    # What else runs in the loop meanwhile differs by a few; a scan would add thousands.
    assert await steps(10_000) < await steps(10) + 1_000
