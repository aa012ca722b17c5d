"""S28: an instance goes on under changed code where what was done fits, and is left alone else."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flux import (
    DefinitionChangedError,
    Lease,
    Record,
    Signal,
    SignalReceipt,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import noting, step_of, until
from saves import DiedError, Saves
from settling import passing, watched
from undoing import Lives, fail

FAR: Any = {"lease": 3000, "poll": 1000}
"""Leases and polls that play no part: an engine does what a verb asks for."""

COMPLETED = WorkflowStatus.COMPLETED

Change = Callable[[Workflow, Callable[[str], Any]], Workflow]


def changed(change: Change, ran: list[str], *, version: str = "2") -> Workflow:
    """The order as `change` builds it; its handlers note their names in `ran`."""
    return change(Workflow("order", version=version), lambda name: noting(name, ran))


def was(order: Workflow, act: Callable[[str], Any]) -> Workflow:
    """The order as it was: "a" and the commit "b" were done, "ok" waits, "c" and "d" follow."""
    order.step("a", act("a")).commit("b", act("b")).wait("ok")
    return order.step("c", act("c")).step("d", act("d"))


async def suspended(open_engine: OpenEngine, change: Change = was) -> None:
    """Let "order-1" suspend under the code as it was, in a process that is gone."""
    engine = await open_engine(**FAR)
    await engine.execute(changed(change, [], version="1"), id="order-1")
    await engine.close()


@pytest.fixture
def storage(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for whose answers `passing` waits."""
    return watched(storage)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# What may change

LATER: dict[str, tuple[Change, list[str]]] = {
    "nothing": (was, ["c", "d"]),
    "added at the end": (lambda o, act: was(o, act).step("e", act("e")), ["c", "d", "e"]),
    "added after the wait": (
        lambda o, act: (
            o.step("a", act("a"))
            .commit("b", act("b"))
            .wait("ok")
            .step("x", act("x"))
            .step("c", act("c"))
            .step("d", act("d"))
        ),
        ["x", "c", "d"],
    ),
    "removed": (
        lambda o, act: o.step("a", act("a")).commit("b", act("b")).wait("ok").step("d", act("d")),
        ["d"],
    ),
    "all removed": (lambda o, act: o.step("a", act("a")).commit("b", act("b")).wait("ok"), []),
    "renamed": (
        lambda o, act: (
            o.step("a", act("a"))
            .commit("b", act("b"))
            .wait("ok")
            .step("C", act("C"))
            .step("d", act("d"))
        ),
        ["C", "d"],
    ),
    "reordered": (
        lambda o, act: (
            o.step("a", act("a"))
            .commit("b", act("b"))
            .wait("ok")
            .step("d", act("d"))
            .step("c", act("c"))
        ),
        ["d", "c"],
    ),
    "made a commit": (
        lambda o, act: (
            o.step("a", act("a"))
            .commit("b", act("b"))
            .wait("ok")
            .commit("c", act("c"))
            .step("d", act("d"))
        ),
        ["c", "d"],
    ),
    "a branch beside": (
        lambda o, act: was(o, act).step("e", act("e"), after=()).step("f", act("f"), after="a"),
        ["c", "d", "e", "f"],
    ),
}


@pytest.mark.parametrize(("change", "ran"), LATER.values(), ids=LATER)
async def test_s28_what_comes_later_may_change(
    open_engine: OpenEngine, change: Change, ran: list[str]
) -> None:
    """Steps after the current point may be added, taken away and changed: the new ones run."""
    await suspended(open_engine)
    did: list[str] = []
    engine = await open_engine(workflows=[changed(change, did)], **FAR)
    result = await engine.signal("order-1", "ok")
    assert result is not None
    assert (result.status, sorted(did)) == (COMPLETED, sorted(ran))


async def test_s28_a_later_step_may_become_a_wait(open_engine: OpenEngine) -> None:
    """The kind of a step that was not begun may change."""

    def waits(order: Workflow, act: Callable[[str], Any]) -> Workflow:
        return order.step("a", act("a")).commit("b", act("b")).wait("ok").sleep("c", 60)

    await suspended(open_engine)
    engine = await open_engine(workflows=[changed(waits, [])], **FAR)
    result = await engine.signal("order-1", "ok")
    assert result is not None
    assert (result.status, result.state.current_step) == (WorkflowStatus.SUSPENDED, "c")


async def test_s28_handlers_and_policies_may_change(open_engine: OpenEngine) -> None:
    """They are no part of the shape, whether their step was begun or not."""
    did: list[str] = []
    note = noting("undo", did)

    def other(order: Workflow, act: Callable[[str], Any]) -> Workflow:
        order.step("a", act("A"), retries=5, timeout=3, compensate=note, description="other")
        order.commit("b", act("B"), at_most_once=True, unknown_on=(OSError,))
        return order.wait("ok", timeout=5).step("c", act("C"), retries=2).step("d", fail)

    await suspended(open_engine)
    engine = await open_engine(workflows=[changed(other, did, version="1")], **FAR)
    result = await engine.signal("order-1", "ok")
    assert result is not None
    assert (result.status, did) == (WorkflowStatus.ROLLED_BACK, ["C", "undo"])


async def test_s28_a_wait_goes_on_as_it_was_begun(open_engine: OpenEngine) -> None:
    """A changed signal or timeout is for waits to come: who waits already waits for the same."""

    def other(order: Workflow, act: Callable[[str], Any]) -> Workflow:
        order.step("a", act("a")).commit("b", act("b"))
        return order.wait("ok", signal="approved", timeout=1)

    await suspended(open_engine)
    clock = ManualClock(datetime.now(UTC) + timedelta(days=1))
    engine = await open_engine(workflows=[changed(other, [])], clock=clock, **FAR)
    result = await engine.signal("order-1", "ok", "signed")
    assert result is not None
    assert (result.status, step_of(result, "ok").output) == (COMPLETED, "signed")


# What may not

RENAMED: Change = lambda o, act: o.step("A", act("A")).commit("b", act("b")).wait("ok")  # noqa: E731

BEGUN: dict[str, tuple[Change, list[str]]] = {
    "renamed": (
        RENAMED,
        [
            "step 'a' was begun and is no longer there (removed, or renamed)",
            "step 'A' is new before step 'b', which was begun",
        ],
    ),
    "removed": (
        lambda o, act: o.step("a", act("a")).wait("ok").step("c", act("c")),
        [
            "step 'b' was begun and is no longer there (removed, or renamed)",
            "step 'ok' was begun after 'b' and comes after 'a' now",
        ],
    ),
    "the current one renamed": (
        lambda o, act: o.step("a", act("a")).commit("b", act("b")).wait("okay"),
        ["step 'ok' was begun and is no longer there (removed, or renamed)"],
    ),
    "reordered": (
        lambda o, act: o.commit("b", act("b")).step("a", act("a")).wait("ok"),
        [
            "step 'a' was begun after nothing and comes after 'b' now",
            "step 'b' was begun after 'a' and comes after nothing now",
            "step 'ok' was begun after 'b' and comes after 'a' now",
        ],
    ),
    "a later one put before": (
        lambda o, act: o.step("a", act("a")).step("c", act("c")).commit("b", act("b")).wait("ok"),
        ["step 'c' is new before step 'b', which was begun"],
    ),
    "a new one at the beginning": (
        lambda o, act: o.step("x", act("x")).step("a", act("a")).commit("b", act("b")).wait("ok"),
        ["step 'x' is new before step 'a', which was begun"],
    ),
    "a new one before the current": (
        lambda o, act: o.step("a", act("a")).commit("b", act("b")).step("x", act("x")).wait("ok"),
        ["step 'x' is new before step 'ok', which was begun"],
    ),
    "a new one joined in": (
        lambda o, act: (
            o.step("a", act("a"))
            .commit("b", act("b"))
            .step("x", act("x"), after=())
            .wait("ok", after=("b", "x"))
        ),
        ["step 'x' is new before step 'ok', which was begun"],
    ),
    "a step made a wait": (
        lambda o, act: o.wait("a").commit("b", act("b")).wait("ok"),
        ["step 'a' was begun as a step and is a wait now"],
    ),
    "a wait made a sleep": (
        lambda o, act: o.step("a", act("a")).commit("b", act("b")).sleep("ok", 5),
        ["step 'ok' was begun as a wait and is a sleep now"],
    ),
    "made a commit": (
        lambda o, act: o.commit("a", act("a")).commit("b", act("b")).wait("ok"),
        ["step 'a' was begun with commit=False and has commit=True"],
    ),
    "made no commit": (
        lambda o, act: o.step("a", act("a")).step("b", act("b")).wait("ok"),
        ["step 'b' was begun with commit=True and has commit=False"],
    ),
}


@pytest.mark.parametrize(("change", "differences"), BEGUN.values(), ids=BEGUN)
async def test_s28_what_was_begun_may_not_change(
    open_engine: OpenEngine, change: Change, differences: list[str]
) -> None:
    """The error says what differs; the instance stays as it was, and nothing runs."""
    await suspended(open_engine)
    did: list[str] = []
    engine = await open_engine(workflows=[changed(change, did)], **FAR)
    before = await engine.get("order-1")
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.restart("order-1", "ok")
    assert list(raised.value.differences) == differences
    assert (await engine.get("order-1"), did) == (before, [])


async def test_s28_the_error_is_a_list(open_engine: OpenEngine) -> None:
    """It names the instance and the workflow, lists the differences, and says what helps."""
    await suspended(open_engine)
    engine = await open_engine(workflows=[changed(RENAMED, [])], **FAR)
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.restart("order-1", "b")
    assert (raised.value.id, raised.value.workflow) == ("order-1", "order")
    assert str(raised.value) == (
        "instance 'order-1' cannot go on with this workflow 'order':\n"
        "  - step 'a' was begun and is no longer there (removed, or renamed)\n"
        "  - step 'A' is new before step 'b', which was begun\n"
        "register the version that it was started with beside the new one"
    )


async def test_s28_nobody_is_left_with_a_lease(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """After a refusal an engine that has the code goes on at once."""
    await suspended(open_engine)
    unfit = await open_engine(workflows=[changed(RENAMED, [])], **FAR)
    with pytest.raises(DefinitionChangedError):
        await unfit.restart("order-1", "b")
    assert (await head_of(storage, "order-1")).lease_until is None
    fits = await open_engine(workflows=[changed(was, [])], **FAR)
    result = await asyncio.wait_for(fits.signal("order-1", "ok"), 30)
    assert result is not None
    assert result.status is COMPLETED


async def test_s28_a_step_that_runs_is_begun(lives: Lives) -> None:
    """One whose process died while it ran has left no entry; it is begun all the same."""
    await lives.start(steps("a"), id="o", die_after=1)
    engine = await lives.next(steps("A", version="2"))
    assert "step 'a' was begun and is no longer there" in str((await engine.diagnose("o")).unfit)


async def test_s28_a_step_to_come_is_not_begun(open_engine: OpenEngine) -> None:
    """The step before which an instance was paused may be renamed, and others put before it."""
    first, did = await open_engine(**FAR), list[str]()

    async def pause(ctx: WorkflowContext) -> None:
        await first.pause(ctx.id)

    await first.execute(Workflow("order").step("a", pause).step("b", fail), id="order-1")
    await first.close()
    engine = await open_engine(workflows=[steps("a", "x", "B", version="2", ran=did)], **FAR)
    assert (await engine.resume("order-1")).status is COMPLETED
    assert did == ["x", "B"]


async def test_s28_a_skipped_step_is_finished(open_engine: OpenEngine) -> None:
    """Nor may a step change that was skipped."""
    first = await open_engine(**FAR)
    skipping = Workflow("order").step("a", fail, when=lambda ctx: False).wait("ok")
    await first.execute(skipping, id="order-1")
    await first.close()
    engine = await open_engine(workflows=[Workflow("order", version="2").wait("ok")], **FAR)
    with pytest.raises(DefinitionChangedError, match="step 'a' was begun"):
        await engine.restart("order-1", "ok")


async def test_s28_a_failed_step_may_be_mended(open_engine: OpenEngine) -> None:
    """With another handler, and with more steps after it, `resume` completes the instance."""
    did: list[str] = []
    await ended(open_engine, steps("a").step("pay", fail))
    engine = await open_engine(workflows=[steps("a", "pay", "ship", version="2", ran=did)], **FAR)
    assert (await engine.resume("order-1")).status is COMPLETED
    assert did == ["pay", "ship"]


@pytest.mark.parametrize("names", [["a", "charge"], ["a", "x", "pay"]])
async def test_s28_a_failed_step_is_begun(open_engine: OpenEngine, names: list[str]) -> None:
    """It may not be renamed, nor may a new step come before it."""
    await ended(open_engine, steps("a").step("pay", fail))
    engine = await open_engine(workflows=[steps(*names, version="2")], **FAR)
    with pytest.raises(DefinitionChangedError, match=r"step '(pay|x)'"):
        await engine.resume("order-1")
    assert (await engine.get("order-1")).status is WorkflowStatus.FAILED


async def test_s28_a_restart_under_changed_code(open_engine: OpenEngine) -> None:
    """A completed instance may be run again with the steps that were added since."""
    did: list[str] = []
    await ended(open_engine, steps("a", "b"))
    engine = await open_engine(workflows=[steps("a", "b", "c", version="2", ran=did)], **FAR)
    assert (await engine.restart("order-1", "b")).status is COMPLETED
    assert did == ["b", "c"]


def steps(*names: str, version: str = "1", ran: list[str] | None = None) -> Workflow:
    """An order of these steps, which note their names."""
    order = Workflow("order", version=version)
    for name in names:
        order.step(name, noting(name, [] if ran is None else ran))
    return order


async def ended(open_engine: OpenEngine, order: Workflow) -> None:
    """Run "order-1" to its rest, in a process that is gone."""
    engine = await open_engine(**FAR)
    await engine.execute(order, id="order-1")
    await engine.close()


async def head_of(storage: WorkflowStorage, id: str) -> Record:
    """The stored head."""
    stored = await storage.load(id, history=False)
    assert stored is not None
    return stored[0]


# Several versions


async def test_s28_versions_side_by_side(open_engine: OpenEngine) -> None:
    """An instance goes on under its own version, a new one starts under the newest."""
    old, new = list[str](), list[str]()
    await suspended(open_engine)
    engine = await open_engine(
        workflows=[changed(was, old, version="1"), changed(RENAMED, new)], **FAR
    )
    result = await engine.signal("order-1", "ok")
    await engine.execute("order", id="order-2")
    assert result is not None
    assert (result.status, old, new) == (COMPLETED, ["c", "d"], ["A", "b"])
    assert [(await engine.get(f"order-{n}")).version for n in (1, 2)] == ["1", "2"]


@pytest.mark.parametrize("versions", ["12", "21"])
async def test_s28_own_version_in_any_order(open_engine: OpenEngine, versions: str) -> None:
    """The own version is taken though another one fits as well, whichever is the newest."""
    ran = {version: list[str]() for version in versions}
    await suspended(open_engine)
    known = [changed(was, ran[version], version=version) for version in versions]
    engine = await open_engine(workflows=known, **FAR)
    await engine.signal("order-1", "ok")
    assert ran == {"1": ["c", "d"], "2": []}


async def test_s28_own_version_that_does_not_fit(open_engine: OpenEngine) -> None:
    """Where code was changed under the same version, another one that fits is taken."""
    did: list[str] = []
    await suspended(open_engine)
    engine = await open_engine(
        workflows=[changed(was, did), changed(RENAMED, [], version="1")], **FAR
    )
    result = await engine.signal("order-1", "ok")
    assert result is not None
    assert (result.status, did) == (COMPLETED, ["c", "d"])


async def test_s28_the_newest_that_fits(open_engine: OpenEngine) -> None:
    """Where the own version is missing, the newest whose shape fits is taken."""
    ran = {version: list[str]() for version in "234"}
    await suspended(open_engine)
    engine = await open_engine(
        workflows=[
            changed(was, ran["2"], version="2"),
            changed(was, ran["3"], version="3"),
            changed(RENAMED, ran["4"], version="4"),
        ],
        **FAR,
    )
    await engine.signal("order-1", "ok")
    assert ran == {"2": [], "3": ["c", "d"], "4": []}


async def test_s28_where_none_fits(open_engine: OpenEngine) -> None:
    """The error tells how the newest differs."""
    await suspended(open_engine)
    engine = await open_engine(
        workflows=[changed(RENAMED, [], version="2"), changed(BEGUN["removed"][0], [], version="3")]
    )
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.restart("order-1", "ok")
    assert list(raised.value.differences) == BEGUN["removed"][1]


# What an instance remembers


def two_waits(order: Workflow, act: Callable[[str], Any]) -> Workflow:
    """The order that waits twice."""
    return order.step("a", act("a")).wait("ok").wait("go").step("z", act("z"))


def two_waits_and_more(order: Workflow, act: Callable[[str], Any]) -> Workflow:
    """The same with a new step between the waits."""
    order.step("a", act("a")).wait("ok").step("x", act("x"))
    return order.wait("go").step("z", act("z"))


async def gone_on(open_engine: OpenEngine) -> None:
    """Let "order-1" begin as `two_waits`, and go on as `two_waits_and_more` to its second wait."""
    await suspended(open_engine, two_waits)
    did: list[str] = []
    engine = await open_engine(workflows=[changed(two_waits_and_more, did)], **FAR)
    await engine.signal("order-1", "ok")
    await engine.close()
    assert did == ["x"]


async def test_s28_what_was_done_under_new_code_is_begun(open_engine: OpenEngine) -> None:
    """An instance that went on under a changed shape remembers it: the old one fits no more."""
    await gone_on(open_engine)
    engine = await open_engine(workflows=[changed(two_waits, [], version="1")], **FAR)
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.restart("order-1", "go")
    assert list(raised.value.differences) == [
        "step 'x' was begun and is no longer there (removed, or renamed)",
        "step 'go' was begun after 'x' and comes after 'ok' now",
    ]


async def test_s28_it_goes_on_under_the_new_code(open_engine: OpenEngine) -> None:
    """It goes on under the shape that it remembers, in another process."""
    await gone_on(open_engine)
    did: list[str] = []
    engine = await open_engine(workflows=[changed(two_waits_and_more, did, version="3")], **FAR)
    result = await engine.signal("order-1", "go")
    assert result is not None
    assert (result.status, did) == (COMPLETED, ["z"])


async def test_s28_it_goes_on_beside_the_old_code(open_engine: OpenEngine) -> None:
    """The version that it went on under counts, though the one it began with is there again."""
    await gone_on(open_engine)
    did: list[str] = []
    engine = await open_engine(
        workflows=[changed(two_waits, [], version="1"), changed(two_waits_and_more, did)], **FAR
    )
    result = await asyncio.wait_for(engine.signal("order-1", "go"), 30)
    assert result is not None
    assert (result.status, did) == (COMPLETED, ["z"])


async def test_s28_a_restart_is_remembered_too(open_engine: OpenEngine) -> None:
    """So does one that a person let run again under changed code."""
    await ended(open_engine, steps("a", "b"))
    engine = await open_engine(workflows=[steps("a", "b", "x", version="2").wait("go")], **FAR)
    await engine.restart("order-1", "b")
    await engine.close()
    old = await open_engine(workflows=[steps("a", "b")], **FAR)
    with pytest.raises(DefinitionChangedError, match="step 'x' was begun"):
        await old.restart("order-1", "b")


# Rollback


def undoable(order: Workflow, names: str, did: list[str]) -> Workflow:
    """Steps of one letter, of which the big ones can be undone."""
    for name in names:
        undo = noting(f"undo {name}", did) if name.isupper() else None
        order.step(name, noting(name, did), compensate=undo)
    return order


async def stuck(open_engine: OpenEngine) -> None:
    """Let "order-1" do "A", "b" and "C", fail, and rest with "C" not undone."""
    order = undoable(Workflow("order"), "Ab", []).step("C", noting("C", []), compensate=fail)
    await ended(open_engine, order.step("d", fail).step("e", fail))


ROLLBACKS = {
    "the same": "AbCde",
    "what failed is gone": "AbC",
    "reordered": "dCbA",
    "more before": "xAyzbC",
    "what cannot be undone is gone": "AC",
}


@pytest.mark.parametrize("names", ROLLBACKS.values(), ids=ROLLBACKS)
async def test_s28_a_rollback_needs_its_compensators(open_engine: OpenEngine, names: str) -> None:
    """Whatever else has changed: with the compensators of what is to be undone it goes on."""
    await stuck(open_engine)
    did: list[str] = []
    order = undoable(Workflow("order", version="2"), names, did)
    engine = await open_engine(workflows=[order], **FAR)
    result = await engine.retry_rollback("order-1")
    assert (result.status, did) == (WorkflowStatus.ROLLED_BACK, ["undo C", "undo A"])


@pytest.mark.parametrize(("names", "missing"), [("bC", "A"), ("Ab", "C")])
async def test_s28_a_rollback_lacks_a_compensator(
    open_engine: OpenEngine, names: str, missing: str
) -> None:
    """Without the step of one it is refused, and rests as it was."""
    await stuck(open_engine)
    did: list[str] = []
    order = undoable(Workflow("order", version="2"), names, did)
    engine = await open_engine(workflows=[order], **FAR)
    before = await engine.get("order-1")
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.retry_rollback("order-1")
    assert raised.value.differences == (f"step {missing!r} is to be undone and is no longer there",)
    assert (await engine.get("order-1"), did) == (before, [])


async def test_s28_what_is_owed_is_not_forgotten(open_engine: OpenEngine) -> None:
    """A completion that a restart replaced is to be undone: without its step nothing turns back."""

    def paying(version: str, *names: str) -> Workflow:
        order = steps("a", version=version).wait("ok")
        for name in names:
            order.step(name, noting(name, []), compensate=noting("undo", []))
        return order

    first = await open_engine(**FAR)
    await first.execute(paying("1", "pay"), id="order-1")
    await first.signal("order-1", "ok")
    await first.restart("order-1", "a")
    await first.close()
    engine = await open_engine(workflows=[paying("2").step("end", fail)], **FAR)
    with pytest.raises(DefinitionChangedError) as raised:
        await engine.restart("order-1", "ok")
    assert raised.value.differences == ("step 'pay' is to be undone and is no longer there",)


# What does not fit may end

LEFT = {
    "a rollback": (True, "xA", WorkflowStatus.CANCELLED, ["undo A"]),
    "a rollback that lacks a compensator": (True, "xB", WorkflowStatus.SUSPENDED, []),
    "no rollback": (False, "xB", WorkflowStatus.CANCELLED, []),
}


@pytest.mark.parametrize(("rollback", "names", "status", "did"), LEFT.values(), ids=LEFT)
async def test_s28_a_cancel_needs_the_compensators(
    open_engine: OpenEngine,
    clock: ManualClock,
    rollback: bool,
    names: str,
    status: WorkflowStatus,
    did: list[str],
) -> None:
    """What cannot go on may be cancelled all the same, where it can be undone, or need not be."""
    await ended(open_engine, undoable(Workflow("order"), "A", []).wait("ok"))
    undone: list[str] = []
    order = undoable(Workflow("order", version="2"), names, undone).wait("ok")
    engine = await open_engine(workflows=[order], clock=clock, poll=1)
    await engine.cancel("order-1", rollback=rollback)
    for _ in range(5):
        await passing(clock, 10)
    assert ((await engine.get("order-1")).status, undone) == (status, did)


async def test_s28_a_deadline_needs_the_compensators(
    open_engine: OpenEngine, clock: ManualClock
) -> None:
    """So it may miss its deadline, and is undone."""
    did: list[str] = []
    first = await open_engine(clock=clock)
    order = undoable(Workflow("order", deadline=60), "A", []).wait("ok")
    await first.execute(order, id="order-1")
    await first.close()
    changed_order = undoable(Workflow("order", version="2"), "xA", did).wait("ok")
    engine = await open_engine(workflows=[changed_order], clock=clock, poll=1)
    for _ in range(8):
        await passing(clock, 10)
    state = await engine.get("order-1")
    assert (state.status, did) == (WorkflowStatus.ROLLED_BACK, ["undo A"])
    assert str(state.error).startswith("DeadlineExceededError")


# In the background


def naps(order: Workflow, act: Callable[[str], Any]) -> Workflow:
    """An order that sleeps."""
    return order.step("a", act("a")).sleep("nap", 60).step("b", act("b"))


def naps_renamed(order: Workflow, act: Callable[[str], Any]) -> Workflow:
    """The same with another name of what was done."""
    return order.step("A", act("A")).sleep("nap", 60).step("b", act("b"))


async def asleep(open_engine: OpenEngine, clock: ManualClock) -> None:
    """Let "order-1" sleep, in a process that is gone."""
    engine = await open_engine(clock=clock)
    await engine.execute(changed(naps, [], version="1"), id="order-1")
    await engine.close()


async def test_s28_what_is_due_is_left_alone(open_engine: OpenEngine, clock: ManualClock) -> None:
    """An engine whose code does not fit neither fails the instance nor counts a recovery."""
    await asleep(open_engine, clock)
    did: list[str] = []
    engine = await open_engine(workflows=[changed(naps_renamed, did)], clock=clock, poll=1)
    before = await engine.get("order-1")
    for _ in range(8):
        await passing(clock, 31)
    assert (await engine.get("order-1"), did) == (before, [])
    assert (await engine.diagnose("order-1")).recoveries == 0


async def test_s28_what_was_abandoned_is_left_alone(lives: Lives) -> None:
    """So it leaves an instance whose process died, though that was running."""
    await lives.start(steps("a", "b"), id="o", die_after=2)
    engine = await lives.next(steps("A", "b", version="2"), max_recoveries=1)
    for _ in range(5):
        await passing(lives.clock, 5 * 86_400)
    state = await engine.get("o")
    assert (state.status, step_of(state, "b").attempt_count) == (WorkflowStatus.RUNNING, 0)
    assert (await engine.diagnose("o")).recoveries == 0


async def test_s28_an_abandoned_rollback_is_left_alone(lives: Lives) -> None:
    """And one that died in its rollback."""
    did: list[str] = []
    order = undoable(Workflow("order"), "AB", did).step("c", fail)
    await lives.start(order, id="o", die_after=4)
    engine = await lives.next(undoable(Workflow("order", version="2"), "B", did))
    for _ in range(3):
        await passing(lives.clock, 5 * 86_400)
    assert (await engine.get("o")).status is WorkflowStatus.ROLLING_BACK
    assert "step 'A' is to be undone" in str((await engine.diagnose("o")).unfit)
    assert did == ["A", "B"]


async def test_s28_another_engine_drives_it(open_engine: OpenEngine, clock: ManualClock) -> None:
    """An engine whose code fits finds it, while the other one still looks."""
    await asleep(open_engine, clock)
    did: list[str] = []
    await open_engine(workflows=[changed(naps_renamed, did)], clock=clock, poll=1)
    await passing(clock, 100)
    fits = await open_engine(workflows=[changed(naps, did)], clock=clock, poll=1)
    for _ in range(10):
        await passing(clock, 30)
    assert (await fits.get("order-1")).status is COMPLETED
    assert did == ["b"]


async def test_s28_a_signal_to_it_is_kept(open_engine: OpenEngine, clock: ManualClock) -> None:
    """A signal sent where the code does not fit is taken where it does."""
    await suspended(open_engine)
    unfit = await open_engine(workflows=[changed(RENAMED, [])], clock=clock)
    await unfit.signal("order-1", "ok", "signed", wait=False)
    await passing(clock, 1)
    await unfit.close()
    fits = await open_engine(workflows=[changed(was, [])], clock=clock, poll=1)
    for _ in range(10):
        await passing(clock, 30)
    assert step_of(await fits.get("order-1"), "ok").output == "signed"


class Overtaken(Saves):
    """A storage in which the background claims before a signal returns, and long holds it."""

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.claimed, self.go_on = asyncio.Event(), asyncio.Event()

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        due = await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)
        if due:
            self.claimed.set()
        return due

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        await self.go_on.wait()
        return await super().release(lease, wake=wake)

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        receipt = await super().send_signal(id, signal, refused=refused)
        await self.claimed.wait()
        return receipt


async def test_s28_a_signal_there_raises(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Whoever sends one and waits is told, though the background has found the instance before."""
    await suspended(open_engine)
    overtaken = Overtaken(storage)
    unfit = await open_engine(overtaken, workflows=[changed(RENAMED, [])], poll=0.02)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(DefinitionChangedError):
                await unfit.signal("order-1", "ok")
    finally:
        overtaken.go_on.set()


async def test_s28_a_resume_there_raises(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So is whoever resumes an instance that the background has found, and left alone."""
    dead = await open_engine(Saves(storage, die_after=1), clock=clock)
    with pytest.raises(DiedError):
        await dead.execute(steps("a"), id="order-1")
    clock.advance(31)
    unfit = await open_engine(workflows=[steps("A", version="2")], clock=clock)
    await until(lambda: "instance.unfit" in caplog.messages)
    async with asyncio.timeout(30):
        with pytest.raises(DefinitionChangedError):
            await unfit.resume("order-1")


class Idle(Saves):
    """A storage in which the background of the engine finds nothing to do."""

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        return ()


async def test_s28_what_a_verb_found_is_not_lost(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """An abandoned instance that a verb has claimed in vain is found where the code fits."""
    dead = await open_engine(Saves(storage, die_after=1), clock=clock)
    with pytest.raises(DiedError):
        await dead.execute(steps("a"), id="order-1")
    clock.advance(31)
    unfit = await open_engine(Idle(storage), clock=clock)
    with pytest.raises(DefinitionChangedError):
        await unfit.execute(steps("A", version="2"), id="order-1")
    fits = await open_engine(workflows=[steps("a")], clock=clock, poll=1)
    for _ in range(4):
        await passing(clock, 10)
    assert (await fits.get("order-1")).status is COMPLETED


async def test_s28_logged_once(
    open_engine: OpenEngine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each instance that does not fit is logged once, with the difference."""
    await asleep(open_engine, clock)
    with caplog.at_level(logging.WARNING, "flux"):
        await open_engine(workflows=[changed(naps_renamed, [])], clock=clock, poll=1)
        for _ in range(8):
            await passing(clock, 31)
    (line,) = [record for record in caplog.records if record.message == "instance.unfit"]
    told = vars(line)
    assert (told["instance"], line.levelno) == ("order-1", logging.WARNING)
    assert "step 'A' is new before step 'nap', which was begun" in told["why"]


async def test_s28_an_unknown_workflow_is_not_claimed(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """Instances of a workflow that nobody registered here are not even touched."""
    await asleep(open_engine, clock)
    await open_engine(workflows=[Workflow("other").step("a", fail)], clock=clock, poll=1)
    before = await head_of(storage, "order-1")
    for _ in range(4):
        await passing(clock, 31)
    assert await head_of(storage, "order-1") == before


async def test_s28_diagnose_shows_it(open_engine: OpenEngine) -> None:
    """`diagnose` tells where the code does not fit, and why; and where it does."""
    await suspended(open_engine)
    unfit = await open_engine(workflows=[changed(RENAMED, [])], **FAR)
    strange = await open_engine(**FAR)
    fits = await open_engine(workflows=[changed(was, [])], **FAR)
    told = [(await engine.diagnose("order-1")).unfit for engine in (unfit, strange, fits)]
    assert "step 'a' was begun and is no longer there" in str(told[0])
    assert "no workflow 'order' is registered" in str(told[1])
    assert told[2] is None


class Counting(Saves):
    """A storage that counts claims of what is due, and fails when they do not end."""

    claims = 0

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        self.claims += 1
        if self.claims > 50:
            raise StorageError("the engine asks without end")
        return await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)


async def test_s28_what_does_not_fit_is_not_claimed_again_and_again(
    storage: WorkflowStorage, open_engine: OpenEngine, clock: ManualClock
) -> None:
    """Though it fills the room of an engine and has a signal: that engine claims it, and rests."""
    await suspended(open_engine)
    counting = Counting(storage)
    engine = await open_engine(
        counting, workflows=[changed(RENAMED, [])], clock=clock, poll=1, max_instances=1
    )
    await engine.signal("order-1", "ok", wait=False)
    await until(lambda: counting.claims > 1)
    await passing(clock, 1)
    assert counting.claims < 8
