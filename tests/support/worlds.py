"""Engines on a storage that run a plan, and do what a command says, incidents included.

Time stands still but for short back-offs, which take no real time, and for the hours that a
command or an incident lets pass, or that an instance needs to come to its rest.
"""

import asyncio
import logging
import math
from collections import Counter
from datetime import datetime
from typing import cast

from flow_plans import HOUR, LEASE, POLL, Call, Command, Entry, FlowPlan, Seen
from flux import (
    EngineClosedError,
    FluxConfig,
    FluxEngine,
    FluxError,
    FluxResult,
    Record,
    StepExecution,
    StorageError,
    WorkflowStorage,
)
from handlers_model import Counts, workflow_of
from incidents_model import Incident, Recovery, Request, What
from jumping import JumpingClock
from process_model import ID, Counted, Process, Scene
from quiet_model import quiet_loop
from reference import MAX_RECOVERIES
from reference_state import RESTS, half_hours

FAR = 60.0
GRACE = 5.0
SILENT = logging.getLogger("silent")
SILENT.setLevel(logging.CRITICAL + 1)
CONFIG = FluxConfig(
    lease=LEASE,
    poll=POLL,
    grace=GRACE,
    max_recoveries=MAX_RECOVERIES,
    when_timeout=60,
    logger=SILENT,
)


def disturbs(incident: Incident) -> bool:
    """Whether a verb under way may miss the rest that it waits for."""
    return incident.what is not What.IS_TOLD or (incident.elsewhere and incident.written)


class ExactClock(JumpingClock):
    """A clock whose times are sums of 64ths of a second: exact, as numbers and as dates."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(math.ceil(seconds * 64) / 64)


class World:
    """One instance of a plan on a storage, and the calls of its functions."""

    def __init__(self, plan: FlowPlan, storage: WorkflowStorage) -> None:
        self.calls: list[Call] = []
        self._plan = plan
        self._counts: Counts = Counter()
        self._asides: list[asyncio.Task[object]] = []
        """What people wait for besides the command."""
        self._verb: asyncio.Task[object] | None = None
        self._may_resume = True
        self._clock = ExactClock(far=FAR)
        self._began = self._clock.now()
        counted = Counted(storage)
        self._storage = counted
        # It knows no workflow: it drives nothing.
        self._watcher = FluxEngine(cast(WorkflowStorage, counted), clock=self._clock, config=CONFIG)
        self._scene = Scene(self._storage, self._clock, tell=self._send, opened=self._opened)

    def __repr__(self) -> str:
        return f"the world on {self._storage}"

    async def open(self) -> None:
        await self._watcher.init()
        for _ in range(self._plan.engines + 1):
            self._scene.processes.append(await self._opened())

    async def close(self) -> None:
        self._scene.end()
        for process in (*self._scene.processes, *self._scene.stalled):
            process.thaw()
            await process.engine.close()
        await self._watcher.close()

    @property
    def saves(self) -> int:
        """Since the last incident of the command, or since it began."""
        return self._scene.armed.saves

    @property
    def answers(self) -> list[str | None]:
        """How the requests in the incidents of the command were answered."""
        return self._scene.answers

    @property
    def hours(self) -> float:
        """Since the beginning."""
        return half_hours(self._clock.monotonic())

    async def do(self, command: Command) -> str | None:
        """Let a command happen, with its incidents; the name of the error if it is refused."""
        self._scene.armed.arm(command.incidents)
        self._scene.answers.clear()
        self._scene.began = self._clock.monotonic()
        self._scene.is_found = command.is_driven_by_finders
        # Somebody who resumes what is to be paused wants it to go on after that.
        self._may_resume = all(i.request.verb != "pause" for i in command.incidents)
        process = self._scene.processes[command.engine % self._plan.engines]
        verb = self._verb = asyncio.create_task(self._do(process, command))
        for _ in range(command.hours):
            self._clock.advance(HOUR)
            await self._settle()
        await self._settle()
        while self._scene.stalled:
            await self._scene.bury(self._scene.stalled[0])
            await self._settle()
        answered = verb.done() and not verb.cancelled()
        await self._leave(verb, *self._asides)
        return (
            await self._refusal(verb, struck=any(map(disturbs, command.incidents)))
            if answered
            else None
        )

    async def seen(self) -> Seen:
        """What the instance looks like as last saved."""
        state = await self._watcher.get(ID, replaced=True)
        diagnosis = await self._watcher.diagnose(ID)
        entries = tuple((entry.replaced, self._entry(entry)) for entry in state.history)
        return Seen(
            status=state.status,
            error=None if state.error is None else state.error.type,
            run=state.run,
            data=dict(state.data),
            history=tuple(entry for replaced, entry in entries if not replaced),
            replaced=tuple(entry for replaced, entry in entries if replaced),
            signals=tuple(
                (signal.name, signal.payload, signal.signal_id, signal.taken_by)
                for signal in diagnosis.signals
            ),
        )

    async def status(self) -> str | None:
        """The status as last saved; None before there is an instance."""
        record = await self._scene.record()
        return None if record is None else record.status

    # Verbs

    async def _do(self, process: Process, command: Command) -> object:
        engine = process.engine
        match command.verb:
            case "pass":
                return None
            case "reopen":
                process.begin_to_close()
            case "tell":
                assert command.request is not None
                return await self._send(engine, command.request)
            case "execute":
                return await engine.execute(process.workflow, {}, id=ID)
            case "skip_compensation":
                return await engine.skip_compensation(ID, command.step or "", reason="by hand")
            case verb:
                arguments = (ID,) if command.step is None else (ID, command.step)
                return await getattr(engine, verb)(*arguments)
        return None

    async def _send(self, engine: FluxEngine, request: Request) -> object:
        match request.verb:
            case "cancel":
                await engine.cancel(ID, rollback=request.rollback)
            case "pause":
                await engine.pause(ID)
            case _:
                return await engine.signal(
                    ID,
                    request.name,
                    request.payload,
                    signal_id=request.signal_id,
                    wait=request.waits,
                )
        return None

    async def _refusal(self, verb: asyncio.Task[object], *, struck: bool) -> str | None:
        try:
            result = await verb
        except (StorageError, EngineClosedError) as error:
            # What has struck the process is no answer.
            return None if struck else type(error).__name__
        except FluxError as error:
            return type(error).__name__
        if isinstance(result, FluxResult) and not struck:
            status = await self.status()
            assert result.status == status, f"{self}: {result} of an instance that is {status}"
        return None

    async def _leave(self, *verbs: asyncio.Task[object]) -> None:
        """Wait no more for what another engine drives: that is seen at the next poll."""
        for verb in verbs:
            verb.cancel()
        await asyncio.wait(verbs)
        self._asides.clear()

    # What happens by itself

    async def _settle(self) -> None:
        """Let time pass until nothing happens any more by itself."""
        for _ in range(100):
            await quiet_loop().quiet()
            if await self._has_mended():
                continue
            record = await self._scene.record()
            if record is None or (record.status in RESTS and not self._is_due(record)):
                return
            self._clock.advance(HOUR)
        raise AssertionError(f"{self}: the instance is stuck: {await self._scene.record()}")

    def _is_due(self, record: Record) -> bool:
        due = record.wake_at if record.lease_until is None else record.lease_until
        return due is not None and due <= self._clock.now()

    async def _has_mended(self) -> bool:
        """Whether there was a process to be replaced, or somebody to be waited for."""
        if self._scene.somebody_stays:
            self._scene.somebody_stays = False
            await quiet_loop().ended(asyncio.sleep(2 * GRACE))
            return True
        for place, process in enumerate(self._scene.processes):
            if process.is_dead or process.was_stalled:
                await self._replace(place, process)
                return True
            if process.closing is not None:
                await quiet_loop().ended(process.closed())
                if not process.was_stalled:
                    self._scene.processes[place] = await self._opened()
                return True
            if process.has_failed:
                process.has_failed = False
                await self._recover(process, process)
                return True
        return False

    async def _replace(self, place: int, process: Process) -> None:
        if process.is_dead:
            await quiet_loop().ended(process.engine.close())
        else:
            self._scene.stalled.append(process)
            if self._verb is not None:
                # Whoever asked has gone away; else the verb would be tried again in the end.
                self._verb.cancel()
        await process.give_back()
        self._scene.processes[place] = await self._opened()
        await self._recover(process, self._scene.processes[place])

    async def _recover(self, process: Process, successor: Process) -> None:
        """Let a person ask for an instance that was left, if one does, and the lease run out."""
        left, incident = process.left, process.incident
        assert left is not None
        assert incident is not None
        is_asked = not left.rests and incident.recovery is not Recovery.POLL
        if is_asked:
            by_resume = incident.recovery is Recovery.RESUME and self._may_resume
            verb = Command("resume" if by_resume else "execute")
            self._asides.append(asyncio.create_task(self._do(successor, verb)))
            await quiet_loop().quiet()
        if left.is_leased and not (is_asked and successor is process):
            self._clock.advance(LEASE + 1)

    # Small things

    async def _opened(self) -> Process:
        process = Process(self._scene)
        process.workflow = workflow_of(self._plan, self.calls, self._counts, process)
        process.engine = FluxEngine(
            process.storage, workflows=[process.workflow], clock=self._clock, config=CONFIG
        )
        await process.engine.init()
        return process

    def _hours_since(self, moment: datetime) -> float:
        return half_hours((moment - self._began).total_seconds())

    def _entry(self, entry: StepExecution) -> Entry:
        """What is compared of an entry of the history."""
        undone = entry.compensation
        suspended = entry.status == "suspended"
        until = entry.wakes_at if suspended else None
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
            waiting_for=entry.waiting_for if suspended else None,
            wakes=None if until is None else self._hours_since(until),
        )
