"""A stored instance that makes no sense is reported, and stands in nobody's way."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from flux import (
    FluxEngine,
    Record,
    StateUnreadableError,
    Workflow,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import passing, sequence, until
from saves import DiedError, Saves

DAMAGED: dict[str, dict[str, Any]] = {
    "status": {"status": "hibernating"},
    "fixed": {"fixed": b"[]"},
    "payload": {"payload": b'{"format": 1}'},
    "json": {"payload": b'{"run":'},
}
"""What became of a record that was good."""


class BrokenPoll(Saves):
    """A storage whose `claim_due` raises what no storage may raise."""

    is_broken = True

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        if self.is_broken:
            raise KeyError(owner)
        return await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)


damaged = pytest.mark.parametrize("damage", DAMAGED)


async def damage_one(storage: WorkflowStorage, damage: str, good: str, **options: Any) -> Record:
    """Store "bad", a copy of a good instance that was damaged; it runs, for all one can tell."""
    found = await storage.load(good, history=False)
    assert found is not None
    changes = {"status": "running", "owner": "one", "ended_at": None} | DAMAGED[damage]
    bad = evolve(found[0], id="bad", **changes)
    assert await storage.create(bad, **options)
    return bad


async def left_behind(
    storage: WorkflowStorage, open_engine: OpenEngine, order: Workflow, clock: ManualClock
) -> None:
    """Leave "good-1" and "good-2" behind, whose processes died before their first step ended."""
    for number in (1, 2):
        dead = await open_engine(Saves(storage, die_after=1), clock=clock, lease=30, poll=3000)
        with pytest.raises(DiedError):
            await dead.execute(order, id=f"good-{number}")


async def with_damage(
    storage: WorkflowStorage, open_engine: OpenEngine, damage: str, clock: ManualClock
) -> tuple[FluxEngine, list[str]]:
    """An engine that finds a damaged instance beside two good ones; and what has run there."""
    ran: list[str] = []
    order = sequence("pay", ran=ran)
    await left_behind(storage, open_engine, order, clock)
    await damage_one(storage, damage, "good-1", lease=30)
    clock.advance(31)
    ran.clear()
    return await open_engine(workflows=[order], clock=clock, lease=30, poll=1), ran


@damaged
async def test_s24_an_unreadable_instance_stops_no_other(
    storage: WorkflowStorage,
    open_engine: OpenEngine,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was claimed together with it is driven; the engine says which one it cannot read."""
    engine, ran = await with_damage(storage, open_engine, damage, ManualClock())
    for number in (1, 2):
        result = await engine.result(f"good-{number}", timeout=5)
        assert result.status is WorkflowStatus.COMPLETED
    assert ran == ["pay", "pay"]
    failures = [line for line in caplog.records if line.message == "recovery.failed"]
    assert {getattr(line, "instance", None) for line in failures} == {"bad"}


async def test_s24_an_unreadable_instance_does_not_end_the_poll(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """What is abandoned later is found by the same engine."""
    clock = ManualClock()
    _, ran = await with_damage(storage, open_engine, "status", clock)
    await until(lambda: ran == ["pay", "pay"])
    late = await open_engine(Saves(storage, die_after=1), clock=clock, lease=30, poll=3000)
    with pytest.raises(DiedError):
        await late.execute(sequence("pay"), id="late")
    async with asyncio.timeout(30):
        while ran != ["pay"] * 3:
            await passing(clock, 10)


@damaged
async def test_s24_an_unreadable_instance_stays_with_nobody(
    storage: WorkflowStorage, open_engine: OpenEngine, damage: str
) -> None:
    """Its lease is given back, and what is stored stays as it was."""
    _, ran = await with_damage(storage, open_engine, damage, ManualClock())
    await until(lambda: ran == ["pay", "pay"])
    async with asyncio.timeout(30):
        while (found := await storage.load("bad")) and found[0].lease_until is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert found is not None
    kept = {name: getattr(found[0], name) for name in DAMAGED[damage]}
    assert kept == DAMAGED[damage]


@damaged
async def test_verbs_name_what_they_cannot_read(
    storage: WorkflowStorage, open_engine: OpenEngine, damage: str
) -> None:
    """`get` and `resume` of it raise an error with its id."""
    engine = await open_engine()
    await engine.execute(sequence("pay"), id="good")
    await damage_one(storage, damage, "good")
    for verb in (engine.get, engine.resume, engine.delete, engine.result):
        with pytest.raises(StateUnreadableError, match="what is stored of instance 'bad'"):
            await verb("bad")


async def test_a_storage_that_breaks_its_contract_does_not_end_the_poll(
    storage: WorkflowStorage, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that is no `StorageError` is logged, and the next poll comes."""
    clock, ran, broken = ManualClock(), list[str](), BrokenPoll(storage)
    order = sequence("pay", ran=ran)
    await left_behind(storage, open_engine, order, clock)
    ran.clear()
    clock.advance(31)
    with caplog.at_level(logging.ERROR, "flux"):
        await open_engine(broken, workflows=[order], clock=clock, lease=30, poll=1)
        await until(lambda: "recovery.poll_failed" in caplog.messages)
    broken.is_broken = False
    async with asyncio.timeout(30):
        while ran != ["pay", "pay"]:
            await passing(clock, 1)
