"""One run: processes, one after the other, until everything has come to rest."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import evolve, frozen

from flux.config import FluxConfig
from flux.engine.engine import FluxEngine
from flux.errors import FluxError, StorageUnavailableError
from flux.state.status import WorkflowStatus
from flux.storage import Record, TimeKeeper, WorkflowFilter, WorkflowStorage, open_storage
from flux.testing.explorer.app import App
from flux.testing.explorer.effects import Outside
from flux.testing.explorer.errors import ExplorationError
from flux.testing.explorer.outcome import Outcome, document_of, leavings
from flux.testing.explorer.points import Course, CrashPoint
from flux.testing.explorer.process import DiedError, Process
from flux.testing.explorer.pulse import ExplorerClock, Pulse
from flux.testing.explorer.script import Advance, ScriptAction, number_in_script
from flux.testing.explorer.story import Story
from flux.testing.explorer.view import view_of

StorageFactory = Callable[[], WorkflowStorage | Awaitable[WorkflowStorage]]

LEASE = 1.0
"""Seconds for which the lease of a dead process is respected, by the explorer's clock."""

_PATIENCE = 1000
"""So often time passes without a save before a run counts as stuck."""

_ALL = WorkflowFilter(limit=100_000)


@frozen(kw_only=True)
class Scene:
    """What all runs of an exploration have in common; `limit` is in seconds of real time a run."""

    app: App
    input: Any
    storage: StorageFactory
    outside: Outside
    script: Sequence[ScriptAction]
    config: FluxConfig
    limit: float


class Run:
    """A run with its own storage and its own clock, struck at one point or at none."""

    def __init__(self, scene: Scene, course: Course, point: CrashPoint | None = None) -> None:
        self._scene = scene
        self._course = course
        self._point = point
        self._story = Story()
        self._clock = ExplorerClock()
        self._pulse = Pulse()
        self.name = ""
        """The workflow's name, which is the id of the instance as well."""
        self._done = 0
        """How many actions of the script have begun."""
        self._left = 0.0
        """Seconds that are still to pass, by the script."""
        self._refused: list[str] = []
        self._processes: list[Process] = []
        self._waited = 0
        self._written = 0
        self.storage: WorkflowStorage

    async def outcome(self) -> Outcome:
        """Run until nothing more happens."""
        await self._scene.outside.reset()
        made = self._scene.storage()
        made = await made if inspect.isawaitable(made) else made
        if not callable(getattr(made, "claim_due", None)):
            raise TypeError(f"storage= has given {made!r}, which is no WorkflowStorage")
        self.storage = made
        await self.storage.init(self._clock)
        try:
            await self._check_empty()
            await self._check_time()
            async with asyncio.timeout(self._scene.limit) as within:
                return await self._lives()
        except TimeoutError:
            if within.expired():
                raise self._took_too_long() from None
            raise
        finally:
            for process in self._processes:
                process.forget()
            await self.storage.close()

    # Lives

    async def _lives(self) -> Outcome:
        is_over = False
        while not is_over:
            process = Process(self._story, self._pulse, self._point)
            self._processes.append(process)
            workflows = self._scene.app.seen_by(process, self._course)
            self.name = workflows[0].name
            engine = FluxEngine(
                view_of(self.storage, process),
                workflows=workflows,
                config=self._scene.config,
                clock=self._clock,
            )
            try:
                is_over = await self._live(engine, process)
            finally:
                process.die()
                await engine.close()
                await process.end()
        ids = self._story.ids
        return Outcome(
            story=self._story,
            document=await document_of(
                self.storage,
                self.name,
                ids,
                workflows=workflows,
                effects=await self._scene.outside.snapshot(),
            ),
            stuck=await self._stuck(),
            refused=self._refused,
            untaken=await self._untaken(),
            left=await leavings(self.storage, ids, workflows),
        )

    async def _live(self, engine: FluxEngine, process: Process) -> bool:
        """One process: whether the run was over before it died."""
        try:
            await engine.init()
            await self._start(engine)
            while True:
                await self._pulse.quiet()
                process.check_alive()
                if not await self._goes_on(engine):
                    return True
        except DiedError:
            await self._pulse.quiet()
            return False

    async def _start(self, engine: FluxEngine) -> None:
        """As a caller would who wants it done: again, under the same id, if that went wrong."""
        for is_again in (False, True):
            try:
                await engine.start(self.name, self._scene.input, id=self.name)
            except StorageUnavailableError:
                if is_again:
                    raise
            else:
                return

    # Between two saves

    async def _goes_on(self, engine: FluxEngine) -> bool:
        """Let the next thing happen, now that nothing is at work; whether there was any."""
        records = await self._records()
        if not all(map(self._rests, records)):
            return self._wait(records)
        self._waited = 0
        if self._left <= 0 and self._done < len(self._scene.script):
            await self._act(engine, self._scene.script[self._done])
            return True
        due_in = await self.storage.next_due()
        if self._left > 0:
            passing = self._left if due_in is None else min(self._left, due_in)
            self._left -= passing
            self._clock.pass_by(passing)
            return True
        if due_in is None:
            return False
        self._clock.pass_by(due_in)
        return True

    async def _act(self, engine: FluxEngine, action: ScriptAction) -> None:
        self._done += 1
        if isinstance(action, Advance):
            self._left = action.seconds
            return
        try:
            await action.send(engine, self.name, self._done)
        except DiedError:
            raise
        except FluxError as error:
            self._refused.append(f"{action} was refused: {error}")

    def _wait(self, records: Sequence[Record]) -> bool:
        """Something is under way and waits for the time; False if that has lasted too long."""
        tried = self._story.tried
        self._waited = self._waited + 1 if tried == self._written else 0
        self._written = tried
        if self._waited > _PATIENCE:
            return False
        next_in = self._clock.next_in
        if not any(record.lease_until for record in records):
            now = self._clock.now()
            wakes = [r.wake_at for r in records if not self._rests(r) and r.wake_at is not None]
            later = [(wake - now).total_seconds() for wake in wakes if wake > now]
            # Nobody has to renew a lease meanwhile.
            next_in = min(later, default=next_in)
        if next_in is None:
            return False
        self._clock.pass_by(next_in)
        return True

    def _rests(self, record: Record) -> bool:
        """Whether nothing of this instance is under way, and nothing is due."""
        if not WorkflowStatus(record.status).is_rest or record.lease_until is not None:
            return False
        return record.wake_at is None or record.wake_at > self._clock.now()

    async def _records(self) -> Sequence[Record]:
        found = [await self.storage.load(id, history=False) for id in self._story.ids]
        return [stored[0] for stored in found if stored is not None]

    async def _stuck(self) -> Sequence[str]:
        return [
            f"instance {record.id!r} is stuck: {record.status}"
            for record in await self._records()
            if not self._rests(record)
        ]

    async def _untaken(self) -> Sequence[str]:
        """The signals of the script that no step has taken."""
        inboxes = [await self.storage.signals(id) for id in self._story.ids]
        return [
            str(self._scene.script[number - 1])
            for inbox in inboxes
            for one in inbox
            if one.consumed_by is None and (number := number_in_script(one.signal.signal_id))
        ]

    # What cannot be explored

    async def _check_empty(self) -> None:
        if await self.storage.count(WorkflowFilter()):
            raise ExplorationError(
                f"storage= has given {self.storage!r}, which holds instances already; each run "
                "needs a storage of its own, on a place that nothing else uses"
            )

    async def _check_time(self) -> None:
        if not isinstance(self.storage, TimeKeeper):
            return
        before = await self.storage.time()
        self._clock.pass_by(LEASE)
        if (await self.storage.time() - before).total_seconds() < LEASE:
            raise ExplorationError(
                f"{self.storage!r} keeps the time of its server, which the explorer cannot advance;"
                " explore on memory or on SQLite"
            )

    def _took_too_long(self) -> ExplorationError:
        called = list(self._story.calls)
        last = f"; the last call was that of {called[-1].step!r}" if called else ""
        struck = "without a crash" if self._point is None else f"struck at {self._point}"
        return ExplorationError(
            f"the run {struck} was not over after {self._scene.limit:g} s of real time{last}"
        )


def memory() -> WorkflowStorage:
    """The default: a new storage in the memory of this process."""
    return open_storage("memory:")


def explored_under(config: FluxConfig | None) -> FluxConfig:
    """The settings of the engines: the user's, with a short lease and without a log."""
    if config is not None and not isinstance(config, FluxConfig):
        raise TypeError(f"config={config!r}: give a FluxConfig")
    silent = logging.getLogger("flux.testing.explorer")
    silent.disabled = True
    return evolve(config or FluxConfig(), lease=LEASE, poll=LEASE, logger=silent)
