"""Sub-workflows, in crashes: whichever process dies where, there is one child and one end."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from families import (
    CHILD,
    Heirs,
    family,
    over,
    parent,
    stack,
    turning_back,
    waits_for,
)
from flux import (
    FluxEngine,
    Record,
    StorageUnavailableError,
    Workflow,
    WorkflowContext,
    WorkflowStorage,
)
from jumping import FAR
from opening import OpenEngine
from sagas import noting, until
from saves import DiedError, Saves
from undoing import fail
from waits import Held, Moments, becomes, ended

FORWARD = ["reserve", "net", "vm", "ship"]
BACK = ["undo vm", "undo net", "undo reserve"]


@pytest.fixture
def heirs(storage: WorkflowStorage, open_engine: OpenEngine) -> Heirs:
    return Heirs(storage, open_engine)


async def start(engine: FluxEngine) -> None:
    await engine.start("order", id="o")


def once(did: list[str]) -> list[str]:
    return list(dict.fromkeys(did))


@pytest.mark.parametrize("when", ["die_before", "die_after"])
@pytest.mark.parametrize("save", range(1, 9))
async def test_g5_crash_at_any_save_forward(heirs: Heirs, save: int, when: str) -> None:
    """At whichever save of either it dies, what was saved is not run again, and both complete."""
    did: list[str] = []
    order = parent(stack(did), did)
    await heirs.dying(order, start, **{when: save})
    saved = [name for name in await heirs.saved("o", CHILD) if name in FORWARD]
    first, did[:] = once(did), []
    engine = await heirs.next(order)
    if (save, when) == (1, "die_before"):
        await start(engine)
    assert (await over(engine)).status == "completed"
    assert await family(engine) == {"o": "completed", CHILD: "completed"}
    assert sorted([*saved, *did]) == sorted(FORWARD)
    assert once([*first, *did]) == FORWARD


@pytest.mark.parametrize("when", ["die_before", "die_after"])
@pytest.mark.parametrize("save", range(5, 14))
async def test_g5_crash_at_any_save_back(heirs: Heirs, save: int, when: str) -> None:
    """Nor is what was undone undone again, when it dies in the rollback of either."""
    did: list[str] = []
    order = Workflow("order")
    order.step("reserve", noting("reserve", did), compensate=noting("undo reserve", did))
    order.child("provision", stack(did)).step("pay", fail)
    await heirs.dying(order, start, **{when: save})
    saved = [name for name in await heirs.saved("o", CHILD) if name in (*FORWARD, *BACK)]
    first, did[:] = once(did), []
    engine = await heirs.next(order)
    assert (await over(engine)).status == "rolled_back"
    assert await family(engine) == {"o": "rolled_back", CHILD: "rolled_back"}
    assert sorted([*saved, *did]) == sorted([*FORWARD[:3], *BACK])
    assert once([*first, *did]) == [*FORWARD[:3], *BACK]


@pytest.mark.parametrize("when", ["die_before", "die_after"])
@pytest.mark.parametrize("save", range(1, 6))
async def test_g5_crash_after_resume(heirs: Heirs, save: int, when: str) -> None:
    """A person's `resume` of a failed parent outlives the process at whichever save that dies."""
    broken, did = [True], list[str]()

    async def vm(ctx: WorkflowContext) -> None:
        did.append("vm")
        if broken:
            raise RuntimeError("declined")

    order = Workflow("order").child("provision", Workflow("stack").step("vm", vm))
    first = await heirs.next(order)
    await first.start(order, id="o")
    assert (await over(first)).status == "failed"
    await first.close()
    broken.clear()
    await heirs.dying(order, lambda engine: engine.resume("o"), **{when: save})
    engine = await heirs.next(order)
    if (save, when) == (1, "die_before"):
        await engine.resume("o")
    assert (await over(engine)).status == "completed"
    assert await family(engine) == {"o": "completed", CHILD: "completed"}
    assert 2 <= len(did) <= 3


@pytest.mark.parametrize("save", range(1, 5))
async def test_g5_crash_in_a_cancel(heirs: Heirs, save: int) -> None:
    """A cancel that was heeded outlives the process, for the parent and for the child."""
    did: list[str] = []
    order = parent(stack(did, waits=True), did)
    first = await heirs.next(order)
    await first.start(order, id="o")
    await waits_for(first, "ready", id=CHILD)
    await waits_for(first, "provision")
    await first.close()
    await heirs.dying(order, lambda engine: engine.cancel("o"), die_after=save)
    engine = await heirs.next(order)
    assert (await over(engine)).status == "cancelled"
    assert await family(engine) == {"o": "cancelled", CHILD: "cancelled"}
    assert once(did) == ["reserve", "net", "undo net", "undo reserve"]


@pytest.mark.parametrize("end", ["completed", "rolled_back"])
async def test_g5_crash_between_end_and_telling(heirs: Heirs, end: str) -> None:
    """A child that ended in a process which died then is told of by the next one."""
    moments, did = Moments(heirs.storage), list[str]()
    moments.after(lambda save: save.id == CHILD and save.status == end, moments.dies)
    child = stack(did, waits=True, vm=None if end == "completed" else fail)
    order = parent(child, did)
    dead = await heirs.next(order, on=moments)
    await dead.start(order, id="o")
    await waits_for(dead, "provision")
    await waits_for(dead, "ready", id=CHILD)
    await dead.signal(CHILD, "ready", wait=False)
    await until(lambda: moments.is_dead)
    looking = await heirs.next()
    assert await family(looking) == {"o": "suspended", CHILD: end}
    engine = await heirs.next(order)
    assert (await over(engine)).status == end


async def test_g5_crash_where_only_parents_are_known(heirs: Heirs) -> None:
    """A process that was given the parent drives its children too."""
    did: list[str] = []
    order = parent(stack(did, waits=True), did)
    first = await heirs.next(order)
    await first.start(order, id="o")
    await waits_for(first, "ready", id=CHILD)
    await waits_for(first, "provision")
    await first.close()
    engine = await heirs.next(parent(stack(did, waits=True), did))
    await engine.signal(CHILD, "ready")
    assert (await over(engine)).status == "completed"
    assert did == FORWARD


class LostAnswer(Saves):
    """A storage that creates a child, but cannot be reached when it answers; the first time."""

    lost = False

    async def create(self, record: Record, **terms: Any) -> bool:
        made = await super().create(record, **terms)
        if record.id == CHILD and not self.lost:
            self.lost = True
            raise StorageUnavailableError("the storage", "the line is cut")
        return made


async def test_g5_a_lost_answer_to_its_creation(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A child whose creation was not acknowledged is the step's child all the same."""
    lost, did = LostAnswer(storage), list[str]()
    engine = await open_engine(lost, lease=0.2)
    await engine.start(parent(stack(did), did), id="o")
    assert (await ended(engine)).status == "completed"
    assert (lost.lost, await family(engine)) == (True, {"o": "completed", CHILD: "completed"})
    assert did == FORWARD


class Zombie(Saves):
    """A process cut off while it creates a child; that call arrives when the test says so."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.began, self.go_on, self.arrived = (asyncio.Event() for _ in range(3))

    async def create(self, record: Record, **terms: Any) -> bool:
        if record.id != CHILD:
            return await super().create(record, **terms)
        self.began.set()
        self.die()
        await self.go_on.wait()
        made = await self._storage.create(record, **terms)
        self.arrived.set()
        return made


async def test_g5_a_zombie_comes_too_late(heirs: Heirs) -> None:
    """A child that a process creates after its parent was undone by another never runs."""
    zombie, did = Zombie(heirs.storage), list[str]()
    order = parent(stack(did), did)
    cut_off = await heirs.next(order, on=zombie)
    with suppress(DiedError):
        await cut_off.start(order, id="o")
    await zombie.began.wait()
    asking = await heirs.next()
    await asking.cancel("o")
    engine = await heirs.next(order)
    assert (await over(engine)).status == "cancelled"
    zombie.go_on.set()
    await zombie.arrived.wait()
    later = await heirs.next(order)
    for child in await later.children("o"):
        assert (await over(later, child.id)).status == "cancelled"
    assert did == ["reserve", "undo reserve"]


# Several engines, and engines that stop


async def test_g5_two_engines_share_families(open_engine: OpenEngine) -> None:
    """Two engines share a family: each drives what has room with it."""
    did: list[str] = []
    engines = [
        await open_engine(workflows=[parent(stack(did), did)], max_instances=1) for _ in range(2)
    ]
    for number in range(10):
        await engines[0].start("order", id=f"o{number}")
    for number in range(10):
        assert (await engines[1].result(f"o{number}", timeout=20)).status == "completed"
    assert sorted(did) == sorted(FORWARD * 10)


@pytest.mark.parametrize("rollback", [True, False])
async def test_g5_a_child_driven_elsewhere(open_engine: OpenEngine, rollback: bool) -> None:
    """A cancel reaches a child that another engine drives, and waits for the end there."""
    did: list[str] = []
    vm = Held()
    first = await open_engine()
    await first.start(parent(stack(did, waits=True, vm=vm), did), id="o")
    await waits_for(first, "ready", id=CHILD)
    await waits_for(first, "provision")
    await first.close()
    elsewhere = await open_engine(
        workflows=[stack(did, waits=True, vm=vm)], max_instances=1, lease=0.3
    )
    await elsewhere.signal(CHILD, "ready", wait=False)
    await vm.began.wait()
    engine = await open_engine(workflows=[parent(stack(did, waits=True), did)])
    await engine.cancel("o", rollback=rollback)
    assert (await ended(engine)).status == "cancelled"
    assert (await ended(engine, CHILD)).status == "cancelled"
    assert did == ["reserve", "net", *(BACK if rollback else [])]


async def test_g5_stop_while_the_child_runs(open_engine: OpenEngine) -> None:
    """An engine that stops gives both back; the next one goes on with the child."""
    did: list[str] = []
    held = Held()
    order = parent(stack(did, vm=held), did)
    first = await open_engine(workflows=[order])
    await first.start("order", id="o")
    await held.began.wait()
    await waits_for(first, "provision")
    await first.close()
    held.go_on.set()
    second = await open_engine(workflows=[order])
    assert (await ended(second)).status == "completed"
    assert await family(second) == {"o": "completed", CHILD: "completed"}
    assert did == ["reserve", "net", "ship"]


async def test_g5_stop_while_the_child_goes_back(open_engine: OpenEngine) -> None:
    """An engine that stops in the rollback of a child gives both back at once."""
    did: list[str] = []
    undo = Held()
    child = Workflow("stack").step("net", noting("net", did), compensate=undo)
    order = turning_back(child, did)
    first = await open_engine(workflows=[order], lease=FAR["lease"])
    await first.start("order", id="o")
    await waits_for(first, "go")
    await first.signal("o", "go", wait=False)
    await undo.began.wait()
    await first.close()
    undo.go_on.set()
    second = await open_engine(workflows=[order])
    assert (await ended(second)).status == "rolled_back"
    assert (did, undo.calls) == (["reserve", "net", "undo reserve"], 2)


async def test_g5_stop_while_the_parent_waits(open_engine: OpenEngine) -> None:
    """A child that goes on in another engine tells its parent there."""
    did: list[str] = []
    order = parent(stack(did, waits=True), did)
    first = await open_engine(workflows=[order])
    await first.start("order", id="o")
    await waits_for(first, "provision")
    await waits_for(first, "ready", id=CHILD)
    await first.close()
    second = await open_engine(workflows=[order])
    await second.signal(CHILD, "ready")
    assert (await ended(second)).status == "completed"
    assert did == FORWARD


async def test_g5_stop_leaves_no_lease(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A child that has ended and told its parent is nobody's any more."""
    saves = Saves(storage)
    engine = await open_engine(saves)
    await engine.start(parent(stack([]), []), id="o")
    await ended(engine)
    await becomes(engine, lambda state: state.status == "completed", id=CHILD)

    async with asyncio.timeout(5):
        while await is_leased(saves, CHILD):  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)


async def is_leased(storage: WorkflowStorage, id: str) -> bool:
    loaded = await storage.load(id)
    return loaded is not None and loaded[0].lease_until is not None
