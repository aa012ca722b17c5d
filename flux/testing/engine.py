"""An engine for the tests of workflows: on memory, and under a clock of its own."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import evolve

from flux.config import FluxConfig
from flux.definition.builder import Workflow
from flux.definition.policy import Duration
from flux.definition.step import Handler
from flux.definition.workflow import WorkflowDefinition
from flux.engine.arguments import checked_id, checked_storage
from flux.engine.engine import FluxEngine
from flux.observe.observers import Observer
from flux.observe.trace import FluxTraceEvent
from flux.storage import TimeKeeper, WorkflowStorage
from flux.testing import coverage
from flux.testing.activity import Activity
from flux.testing.cast import Cast
from flux.testing.copies import Copies
from flux.testing.mocks import AnyError, Mock, Script
from flux.testing.run import Run
from flux.testing.steps import Steps
from flux.testing.time_travel import TimeTravel
from flux.testing.virtual_time import NEVER, VirtualClock
from flux.testing.watched_storage import Gate, watched

T = TypeVar("T")

_TURNS_TO_STOP = 10
"""So many turns of the loop, and more, after which an engine that closes begins nothing."""

AnyWorkflow = Workflow | WorkflowDefinition | str


class TestEngine:
    """Runs workflows for tests: `async with TestEngine(order) as t:`.

    `workflows` are those that the test runs by name, or mocks before it runs them. The storage is
    memory, or a URL, or a `WorkflowStorage`; one whose server keeps the time is refused with
    `ValueError`, since that time cannot be moved. The clock stands at `start` until time passes.

    **Time** passes in two ways only. While the test awaits something of this engine it jumps, as
    soon as nothing else can happen, to the next moment at which something does: the end of a
    back-off, of a sleep, of what a mock `takes`. And `advance` lets so much of it pass. A run that
    waits for a signal rests, and time never jumps for it: its timeout, and its deadline, come by
    `advance` alone. What handlers do for real takes no time of this clock, and their timeouts are
    real.
    """

    __test__ = False  # no class of tests, whatever its name looks like

    def __init__(
        self,
        *workflows: Workflow | WorkflowDefinition,
        storage: str | WorkflowStorage = "memory:",
        config: FluxConfig | None = None,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        observers: Sequence[Observer] = (),
    ) -> None:
        given = checked_storage(storage)
        if isinstance(given, TimeKeeper):
            raise ValueError(f"{given!r} keeps a time of its own, which no test can move")
        if not isinstance(start, datetime) or start.tzinfo is None:
            raise ValueError(f"start={start!r}: give an aware datetime, as datetime(…, tzinfo=UTC)")
        if config is not None and not isinstance(config, FluxConfig):
            raise TypeError(f"config={config!r}: give a FluxConfig")
        self.clock = VirtualClock(start)
        """The clock of the engine and its storage."""
        config = config or FluxConfig(grace=0.1)
        self._config = evolve(config, lease=NEVER, poll=NEVER)
        self._activity = Activity()
        self._gate = Gate(self._activity)
        self._script = Script(self.clock, self._activity)
        self._copies = Copies(self._script, self._activity, self._config)
        self._cast = Cast(workflows)
        self._storage = watched(given, self._activity, self._gate)
        self._observers = (self._activity.told, self._told, *observers)
        self._workflows = workflows
        self._runs: dict[str, Run] = {}
        self._undone: dict[str, list[str]] = {}
        self._changed: set[str] = set()
        self._engine: FluxEngine | None = None
        self._time: TimeTravel | None = None

    async def __aenter__(self) -> Self:
        engine = FluxEngine(
            self._storage,
            workflows=[self._copies.of(workflow) for workflow in self._workflows],
            config=self._config,
            clock=self.clock,
            observers=self._observers,
        )
        await engine.init()
        for definition in self._cast.workflows:
            coverage.note(definition)
        self._engine = engine
        self._time = TimeTravel(
            engine,
            self.clock,
            self._activity,
            runs=self._runs,
            changed=self._changed_since,
            is_held=self._gate.holds,
        )
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The engine stops first: what a test has left standing at a step begins no other one.
        closing = asyncio.ensure_future(self.engine.close())
        try:
            for _ in range(_TURNS_TO_STOP):
                await asyncio.sleep(0)
        finally:
            self._gate.open_all()
            await closing

    @property
    def engine(self) -> FluxEngine:
        """The engine itself, for verbs that are not here; await what takes time with `drive`."""
        if self._engine is None:
            raise RuntimeError("this TestEngine is not open: use it with `async with`")
        return self._engine

    @property
    def now(self) -> datetime:
        """What time it is by the clock."""
        return self.clock.now()

    @property
    def runs(self) -> Sequence[Run]:
        """All its runs, in the order in which they were started or found."""
        return tuple(self._runs.values())

    # Who stands in for whom

    def mock(
        self,
        step: str,
        function: Handler | None = None,
        *,
        returns: Any = None,
        raises: AnyError | None = None,
        takes: Duration = 0,
        workflow: str | None = None,
    ) -> Mock:
        """Let something stand in for a step's handler, from its next call on.

        A function of the context (plain or async), or what it `returns`, or what it `raises`; it
        `takes` so many seconds (or a `timedelta`, or `math.inf`) of the clock, and times out if the
        step does. For a branch it is the choice. For a sub-workflow it stands in for the whole
        child, from the next `run` on; `"child workflow.step"` names a step of it. A name that two
        workflows have needs `workflow`, or that way of naming it. `UnknownStepError`.
        """
        mock = Mock(function, returns=returns, raises=raises, takes=takes)
        self._put(step, mock, workflow, undoes=False)
        return mock

    def mock_compensation(
        self,
        step: str,
        function: Handler | None = None,
        *,
        raises: AnyError | None = None,
        takes: Duration = 0,
        workflow: str | None = None,
    ) -> Mock:
        """The same for what undoes the step; `ValueError` if nothing does."""
        mock = Mock(function, raises=raises, takes=takes)
        self._put(step, mock, workflow, undoes=True)
        return mock

    def fail(
        self,
        step: str,
        error: AnyError,
        *,
        attempt: int | Iterable[int] = 1,
        workflow: str | None = None,
    ) -> None:
        """Let one attempt of a step, or several, raise this; the others go as they would.

        Attempts are counted from 1. `"deploy[2]"` is one item of a map, `"deploy"` each of them.
        """
        self._fail(step, error, attempt, workflow, undoes=False)

    def fail_compensation(
        self,
        step: str,
        error: AnyError,
        *,
        attempt: int | Iterable[int] = 1,
        workflow: str | None = None,
    ) -> None:
        """The same for what undoes the step; `ValueError` if nothing does."""
        self._fail(step, error, attempt, workflow, undoes=True)

    # Running

    async def run(
        self,
        workflow: AnyWorkflow,
        input: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Run:
        """Start an instance, and let happen what can happen without the test.

        It comes back when the instance has ended, waits for a signal, or needs a person.
        """
        run = await self.start(workflow, input, id=id, labels=labels)
        await self.settle()
        return run

    async def start(
        self,
        workflow: AnyWorkflow,
        input: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Run:
        """Start an instance, and come back after its first save."""
        meant: WorkflowDefinition | str
        if isinstance(workflow, str):
            meant, definition = workflow, self._cast.workflow(workflow)
        else:
            definition = self._cast.add(workflow)
            meant = self._copies.of(definition)
        coverage.note(definition)
        id = checked_id(id)
        state = await self.engine.start(meant, input, id=id, labels=labels)
        run = self._runs[id] = Run(self, definition, state)
        return run

    def steps(
        self,
        workflow: AnyWorkflow,
        input: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Steps:
        """Start an instance and go through it: `async for step in t.steps(order, {...}):`.

        Each step (a `StepExecution`) comes when it has ended or begun to wait, and the instance
        stands still meanwhile. `steps.run` is the run.
        """
        id = checked_id(id)

        async def begin() -> Run:
            starting = asyncio.ensure_future(self.start(workflow, input, id=id, labels=labels))
            # Nothing has ended at the first save, but that the instance is there.
            await self._activity.quiet()
            self._gate.let_go(id)
            return await starting

        return Steps(begin, id, self._gate, self._travel)

    async def find(self, id: str) -> Run:
        """The run of any instance of this engine, such as a child; `InstanceNotFoundError`."""
        if id not in self._runs:
            state = await self.engine.get(id)
            self._runs[id] = Run(self, self._cast.workflow(state.name), state)
        return self._runs[id]

    async def children(self, run: Run) -> Sequence[Run]:
        """The runs of the sub-workflows that a run has started, the oldest first."""
        found = await self.engine.children(run.id)
        return [await self.find(child.id) for child in reversed(found)]

    async def settle(self) -> None:
        """Let everything happen, to every run, that can happen without the test."""
        while await self._travel.pass_time():
            pass

    async def advance(
        self,
        duration: Duration = 0,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let exactly so much time pass, and all that falls due happen, each at its time."""
        try:
            asked = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
            asked += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            _ = self.now + asked  # fails where the calendar ends
        except (OverflowError, ValueError) as error:
            raise ValueError(f"advance to a time that no calendar has: {error}") from error
        await self._travel.advance(asked.total_seconds())

    async def drive(self, awaitable: Awaitable[T]) -> T:
        """Await a verb of the engine, while time jumps: `await t.drive(t.engine.result(id))`."""
        return await self._travel.drive(awaitable)

    # For its runs

    def let_go(self, id: str) -> None:
        """Let an instance go on that a test has stepped through."""
        self._gate.open(id)

    def undone(self, id: str) -> Sequence[str]:
        """The steps of an instance that were undone, in order."""
        return self._undone.get(id, ())

    @property
    def _travel(self) -> TimeTravel:
        if self._time is None:
            raise RuntimeError("this TestEngine is not open: use it with `async with`")
        return self._time

    def _put(self, step: str, mock: Mock, workflow: str | None, *, undoes: bool) -> None:
        definition, name = self._cast.step(step, workflow, undoes=undoes)
        self._script.mock(definition.name, name, mock, undoes=undoes)
        if definition.step(name).child is not None:
            self._copies.forget()

    def _fail(
        self,
        step: str,
        error: AnyError,
        attempt: int | Iterable[int],
        workflow: str | None,
        *,
        undoes: bool,
    ) -> None:
        definition, name = self._cast.step(step, workflow, undoes=undoes)
        attempts = (attempt,) if isinstance(attempt, int | str) else tuple(attempt)
        if not attempts or not all(type(one) is int and one > 0 for one in attempts):
            raise ValueError(f"attempt={attempt!r}: attempts are counted from 1; name one at least")
        self._script.fail(definition.name, name, error, attempts, undoes=undoes)

    def _changed_since(self) -> frozenset[str]:
        changed, self._changed = self._changed, set()
        return frozenset(changed) | self._gate.held  # of a held one the last save was not told yet

    def _told(self, event: FluxTraceEvent) -> None:
        self._changed.add(event.workflow_id)
        if event.type == "step:compensate":
            self._undone.setdefault(event.workflow_id, []).append(str(event.step_name))
        coverage.heard(event, self._script)
