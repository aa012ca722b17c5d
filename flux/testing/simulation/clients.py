"""Somebody who starts one instance, sends it what it waits for, and sees to it that it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from operator import methodcaller
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from flux.engine.engine import FluxEngine
from flux.errors import (
    EngineClosedError,
    FluxError,
    InstanceNotFoundError,
    StorageError,
)
from flux.state.status import CompensationStatus, StepStatus, WorkflowStatus
from flux.state.workflow_state import WorkflowState
from flux.testing.simulation.hosts import START, GoneError
from flux.testing.simulation.ledger import Kept
from flux.testing.simulation.rules_of_rest import violations_of_rest

if TYPE_CHECKING:
    from flux.testing.simulation.run import Run

T = TypeVar("T")
_S = WorkflowStatus

_ROUNDS = 30
"""So often somebody helps an instance on, before it is said that it does not end."""


class Client:
    """Acts for one instance, at any of the engines; asks again where it got no answer."""

    def __init__(self, run: "Run", id: str, chance: Random) -> None:
        self.id = id
        self._was_cancelled = False
        self._was_restarted = False
        self._was_paused = False
        self._started = asyncio.Event()
        self._run = run
        self._chance = chance

    @property
    def must_not_complete(self) -> bool:
        """Whether a cancel was acknowledged, and nobody let the instance run again."""
        return self._was_cancelled and not self._was_restarted

    @property
    def exists(self) -> bool:
        """Whether it was started: another with the same correlation may have come first."""
        return self.id in self._run.net.ledger.kept

    async def act(self) -> None:
        """Start the instance, and do all that is to be done within the horizon."""
        await asyncio.sleep(self._moment(0.2))
        acts: list[Awaitable[None]] = [
            self._start(),
            *(self._send(name, payload) for name, payload in self._run.scenario.signals.items()),
        ]
        if self._chance.random() < self._run.faults.cancels:
            acts.append(self._cancel())
        if self._chance.random() < self._run.faults.pauses:
            acts.append(self._pause())
        if self._chance.random() < self._run.faults.restarts:
            acts.append(self._restart())
        await asyncio.gather(*acts)

    async def see_to_the_end(self) -> None:
        """Help the instance on wherever it rests, until it has ended."""
        if not self.exists:
            return
        for round in range(_ROUNDS):
            kept = await self._rested()
            if kept is None or all(one.status.is_ended for one in self._family()):
                return
            await self._help(kept, round)
        self._run.violated(f"S24: {self.id!r} does not end: it is {self._kept().status}")

    async def looked(self, engine: FluxEngine) -> WorkflowState:
        return await engine.get(self.id, replaced=True)

    # Within the horizon

    async def _start(self) -> None:
        """Start it; what else is done to it may come before the answer to this."""
        run = self._run
        await self._until_answered(
            "start", lambda engine: engine.start(run.workflow, run.scenario.input, id=self.id)
        )
        self._started.set()

    async def _send(self, name: str, payload: Any) -> None:
        await self._some_time()
        send = methodcaller(
            "signal", self.id, name, payload, signal_id=f"{self.id}:{name}", wait=False
        )
        for _ in range(1 + (self._chance.random() < 0.2)):  # some tell it twice
            was_told = await self._is_done(f"signal {name}", send)
        if was_told and self._chance.random() < 0.1:
            await self._send_another(name)

    async def _send_another(self, name: str) -> None:
        """Send another payload under an id that the instance knows."""
        send = methodcaller(
            "signal", self.id, name, "another", signal_id=f"{self.id}:{name}", wait=False
        )
        if await self._is_done(f"signal {name}", send):
            self._run.violated(f"S19: two signals {name!r} to {self.id!r} have one id")

    async def _cancel(self) -> None:
        await self._some_time()
        rollback = self._chance.random() < 0.75
        state = await self._until_answered(
            "cancel", lambda engine: engine.cancel(self.id, rollback=rollback)
        )
        self._was_cancelled = self._was_cancelled or state is not None

    async def _pause(self) -> None:
        await self._started.wait()
        await self._some_time()
        self._was_paused = True
        await self._until_answered("pause", lambda engine: engine.pause(self.id))
        await self._some_time(0.5)
        await self._until_answered("resume", lambda engine: engine.resume(self.id), limit=30.0)

    async def _restart(self) -> None:
        await self._started.wait()
        await self._some_time()
        steps = [step.name for step in self._run.workflow.steps]
        verb = methodcaller(
            self._chance.choice(("restart", "restart", "retry_step")),
            self.id,
            self._chance.choice(steps),
        )
        self._was_restarted = True
        if self.exists:
            self._kept().was_restarted = True
        await self._until_answered("run again", verb, limit=30.0)

    # Afterwards

    async def _rested(self) -> Kept | None:
        """The instance once nothing happens to it by itself; None if the run is over."""
        run = self._run
        ends_at = run.loop.time() + run.scenario.patience
        while not self._family_rests():
            ends_at = max(ends_at, self._waits_until() + run.scenario.patience)
            if run.loop.time() > ends_at:
                kept = self._kept()
                run.violated(
                    f"S24: {self.id!r} does not come to its rest: it is {kept.status}, lease "
                    f"{kept.lease_until}, due {kept.wake_at}"
                )
                return None
            await asyncio.sleep(1.0)
        for kept in self._family():
            budget = run.scenario.config
            for why in violations_of_rest(
                kept, paused=self._was_paused, may_park=budget is not None or _was_tried(kept)
            ):
                run.violated(why)
        return self._kept()

    async def _help(self, kept: Kept, round: int) -> None:
        for one in self._family():
            if one.status is _S.SUSPENDED:
                await self._send_what_it_waits_for(one, round)
            elif one.status in (_S.PAUSED, _S.PARKED):
                resume = methodcaller("resume", one.id)
                await self._until_answered("resume", resume, limit=1.0)
            elif one.status is _S.ROLLBACK_FAILED:
                settle = methodcaller("retry_rollback", one.id)
                if self._chance.random() < 0.2:
                    step = _not_undone(one)
                    settle = methodcaller("skip_compensation", one.id, step, reason="by hand")
                await self._until_answered("settle the rollback", settle, limit=1.0)

    async def _send_what_it_waits_for(self, kept: Kept, round: int) -> None:
        for execution in list(kept.executions.values()):
            waiting = execution.waiting
            if execution.status is not StepStatus.SUSPENDED or waiting is None:
                continue
            name = waiting.signal
            if name is not None and not name.startswith("flux:"):
                payload = self._run.scenario.signals.get(name)
                send = methodcaller(
                    "signal", kept.id, name, payload, signal_id=f"late:{name}:{round}", wait=False
                )
                await self._until_answered(f"signal {name}", send)

    # Small things

    async def _until_answered(
        self,
        what: str,
        verb: Callable[[FluxEngine], Awaitable[T]],
        *,
        limit: float | None = None,
    ) -> T | None:
        """The answer of some engine; None for a refusal."""
        run = self._run
        while True:
            await run.keep_up()
            host = run.usable()
            if host is None:
                continue
            run.trace.note("client", what, self.id, f"at {host}")
            had_started = self._started.is_set()
            try:
                async with asyncio.timeout(limit):
                    answer = await run.ask(host, verb)
            except (GoneError, EngineClosedError, StorageError) as error:
                run.trace.note("client", f"{what} failed", type(error).__name__)
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
            except TimeoutError as error:
                if not isinstance(error, FluxError):
                    return None
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
            except InstanceNotFoundError as error:
                if had_started:
                    self._miss(f"S1: {what}: {error}")
                    return None
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
            except FluxError as error:
                run.trace.note("client", f"{what} refused", type(error).__name__)
                return None
            else:
                run.trace.note("client", f"{what} done", self.id)
                return answer

    def _miss(self, why: str) -> None:
        """What was started is not there; one that was refused never will be."""
        if self.exists:
            self._run.violated(why)

    async def _is_done(self, what: str, verb: Callable[[FluxEngine], Awaitable[Any]]) -> bool:
        """Whether some engine did it, and did not refuse it."""

        async def done(engine: FluxEngine) -> bool:
            await verb(engine)
            return True

        return await self._until_answered(what, done) is not None

    def _kept(self) -> Kept:
        return self._run.net.ledger.kept[self.id]

    def _family(self) -> list[Kept]:
        """The instance and its children, which have ids that begin with its own."""
        kept = self._run.net.ledger.kept
        children = (one for id, one in kept.items() if id.startswith(f"{self.id}:"))
        return [kept[self.id], *children]

    def _family_rests(self) -> bool:
        return all(one.rests for one in self._family())

    def _waits_until(self) -> float:
        """The virtual second at which the last of its timers is due."""
        timers = (one.wake_at for one in self._family() if one.status.is_rest and one.wake_at)
        return max(((timer - START).total_seconds() for timer in timers), default=0.0)

    async def _some_time(self, share: float = 1.0) -> None:
        """Let some time pass, or wait until a save is on its way: then things may cross."""
        seconds = self._moment(share)
        if self._chance.random() < 0.5:
            await asyncio.sleep(seconds)
        else:
            nth = self._chance.randint(1, 6)
            await self._run.net.ledger.wait_for_save(self.id, nth, at_most=seconds)

    def _moment(self, share: float = 1.0) -> float:
        return self._chance.uniform(0, share * self._run.scenario.horizon)


def _was_tried(kept: Kept) -> bool:
    return (kept.head.reason or "").startswith("recovered 10 times")


def _not_undone(kept: Kept) -> str:
    """The step whose compensator has failed for good."""
    for execution in kept.executions.values():
        undone = execution.compensation
        if undone is not None and undone.status is CompensationStatus.FAILED:
            return execution.step
    return ""
