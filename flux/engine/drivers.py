"""The drivers at work in one engine: started, awaited, and brought to an end."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial

from attrs import Factory, define

from flux import events
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.children import Children
from flux.engine.fitting import fitting, undoing
from flux.engine.lease import HeldLease
from flux.engine.loading import Loaded, stored_instance
from flux.engine.loop import Driver
from flux.engine.plan import is_late
from flux.engine.recovery import recovered
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import DefinitionChangedError, InstanceNotFoundError, UnknownWorkflowError
from flux.events import Event
from flux.frozen import frozen
from flux.state.instance import Instance
from flux.state.status import RESTS, Direction, WorkflowStatus
from flux.storage import Record

_FORWARD_AGAIN = (events.InstanceRestarted, events.StepsRetried)

Happened = Callable[[WorkflowDefinition, Loaded], Sequence[Event]]


@frozen(kw_only=True)
class Claim:
    """What became of a claim: whether it stands, and its driver if there is anything to drive."""

    stands: bool
    driver: Driver | None = None


@define
class Watch:
    """How many wait for a change of one instance, and what tells them."""

    changed: asyncio.Event = Factory(asyncio.Event)
    waiting: int = 0


class Drivers:
    """Which instances this engine drives; one task each."""

    def __init__(self, services: Services, registry: Registry, children: Children) -> None:
        self._services = services
        self._registry = registry
        self._children = children
        self._drivers: dict[str, Driver] = {}
        self._tasks: dict[Driver, asyncio.Task[None]] = {}
        self._claims: set[asyncio.Task[Claim]] = set()
        # A callback that brings none gets a copy of its own, which each driver would pay for.
        self._context = copy_context()
        self._changed: asyncio.Event | None = None
        """Set when the next driver ends; made for those who wait for that."""
        self._watched: dict[str, Watch] = {}
        self._unfit: Counter[str] = Counter()
        self._told_unfit: set[str] = set()
        self.on_rest: Callable[[float], None] = lambda seconds: None
        """Called with the seconds after which an instance that has come to rest is due."""

    @property
    def room(self) -> int:
        """How many more instances may be driven."""
        if self._services.stopping.is_set():
            return 0
        at_work = len(self._drivers) - self._children.waiting
        return self._services.config.max_instances - at_work

    def driving(self, id: str) -> Driver | None:
        """The driver of an instance, if this engine drives it."""
        driver = self._drivers.get(id)
        return None if driver is None or driver.has_ended else driver

    def start(
        self,
        definition: WorkflowDefinition,
        instance: Instance,
        *,
        owner: str,
        revision: int = 0,
        held: HeldLease | None = None,
        happened: Sequence[Event],
    ) -> Driver:
        """Drive an instance, in a task of its own; the arguments are those of `Driver`."""
        driver = Driver(
            self._services,
            definition,
            instance,
            owner=owner,
            revision=revision,
            held=held,
            happened=happened,
            children=self._children,
            keeper=self,
        )
        id = instance.id
        self.lose(id)
        self._unfit.pop(id, None)
        self._told_unfit.discard(id)
        self._drivers[id] = driver
        self.tell(id)
        task = asyncio.create_task(driver.drive(), name=f"flux {id}")
        if not driver.has_ended:  # as it may have where tasks are eager
            self._tasks[driver] = task
        task.add_done_callback(partial(self._cleared, driver), context=self._context)
        return driver

    async def take_over(self, id: str, happened: Happened, *, back: bool = False) -> Claim:
        """Claim an instance that is at rest, abandoned or free, and drive it on.

        `back` says that it will only be undone, for which its workflow need not fit otherwise.

        `happened` is asked, once the claim stands, what has happened to the instance; what it
        raises leaves the instance as it was.
        """
        claim = asyncio.create_task(self._take_over(id, happened, back=back))
        self._claims.add(claim)
        claim.add_done_callback(self._claimed)
        # A claim is finished, so that no lease is left without a driver, whoever still waits.
        return await asyncio.shield(claim)

    async def claim_due(self, limit: int) -> int:
        """Claim up to `limit` instances that are due or abandoned and drive them; how many."""
        leases = self._services.leases
        # Else this engine would take what it drives itself, after a time without the storage.
        await leases.ensure_all()
        with leases.asking() as owner:
            asked_at = leases.asked_at()
            records = await self._services.storage.claim_due(
                owner=owner, lease=leases.seconds, limit=limit, workflows=self._registry.names
            )
            held = [leases.hold(record.id, owner, asked_at) for record in records]
        # Beside each other: what is read at once, a storage reads together.
        claimed = zip(records, held, strict=True)
        await asyncio.gather(*(self._drive_due(record, lease) for record, lease in claimed))
        return len(records)

    async def next_due(self) -> float | None:
        """Seconds until the first is due of the instances that this engine may drive."""
        return await self._services.storage.next_due(workflows=self._registry.names)

    def signal(self, id: str, *, is_due: bool) -> bool:
        """There may be a signal for this instance; whether this engine drives it.

        `is_due` says that there is one, and that it came when the instance was at rest.
        """
        driver = self.driving(id)
        if driver is not None:
            driver.watcher.tell(is_sure=is_due)
        return driver is not None

    def call(self, id: str) -> None:
        """An instance that waits for its turn was told to look whether it has come."""
        if not self.signal(id, is_due=False):
            self.tell(id)
        self.on_rest(0.0)

    def tell(self, id: str) -> None:
        """Something has changed in this instance; whoever watches it looks again."""
        watch = self._watched.pop(id, None)
        if watch is not None:
            watch.changed.set()

    def left_behind(self, definition: WorkflowDefinition, loaded: Loaded) -> list[Event]:
        """What has happened to an instance that another driver left in whatever state."""
        at = self._services.clock.now()
        if loaded.status is WorkflowStatus.PENDING:
            return [events.InstanceStarted(at=at)]
        cancelled = waiting.cancel_asked_for(loaded.instance) is not None
        return recovered(
            definition,
            loaded.instance,
            loaded.record.intent,
            max_recoveries=self._services.config.max_recoveries,
            at=at,
            called_off=cancelled or is_late(loaded.instance, at),
            was_ours=loaded.was_ours,
        )

    async def wait_for_change(self, seconds: float) -> None:
        """Return when a driver of this engine ends, or after so many seconds."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._wait(self._changed, seconds)

    @contextmanager
    def watching(self, id: str) -> Iterator[Watch]:
        """See from here on whether this engine begins or ends to drive the instance.

        Whoever looks at the instance and then waits watches before it looks: a change in between
        is not missed.
        """
        watch = self._watched.setdefault(id, Watch())
        watch.waiting += 1
        try:
            yield watch
        finally:
            watch.waiting -= 1
            if not watch.waiting and self._watched.get(id) is watch:
                del self._watched[id]

    async def wait(self, watch: Watch) -> None:
        """Return at a change, or when it is time to look again at what others have done."""
        await self._wait(watch.changed, self._services.config.poll)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        waiting = asyncio.ensure_future(event.wait())
        sleeping = asyncio.ensure_future(self._services.sleep(seconds))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()

    def lose(self, id: str) -> None:
        """Another process has taken the instance over: stop driving it."""
        driver = self.driving(id)
        if driver is not None:
            self._services.logger.warning("instance.lost", extra={"instance": id})
            self._cancel(driver)
            self._leave(driver)

    async def close(self) -> None:
        """Wait for running steps, at most the grace; cancel the rest and give their leases back."""
        grace = self._services.config.grace
        if self._claims:
            await asyncio.wait(self._claims)
        remaining = dict(self._tasks)
        if remaining:
            await asyncio.wait(remaining.values(), timeout=grace)
        left = {driver: task for driver, task in remaining.items() if not task.done()}
        for driver in left:
            self._cancel(driver)
        if left:
            # A handler that ignores its cancellation is left behind.
            await asyncio.wait(left.values(), timeout=min(grace, 1.0))
        for driver in left:
            self._leave(driver)
            await driver.give_back()

    async def _take_over(self, id: str, happened: Happened, *, back: bool) -> Claim:
        leases, claim = self._services.leases, self._services.storage.claim
        unused: str | None = None
        with leases.asking() as owner:
            asked_at = leases.asked_at()
            record = await claim(id, owner=owner, lease=leases.seconds)
            if record is None:
                unused = await self._unused_owner(id)
            if unused is not None:
                asked_at = leases.asked_at()
                record = await claim(id, owner=owner, lease=leases.seconds, held=unused)
            if record is None:
                return Claim(stands=False)
            held = leases.hold(id, owner, asked_at)
        driver = await self._drive(record, held, happened, back=back, was_ours=unused is not None)
        return Claim(stands=True, driver=driver)

    def _claimed(self, claim: asyncio.Task[Claim]) -> None:
        self._claims.discard(claim)
        if not claim.cancelled():
            claim.exception()  # looked at, so that asyncio does not report it

    def _cancel(self, driver: Driver) -> None:
        driver.is_cancelled = True
        self._tasks[driver].cancel()

    async def _drive_due(self, record: Record, held: HeldLease) -> None:
        try:
            await self._drive(record, held, self.left_behind, is_due=True)
        except (DefinitionChangedError, UnknownWorkflowError) as error:
            if record.id not in self._told_unfit:
                self._told_unfit.add(record.id)
                self._services.logger.warning(
                    "instance.unfit", extra={"instance": record.id, "why": str(error)}
                )
        except Exception:
            self._services.logger.exception("recovery.failed", extra={"instance": record.id})

    async def _drive(
        self,
        record: Record,
        held: HeldLease,
        happened: Happened,
        *,
        is_due: bool = False,
        back: bool = False,
        was_ours: bool = False,
    ) -> Driver | None:
        try:
            stored = await self._services.storage.load(record.id)
            if stored is None:
                raise InstanceNotFoundError(record.id)
            loaded = Loaded(stored_instance(record, stored[1]), record, was_ours)
            is_asked_for = self._is_asked_for(loaded)
            await self._read_inbox(loaded)
            definition, unfit = self._fitting(loaded, back=back)
            so_far = list(happened(definition, loaded))
            if unfit is not None and any(isinstance(event, _FORWARD_AGAIN) for event in so_far):
                raise unfit
            if unfit is None:
                so_far = self._adopting(definition, loaded, so_far)
        except BaseException:
            was_driven = record.status not in RESTS
            held.seen = record.last_signal
            await self._give_back(
                held, wake=self._left_for(record.id) if is_due or was_driven else None
            )
            raise
        held.seen = loaded.instance.seen
        if not so_far and not is_asked_for:
            if loaded.status.is_ended:
                # Whoever drove it may be gone before the parent was told.
                await self._children.tell_parent(loaded.instance)
            await self._give_back(held)
            return None
        return self.start(
            definition,
            loaded.instance,
            owner=held.owner,
            revision=record.revision,
            held=held,
            happened=so_far,
        )

    def _left_for(self, id: str) -> float:
        """How many seconds an instance is left alone that cannot be driven here: ever longer.

        Somebody who knows its workflow as it was finds it meanwhile.
        """
        self._unfit[id] += 1
        config = self._services.config
        return min(config.poll * 2.0 ** min(self._unfit[id], 16), config.lease)

    async def _read_inbox(self, loaded: Loaded) -> None:
        instance = loaded.instance
        if loaded.record.last_signal > instance.seen:
            signals = await self._services.storage.signals(instance.id, after=instance.seen)
            last = signals[-1].number if signals else loaded.record.last_signal
            instance.receive(waiting.received(signals), last)

    def _is_asked_for(self, loaded: Loaded) -> bool:
        """Whether there is anything to do but for what has happened to the instance.

        Between a look at an instance and its claim, another driver may have brought it to rest.
        """
        wake_at = loaded.record.wake_at
        if loaded.has_unseen:
            return True
        if wake_at is None:
            return not loaded.status.is_rest
        return wake_at <= self._services.clock.now()

    def _fitting(
        self, loaded: Loaded, *, back: bool
    ) -> tuple[WorkflowDefinition, DefinitionChangedError | None]:
        """The workflow that drives the instance, and why it can not go forward with it.

        What does not fit may still be cancelled, or end at its deadline: for that it need only be
        undone.
        """
        instance = loaded.instance
        try:
            return fitting(self._registry, instance, loaded.record.intent), None
        except DefinitionChangedError as unfit:
            late = is_late(instance, self._services.clock.now()) and not loaded.status.is_ended
            rollback = True if late or back else waiting.cancel_asked_for(instance)
            if rollback is None:
                raise
            return undoing(self._registry, instance, rollback=rollback), unfit

    def _adopting(
        self, definition: WorkflowDefinition, loaded: Loaded, happened: Sequence[Event]
    ) -> list[Event]:
        """What has happened, and before it, where it goes forward, a change of the shape."""
        forward = loaded.instance.head.direction is Direction.FORWARD
        goes_on = forward and not loaded.status.is_ended
        again = any(isinstance(event, _FORWARD_AGAIN) for event in happened)
        if definition.shape_text == loaded.instance.shape or not (goes_on or again):
            return list(happened)
        adopted = events.DefinitionAdopted(
            at=self._services.clock.now(),
            version=definition.version,
            shape=definition.shape_text,
        )
        return [adopted, *happened]

    def replace(self, watcher: Watcher) -> None:
        """Leave a driver whose handler ignores its cancellation; another takes its place."""
        id = watcher.instance.id
        driver = self._drivers.get(id)
        if driver is None or driver.watcher is not watcher:
            return  # it was left already
        self._services.logger.warning("handler.abandoned", extra={"instance": id})
        self._cancel(driver)
        self._leave(driver)
        driver.drop_lease()
        again = asyncio.create_task(self.take_over(id, self.left_behind))
        self._claims.add(again)
        again.add_done_callback(self._claimed)

    async def free(self, id: str) -> None:
        """Give a lease back whose holder is gone, if there is one, and do nothing else."""
        leases = self._services.leases
        owner, asked_at = leases.new_owner(), leases.asked_at()
        record = await self._services.storage.claim(id, owner=owner, lease=leases.seconds)
        if record is not None:
            held = leases.hold(id, owner, asked_at)
            held.seen = record.last_signal
            await self._give_back(held)

    async def _give_back(self, held: HeldLease, *, wake: float | None = None) -> None:
        await self._services.leases.give_back(held, wake=wake)
        # Whoever was refused a claim meanwhile may try again.
        self.tell(held.id)

    async def _unused_owner(self, id: str) -> str | None:
        """The token of a lease of this engine that no task of it uses, as after a failed save."""
        stored = await self._services.storage.load(id, history=False)
        if stored is None:
            raise InstanceNotFoundError(id)
        owner = stored[0].owner
        unused = id not in self._drivers and self._services.leases.is_unused(id, owner)
        return owner if unused else None

    def ended(self, driver: Driver) -> None:
        """The driver drives no more; its task does nothing more."""
        self._leave(driver)
        if driver.due_in is not None:
            self.on_rest(driver.due_in)
        self._tasks.pop(driver, None)
        driver.first_save.cancel()
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _cleared(self, driver: Driver, task: asyncio.Task[None]) -> None:
        if not driver.has_begun:  # it was cancelled before its first turn, and so could not tell
            driver.drop_lease()
            self.ended(driver)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it

    def _leave(self, driver: Driver) -> None:
        """Count the driver no more; its task may go on if a handler ignores its cancellation."""
        driver.left.set()
        if self._drivers.get(driver.instance.id) is driver:
            del self._drivers[driver.instance.id]
            self.tell(driver.instance.id)
