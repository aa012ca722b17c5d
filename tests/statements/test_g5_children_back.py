"""Sub-workflows, backward: what undoes, cancels and deletes a parent does so to its children."""

import asyncio
from typing import Any

import pytest

from families import CHILD, comes_to, family, parent, stack, turning_back, waits_for
from flux import (
    FluxEngine,
    InvalidTransitionError,
    Record,
    Workflow,
    WorkflowContext,
    WorkflowStorage,
)
from flux.testing import ManualClock
from jumping import DAY
from opening import OpenEngine
from sagas import noting, step_of, until
from saves import Saves
from undoing import fail
from waits import LONG, Held, becomes, ended

BACK = ["undo vm", "undo net", "undo reserve"]


async def test_g5_back_a_completed_child(engine: FluxEngine) -> None:
    """Undoing the step of a completed child rolls the child back."""
    did: list[str] = []
    await engine.start(turning_back(stack(did), did), id="o")
    await waits_for(engine, "go")
    await engine.signal("o", "go")
    result = await ended(engine)
    assert did == ["reserve", "net", "vm", *BACK]
    assert await family(engine) == {"o": "rolled_back", CHILD: "rolled_back"}
    assert step_of(result, "provision").status == "compensated"
    cause = (await engine.get(CHILD)).error
    assert cause is not None
    assert cause.message == "declined"


async def test_g5_back_a_child_without_compensators(engine: FluxEngine) -> None:
    """A completed child with nothing to undo is rolled back all the same."""
    child = Workflow("stack").step("vm", noting("vm", []))
    await engine.start(turning_back(child, []), id="o")
    await waits_for(engine, "go")
    await engine.signal("o", "go")
    await ended(engine)
    assert await family(engine) == {"o": "rolled_back", CHILD: "rolled_back"}


async def test_g5_back_a_child_that_waits(engine: FluxEngine) -> None:
    """A child that still waits, while a step beside it fails, is cancelled and undone."""
    did: list[str] = []
    held = asyncio.Event()

    async def pay(ctx: WorkflowContext) -> None:
        await held.wait()
        raise RuntimeError("declined")

    order = Workflow("order").child("provision", stack(did, waits=True), after=())
    order.step("pay", pay, after=())
    await engine.start(order, id="o")
    await waits_for(engine, "ready", id=CHILD)
    held.set()
    result = await ended(engine)
    assert (result.error and result.error.message, did) == ("declined", ["net", "undo net"])
    assert await family(engine) == {"o": "rolled_back", CHILD: "cancelled"}


async def test_g5_back_through_three_levels(engine: FluxEngine) -> None:
    """Nested three deep, all is undone in the exact reverse order of completion."""
    did: list[str] = []

    def made(name: str, workflow: Workflow) -> Workflow:
        for part in ("1", "2"):
            step = f"{name}{part}"
            workflow.step(step, noting(step, did), compensate=noting(f"undo {step}", did))
            if part == "1" and name != "leaf":
                below = "middle" if name == "root" else "leaf"
                workflow.child(below, made(below, Workflow(below)))
        return workflow

    root = made("root", Workflow("root")).wait("go", "go").step("pay", fail)
    await engine.start(root, id="o")
    await waits_for(engine, "go")
    await engine.signal("o", "go")
    assert (await ended(engine)).status == "rolled_back"
    done = ["root1", "middle1", "leaf1", "leaf2", "middle2", "root2"]
    assert did == [*done, *(f"undo {name}" for name in reversed(done))]
    assert set((await family(engine)).values()) == {"rolled_back"}


async def test_g5_back_from_the_deepest(engine: FluxEngine) -> None:
    """A failure three levels down undoes each level before the one above."""
    did: list[str] = []
    leaf = stack(did, name="leaf", vm=fail)
    middle = Workflow("middle")
    middle.step("m", noting("m", did), compensate=noting("undo m", did)).child("leaf", leaf)
    await engine.start(parent(middle, did), id="o")
    result = await ended(engine)
    assert did == ["reserve", "m", "net", "undo net", "undo m", "undo reserve"]
    assert result.error is not None
    assert result.error.cause is not None
    assert result.error.cause.cause is not None
    assert result.error.cause.cause.message == "declined"


async def test_g5_back_children_beside_each_other(engine: FluxEngine) -> None:
    """Children beside each other are undone one by one, the last to complete first."""
    did: list[str] = []
    order = Workflow("order")
    for name in ("a", "b"):
        child = Workflow(name).wait("go", "go")
        child.step("x", noting(name, did), compensate=noting(f"undo {name}", did))
        order.child(name, child, after=())
    order.wait("all", "all", after=("a", "b")).step("pay", fail)
    await engine.start(order, id="o")
    for name in ("b", "a"):
        await waits_for(engine, "go", id=f"o:{name}:1")
        await engine.signal(f"o:{name}:1", "go")
        await becomes(engine, lambda s, n=name: step_of(s, n).status == "completed")  # type: ignore[misc]
    await waits_for(engine, "all")
    await engine.signal("o", "all")
    await ended(engine)
    assert did == ["b", "a", "undo a", "undo b"]


async def test_g5_back_in_reverse_of_completion(engine: FluxEngine) -> None:
    """A step that completed while the child ran is undone after the child, not before."""
    did: list[str] = []
    order = Workflow("order")
    order.child("provision", stack(did, waits=True), after=())
    order.step("beside", noting("beside", did), compensate=noting("undo beside", did), after=())
    order.step("pay", fail, after=("provision", "beside"))
    await engine.start(order, id="o")
    await waits_for(engine, "ready", id=CHILD)
    await becomes(engine, lambda state: step_of(state, "beside").status == "completed")
    await engine.signal(CHILD, "ready")
    await ended(engine)
    assert did[-3:] == ["undo vm", "undo net", "undo beside"]


async def test_g5_back_cancel_while_it_runs(engine: FluxEngine) -> None:
    """Cancelling a parent cancels the child's handler and undoes both."""
    did: list[str] = []
    held = Held()
    await engine.start(parent(stack(did, vm=held), did), id="o")
    await held.began.wait()
    await engine.cancel("o")
    assert (await ended(engine)).status == "cancelled"
    assert did == ["reserve", "net", "undo vm", "undo net", "undo reserve"]
    assert await family(engine) == {"o": "cancelled", CHILD: "cancelled"}


async def test_g5_back_cancel_without_rollback(engine: FluxEngine) -> None:
    """`rollback=False` cancels the child too, and undoes nothing of either."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    await engine.cancel("o", rollback=False)
    assert (await ended(engine)).status == "cancelled"
    assert (await ended(engine, CHILD)).status == "cancelled"
    assert did == ["reserve", "net"]


async def test_g5_back_cancel_keeps_what_is_done(engine: FluxEngine) -> None:
    """`rollback=False` leaves a child alone that has completed."""
    await engine.start(turning_back(stack([]), []), id="o")
    await waits_for(engine, "go")
    await engine.cancel("o", rollback=False)
    assert (await ended(engine)).status == "cancelled"
    assert await family(engine) == {"o": "cancelled", CHILD: "completed"}


@pytest.mark.parametrize("rollback", [True, False])
async def test_g5_back_cancel_three_levels(engine: FluxEngine, rollback: bool) -> None:
    """A cancel reaches the children of children."""
    did: list[str] = []
    middle = Workflow("middle").child("leaf", stack(did, waits=True))
    await engine.start(parent(middle, did), id="o")
    leaf = "o:provision:1:leaf:1"
    await waits_for(engine, "ready", id=leaf)
    await waits_for(engine, "leaf", id=CHILD)
    await waits_for(engine, "provision")
    await engine.cancel("o", rollback=rollback)
    for id in ("o", CHILD, leaf):
        assert (await ended(engine, id)).status == "cancelled"
    assert did == ["reserve", "net", *(["undo net", "undo reserve"] if rollback else [])]


async def test_g5_back_cancel_while_paused(engine: FluxEngine) -> None:
    """A paused child is cancelled with its parent."""
    did: list[str] = []
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    await engine.pause(CHILD)
    await comes_to(engine, "paused", id=CHILD)
    await engine.cancel("o")
    assert (await ended(engine)).status == "cancelled"
    assert did == ["reserve", "net", "undo net", "undo reserve"]


async def test_g5_back_cancel_of_a_pending_child(open_engine: OpenEngine) -> None:
    """A child that found no room and has not begun yet is cancelled before it does anything."""
    did: list[str] = []
    busy = Held()
    engine = await open_engine(max_instances=2)
    await engine.start(Workflow("busy").step("hold", busy), id="busy")
    beside = Held()
    order = Workflow("order").child("provision", stack(did), after=())
    await engine.start(order.step("beside", beside, after=()), id="o")
    await comes_to(engine, "pending", id=CHILD)
    await engine.cancel("o")
    assert (await ended(engine)).status == "cancelled"
    assert (await family(engine), did) == ({"o": "cancelled", CHILD: "cancelled"}, [])
    busy.go_on.set()


async def test_g5_back_cancel_in_its_rollback(engine: FluxEngine) -> None:
    """A cancel that finds the child in its own rollback waits for the end of that."""
    did: list[str] = []
    undo = Held()
    child = Workflow("stack").step("net", noting("net", did), compensate=undo).step("vm", fail)
    await engine.start(parent(child, did), id="o")
    await undo.began.wait()
    await waits_for(engine, "provision")
    await engine.cancel("o")
    await comes_to(engine, "rolling_back")
    undo.go_on.set()
    assert (await ended(engine)).status == "cancelled"
    assert await family(engine) == {"o": "cancelled", CHILD: "rolled_back"}
    assert (did, undo.calls) == (["reserve", "net", "undo reserve"], 1)


class SlowChild(Saves):
    """A storage whose `create` of a child waits until the test lets it go on."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self.answered: frozenset[str] = frozenset()

    async def create(self, record: Record, **terms: Any) -> bool:
        if record.id == CHILD and not self.began.is_set():
            self.began.set()
            await self.go_on.wait()
        made = await super().create(record, **terms)
        self.answered |= {record.id}
        return made


@pytest.mark.parametrize("rollback", [True, False])
async def test_g5_back_cancel_while_it_is_created(
    storage: WorkflowStorage, open_engine: OpenEngine, rollback: bool
) -> None:
    """A cancel that comes while the child is being created leaves no child alive."""
    slow, did = SlowChild(storage), list[str]()
    engine = await open_engine(slow, grace=0.05)
    await engine.start(parent(stack(did, waits=True), did), id="o")
    await slow.began.wait()
    await engine.cancel("o", rollback=rollback)
    waiting = asyncio.ensure_future(ended(engine))
    await asyncio.wait({waiting}, timeout=0.3)
    slow.go_on.set()
    assert (await waiting).status == "cancelled"
    await until(lambda: CHILD in slow.answered)
    for child in await engine.children("o"):
        assert (await ended(engine, child.id)).status == "cancelled"
    assert did.count("net") == did.count("undo net") or not rollback


async def test_g5_back_deadline_of_the_parent(open_engine: OpenEngine) -> None:
    """A parent that misses its deadline while the child waits undoes both."""
    clock, did = ManualClock(), list[str]()
    engine = await open_engine(clock=clock, **LONG)
    order = Workflow("order", deadline=DAY).child("provision", stack(did, waits=True))
    await engine.start(order, id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    clock.advance(DAY)
    result = await ended(engine, clock=clock)
    assert result.error is not None
    assert (result.error.type, result.status) == ("DeadlineExceededError", "rolled_back")
    assert did == ["net", "undo net"]


async def test_g5_back_a_child_that_cannot_be_undone(engine: FluxEngine) -> None:
    """A child that needs a person makes the parent need one; both go on when they are told."""
    did: list[str] = []
    broken = [True]

    async def undo(ctx: WorkflowContext) -> None:
        if broken:
            raise RuntimeError("locked")
        did.append("undo net")

    child = Workflow("stack").step("net", noting("net", did), compensate=undo)
    await engine.start(turning_back(child, did), id="o")
    await waits_for(engine, "go")
    result = await engine.signal("o", "go")
    assert result is not None
    undone = step_of(result, "provision").compensation
    assert undone is not None
    assert undone.error is not None
    assert undone.error.type == "ChildNotUndoneError"
    assert CHILD in undone.error.message
    assert await family(engine) == {"o": "rollback_failed", CHILD: "rollback_failed"}
    broken.clear()
    assert (await engine.retry_rollback(CHILD)).status == "rolled_back"
    assert (await engine.retry_rollback("o")).status == "rolled_back"
    assert did == ["reserve", "net", "undo net", "undo reserve"]


async def test_g5_back_retried_too_early(engine: FluxEngine) -> None:
    """`retry_rollback` of a parent whose child still needs a person fails again."""

    child = Workflow("stack").step("net", noting("net", []), compensate=fail)
    await engine.start(turning_back(child, []), id="o")
    await waits_for(engine, "go")
    await engine.signal("o", "go")
    assert (await engine.retry_rollback("o")).status == "rollback_failed"
    await engine.skip_compensation("o", "provision", reason="the net was removed by hand")
    result = await ended(engine)
    assert result.status == "rolled_back"
    assert (await engine.get(CHILD)).status == "rollback_failed"


async def test_g5_back_what_a_restart_replaced(engine: FluxEngine) -> None:
    """A child that a restart replaced is still owed, and undone after the newer one."""
    did: list[str] = []
    number = iter("12")

    async def vm(ctx: WorkflowContext) -> str:
        which = next(number)
        did.append(f"vm {which}")
        return which

    async def undo(ctx: WorkflowContext) -> None:
        did.append(f"undo {ctx.output('vm') if ctx.id else None} of {ctx.id}")

    child = Workflow("stack").step("vm", vm, compensate=undo)
    await engine.start(turning_back(child, []), id="o")
    await waits_for(engine, "go")
    await engine.restart("o", "provision")
    await waits_for(engine, "go")
    await engine.signal("o", "go")
    await ended(engine)
    assert did == ["vm 1", "vm 2", "undo 2 of o:provision:2", f"undo 1 of {CHILD}"]


async def test_g5_back_is_not_stopped_by_correlation(engine: FluxEngine) -> None:
    """A completed child is undone although another instance has its correlation by now."""
    did: list[str] = []
    child = stack(did, correlate_by=("vm",))
    await engine.start(turning_back(child, did), {"vm": "7"}, id="o")
    await waits_for(engine, "go")
    other = Workflow("stack", version="2", correlate_by=("vm",)).wait("gate", "gate")
    await engine.start(other, {"vm": "7"}, id="other")
    await engine.signal("o", "go")
    assert (await ended(engine)).status == "rolled_back"
    assert did[-3:] == BACK


async def test_g5_back_with_changed_code(open_engine: OpenEngine) -> None:
    """Undoing a completed child needs its compensators, and no more of its code than that."""
    did: list[str] = []

    def child(last: str) -> Workflow:
        made = Workflow("stack")
        made.step("net", noting("net", did), compensate=noting("undo net", did))
        return made.step(last, noting("last", did))

    first = await open_engine()
    await first.start(turning_back(child("vm"), did), id="o")
    await waits_for(first, "go")
    second = await open_engine(workflows=[child("disk"), turning_back(child("disk"), did)])
    await first.close()
    await second.signal("o", "go")
    assert (await ended(second)).status == "rolled_back"
    assert did[-2:] == ["undo net", "undo reserve"]


async def test_g5_back_with_room_for_one(open_engine: OpenEngine) -> None:
    """Drivers that wait for a child's rollback need no room: it finds its own."""
    did: list[str] = []
    engine = await open_engine(max_instances=1)
    middle = Workflow("middle").child("leaf", stack(did))
    await engine.start(turning_back(middle, did), id="o")
    await waits_for(engine, "go")
    await engine.signal("o", "go", wait=False)
    assert (await ended(engine)).status == "rolled_back"
    assert did == ["reserve", "net", "vm", *BACK]


async def test_g5_back_many_with_little_room(open_engine: OpenEngine) -> None:
    """Fifty parents roll their waiting children back in the room of five."""
    did: list[str] = []
    engine = await open_engine(max_instances=5)
    order = parent(stack(did, waits=True), did)
    for number in range(50):
        await engine.start(order, id=f"o{number}")
    for number in range(50):
        await waits_for(engine, "provision", id=f"o{number}")
    await asyncio.gather(*(engine.cancel(f"o{number}") for number in range(50)))
    results = [await engine.result(f"o{number}", timeout=20) for number in range(50)]
    assert {str(result.status) for result in results} == {"cancelled"}
    assert did.count("undo reserve") == 50
    assert did.count("net") == did.count("undo net")


# Deleting


async def test_g5_back_delete_takes_the_children(engine: FluxEngine) -> None:
    """Deleting an ended parent deletes all below it."""
    middle = Workflow("middle").child("leaf", stack([]))
    await engine.start(parent(middle, []), id="o")
    await ended(engine)
    assert await engine.count() == 3
    await engine.delete("o")
    assert await engine.count() == 0


async def test_g5_back_no_delete_while_a_child_lives(engine: FluxEngine) -> None:
    """A parent whose child a person let run again is kept until that has ended."""
    await engine.start(parent(stack([], waits=True), []), id="o")
    await waits_for(engine, "ready", id=CHILD)
    await waits_for(engine, "provision")
    await engine.cancel("o", rollback=False)
    await ended(engine)
    await ended(engine, CHILD)
    assert (await engine.restart(CHILD, "ready")).status == "suspended"
    with pytest.raises(InvalidTransitionError, match=CHILD):
        await engine.delete("o")
    await engine.signal(CHILD, "ready")
    await engine.delete("o")
    assert await engine.count() == 0


async def test_g5_back_no_delete_below_a_living_parent(engine: FluxEngine) -> None:
    """A completed child is kept while its parent may have to roll it back."""
    await engine.start(turning_back(stack([]), []), id="o")
    await waits_for(engine, "go")
    with pytest.raises(InvalidTransitionError, match=r"'o' .*is suspended"):
        await engine.delete(CHILD)
    await engine.cancel("o")
    await ended(engine)
    await engine.delete(CHILD)
    assert await engine.children("o") == []


@pytest.mark.parametrize("purged", [True, False])
async def test_g5_back_no_delete_below_a_living_grandparent(
    engine: FluxEngine, purged: bool
) -> None:
    """Nor is a grandchild, whose parent has completed but may be rolled back as well."""
    did: list[str] = []
    middle = Workflow("middle").child("leaf", stack(did))
    await engine.start(turning_back(middle, did), id="o")
    await waits_for(engine, "go")
    if purged:
        later = (await engine.get("o")).updated_at.replace(year=2999)
        assert await engine.purge(later) == 0
    else:
        with pytest.raises(InvalidTransitionError):
            await engine.delete("o:provision:1:leaf:1")
    await engine.signal("o", "go")
    await ended(engine)
    assert did == ["reserve", "net", "vm", *BACK]


async def test_g5_back_purge_takes_families(engine: FluxEngine) -> None:
    """A purge counts what it removes of a family that has ended, and leaves a living one."""
    done = Workflow("done").child("provision", stack([]))
    await engine.start(done, id="done")
    await ended(engine, "done")
    await engine.start(turning_back(stack([]), []), id="o")
    await waits_for(engine, "go")
    later = (await engine.get("o")).updated_at.replace(year=2999)
    await engine.purge(later)
    assert await family(engine) == {"o": "suspended", CHILD: "completed"}
    assert await engine.count() == 2
