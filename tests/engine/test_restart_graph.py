"""S4, S5, S11: what a restart takes for done when branches were undone, failed, or are in doubt."""

import asyncio
import functools
from typing import Any

import pytest

from flux import (
    FluxEngine,
    InvalidTransitionError,
    Retry,
    StepCompensatedError,
    StepNotCompletedError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    done,
)
from opening import OpenEngine
from sagas import Flaky, noting, step_of, until


def undone(did: list[str]) -> Workflow:
    """Two branches that can be undone, and a join that fails the first time."""
    order = Workflow("order")
    for name in ("a", "b"):
        undo = noting(f"undo {name}", did)
        order.step(name, noting(name, did), after=(), compensate=undo)
    return order.step("c", Flaky(1), after=("a", "b")).step("d", noting("d", did))


def in_doubt(calls: list[str], **options: Any) -> Workflow:
    """A branch, and beside it an at-most-once step that times out when it is called first."""

    async def act(ctx: WorkflowContext) -> None:
        calls.append(f"b {ctx.idempotency_key}")
        if len(calls) == 2:
            await asyncio.sleep(60)

    order = Workflow("order").step("a", noting("a", calls), after=())
    return order.step("b", act, after=(), at_most_once=True, timeout=0.02, **options)


# Branches


@pytest.mark.parametrize("entry", ["a", "b"])
async def test_s04_an_undone_graph_restarts_from_an_entry(engine: FluxEngine, entry: str) -> None:
    """Nothing before the entry was undone; the other branch, undone as well, runs anew."""
    did: list[str] = []
    async with asyncio.timeout(30):
        first = await engine.execute(undone(did), id="o")
        assert first.status is WorkflowStatus.ROLLED_BACK
        did.clear()
        result = await engine.restart("o", entry)
    assert (result.status, did) == (WorkflowStatus.COMPLETED, ["a", "b", "d"])
    for name in ("a", "b"):
        assert step_of(result, name).key != step_of(first, name).key


async def test_s04_no_restart_from_after_undone_branches(engine: FluxEngine) -> None:
    """The refusal names an undone step that comes before."""
    await engine.execute(undone([]), id="o")
    with pytest.raises(StepCompensatedError, match="'a'"):
        await engine.restart("o", "c")


async def test_s04_no_restart_from_a_step_that_was_not_reached(engine: FluxEngine) -> None:
    """A step before it never got a result."""
    order = Workflow("order").step("a", Flaky(None)).step("b", noting("b", []))
    await engine.execute(order.step("c", noting("c", [])), id="o")
    with pytest.raises(StepNotCompletedError, match="'a'"):
        await engine.restart("o", "c")


async def test_s05_a_restart_beside_a_doubt_does_not_run_it(engine: FluxEngine) -> None:
    """An at-most-once step of another branch, whose outcome is unknown, is not called again.

    Nor is anything else, since it fails at once.
    """
    calls: list[str] = []
    async with asyncio.timeout(30):
        await engine.execute(in_doubt(calls), id="o")
        result = await engine.restart("o", "a")
    assert calls == ["a", "b o:b:1"]
    assert (result.status, step_of(result, "b").outcome) == ("failed", "unknown")


async def test_s05_a_restart_beside_a_doubt_asks(engine: FluxEngine) -> None:
    """With a verifier the doubt is settled by asking."""
    calls: list[str] = []

    async def verify(ctx: WorkflowContext) -> object:
        calls.append("verify")
        if calls.count("verify") == 1:
            raise RuntimeError("nobody knows")
        return done("seen")

    async with asyncio.timeout(30):
        await engine.execute(in_doubt(calls, verify=verify), id="o")
        result = await engine.restart("o", "a")
    assert calls == ["a", "b o:b:1", "verify", "a", "verify"]
    assert (result.status, step_of(result, "b").output) == ("completed", "seen")


async def test_s08_a_restart_beside_a_failure_gives_fresh_retries(engine: FluxEngine) -> None:
    """A failed step of another branch runs again with all its attempts."""
    act = Flaky(3)
    order = Workflow("order").step("a", noting("a", []), after=())
    order.step("b", act, after=(), retries=Retry(1, initial=0))
    async with asyncio.timeout(30):
        await engine.execute(order, id="o")
        result = await engine.restart("o", "a")
    assert (result.status, len(act.attempts)) == (WorkflowStatus.COMPLETED, 4)


# Rollbacks that stand still


class Shop:
    """An order whose refund hangs or fails, and whose shipping fails while `fails`."""

    def __init__(self, *, hangs: bool) -> None:
        self.did: list[str] = []
        self.keys: list[str] = []
        self.fails = True
        self._hangs = hangs
        self.order = Workflow("order").commit("charge", self._charge, compensate=self._refund)
        self.order.step("ship", self._ship)

    async def _charge(self, ctx: WorkflowContext) -> str:
        self.did.append("charge")
        self.keys.append(ctx.idempotency_key)
        return "paid"

    async def _refund(self, ctx: Any) -> None:
        self.did.append("refund")
        if self._hangs:
            await asyncio.sleep(60)
        raise RuntimeError("the bank is closed")

    def has_refunded(self, times: int) -> bool:
        """Whether the refund was begun so many times."""
        return self.did.count("refund") == times

    async def _ship(self, ctx: WorkflowContext) -> None:
        self.did.append("ship")
        if self.fails:
            raise RuntimeError("no courier")


async def parked_shop(shop: Shop, open_engine: OpenEngine) -> FluxEngine:
    """An engine on which "o" is parked in its rollback, its refund interrupted again and again."""
    config: Any = {"workflows": [shop.order], "max_recoveries": 1, "grace": 0.01}
    for count in (1, 2):
        engine = await open_engine(**config)
        await engine.start(shop.order, id="o")
        await until(functools.partial(shop.has_refunded, count))
        await engine.close()
    engine = await open_engine(**config)
    assert (await engine.result("o", timeout=5)).status is WorkflowStatus.PARKED
    shop.did.clear()
    shop.fails = False
    return engine


@pytest.mark.parametrize("step", ["charge", "ship"])
async def test_s11_no_restart_out_of_a_parked_rollback(open_engine: OpenEngine, step: str) -> None:
    """Nobody knows whether the interrupted refund has acted: the charge does not count as done."""
    shop = Shop(hangs=True)
    async with asyncio.timeout(30):
        engine = await parked_shop(shop, open_engine)
        with pytest.raises(InvalidTransitionError, match="resume"):
            await engine.restart("o", step)
    assert shop.did == []


async def skipped_shop(shop: Shop, engine: FluxEngine) -> None:
    """Roll "o" back, its failed refund settled by hand."""
    result = await engine.execute(shop.order, id="o")
    assert result.status is WorkflowStatus.ROLLBACK_FAILED
    result = await engine.skip_compensation("o", "charge", reason="refunded by hand")
    assert result.status is WorkflowStatus.ROLLED_BACK
    shop.did.clear()
    shop.fails = False


async def test_s14_a_skipped_compensation_undid_its_step(engine: FluxEngine) -> None:
    """No restart from after it: a person has settled it, so it counts as not done."""
    shop = Shop(hangs=False)
    await skipped_shop(shop, engine)
    with pytest.raises(StepCompensatedError, match="'charge'"):
        await engine.restart("o", "ship")
    assert shop.did == []


async def test_s04_a_step_undone_by_hand_runs_anew(engine: FluxEngine) -> None:
    """A restart from it is no replay: it runs again, with a new key."""
    shop = Shop(hangs=False)
    await skipped_shop(shop, engine)
    result = await engine.restart("o", "charge")
    assert (result.status, shop.did) == (WorkflowStatus.COMPLETED, ["charge", "ship"])
    assert len(set(shop.keys)) == 2


async def test_s11_a_step_undone_by_hand_is_owed_anew(engine: FluxEngine) -> None:
    """When the run after the restart fails, what it did is undone."""
    shop = Shop(hangs=False)
    await skipped_shop(shop, engine)
    shop.fails = True
    result = await engine.restart("o", "charge")
    assert result.status is WorkflowStatus.ROLLBACK_FAILED
    assert shop.did == ["charge", "ship", "refund"]


async def test_s14_a_skip_names_the_step_that_failed(engine: FluxEngine) -> None:
    """`skip_compensation` of another step says of which step the compensation failed."""
    await engine.execute(Shop(hangs=False).order, id="o")
    with pytest.raises(InvalidTransitionError, match="is that of 'charge'"):
        await engine.skip_compensation("o", "ship", reason="never shipped")
