"""One instance of a random graph, driven handler by handler beside the reference.

Each handler and compensator waits until the test lets it go on; which one does is drawn. In between
the loop is let run until it is quiet, and what runs then has to be what the reference says.
"""

import asyncio
import copy
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from attrs import frozen

from flux import (
    FluxConfig,
    FluxEngine,
    StepExecution,
    StoredError,
    WorkflowContext,
    WorkflowState,
    WorkflowStorage,
)
from graph_layout import Graph
from graph_plans import GraphPlan, workflow_of
from graph_reference import Data, Entry, Reference
from jumping import FAR, JumpingClock
from process_model import Counted
from quiet_model import QuietLoop, quiet_loop
from saves import Saves

ID = "i"
SILENT = logging.getLogger("silent")
SILENT.setLevel(logging.CRITICAL + 1)
OWN = ("BoomError", "SlipError", "OutcomeUnknownError")
Choose = Callable[[list[str]], str]
"""Says which of the calls that wait goes on next."""


@frozen(kw_only=True)
class Death:
    """A process dies at its save of this number, counted from 1: before it, or after."""

    save: int
    is_written: bool


@frozen(kw_only=True)
class Call:
    """A handler or compensator that waits to go on."""

    what: str
    name: str
    attempt: int
    key: str
    seen: Data


class World:
    """The engines on one storage, one after the other, and the calls that wait in the last one."""

    def __init__(self, plan: GraphPlan, storage: WorkflowStorage) -> None:
        self.calls: dict[asyncio.Future[None], Call] = {}
        self.asks: list[str] = []
        self.saves: Saves
        self.engine: FluxEngine
        self._plan = plan
        self._storage = cast(WorkflowStorage, Counted(storage))
        self._clock = JumpingClock()
        self._engines: list[FluxEngine] = []
        self._verbs: list[asyncio.Task[Any]] = []

    async def open(self, death: Death | None) -> None:
        """A new process, which finds what the one before left."""
        self._clock.advance(FAR["lease"])
        self.calls = {}
        dies, is_written = (None, False) if death is None else (death.save, death.is_written)
        self.saves = Saves(
            self._storage,
            die_before=None if is_written else dies,
            die_after=dies if is_written else None,
        )
        workflow = workflow_of(self._plan, Process(self))
        config = FluxConfig(**FAR, max_parallel_steps=self._plan.most, logger=SILENT)
        self.engine = FluxEngine(self.saves, workflows=[workflow], clock=self._clock, config=config)
        self._engines.append(self.engine)
        await self.engine.init()
        await quiet_loop().quiet()

    async def start(self) -> None:
        self._verbs.append(asyncio.create_task(self.engine.start("graph", {}, id=ID)))
        await quiet_loop().quiet()

    async def let_go(self, call: Call) -> None:
        """Let this call go on, and everything happen that follows from it."""
        gate = next(gate for gate, one in self.calls.items() if one == call)
        gate.set_result(None)
        await quiet_loop().quiet()

    async def state(self) -> WorkflowState | None:
        """The instance as it was saved."""
        engine = FluxEngine(self._storage, clock=self._clock, config=FluxConfig(**FAR))
        async with engine:
            return await engine.get(ID) if await engine.count() else None

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()
        await asyncio.gather(*self._verbs, return_exceptions=True)


class Process:
    """Where the handlers of one process wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls = world.calls

    async def enter(self, what: str, ctx: WorkflowContext) -> None:
        gate = asyncio.get_running_loop().create_future()
        self._calls[gate] = Call(
            what=what,
            name=ctx.step,
            attempt=ctx.attempt,
            key=ctx.idempotency_key,
            seen={key: ctx.data[key] for key in ctx.data},
        )
        try:
            await gate
        finally:
            del self._calls[gate]

    def asked(self, what: str) -> None:
        self._world.asks.append(what)


class Life:
    """Lets an instance live through these deaths, and compares."""

    def __init__(
        self, plan: GraphPlan, storage: WorkflowStorage, choose: Choose, deaths: tuple[Death, ...]
    ) -> None:
        self.order: list[str] = []
        """What was let go on, in order."""
        self._choose = choose
        self._deaths = [*deaths]
        self._keys: dict[str, str] = {}
        self._was_interrupted = False
        self._is_unsure = False
        """Whether the process may have died before it began to undo."""
        self._world = World(plan, storage)
        workflow_of(plan, Process(self._world)).build()
        self._model = Reference(Graph(plan))

    def live(self) -> None:
        """Let it all happen; a disagreement tells the order in which it did."""
        with asyncio.Runner(loop_factory=QuietLoop) as runner:
            try:
                runner.run(self._live())
            except AssertionError as error:
                raise AssertionError(f"after {self.order}: {error}") from error
            finally:
                runner.run(self._world.close())

    async def _live(self) -> None:
        await self._open()
        await self._start()
        while self._model.status == "running":
            calls = self._compare_calls()
            known = {f"{call.what} {call.name}": call for call in calls}
            self.order.append(self._choose(list(known)))
            call = known[self.order[-1]]
            await self._let_go(call)
            assert len(self.order) < 1000
        self._same("calls", list(self._world.calls.values()), [])
        if not self._was_interrupted:
            self._same("asked", Counter(self._world.asks), Counter(self._model.asked))
        state = await self._world.state()
        assert state is not None
        self._compare(state)

    async def _open(self) -> None:
        await self._world.open(self._deaths.pop(0) if self._deaths else None)

    async def _start(self) -> None:
        await self._world.start()
        while self._world.saves.is_dead and not self._world.saves.made:
            self._was_interrupted = True
            await self._open()
            await self._world.start()
        self._model.begin()
        await self._survive()

    async def _let_go(self, call: Call) -> None:
        before, saved = copy.deepcopy(self._model), len(self._world.saves.made)
        if call.what == "do":
            self._model.end(call.name)
            self._model.begin()
        else:
            self._model.undo(call.name)
        await self._world.let_go(call)
        if self._world.saves.is_dead and len(self._world.saves.made) == saved:
            self._model = before
        await self._survive()

    async def _survive(self) -> None:
        """If the process is dead, let another take over, which may die as well."""
        while self._world.saves.is_dead:
            self.order.append("death")
            self._was_interrupted = True
            saved = copy.deepcopy(self._model)
            # What a failure cancels may end with a save of its own, which may be lost.
            self._is_unsure |= self._model.has_cancelled
            if self._model.status == "running":
                self._model.crash()
            await self._open()
            if self._world.saves.is_dead and not self._world.saves.made:
                self._model = saved

    # Comparing

    def _compare_calls(self) -> list[Call]:
        calls = sorted(self._world.calls.values(), key=lambda call: call.name)
        model = self._model
        if model.undoing:
            assert len(calls) == 1, f"undo one of {set(model.undoing)}, got {calls}"
            call = calls[0]
            assert call.what == "undo", call
            assert call.name in model.undoing, f"undo one of {set(model.undoing)}, got {call}"
            self._same("data of compensator", call.seen, model.data)
            interrupts = call.attempt - model.entries[call.name].undo_attempts - 1
            if self._is_unsure:
                assert interrupts <= model.undo_interrupts, call
                model.undo_interrupts, self._is_unsure = interrupts, False
            self._same("interruptions of compensator", interrupts, model.undo_interrupts)
            return calls
        assert all(call.what == "do" for call in calls), calls
        self._same("running", [call.name for call in calls], sorted(model.running))
        for call in calls:
            expected = model.running[call.name]
            self._same(f"attempt of {call.name}", call.attempt, expected.attempt)
            self._same(f"data of {call.name}", call.seen, expected.seen)
            self._same(f"key of {call.name}", call.key, self._keys.setdefault(call.name, call.key))
        return calls

    def _compare(self, state: WorkflowState) -> None:
        model = self._model
        self._same("error", shown(state.error), model.error)
        self._same("status", state.status.value, model.status)
        self._same("data", state.data, model.data)
        got = {entry.name: entry for entry in state.history}
        self._same("entries", sorted(got), sorted(model.entries))
        for name, entry in model.entries.items():
            self._compare_entry(got[name], entry)

    def _compare_entry(self, got: StepExecution, entry: Entry) -> None:
        status = "compensated" if entry.undone else entry.status
        outcome = (
            "unknown" if entry.may_have_acted else "completed" if entry.has_completed else None
        )
        for what, found, expected in (
            ("status", got.status.value, status),
            ("left_out", got.left_out, entry.left_out),
            ("handled_by", got.handled_by, entry.handled_by),
            ("attempts", got.attempt_count, entry.attempts),
            ("outcome", got.outcome and got.outcome.value, outcome),
            ("output", got.output, entry.output),
        ):
            self._same(f"{what} of {got.name}", found, expected)
        if entry.status == "failed":
            self._same(f"error of {got.name}", shown(got.error), entry.error)

    def _same(self, what: str, got: object, expected: object) -> None:
        assert got == expected, f"{what}\n got      {got}\n expected {expected}"


def shown(error: StoredError | None) -> str | None:
    """The error with its message, if that is the handler's own."""
    if error is None:
        return None
    if error.type == "MapFailedError":
        return f"{error.type}: {error.message.split()[2]}"
    if error.type == "DataConflictError":
        return f"{error.type}: {error.message.split()[3]}".replace("'", "")
    return str(error) if error.type in OWN else error.type


def following(order: str) -> Choose:
    """Lets go on what comes next in this order, by its names; after it whatever comes first."""
    left = order.split()

    def choose(calls: list[str]) -> str:
        wanted = left.pop(0) if left else None
        return next((call for call in calls if call.split()[1] == wanted), calls[0])

    return choose
