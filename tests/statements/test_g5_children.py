"""Sub-workflows, forward: a step that is an instance of its own, whose end is the step's."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import define

from families import CHILD, comes_to, family, parent, stack, waits_for
from flux import (
    ChildFailedError,
    DefinitionError,
    FluxEngine,
    UnknownWorkflowError,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStorage,
)
from flux.blocking import BlockingEngine
from flux.testing import ManualClock
from jumping import DAY
from opening import OpenEngine
from sagas import noting, step_of, until
from undoing import fail
from waits import LONG, Held, Moments, becomes, ended, resting_as


async def test_g5_a_child_is_an_instance(engine: FluxEngine) -> None:
    """Its id is the key of the step that started it, and it knows its parent."""
    did: list[str] = []
    order = parent(stack(did), did)
    await engine.start(order, {"region": "eu"}, id="o")
    result = await ended(engine)
    assert (result.status, did) == ("completed", ["reserve", "net", "vm", "ship"])
    (child,) = await engine.children("o")
    assert (child.id, child.name, child.status) == (CHILD, "stack", "completed")
    state = await engine.get(CHILD)
    assert (state.parent_id, state.input) == ("o", {"region": "eu"})
    assert (await engine.get("o")).parent_id is None


async def test_g5_a_child_of_its_key(engine: FluxEngine) -> None:
    """The step's key in the history is the id of its child."""
    await engine.start(parent(stack([]), []), id="o")
    assert step_of(await ended(engine), "provision").key == CHILD


async def test_g5_functions_between_them(engine: FluxEngine) -> None:
    """`input` sees the step's context, `output` the child's state; both may be async."""

    async def given(ctx: WorkflowContext) -> dict[str, Any]:
        return {"of": ctx.id, "from": ctx.output("reserve"), "step": ctx.step}

    async def taken(state: WorkflowState) -> dict[str, Any]:
        return {"id": state.id, "input": state.input, "vm": step_of(state, "vm").output}

    await engine.start(parent(stack([]), [], input=given, output=taken), id="o")
    output = step_of(await ended(engine), "provision").output
    asked = {"of": "o", "from": "reserve", "step": "provision"}
    assert output == {"id": CHILD, "input": asked, "vm": "vm"}


async def test_g5_output_is_its_data(engine: FluxEngine) -> None:
    """Without `output` the child's data is the step's output; the parent's data is its own."""

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["ip"] = "10.0.0.1"

    await engine.start(parent(stack([], vm=write), []), id="o")
    result = await ended(engine)
    assert step_of(result, "provision").output == {"ip": "10.0.0.1"}
    assert result.data == {}


@define
class Size:
    """The typed input of a child."""

    cores: int
    price: Decimal


async def test_g5_typed_input(engine: FluxEngine) -> None:
    """A typed input may be given as what it is, and the child sees it typed."""
    seen: list[object] = []

    async def vm(ctx: WorkflowContext) -> None:
        seen.append(ctx.input)

    order = parent(stack([], vm=vm, input=Size), [], input=lambda ctx: Size(4, Decimal("1.50")))
    await engine.start(order, id="o")
    assert (await ended(engine)).status == "completed"
    assert seen == [Size(4, Decimal("1.50"))]


async def test_g5_bad_input_of_child(engine: FluxEngine) -> None:
    """An input that the child refuses fails the step; there is no child then."""
    order = parent(stack([], input=Size), [], input=lambda ctx: {"cores": "many"})
    await engine.start(order, id="o")
    result = await ended(engine)
    assert result.error is not None
    assert (result.status, result.error.type) == ("rolled_back", "InputError")
    assert "cores" in result.error.message
    assert await engine.children("o") == []


@pytest.mark.parametrize("given", [lambda ctx: 1 / 0, lambda ctx: {"when": timedelta(1)}])
async def test_g5_input_that_raises(engine: FluxEngine, given: Any) -> None:
    """An `input` that raises, or is no JSON, fails the step like a handler that raised."""
    await engine.start(parent(stack([]), [], input=given), id="o")
    result = await ended(engine)
    assert result.error is not None
    assert result.error.type in ("ZeroDivisionError", "NotJSONError")
    assert (step_of(result, "provision").outcome, await engine.children("o")) == (None, [])


@pytest.mark.parametrize("taken", [lambda state: 1 / 0, lambda state: {1, 2}])
async def test_g5_output_that_raises(engine: FluxEngine, taken: Any) -> None:
    """An `output` that raises, or is no JSON, fails the step, and the child is undone."""
    did: list[str] = []
    await engine.start(parent(stack(did), did, output=taken), id="o")
    result = await ended(engine)
    assert result.error is not None
    assert result.error.type in ("ZeroDivisionError", "NotJSONError")
    assert await family(engine) == {"o": "rolled_back", CHILD: "rolled_back"}
    assert did[-3:] == ["undo vm", "undo net", "undo reserve"]


async def test_g5_unknown_workflow(engine: FluxEngine) -> None:
    """A name that nobody registered fails the step."""
    await engine.start(parent("stak", []), id="o")
    result = await ended(engine)
    assert result.error is not None
    assert (result.status, result.error.type) == ("rolled_back", UnknownWorkflowError.__name__)


async def test_g5_named_workflow(open_engine: OpenEngine) -> None:
    """A child may be given by the name of a registered workflow."""
    engine = await open_engine(workflows=[stack([])])
    await engine.start(parent("stack", []), id="o")
    assert (await ended(engine)).status == "completed"


def test_g5_no_workflow_holds_itself() -> None:
    """As an object a workflow cannot be its own child."""
    order = Workflow("order")
    with pytest.raises(DefinitionError, match="cannot contain itself"):
        order.child("again", order)


@pytest.mark.parametrize("depth", [1, 3])
async def test_g5_depth_is_bounded(open_engine: OpenEngine, depth: int) -> None:
    """By name it can be, so deep as `max_depth` says; then all of them are undone."""
    did: list[str] = []
    order = Workflow("order").step("a", noting("a", did), compensate=noting("undo a", did))
    engine = await open_engine(workflows=[order.child("again", "order")], max_depth=depth)
    await engine.start(order, id="o")
    result = await ended(engine)
    assert did == ["a"] * (depth + 1) + ["undo a"] * (depth + 1)
    cause = result.error
    while cause is not None and cause.cause is not None:
        cause = cause.cause
    assert cause is not None
    assert cause.type == "TooDeepError"


async def test_g5_a_child_waits_for_days(open_engine: OpenEngine) -> None:
    """A child sleeps and waits for signals of its own; its parent is suspended meanwhile."""
    clock = ManualClock()
    engine = await open_engine(clock=clock, **LONG)
    child = Workflow("stack").sleep("cool", timedelta(days=2)).wait("ready", "ready", 9 * DAY)
    await engine.start(parent(child, []), id="o")
    await waits_for(engine, "cool", id=CHILD)
    await waits_for(engine, "provision")
    clock.advance(2 * DAY)
    await waits_for(engine, "ready", id=CHILD)
    assert (await engine.get("o")).status == "suspended"
    await engine.signal(CHILD, "ready")
    assert (await ended(engine)).status == "completed"


async def test_g5_its_failure_is_the_step_s(engine: FluxEngine) -> None:
    """A child that fails fails the step, with the child's error as the cause; nothing is left."""
    did: list[str] = []
    await engine.start(parent(stack(did, vm=fail), did), id="o")
    result = await ended(engine)
    assert result.error is not None
    assert result.error.type == ChildFailedError.__name__
    assert CHILD in result.error.message
    assert result.error.cause is not None
    assert (result.error.cause.type, result.error.cause.message) == ("RuntimeError", "declined")
    assert await family(engine) == {"o": "rolled_back", CHILD: "rolled_back"}
    assert did == ["reserve", "net", "undo net", "undo reserve"]
    assert step_of(result, "provision").outcome is None


async def test_g5_its_cancel_fails_the_step(engine: FluxEngine) -> None:
    """A child that somebody cancels fails the step as well."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await engine.cancel(CHILD, reason="not needed")
    result = await ended(engine)
    assert result.error is not None
    assert (result.error.type, result.status) == ("ChildFailedError", "rolled_back")
    assert did == ["reserve", "net", "undo net", "undo reserve"]


async def test_g5_its_deadline_fails_the_step(open_engine: OpenEngine) -> None:
    """A child may have a deadline of its own; when it misses that the step fails."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    await engine.start(parent(stack(did, waits=True, deadline=DAY), did), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    clock.advance(DAY)
    result = await ended(engine)
    assert result.error is not None
    assert result.error.cause is not None
    assert result.error.cause.type == "DeadlineExceededError"
    assert did == ["reserve", "net", "undo net", "undo reserve"]


async def test_g5_on_error_continue(engine: FluxEngine) -> None:
    """With `on_error="continue"` the parent goes on past a child that failed."""
    did: list[str] = []
    await engine.start(parent(stack(did, vm=fail), did, on_error="continue"), id="o")
    result = await ended(engine)
    assert (result.status, did) == ("completed", ["reserve", "net", "undo net", "ship"])
    assert step_of(result, "provision").handled_by == "flux:continue"


async def test_g5_a_child_as_fallback(engine: FluxEngine) -> None:
    """Another child may stand in for one that failed; the first has been undone by then."""
    did: list[str] = []
    order = Workflow("order").child("big", stack(did, vm=fail), fallback="small")
    order.child("small", stack(did, name="small"), output=lambda state: "small")
    order.step("ship", noting("ship", did))
    await engine.start(order, id="o")
    result = await ended(engine)
    assert did == ["net", "undo net", "net", "vm", "ship"]
    assert (result.status, step_of(result, "big").handled_by) == ("completed", "small")


async def test_g5_a_handler_for_its_failure(engine: FluxEngine) -> None:
    """A handler for `ChildFailedError` diverts, and sees the error."""
    seen: list[Any] = []

    async def tell(ctx: WorkflowContext) -> None:
        seen.append(ctx.failure)

    order = parent(stack([], vm=fail), [])
    order.on_error(tell, steps="provision", errors=ChildFailedError)
    await engine.start(order, id="o")
    result = await ended(engine)
    assert (result.status, [error.type for error in seen]) == ("completed", ["ChildFailedError"])


async def test_g5_a_predicate_skips_it(engine: FluxEngine) -> None:
    """A child step whose `when` says no starts no child, and its output is None."""
    did: list[str] = []
    await engine.start(parent(stack(did), did, when=lambda ctx: False), id="o")
    result = await ended(engine)
    assert (did, step_of(result, "provision").status) == (["reserve", "ship"], "skipped")
    assert await engine.children("o") == []


async def test_g5_children_beside_each_other(engine: FluxEngine) -> None:
    """Children in parallel branches run at the same time; the join waits for both."""
    left, right = Held(), Held()
    order = Workflow("order")
    order.child("left", stack([], name="l", vm=left), after=())
    order.child("right", stack([], name="r", vm=right), after=())
    order.step("join", noting("join", []), after=("left", "right"))
    await engine.start(order, id="o")
    await asyncio.gather(left.began.wait(), right.began.wait())
    right.go_on.set()
    await becomes(engine, lambda state: step_of(state, "right").status == "completed")
    assert (await engine.get("o")).status == "suspended"
    left.go_on.set()
    assert (await ended(engine)).status == "completed"


@pytest.mark.parametrize("choice", ["cloud", "metal"])
async def test_g5_a_child_as_case(engine: FluxEngine, choice: str) -> None:
    """Only the child of the case that was chosen is started."""
    order = Workflow("order")
    order.child("cloud", stack([], name="cloud")).child("metal", stack([], name="metal"))
    cases = {"cloud": "cloud", "metal": "metal"}
    order.branch("where", on=lambda ctx: ctx.input["where"], cases=cases)
    order.step("ship", noting("ship", []))
    await engine.start(order, {"where": choice}, id="o")
    assert (await ended(engine)).status == "completed"
    assert [child.name for child in await engine.children("o")] == [choice]


async def test_g5_fail_fast_with_a_child(engine: FluxEngine) -> None:
    """A child that fails in a group with `fail_fast` cancels the step that runs beside it."""
    held, child_may_fail = Held(), asyncio.Event()

    async def fail_late(ctx: WorkflowContext) -> None:
        await child_may_fail.wait()
        raise RuntimeError("declined")

    order = Workflow("order").child("provision", stack([], vm=fail_late))
    order.parallel("both", ["provision", ("slow", held)], fail_fast=True)
    await engine.start(order, id="o")
    await held.began.wait()
    child_may_fail.set()
    result = await ended(engine)
    assert result.error is not None
    assert (result.error.type, held.go_on.is_set()) == ("ChildFailedError", False)


async def test_g5_correlation_taken(open_engine: OpenEngine) -> None:
    """A child whose unique correlation is taken fails the step; nothing is left to undo."""
    child = stack([], waits=True, correlate_by=("vm",))
    engine = await open_engine(workflows=[child])
    await engine.start(child, {"vm": "7"}, id="mine")
    await engine.start(parent(child, []), {"vm": "7"}, id="o")
    result = await ended(engine)
    assert result.error is not None
    assert (result.error.type, result.status) == ("CorrelationTakenError", "rolled_back")
    assert (await engine.get("mine")).status == "suspended"


async def test_g5_signals_by_correlation(engine: FluxEngine) -> None:
    """A child is found by its own correlation, as any instance is."""
    child = stack([], waits=True, correlate_by=("vm",))
    await engine.start(parent(child, [], input=lambda ctx: {"vm": "7"}), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await engine.deliver("ready", correlation={"vm": "7"})
    assert (await ended(engine)).status == "completed"


async def test_g5_a_foreign_instance_is_no_child(engine: FluxEngine) -> None:
    """An instance of another origin under the child's id fails the step, and is left alone."""
    other = Workflow("other").wait("gate", "gate")
    await engine.start(other, id=CHILD)
    order = parent(stack([]), [], on_error="continue").wait("go", "go")
    await engine.start(order, id="o")
    await waits_for(engine, "go")
    error = step_of(await engine.get("o"), "provision").error
    assert error is not None
    assert error.type == "InstanceConflictError"
    await engine.cancel("o", rollback=False)
    assert (await ended(engine)).status == "cancelled"
    assert (await engine.signal(CHILD, "gate")).status == "completed"  # type: ignore[union-attr]


async def test_g5_paused_parent(engine: FluxEngine) -> None:
    """A parent that was paused hears of its child's end once it is resumed."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "provision")
    await waits_for(engine, "ready", id=CHILD)
    await engine.pause("o")
    await becomes(engine, lambda state: state.status == "paused")
    assert (await engine.signal(CHILD, "ready")).status == "completed"  # type: ignore[union-attr]
    assert (await engine.get("o")).status == "paused"
    assert "ship" not in did
    assert (await engine.resume("o")).status == "completed"


async def test_g5_paused_child(engine: FluxEngine) -> None:
    """The parent waits for a child that somebody paused."""
    held = Held()
    await engine.start(parent(stack([], vm=held), []), id="o")
    await held.began.wait()
    await engine.pause(CHILD)
    held.go_on.set()
    child = await becomes(engine, lambda state: state.status.is_rest, id=CHILD)
    if child.status == "paused":
        await waits_for(engine, "provision")
        await engine.resume(CHILD)
    assert (await ended(engine)).status == "completed"


async def test_g5_resume_runs_the_same_child(engine: FluxEngine) -> None:
    """`resume` of a parent whose child failed lets the very child go on where it failed."""
    did: list[str] = []
    broken = [True]

    async def vm(ctx: WorkflowContext) -> None:
        if broken:
            raise RuntimeError("declined")
        did.append("vm")

    child = Workflow("stack").step("net", noting("net", did)).step("vm", vm)
    await engine.start(Workflow("order").child("provision", child), id="o")
    assert (await ended(engine)).status == "failed"
    broken.clear()
    await engine.resume("o")
    assert (await ended(engine)).status == "completed"
    assert did == ["net", "vm"]
    assert await family(engine) == {"o": "completed", CHILD: "completed"}


async def test_g5_resume_restarts_what_was_undone(engine: FluxEngine) -> None:
    """A child that was rolled back when it failed runs again from its start."""
    did: list[str] = []
    broken = [True]

    async def vm(ctx: WorkflowContext) -> None:
        if broken:
            raise RuntimeError("declined")
        did.append("vm")

    await engine.start(Workflow("order").child("provision", stack(did, vm=vm)), id="o")
    assert (await ended(engine)).status == "failed"
    broken.clear()
    await engine.resume("o")
    assert (await ended(engine)).status == "completed"
    assert did == ["net", "undo net", "net", "vm"]
    assert await family(engine) == {"o": "completed", CHILD: "completed"}


async def test_g5_resume_fails_again(engine: FluxEngine) -> None:
    """A child that fails again fails the step again, as often as it is resumed."""
    did: list[str] = []
    await engine.start(Workflow("order").child("provision", stack(did, vm=fail)), id="o")
    for _ in range(3):
        assert (await ended(engine)).status == "failed"
        await engine.resume("o")
    assert (await ended(engine)).status == "failed"
    assert did == ["net", "undo net"] * 4


async def test_g5_person_mends_the_child_first(engine: FluxEngine) -> None:
    """A child that a person let run to its end meanwhile is taken as it is."""
    did: list[str] = []
    broken = [True]

    async def vm(ctx: WorkflowContext) -> None:
        did.append("vm")
        if broken:
            raise RuntimeError("declined")

    await engine.start(Workflow("order").child("provision", Workflow("s").step("vm", vm)), id="o")
    assert (await ended(engine)).status == "failed"
    broken.clear()
    assert (await engine.resume(CHILD)).status == "completed"
    await engine.resume("o")
    assert (await ended(engine)).status == "completed"
    assert did == ["vm", "vm"]


async def test_g5_restart_after_refused_output(engine: FluxEngine) -> None:
    """A step whose `output` raised takes the end of its child again when it is restarted."""
    broken = [True]

    def taken(state: WorkflowState) -> str:
        if broken:
            raise ValueError("what is this?")
        return "vm-7"

    await engine.start(parent(stack([]), [], output=taken, on_error="continue"), id="o")
    assert (await ended(engine)).status == "completed"
    broken.clear()
    await engine.restart("o", "provision")
    result = await ended(engine)
    assert step_of(result, "provision").output == "vm-7"


async def test_g5_restart_after_cancel(engine: FluxEngine) -> None:
    """A child cancelled with its parent runs again when the parent is restarted."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    await engine.cancel("o", rollback=False)
    assert (await ended(engine, CHILD)).status == "cancelled"
    assert (await ended(engine)).status == "cancelled"
    assert (await engine.restart("o", "provision")).status == "suspended"
    (child,) = [one for one in await engine.children("o") if not one.status.startswith("canc")]
    await waits_for(engine, "ready", id=child.id)


async def test_g5_restart_starts_another_child(engine: FluxEngine) -> None:
    """A restart from before a completed child starts a new one, with the next key."""
    did: list[str] = []
    await engine.start(parent(stack(did), did), id="o")
    await ended(engine)
    await engine.restart("o", "reserve")
    await ended(engine)
    assert await family(engine) == {
        "o": "completed",
        CHILD: "completed",
        "o:provision:2": "completed",
    }
    assert did == ["reserve", "net", "vm", "ship"] * 2


async def test_g5_restart_finds_the_waiting_child(engine: FluxEngine) -> None:
    """A restart while the child waits finds that very child again."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "provision")
    await waits_for(engine, "ready", id=CHILD)
    assert (await engine.restart("o", "provision")).status == "suspended"
    await engine.signal(CHILD, "ready")
    assert (await ended(engine)).status == "completed"
    assert did == ["reserve", "net", "vm", "ship"]
    assert await family(engine) == {"o": "completed", CHILD: "completed"}


async def test_g5_end_before_the_suspension(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A child may end before its parent's suspension was saved."""
    moments = Moments(storage)
    engine = await open_engine(moments)

    async def child_has_ended() -> None:
        await comes_to(engine, "completed", id=CHILD)
        await until(lambda: told)

    told: list[str] = []
    send = moments.send_signal

    async def sending(id: str, signal: Any, *, refused: Any = ()) -> Any:
        sent = await send(id, signal, refused=refused)
        told.append(id)
        return sent

    moments.send_signal = sending  # type: ignore[method-assign]
    moments.before(resting_as("suspended"), child_has_ended)
    await engine.start(parent(stack([]), []), id="o")
    assert (await ended(engine)).status == "completed"


async def test_g5_a_parked_child_is_waited_for(open_engine: OpenEngine) -> None:
    """The parent waits for a person to settle a child whose rollback failed."""
    broken = [True]

    async def undo(ctx: WorkflowContext) -> None:
        if broken:
            raise RuntimeError("locked")

    engine = await open_engine()
    child = Workflow("stack").step("net", noting("net", []), compensate=undo).step("vm", fail)
    await engine.start(parent(child, []), id="o")
    await comes_to(engine, "rollback_failed", id=CHILD)
    await waits_for(engine, "provision")
    broken.clear()
    assert (await engine.retry_rollback(CHILD)).status == "rolled_back"
    assert (await ended(engine)).status == "rolled_back"


async def test_g5_no_room_for_the_child(open_engine: OpenEngine) -> None:
    """With room for one instance a parent and its child take turns."""
    did: list[str] = []
    engine = await open_engine(max_instances=1)
    await engine.start(parent(stack(did), did), id="o")
    assert (await ended(engine)).status == "completed"
    assert did == ["reserve", "net", "vm", "ship"]


async def test_g5_many_parents_little_room(open_engine: OpenEngine) -> None:
    """Fifty parents with children share the room of five."""
    engine = await open_engine(max_instances=5, max_depth=2)
    order = parent(stack([]), [])
    for number in range(50):
        await engine.start(order, id=f"o{number}")
    results = [await engine.result(f"o{number}", timeout=20) for number in range(50)]
    assert {str(result.status) for result in results} == {"completed"}


def test_g5_blocking_children() -> None:
    """The blocking front lists the children too."""
    with BlockingEngine() as flux:
        flux.start(parent(stack([]), []), id="o")
        assert flux.result("o").status == "completed"
        assert [child.id for child in flux.children("o")] == [CHILD]


async def test_g5_children_of_none(engine: FluxEngine) -> None:
    """An instance without sub-workflows has no children; grandchildren are not among them."""
    middle = Workflow("middle").child("leaf", stack([]))
    await engine.start(Workflow("order").child("middle", middle), id="o")
    await ended(engine)
    assert [child.id for child in await engine.children("o")] == ["o:middle:1"]
    assert [child.id for child in await engine.children("o:middle:1")] == ["o:middle:1:leaf:1"]
    assert await engine.children("o:middle:1:leaf:1") == []
