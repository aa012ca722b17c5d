"""Processes in a test: engines on one storage, each with its own view of it, and what strikes them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from attrs import evolve

from flow_plans import HOUR, Reaction, StepPlan
from flux import (
    FluxEngine,
    FluxError,
    StorageError,
    UnseenSignalsError,
    Workflow,
    WorkflowStorage,
)
from flux.testing import ManualClock
from incidents_model import Armed, Incident, Request, What
from quiet_model import quiet_loop
from saves import DiedError

Storage = Any
Tell = Callable[[FluxEngine, Request], Awaitable[object]]
Opened = Coroutine[Any, Any, "Process"]

ID = "instance"
METHODS = frozenset(name for name in vars(WorkflowStorage) if not name.startswith("_"))


class Counted:
    """A storage whose calls the loop waits for. It tells nobody of changes."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage

    def __repr__(self) -> str:
        return type(self._storage).__name__

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name not in METHODS:
            raise AttributeError(name)

        async def call(*arguments: Any, **named: Any) -> Any:
            async with quiet_loop().working():
                return await getattr(self._storage, name)(*arguments, **named)

        return call


class Process:
    """An engine, and the storage as it sees it."""

    def __init__(self, scene: "Scene") -> None:
        self.engine: FluxEngine
        self.workflow: Workflow
        self.is_dead = False
        self.has_failed = False
        self.was_stalled = False
        self.incident: Incident | None = None
        """What ended it."""
        self.closing: asyncio.Task[None] | None = None
        self._scene = scene
        self._moves = asyncio.Event()
        self._moves.set()

    @property
    def storage(self) -> WorkflowStorage:
        """The storage as this process sees it."""
        return cast(WorkflowStorage, self)

    @property
    def is_at_work(self) -> bool:
        """Whether it takes requests."""
        return self.closing is None and not self.is_dead and not self.was_stalled

    def die(self) -> None:
        """Do nothing any more."""
        self.is_dead = True

    def stall(self) -> None:
        """Stand still before the next call of the storage, or right now in a handler."""
        self.was_stalled = True
        self._moves.clear()

    def thaw(self) -> None:
        """Go on where it stood still."""
        self._moves.set()

    def begin_to_close(self) -> None:
        """Let the engine be closed."""
        self.closing = asyncio.create_task(self.engine.close())

    # The storage

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        act = getattr(self._scene.storage, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if name not in ("init", "close"):
                await self.moving()
            return await act(*arguments, **named)

        return call

    async def create(self, record: Any, **terms: Any) -> bool:
        await self.moving()
        known = await self._scene.storage.load(record.id, history=False)
        made = self._scene.storage.create(record, **terms)
        written: bool = await (self._write(made) if known is None else made)
        return written

    async def save(self, checkpoint: Any) -> int:
        await self.moving()
        number: int = await self._write(self._scene.storage.save(checkpoint))
        return number

    async def moving(self) -> None:
        """Return while it lives and moves."""
        await self._moves.wait()
        if self.is_dead:
            raise DiedError("the process that used this storage is dead")

    async def _write(self, write: Coroutine[Any, Any, Any]) -> Any:
        incident = await self._scene.at_save(self)
        try:
            if incident is not None and not incident.written:
                await self._strike(incident)
        except BaseException:
            write.close()
            raise
        try:
            written = await write
        except UnseenSignalsError:
            if incident is not None and incident.written:
                await self._strike(incident)
            raise
        if incident is not None and incident.written:
            await self._strike(incident)
        return written

    # What strikes

    async def _strike(self, incident: Incident) -> None:
        if incident.what is What.FAILS and self._scene.finders_drive:
            # Whether anybody waits for this driver is open: there it dies.
            incident = evolve(incident, what=What.DIES)
        if incident.what is What.FAILS:
            self.has_failed, self.incident = True, incident
            raise StorageError("the test lets this save fail")
        if incident.what is What.STALLS and not await self._scene.has_instance():
            # What has not begun would merely begin later.
            self.incident = incident
            self.die()
        else:
            await self._happen(incident)
        await self.moving()

    async def _happen(self, incident: Incident) -> None:
        match incident.what:
            case What.DIES:
                self.incident = incident
                self.die()
            case What.STALLS:
                self.incident = incident
                self.stall()
            case What.CLOSES:
                self.begin_to_close()
                await quiet_loop().quiet()
            case What.IS_TOLD:
                # In a task of its own: a handler may be cancelled by what it is told.
                task = asyncio.create_task(self._scene.told(self, incident))
                await quiet_loop().quiet()
                await task
            case What.LASTS:
                for _ in range(incident.hours):
                    await quiet_loop().quiet()
                    self._scene.clock.advance(HOUR)
                await quiet_loop().quiet()

    async def in_call(self, step: StepPlan) -> None:
        """A function of this step is called; raises if it is cancelled, and lets that through."""
        incident = self._scene.in_call(self)
        if incident is None:
            return
        is_left = incident.what is What.CLOSES and not incident.ends
        try:
            await self._happen(incident)
            await self._moves.wait()
            if self.is_dead or is_left:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.is_dead or step.told is Reaction.ENDS:
                raise
            if step.told is Reaction.STAYS:
                await self._scene.stay()


class Scene:
    """The processes on one storage, with one clock, and what is to happen to them."""

    def __init__(
        self, storage: Counted, clock: ManualClock, *, tell: Tell, opened: Callable[[], Opened]
    ) -> None:
        self.storage: Storage = storage
        self.clock = clock
        self.armed = Armed()
        self.began = 0.0
        """When the command began."""
        self.is_found = False
        """Whether the instance is driven by whoever finds it due."""
        self.processes: list[Process] = []
        self.stalled: list[Process] = []
        self.answers: list[str | None] = []
        """How the requests in incidents were answered: by None, or by the name of an error."""
        self.somebody_stays = False
        self._over = asyncio.Event()
        self._tell = tell
        self._opened = opened

    @property
    def finders_drive(self) -> bool:
        """Whether the instance may be driven by somebody for whom no verb waits."""
        return self.is_found or self.clock.monotonic() > self.began

    async def at_save(self, process: Process) -> Incident | None:
        """A process saves; what strikes it then."""
        if process.was_stalled:
            return None
        incident = self.armed.at_save()
        for stalled in list(self.stalled):
            if stalled.incident is not None and stalled.incident.thaws == self.armed.saves:
                await self.bury(stalled)
        return incident

    def in_call(self, process: Process) -> Incident | None:
        """A process calls a function; what strikes it then."""
        return None if process.was_stalled else self.armed.in_call()

    async def bury(self, stalled: Process) -> None:
        """Let a process that stood still find out what has happened meanwhile, and close it."""
        self.stalled.remove(stalled)
        stalled.thaw()
        await quiet_loop().quiet()
        await quiet_loop().ended(stalled.engine.close())

    async def stay(self) -> None:
        """Ignore all cancellations until the test is over."""
        self.somebody_stays = True
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:
                continue

    def end(self) -> None:
        """Let those end who have stayed."""
        self._over.set()

    async def has_instance(self) -> bool:
        """Whether there is anything in the storage."""
        return await self.storage.load(ID, history=False) is not None

    async def told(self, process: Process, incident: Incident) -> None:
        """Somebody sends a request to the instance that this process drives."""
        sender = process
        if incident.elsewhere or process.closing is not None:
            others = [p for p in self.processes if p is not process and p.is_at_work]
            if not others:
                others = [await self._opened()]
                self.processes += others
            sender = others[0]
        try:
            await self._tell(sender.engine, incident.request)
        except FluxError as error:
            self.answers.append(type(error).__name__)
        else:
            self.answers.append(None)
