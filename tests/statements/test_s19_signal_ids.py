"""S19: a repeated `signal_id` is acknowledged and delivered once."""

import asyncio
from typing import Any

import pytest

from flux import (
    FluxEngine,
    FluxTraceEvent,
    SignalConflictError,
    Workflow,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import step_of
from saves import Saves
from settling import passing, watched
from waits import LONG, Moments, asking, becomes, resting_as

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED

TWICE = Workflow("order").wait("a", "paid").wait("b", "paid")
"""An order that waits for two payments."""


async def taken(engine: FluxEngine, id: str = "o") -> list[tuple[str | None, Any, str | None]]:
    """The signals that were saved, in order: id, payload, and the step that took it."""
    report = await engine.diagnose(id)
    return [(one.signal_id, one.payload, one.taken_by) for one in report.signals]


async def test_s19_a_repetition_is_delivered_once(engine: FluxEngine) -> None:
    """The second wait is not completed by a repetition of the first signal."""
    await engine.execute(TWICE, id="o")
    for _ in range(2):
        result = await engine.signal("o", "paid", 10, signal_id="evt-1")
        assert result is not None
        assert (result.status, result.state.current_step) == (SUSPENDED, "b")
    assert await taken(engine) == [("evt-1", 10, "a")]


async def test_s19_a_repetition_before_the_wait(engine: FluxEngine) -> None:
    """Repeated before anybody waits for it, it is one signal in the inbox."""
    order = Workflow("order").wait("first").wait("a", "paid").wait("b", "paid")
    await engine.execute(order, id="o")
    for _ in range(3):
        await engine.signal("o", "paid", 10, signal_id="evt-1")
    result = await engine.signal("o", "first")
    assert result is not None
    assert result.state.current_step == "b"


async def test_s19_a_repetition_wakes_nobody(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The instance rests as before: it is not due, and nothing is saved of it."""
    saves = Saves(storage)
    engine = await open_engine(saves, clock=ManualClock(), **LONG)
    await engine.execute(TWICE, id="o")
    await engine.signal("o", "paid", 10, signal_id="evt-1")
    before = len(saves.made)
    await engine.signal("o", "paid", 10, signal_id="evt-1")
    assert (await engine.diagnose("o")).due_at is None
    assert len(saves.made) == before


@pytest.mark.parametrize("ids", [("evt-1", "evt-2"), (None, None), ("evt-1", None)])
async def test_s19_another_id_is_another_signal(
    engine: FluxEngine, ids: tuple[str | None, ...]
) -> None:
    """The same message under two ids is delivered twice, and without an id every time."""
    await engine.execute(TWICE, id="o")
    for signal_id in ids:
        await engine.signal("o", "paid", 10, signal_id=signal_id)
    assert (await engine.get("o")).status is COMPLETED
    assert await taken(engine) == [(ids[0], 10, "a"), (ids[1], 10, "b")]


async def test_s19_all_at_once_are_one(open_engine: OpenEngine) -> None:
    """Ten repetitions at one instant, by two engines: one is saved, all are acknowledged."""
    engines = [await open_engine(workflows=[TWICE]) for _ in range(2)]
    await engines[0].execute("order", id="o")
    sent = [engines[n % 2].signal("o", "paid", 10, signal_id="evt-1") for n in range(10)]
    results = await asyncio.gather(*sent)
    assert {result.status for result in results if result is not None} == {SUSPENDED}
    assert await taken(engines[0]) == [("evt-1", 10, "a")]


async def test_s19_another_process_knows_it(open_engine: OpenEngine) -> None:
    """The id is kept with the instance: an engine opened later acknowledges it, too."""
    first = await open_engine(workflows=[TWICE])
    await first.execute("order", id="o")
    await first.signal("o", "paid", 10, signal_id="evt-1")
    await first.close()
    second = await open_engine(workflows=[TWICE])
    result = await second.signal("o", "paid", 10, signal_id="evt-1")
    assert result is not None
    assert result.state.current_step == "b"


async def test_s19_a_repetition_after_a_crash(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """The sender's process died after the save; whoever sends it again does no harm."""
    clock, saves = ManualClock(), Saves(watched(storage))
    first = await open_engine(saves, clock=clock, **LONG)
    await first.execute(TWICE, id="o")
    await first.signal("o", "paid", 10, signal_id="evt-1", wait=False)
    saves.die()
    await passing(clock, 0)  # what was asked of the storage before, it does
    second = await open_engine(workflows=[TWICE], clock=clock, **LONG)
    await second.signal("o", "paid", 10, signal_id="evt-1", wait=False)
    clock.advance(LONG["lease"])
    await becomes(second, lambda state: state.current_step == "b", clock=clock)
    assert await taken(second) == [("evt-1", 10, "a")]


async def test_s19_a_repetition_while_it_is_taken(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Repeated while the step that takes it is being saved, it is not taken again."""
    moments, clock = Moments(storage), ManualClock()
    engine = await open_engine(moments, clock=clock)
    sender = await open_engine(clock=clock)
    await engine.execute(TWICE, id="o")
    for about in (moments.before, moments.after):
        about(
            resting_as("suspended"),
            lambda: sender.signal("o", "paid", 10, signal_id="evt-1", wait=False),
        )
    result = await engine.signal("o", "paid", 10, signal_id="evt-1")
    assert result is not None
    assert (result.status, result.state.current_step) == (SUSPENDED, "b")


@pytest.mark.parametrize(("name", "payload"), [("paid", 11), ("paid", None), ("refunded", 10)])
async def test_s19_another_payload_conflicts(engine: FluxEngine, name: str, payload: Any) -> None:
    """The id of a signal with another payload or name is refused; nothing is delivered."""
    await engine.execute(TWICE, id="o")
    await engine.signal("o", "paid", 10, signal_id="evt-1")
    with pytest.raises(SignalConflictError, match="give each signal an id of its own") as refused:
        await engine.signal("o", name, payload, signal_id="evt-1")
    assert (refused.value.id, refused.value.signal_id) == ("o", "evt-1")
    assert "of a signal 'paid' with another name or payload" in str(refused.value)
    assert await taken(engine) == [("evt-1", 10, "a")]


@pytest.mark.parametrize(("one", "other"), [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ((1, 2), [1, 2])])
async def test_s19_equal_payloads_are_the_same(engine: FluxEngine, one: Any, other: Any) -> None:
    """What JSON means counts: the order of keys does not, nor does a tuple differ from a list."""
    await engine.execute(TWICE, id="o")
    await engine.signal("o", "paid", one, signal_id="evt-1")
    result = await engine.signal("o", "paid", other, signal_id="evt-1")
    assert result is not None
    assert result.state.current_step == "b"


async def test_s19_ids_are_an_instances_own(engine: FluxEngine) -> None:
    """Two instances may know the same id, each of another signal."""
    for id in ("o", "p"):
        await engine.execute(TWICE, id=id)
        await engine.signal(id, "paid", f"for {id}", signal_id="evt-1")
    assert await taken(engine, "o") == [("evt-1", "for o", "a")]
    assert await taken(engine, "p") == [("evt-1", "for p", "a")]


async def test_s19_a_new_instance_knows_no_ids(engine: FluxEngine) -> None:
    """After `delete` an id may come again."""
    order = asking([])
    for payload in (1, 2):
        await engine.execute(order, id="o")
        result = await engine.signal("o", "approved", payload, signal_id="evt-1")
        assert result is not None
        assert (result.status, step_of(result, "ask").output) == (COMPLETED, payload)
        await engine.delete("o")


async def test_s19_a_restart_forgets_no_ids(engine: FluxEngine) -> None:
    """A repetition of a signal that an earlier run consumed is acknowledged, not delivered."""
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")
    await engine.restart("o", "ask")
    result = await engine.signal("o", "approved", 1, signal_id="evt-1")
    assert result is not None
    assert result.status is SUSPENDED


async def test_s19_a_repetition_waits_like_the_first(engine: FluxEngine) -> None:
    """Acknowledging waits for the rest, or does not with `wait=False`."""
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1", wait=False)
    result = await engine.signal("o", "approved", 1, signal_id="evt-1")
    assert result is not None
    assert result.status is COMPLETED
    assert await engine.signal("o", "approved", 1, signal_id="evt-1", wait=False) is None


@pytest.mark.parametrize("signal_id", ["", 7, b"evt-1"])
async def test_s19_an_id_is_text(engine: FluxEngine, signal_id: Any) -> None:
    """What is no id is refused, and nothing is saved."""
    await engine.execute(asking([]), id="o")
    with pytest.raises(ValueError, match="is no signal id; it is text that is not empty"):
        await engine.signal("o", "approved", signal_id=signal_id)
    assert await taken(engine) == []
    assert (await engine.get("o")).status is SUSPENDED


async def test_s19_who_watches_is_told_the_id(open_engine: OpenEngine) -> None:
    """The trace of a signal that a step took has its id."""
    told: list[FluxTraceEvent] = []

    class Sink:
        async def emit(self, event: FluxTraceEvent) -> None:
            told.append(event)

    engine = await open_engine(trace=Sink())
    await engine.execute(asking([]), id="o")
    await engine.signal("o", "approved", 1, signal_id="evt-1")
    await engine.close()
    taken = [event.meta for event in told if event.type == "signal:received"]
    assert taken == [{"signal": "approved", "payload": 1, "signal_id": "evt-1"}]
