"""An engine on a storage that runs a plan, and does what a command says, faults included.

Time stands still but for back-offs, which jump, and for what a fault lets pass.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from flow_plans import (
    DAY,
    LEASE,
    LONG,
    Act,
    Call,
    Command,
    Entry,
    Fault,
    FlowPlan,
    Recovery,
    Seen,
    StepPlan,
)
from flux import (
    Checkpoint,
    CompensationContext,
    FluxConfig,
    FluxEngine,
    FluxError,
    InstanceNotFoundError,
    OutcomeUnknownError,
    Record,
    Retry,
    StepExecution,
    StorageError,
    Workflow,
    WorkflowContext,
    WorkflowState,
    WorkflowStorage,
    done,
    not_done,
)
from flux import Entry as StoredEntry
from jumping import JumpingClock
from reference import MAX_RECOVERIES, RESTS
from reference_state import act_of, ran, undid
from saves import Saves

T = TypeVar("T")

ID = "instance"
POLL = 2 * DAY
SILENT = logging.getLogger("silent")
SILENT.setLevel(logging.CRITICAL + 1)
CONFIG = FluxConfig(
    lease=LEASE, poll=POLL, max_recoveries=MAX_RECOVERIES, when_timeout=60, logger=SILENT
)


class Process(Saves):
    """What a process sees of the storage: a fault strikes at one of its saves.

    When it gives its lease back for a long back-off, the time moves on by that.
    """

    def __init__(self, storage: WorkflowStorage, clock: JumpingClock) -> None:
        super().__init__(storage)
        self.counted = 0
        self.fault: Fault | None = None
        self.was_struck = False
        self._under = storage
        self._clock = clock
        self.has_slept_long = False

    def expect(self, fault: Fault | None) -> None:
        """Count saves anew, and let this fault strike."""
        self.counted, self.fault, self.was_struck = 0, fault, False
        self.has_slept_long = False

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[StoredEntry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        if not self.is_dead and await self._under.load(record.id, history=False) is not None:
            return False
        made = super().create(record, entries=entries, lease=lease, wake=wake)
        return await self._struck(made)

    async def save(self, checkpoint: Checkpoint) -> int:
        return await self._struck(super().save(checkpoint), checkpoint)

    async def _struck(self, write: Awaitable[T], checkpoint: Checkpoint | None = None) -> T:
        self.counted += not self.is_dead
        fault = self.fault
        strikes = fault is not None and fault.save == self.counted
        if fault is not None and strikes and not fault.written:
            self._strike(fault, write)
        written = await write
        if checkpoint is not None and checkpoint.lease is None and checkpoint.wake:
            self.has_slept_long = True
            self._clock.advance(checkpoint.wake)
        if fault is not None and strikes:
            self._strike(fault)
        return written

    def _strike(self, fault: Fault, unwritten: Any = None) -> None:
        if unwritten is not None:
            unwritten.close()
        self.was_struck = True
        # Who drives on after a long back-off is open, so there a fault kills.
        if fault.dies or self.has_slept_long:
            self.die()
        raise self.error


class World:
    """One instance of a plan on a storage, and the calls of its functions."""

    def __init__(self, plan: FlowPlan, storage: WorkflowStorage) -> None:
        self.calls: list[Call] = []
        self._clock = JumpingClock()
        self._storage = storage
        self._workflow = workflow_of(plan, self.calls)
        # Watches the bare storage and knows no workflow: it drives nothing.
        self._watcher = FluxEngine(storage, clock=self._clock, config=CONFIG)
        self._process = Process(storage, self._clock)
        self._engine = self._engine_of(self._process)

    def __repr__(self) -> str:
        return f"the world on {type(self._storage).__name__}"

    async def open(self) -> None:
        await self._watcher.init()
        await self._engine.init()

    async def close(self) -> None:
        await self._engine.close()
        await self._watcher.close()

    @property
    def has_slept_long(self) -> bool:
        """Whether a back-off since then was longer than the lease."""
        return self._process.has_slept_long

    @property
    def saves(self) -> int:
        """Since the last command or recovery began."""
        return self._process.counted

    async def do(self, command: Command) -> str | None:
        """Let a command happen, with its faults; the name of the error if it is refused."""
        faults = list(command.faults)
        self._process.expect(faults.pop(0) if faults else None)
        refusal = await self._through_faults(command.verb, command.step)
        while self._process.was_struck:
            await self._recover(faults)
        return refusal

    async def seen(self) -> Seen:
        """What the instance looks like as last saved."""
        state = await self._watcher.get(ID, replaced=True)
        entries = tuple((entry.replaced, entry_of(entry)) for entry in state.history)
        return Seen(
            status=state.status,
            error=None if state.error is None else state.error.type,
            run=state.run,
            data=dict(state.data),
            history=tuple(entry for replaced, entry in entries if not replaced),
            replaced=tuple(entry for replaced, entry in entries if replaced),
        )

    async def status(self) -> str | None:
        """The status as last saved; None before there is an instance."""
        state = await self._saved()
        return None if state is None else state.status

    async def _recover(self, faults: list[Fault]) -> None:
        fault, count = self._process.fault, self._process.counted
        was_dead = self._process.is_dead
        assert fault is not None
        if was_dead:
            await self._engine.close()
            self._process = Process(self._storage, self._clock)
            self._engine = self._engine_of(self._process)
        rests = (await self.status()) in (None, *RESTS)
        self._process.expect(faults.pop(0) if faults and not rests else None)
        if rests:
            self._process.counted = count
        if was_dead or fault.recovery is Recovery.POLL:
            self._clock.advance(LEASE + 1)
        await self._engine.init()
        if not rests:
            verb = "result" if fault.recovery is Recovery.POLL else fault.recovery
            await self._through_faults(verb, None)

    async def _through_faults(self, verb: str, step: str | None) -> str | None:
        try:
            await self._driven(self._verb(verb, step))
        except StorageError:
            if not self._process.was_struck:
                raise
        except FluxError as error:
            return type(error).__name__
        return None

    async def _verb(self, verb: str, step: str | None) -> object:
        engine = self._engine
        if verb == "execute":
            return await engine.execute(self._workflow, {}, id=ID)
        if verb == "skip_compensation":
            return await engine.skip_compensation(ID, step or "", reason="done by hand")
        arguments = (ID,) if step is None else (ID, step)
        return await getattr(engine, verb)(*arguments)

    async def _driven(self, verb: Awaitable[object]) -> None:
        task = asyncio.ensure_future(verb)
        for _ in range(40):
            await asyncio.wait({task}, timeout=0.25)
            if task.done():
                return await task  # type: ignore[return-value]
            self._clock.advance(POLL)
        task.cancel()
        raise AssertionError(f"{self}: the instance is stuck: {await self._saved()}")

    async def _saved(self) -> WorkflowState | None:
        try:
            return await self._watcher.get(ID)
        except InstanceNotFoundError:
            return None

    def _engine_of(self, process: Process) -> FluxEngine:
        return FluxEngine(process, workflows=[self._workflow], clock=self._clock, config=CONFIG)


def entry_of(entry: StepExecution) -> Entry:
    """What is compared of an entry of the history."""
    undone = entry.compensation
    return Entry(
        name=entry.name,
        status=entry.status,
        outcome=entry.outcome,
        output=entry.output,
        key=entry.key if entry.attempt_count else None,
        run=entry.run,
        retries=entry.retries,
        attempt_count=entry.attempt_count,
        lost=tuple(attempt.number for attempt in entry.attempts),
        undone=None if undone is None else (undone.status, undone.attempts),
    )


def workflow_of(plan: FlowPlan, calls: list[Call]) -> Workflow:
    """The workflow of a plan; its functions follow their scripts and write their calls down."""
    workflow = Workflow("planned")
    for step in plan.steps:
        functions = Functions(step, plan, calls)
        options: dict[str, Any] = {
            "retries": back_off(step.retries, step.pause),
            "commit": step.commit,
            "at_most_once": step.at_most_once,
        }
        if step.after is not None:
            options["after"] = step.after
        if step.when is not None:
            options["when"] = functions.when
        if step.verify is not None:
            options["verify"] = functions.verify
        if step.undo is not None:
            options["compensate"] = functions.undo
            options["compensate_retries"] = back_off(step.undo_retries, step.pause)
        workflow.step(step.name, functions.run, **options)
    return workflow


def back_off(retries: int, pause: float) -> Retry:
    """So many more attempts, always after the same pause."""
    return Retry(retries, initial=pause, factor=1, maximum=2 * LONG, jitter=False)


class Functions:
    """The functions of one step."""

    def __init__(self, step: StepPlan, plan: FlowPlan, calls: list[Call]) -> None:
        self._step = step
        self._sources = plan.sources(step)
        self._calls = calls
        self._counts: Counter[str] = Counter()

    async def run(self, ctx: WorkflowContext) -> object:
        before = dict(ctx.data.items())
        outputs = {source: ctx.output(source) for source in self._sources}
        act = self._act("run", ctx, data=before, seen=outputs)
        number = self._counts["run"]
        put(ctx, ran(self._step, number, before))
        match act:
            case Act.RAISES:
                raise ValueError
            case Act.DOUBTS:
                raise OutcomeUnknownError
            case Act.SPOILS:
                return object()
        return {"by": self._step.name, "call": number}

    async def verify(self, ctx: WorkflowContext) -> object:
        act = self._act("verify", ctx, data=dict(ctx.data.items()))
        ctx.data["verified"] = self._step.name
        match act:
            case Act.RAISES:
                raise LookupError
            case Act.DENIES:
                return not_done
            case Act.SPOILS:
                return None
        return done("found")

    async def undo(self, ctx: CompensationContext) -> None:
        before = dict(ctx.data.items())
        seen = {
            "key": ctx.step_key,
            "outcome": ctx.outcome,
            "output": ctx.output(self._step.name),
            "failure": None if ctx.failure is None else ctx.failure.type,
        }
        act = self._act("undo", ctx, data=before, seen=seen)
        put(ctx, undid(self._step, before))
        if act is Act.RAISES:
            raise ValueError
        if act is Act.SPOILS:
            ctx.data["spoilt"] = object()

    def when(self, ctx: WorkflowContext) -> bool:
        self._counts["when"] += 1
        self._calls.append(Call(what="when", step=self._step.name, key=None))
        act = act_of(self._step.when or (), self._counts["when"])
        if act is Act.RAISES:
            raise ValueError
        return act is not Act.DENIES

    def _act(self, what: str, ctx: WorkflowContext, **seen: Any) -> Act:
        self._counts[what] += 1
        self._calls.append(
            Call(
                what=what,
                step=ctx.step,
                key=ctx.idempotency_key,
                attempt=ctx.attempt,
                **seen,
            )
        )
        script = {"run": self._step.script, "verify": self._step.verify, "undo": self._step.undo}
        return act_of(script[what] or (), self._counts[what])


def put(ctx: WorkflowContext, made: dict[str, Any]) -> None:
    """Change data key by key, as a handler does."""
    for key in set(ctx.data) - set(made):
        del ctx.data[key]
    for key, value in made.items():
        if key not in ctx.data or ctx.data[key] != value:
            ctx.data[key] = value


Same = Callable[[object, object], None]
