"""Processes in a test: engines on one storage, each with its view of it, and what strikes them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

from attrs import evolve, frozen

from flow_plans import HOUR, Reaction, StepPlan
from flux import (
    FluxEngine,
    FluxError,
    Lease,
    Record,
    StorageError,
    UnseenSignalsError,
    Workflow,
    WorkflowStorage,
)
from flux.testing import ManualClock
from incidents_model import Armed, Incident, Request, What
from quiet_model import quiet_loop
from reference_state import RESTS
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


@frozen
class Left:
    """What a process leaves: the status of the instance, None for no instance; whether leased."""

    status: str | None
    is_leased: bool

    @property
    def rests(self) -> bool:
        """Whether nobody has to go on with it."""
        return self.status is None or self.status in RESTS


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
        self.left: Left | None = None
        """What it left when it ended."""
        self.closing: asyncio.Task[None] | None = None
        self._scene = scene
        self._owner: str | None = None
        """The token with which it drove last."""
        self._asked_for: set[str] = set()
        """The tokens of its claims."""
        self._moves = asyncio.Event()
        self._moves.set()
        self._stands = asyncio.Event()

    @property
    def storage(self) -> WorkflowStorage:
        """The storage as this process sees it."""
        return cast(WorkflowStorage, self)

    @property
    def is_at_work(self) -> bool:
        """Whether it takes requests."""
        return self.closing is None and not self.is_dead and not self.was_stalled

    def thaw(self) -> None:
        """Go on where it stood still."""
        self._moves.set()

    def begin_to_close(self) -> None:
        """Let the engine be closed."""
        self.closing = asyncio.create_task(self.engine.close())

    async def closed(self) -> None:
        """Return when the engine is closed, or stands still."""
        assert self.closing is not None
        stands = asyncio.ensure_future(self._stands.wait())
        await asyncio.wait({self.closing, stands}, return_when=asyncio.FIRST_COMPLETED)
        stands.cancel()

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
        self._owner = record.owner
        made = self._scene.storage.create(record, **terms)
        written: bool = await (self._write(made) if known is None else made)
        return written

    async def save(self, checkpoint: Any) -> int:
        await self.moving()
        self._owner = checkpoint.owner
        number: int = await self._write(self._scene.storage.save(checkpoint))
        return number

    async def claim(self, id: str, *, owner: str, **terms: Any) -> Record | None:
        await self.moving()
        self._asked_for.add(owner)
        record: Record | None = await self._scene.storage.claim(id, owner=owner, **terms)
        await self.moving()
        return record

    async def claim_due(self, *, owner: str, **terms: Any) -> Sequence[Record]:
        await self.moving()
        self._asked_for.add(owner)
        records: Sequence[Record] = await self._scene.storage.claim_due(owner=owner, **terms)
        await self.moving()
        return records

    async def give_back(self) -> None:
        """Give back what it claimed when it ended: whether such a claim came through is open."""
        record = await self._scene.record()
        assert self.left is not None
        if record is None or self.left.is_leased or record.owner not in self._asked_for:
            return
        lease = Lease(id=record.id, owner=str(record.owner), seen=record.last_signal)
        wake = None if record.status in RESTS else 0
        await self._scene.storage.release(lease, wake=wake)

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
            await self._end(incident)
            self.has_failed = True
            raise StorageError("the test lets this save fail")
        await self._happen(incident)
        await self.moving()

    async def _happen(self, incident: Incident) -> None:
        match incident.what:
            case What.DIES:
                await self._end(incident)
                self.is_dead = True
            case What.STALLS:
                await self._end(incident)
                # What has not begun would merely begin later.
                self.is_dead = self.left is not None and self.left.status is None
                self.was_stalled = not self.is_dead
                if self.was_stalled:
                    self._moves.clear()
                    self._stands.set()
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

    async def _end(self, incident: Incident) -> None:
        record = await self._scene.record()
        if record is None:
            self.left = Left(None, is_leased=False)
        else:
            # Others may look at once at what was brought to its rest.
            is_leased = record.lease_until is not None and record.owner == self._owner
            self.left = Left(record.status, is_leased=is_leased)
        self.incident = incident

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

    async def record(self) -> Record | None:
        """The head of the instance as last saved."""
        stored = await self.storage.load(ID, history=False)
        return None if stored is None else stored[0]

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
