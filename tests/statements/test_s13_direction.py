"""S13: once a rollback is saved, nothing forward of that instance can be saved, by any process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from flux import (
    Checkpoint,
    FluxEngine,
    Lease,
    Record,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, noting, step_of, until
from saves import Saves
from turning import Turned
from undoing import Lives, rested, undoable

ROLLED_BACK = WorkflowStatus.ROLLED_BACK


@pytest.mark.parametrize("die_in", ["undo c", "undo a"])
async def test_s13_a_crashed_rollback_runs_nothing_forward(turned: Turned, die_in: str) -> None:
    """After a kill in a rollback neither the failed step nor those after it are called."""
    await (await turned.run(die_in)).resume("order-1")
    after = turned.did[turned.did.index("undo c") :]
    assert all(who.startswith("undo ") for who in after)


async def test_s13_the_failure_itself_sets_the_direction(lives: Lives) -> None:
    """A process dies right after the save of the failure: the step is not tried again."""
    did: list[str] = []
    pay = Flaky(1)
    order = undoable("a", did=did).step("pay", pay).step("ship", noting("ship", did))
    await lives.start(order, id="o", die_after=3)
    result = await rested(await lives.next(order), "o")
    assert (result.status, did) == (ROLLED_BACK, ["a", "undo a"])
    assert len(pay.attempts) == 1


class Cut(Saves):
    """A process that neither renews nor claims while it is cut off.

    `held_up` is awaited before the process hears of the save with the status and intent `at`.
    """

    is_cut_off = False
    at = ("", "")
    held_up: Callable[[], Awaitable[object]]

    async def save(self, checkpoint: Checkpoint) -> int:
        number = await super().save(checkpoint)
        if (checkpoint.status, *checkpoint.intent) == self.at:
            await self.held_up()
        return number

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        if self.is_cut_off:
            raise StorageError("the line is cut")
        return await super().renew(leases, lease=lease)

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        if self.is_cut_off:
            raise StorageError("the line is cut")
        return await super().claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)


class Zombie:
    """An order whose first process does not know that a second one has rolled it back."""

    def __init__(self, storage: WorkflowStorage, open_engine: OpenEngine) -> None:
        self.did: list[str] = []
        self.go_on = asyncio.Event()
        self.cut = Cut(storage)
        self._clock = JumpingClock()
        self._open_engine = open_engine

    async def first(self) -> FluxEngine:
        """The process that is cut off."""
        return await self._open_engine(
            self.cut, workflows=[self._order(self._held)], clock=self._clock, **FAR
        )

    async def second(self) -> FluxEngine:
        """Another process, which has found the instance and rolled it back."""
        self.cut.is_cut_off = True
        self._clock.advance(FAR["lease"])
        order = self._order(noting("b again", self.did))
        engine = await self._open_engine(workflows=[order], clock=self._clock, **FAR)
        assert (await rested(engine, "o")).status is ROLLED_BACK
        self.cut.is_cut_off = False
        return engine

    def _order(self, b: Any) -> Workflow:
        order = undoable("a", did=self.did).step("b", b, at_most_once=True)
        return order.step("c", noting("c", self.did))

    async def _held(self, ctx: WorkflowContext) -> str:
        self.did.append("b")
        await self.go_on.wait()
        ctx.data["b"] = "done"
        if ctx.input.get("fails"):
            raise RuntimeError("declined")
        return "too late"


@pytest.fixture
def zombie(storage: WorkflowStorage, open_engine: OpenEngine) -> Zombie:
    return Zombie(storage, open_engine)


async def test_s13_no_forward_result_after_the_rollback(zombie: Zombie) -> None:
    """What the first process has done meanwhile is not saved, and no step follows it."""
    first = await zombie.first()
    await first.start("order", id="o")
    await until(lambda: "b" in zombie.did)
    second = await zombie.second()
    zombie.go_on.set()
    await until(lambda: zombie.cut.tried == 3)
    state = await second.get("o")
    assert (state.status, state.data, zombie.did) == (ROLLED_BACK, {}, ["a", "b", "undo a"])
    assert (len(zombie.cut.made), step_of(state, "b").output) == (2, None)


async def test_s13_whoever_called_execute_gets_the_rollback(zombie: Zombie) -> None:
    """The caller of the first process is told how the instance ended, not what was dropped."""
    first = await zombie.first()
    caller = asyncio.create_task(first.execute("order", id="o"))
    await until(lambda: "b" in zombie.did)
    await zombie.second()
    zombie.go_on.set()
    async with asyncio.timeout(30):
        assert (await caller).status is ROLLED_BACK


@pytest.mark.parametrize(
    ("at", "did"),
    [
        (("running", "b"), ["a", "undo a"]),
        (("rolling_back", "a"), ["a", "b", "undo a"]),
    ],
)
async def test_s13_a_lost_lease_is_noticed_before_a_call(
    zombie: Zombie, at: tuple[str, str], did: list[str]
) -> None:
    """A process held up between a save and the call it announces does not call any more."""
    first = await zombie.first()
    zombie.go_on.set()
    zombie.cut.at, zombie.cut.held_up = at, zombie.second
    result = await first.execute("order", {"fails": True}, id="o")
    assert (result.status, zombie.did) == (ROLLED_BACK, did)
