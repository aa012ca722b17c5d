"""What exists only while an engine is open."""

import asyncio
from collections.abc import Sequence

from flux import events
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.engine import steering, waiting
from flux.engine.awaiting import until_done
from flux.engine.children import Children
from flux.engine.diagnosis import Diagnosis, diagnosis
from flux.engine.drivers import Drivers, Happened
from flux.engine.fitting import fitting
from flux.engine.journal import first_record
from flux.engine.loading import PARENT, Loaded, load, result_of, stored_instance
from flux.engine.loop import Driver, driven_here
from flux.engine.recovery import Finder
from flux.engine.services import Services
from flux.engine.shared_time import SharedTime
from flux.errors import (
    CorrelationTakenError,
    DefinitionChangedError,
    EngineClosedError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    SignalConflictError,
    StorageError,
    UniqueKeyTakenError,
    UnknownWorkflowError,
)
from flux.events import Event
from flux.frozen import unguarded
from flux.result import FluxResult
from flux.state.instance import Instance
from flux.state.status import Direction, WorkflowStatus
from flux.state.strict_json import same_json
from flux.storage import Notice, Notices, Record, Signal, SignalReceipt, WorkflowFilter

_LISTENS_AGAIN = 5.0
"""Seconds after which an engine tries again to hear of changes."""

_MANY = 100
"""So many heads are read at once."""

_NEEDS_A_PERSON = (WorkflowStatus.ROLLBACK_FAILED, WorkflowStatus.PARKED)


def _is_over(status: WorkflowStatus) -> bool:
    """Whether nothing more happens unless a person wants it."""
    return status.is_ended or status in _NEEDS_A_PERSON


@unguarded
class Begun:
    """A new instance, or one that exists; with its driver if this engine drives it."""

    is_new: bool
    driver: Driver | None = None


class Running:
    """The drivers and the background tasks of an open engine; the verbs wait here."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._children = Children(services, registry, self)
        self._drivers = Drivers(services, registry, self._children)
        self._finder = Finder(
            services,
            room=lambda: self._drivers.room,
            claim_due=self._drivers.claim_due,
            next_due=self._drivers.next_due,
            wait_for_room=self._drivers.wait_for_change,
        )
        self._drivers.on_rest = self._finder.look
        self._background = [
            asyncio.create_task(
                services.leases.keep_alive(lost=self._drivers.lose, signalled=self._signalled),
                name="flux leases",
            ),
            asyncio.create_task(services.heartbeat.run(), name="flux heartbeat"),
        ]
        if isinstance(services.storage, Notices):
            listening = self._listen(services.storage)
            self._background.append(asyncio.create_task(listening, name="flux notices"))
        if isinstance(services.clock, SharedTime):
            clock = asyncio.create_task(self._keep_time(services.clock), name="flux clock")
            self._background.append(clock)
        self._recovery = asyncio.create_task(self._finder.run(), name="flux recovery")

    async def close(self) -> None:
        # Not cancelled: what it may just have claimed is driven, and so given back.
        self._services.stopping.set()
        await asyncio.wait({self._recovery})
        await self._drivers.close()
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background)
        self._services.threads.close()

    async def _listen(self, storage: Notices) -> None:
        """Hear of changes at once; without that they are seen at the next poll or renewal."""
        while True:
            try:
                await storage.notices(self._told)
            except Exception:
                self._services.logger.exception("notices.unavailable")
            await asyncio.sleep(_LISTENS_AGAIN)

    async def _keep_time(self, clock: SharedTime) -> None:
        while True:
            await clock.sleep(self._services.config.lease)
            try:
                await clock.set()
            except StorageError:
                self._services.logger.exception("clock.not_set")

    async def begin(
        self,
        definition: WorkflowDefinition,
        instance: Instance,
        *,
        is_own_id: bool,
        until_saved: bool = True,
    ) -> Begun:
        """Save a new instance and drive it, or see that it exists.

        `is_own_id` says that the engine has made the id, so that it is new. Who waits for the rest
        of such a one need not wait `until_saved`.
        """
        known = self._drivers.driving(instance.id)
        if known is not None:
            await self._saved(known)
            return Begun(is_new=False, driver=known)
        # A predicate before the first save is not asked again for an instance that exists.
        if definition.asks_first and not is_own_id:
            if await self._exists(instance.id):
                return Begun(is_new=False)
            known = self._drivers.driving(instance.id)
            if known is not None:  # another start came first
                await self._saved(known)
                return Begun(is_new=False, driver=known)
        owner = self._services.leases.new_owner()
        if self._drivers.room <= 0:
            return Begun(is_new=await self._leave_for_later(instance, owner))
        started = events.InstanceStarted(at=self._services.clock.now())
        driver = self._drivers.start(definition, instance, owner=owner, happened=[started])
        if (is_own_id and not until_saved) or await self._saved(driver):
            return Begun(is_new=True, driver=driver)
        return Begun(is_new=False)

    async def until_rest(
        self, id: str, *, verb: str, driver: Driver | None = None, is_due: bool = False
    ) -> FluxResult:
        """Wait until nobody drives the instance any more; take it over where nobody does.

        `is_due` says that it was made due just now, whatever time it is by the storage's clock.
        """
        while driven_here() != id:
            result = await self._driven_to_rest(driver or self._drivers.driving(id), verb)
            if result is not None:
                return result
            with self._drivers.watching(id) as watch:
                driver = self._drivers.driving(id)
                if driver is not None:
                    continue
                result = None if is_due else await self._rested(id)
                if result is not None:
                    return result
                driver = await self._take_free(id, is_due=is_due)
                is_due = False
                if driver is None:
                    await self._drivers.wait(watch)
        return await self._saved_so_far(id)

    async def until_ended(self, id: str) -> FluxResult:
        """Wait until the instance has ended or needs a person."""
        while driven_here() != id:
            with self._drivers.watching(id) as watch:
                result = await self._driven_to_rest(self._drivers.driving(id), "result")
                result = result or await self._rested(id)
                if result is not None and _is_over(result.status):
                    return result
                if self._drivers.driving(id) is None:
                    await self._drivers.wait(watch)
        return await self._saved_so_far(id)

    async def resume(self, id: str) -> FluxResult:
        """Let an instance that waits for a person go on; else see that it is driven."""
        loaded = await load(self._services.storage, id, history=False)
        self._registry.of_instance(loaded.record.workflow, loaded.record.version)
        if loaded.status in steering.RESUMED:
            return await self.steer("resume", id, steering.resumed, or_wait=True)
        await self._check_fits(loaded.record)
        will_pause = await self._will_pause(loaded)
        result = await self.until_rest(id, verb="resume", is_due=will_pause)
        if will_pause and result.status is WorkflowStatus.PAUSED:
            return await self.steer("resume", id, steering.resumed, or_wait=True)
        return result

    async def steer(
        self, verb: str, id: str, decision: steering.Decision, *, or_wait: bool = False
    ) -> FluxResult:
        """Let a person's decision happen to the instance, and wait for its rest.

        With `or_wait`, somebody else's decision that came before will do.
        """
        while not self._services.stopping.is_set():
            with self._drivers.watching(id) as watch:
                loaded = await load(self._services.storage, id, history=False)
                if not loaded.status.is_rest and or_wait:
                    return await self.until_rest(id, verb=verb)
                if not loaded.status.is_rest:
                    raise steering.refused(id, loaded.status, verb)
                if self._drivers.room <= 0:
                    await self._drivers.wait_for_change(self._services.config.poll)
                    continue
                claim = await self._drivers.take_over(id, self._decided(decision))
                if claim.stands and claim.driver is None:
                    return await self.until_rest(id, verb=verb)
                if claim.driver is not None and await self._saved(claim.driver):
                    return await self.until_rest(id, verb=verb, driver=claim.driver)
                # Somebody else has just claimed it: see what became of it, and decide anew.
                await self._drivers.wait(watch)
        raise EngineClosedError(verb)

    async def let_happen(
        self, verb: str, id: str, decision: steering.Decision, *, back: bool = False
    ) -> None:
        """Let a decision happen to an instance at rest, and return once that is saved."""
        while not self._services.stopping.is_set():
            with self._drivers.watching(id) as watch:
                loaded = await load(self._services.storage, id, history=False)
                if not loaded.status.is_rest:
                    return
                claim = await self._drivers.take_over(id, self._decided(decision), back=back)
                if claim.driver is not None and await self._saved(claim.driver):
                    return
                if not claim.stands or claim.driver is not None:
                    await self._drivers.wait(watch)
                else:
                    return
        raise EngineClosedError(verb)

    async def delete(self, id: str) -> None:
        """Remove an ended instance; one that somebody has just claimed is waited for."""
        while not self._services.stopping.is_set():
            with self._drivers.watching(id) as watch:
                loaded = await load(self._services.storage, id, history=False)
                if not loaded.status.is_ended:
                    fits = "only ended instances are deleted; result() waits for its end"
                    raise InvalidTransitionError(id, loaded.status, "delete", fits)
                await self._check_parent(loaded)
                await self._delete_children(id)
                if await self._services.storage.delete(id, revision=loaded.record.revision):
                    return
                await self._drivers.free(id)
                if await self._is_leased(id):
                    await self._drivers.wait(watch)
        raise EngineClosedError("delete")

    async def _check_parent(self, loaded: Loaded) -> None:
        """A child is kept while its parent lives, which may still have to roll it back."""
        above = loaded
        while (parent := above.instance.origin.parent) is not None:
            try:
                above = await load(self._services.storage, parent.id, history=False)
            except InstanceNotFoundError:
                return
            if not above.status.is_ended:
                fits = f"{parent.id!r} above it is {above.status} and may have to roll it back"
                raise InvalidTransitionError(loaded.instance.id, loaded.status, "delete", fits)

    async def _delete_children(self, id: str) -> None:
        children = WorkflowFilter(labels={PARENT: id}, limit=_MANY)
        while found := await self._services.storage.list(children):
            for child in found:
                if not WorkflowStatus(child.status).is_ended:
                    fits = f"its child {child.id!r} is {child.status}"
                    raise InvalidTransitionError(id, "ended", "delete", fits)
            for child in found:
                await self.delete(child.id)

    async def purge(self, filter: WorkflowFilter) -> int:
        """Remove the instances that fit, which have all ended; how many were removed."""
        deleted = 0
        for summary in await self._services.storage.list(filter):
            try:
                await self.delete(summary.id)
            except (InstanceNotFoundError, InvalidTransitionError):
                continue  # somebody else deleted it, or let it run again
            deleted += 1
        return deleted

    async def diagnose(self, id: str) -> Diagnosis:
        """Why the instance is where it is, and what comes next."""
        loaded = await load(self._services.storage, id)
        signals = await self._services.storage.signals(id)
        try:
            definition: WorkflowDefinition | None = fitting(
                self._registry, loaded.instance, loaded.record.intent
            )
            unfit: str | None = None
        except (DefinitionChangedError, UnknownWorkflowError) as error:
            definition, unfit = None, str(error)
        return diagnosis(
            loaded.instance,
            loaded.record,
            signals,
            definition=definition,
            unfit=unfit,
            now=self._services.clock.now(),
        )

    async def send(
        self, id: str, signal: Signal, *, verb: str, idle: Sequence[WorkflowStatus] = ()
    ) -> SignalReceipt:
        """Save a signal and let whoever drives the instance know; `idle` statuses refuse it.

        A refused one has no number. A repeated one was acknowledged; `SignalConflictError` if it
        is another one under the same id.
        """
        receipt = await self._services.storage.send_signal(id, signal, refused=idle)
        if receipt is None:
            raise InstanceNotFoundError(id)
        if receipt.earlier is not None:
            same = receipt.earlier.name == signal.name
            if not same or not same_json(receipt.earlier.payload, signal.payload):
                raise SignalConflictError(id, str(signal.signal_id), receipt.earlier.name)
        elif receipt.number is not None:
            self._told(Notice(id, is_due=WorkflowStatus(receipt.status).is_rest))
            # One in a long back-off, which has no lease, is due now as well.
            if self._drivers.driving(id) is None:
                self._finder.look()
        elif WorkflowStatus(receipt.status).is_ended:
            raise InstanceEndedError(id, receipt.status, verb)
        return receipt

    def _signalled(self, id: str) -> None:
        self._told(Notice(id, is_due=False))

    def _told(self, notice: Notice) -> None:
        """Something has changed in an instance, here or elsewhere."""
        if self._drivers.signal(notice.id, is_due=notice.is_due):
            return
        self._drivers.tell(notice.id)
        if notice.is_due:
            self._finder.look()

    def _decided(self, decision: steering.Decision) -> Happened:
        def happened(definition: WorkflowDefinition, claimed: Loaded) -> list[Event]:
            return decision(definition, claimed.instance, self._services.clock.now())

        return happened

    async def _leave_for_later(self, instance: Instance, owner: str) -> bool:
        record = first_record(instance, owner=owner)
        try:
            return await self._services.storage.create(record, wake=0)
        except UniqueKeyTakenError as taken:
            raise CorrelationTakenError(instance.id, taken.holder) from taken

    async def _saved(self, driver: Driver) -> bool:
        """Wait for the first save; raises what prevented it. False if it was not made."""
        await until_done(driver.first_save)
        if driver.first_save.cancelled():
            if self._services.stopping.is_set():
                raise EngineClosedError("the first save")
            return False
        # What went wrong after the first save does not concern it.
        if not driver.first_save.result() and driver.error is not None:
            raise driver.error
        return driver.first_save.result()

    async def _driven_to_rest(self, driver: Driver | None, verb: str) -> FluxResult | None:
        if driver is not None:
            # It goes on if whoever waits here goes.
            await driver.left.wait()
            if driver.error is not None:
                raise driver.error
            if driver.is_at_rest:
                return result_of(driver.definition, driver.instance, driver.intent)
        if self._services.stopping.is_set():
            raise EngineClosedError(verb)
        return None

    async def _saved_so_far(self, id: str) -> FluxResult:
        """For a handler that would wait for its own instance, and so for ever."""
        loaded = await load(self._services.storage, id)
        definition = self._registry.known(loaded.record.workflow, loaded.record.version)
        return result_of(definition, loaded.instance, loaded.record.intent)

    async def is_parked_in_rollback(self, id: str) -> bool:
        """Whether a cancel would find a rollback under way although the instance is parked."""
        head = (await load(self._services.storage, id, history=False)).instance.head
        return head.status is WorkflowStatus.PARKED and head.direction is Direction.BACK

    async def _check_fits(self, record: Record) -> None:
        """`DefinitionChangedError` if this engine cannot drive the instance."""
        instance = stored_instance(record, ())
        known = self._registry.versions(record.workflow, instance.version)
        if all(definition.shape_text != instance.shape for definition in known):
            whole = await load(self._services.storage, record.id)
            fitting(self._registry, whole.instance, whole.record.intent)

    async def _will_pause(self, loaded: Loaded) -> bool:
        """Whether a request to pause was acknowledged and not heeded yet, when that was loaded."""
        if not loaded.has_unseen:
            return False
        instance = loaded.instance
        signals = await self._services.storage.signals(instance.id, after=instance.head.inbox_seen)
        return any(stored.signal.name == waiting.PAUSE for stored in signals)

    async def _is_leased(self, id: str) -> bool:
        loaded = await load(self._services.storage, id, history=False)
        return loaded.record.lease_until is not None

    async def _exists(self, id: str) -> bool:
        return await self._services.storage.load(id, history=False) is not None

    async def _rested(self, id: str) -> FluxResult | None:
        """The result of an instance at rest; None for one that is driven, or due."""
        loaded = await load(self._services.storage, id, history=False)
        record = loaded.record
        due = record.lease_until is not None or self._is_due(record) or loaded.has_unseen
        if not loaded.status.is_rest or (due and not loaded.status.is_ended):
            return None
        return await self._saved_so_far(id)

    async def _take_free(self, id: str, *, is_due: bool) -> Driver | None:
        stored = await self._services.storage.load(id, history=False)
        if stored is None:
            raise InstanceNotFoundError(id)
        record = stored[0]
        # A process that only sends signals need not know the workflow: others drive it.
        if not self._registry.knows(record.workflow):
            return None
        is_due = is_due or self._is_due(record)
        is_due = is_due or Loaded(stored_instance(record, ()), record).has_unseen
        if record.wake_at is not None and not is_due:
            return None
        # Not left to the claim alone: the finder may have found out that the instance does not fit,
        # and be about to leave it for later.
        if is_due and record.lease_until is not None:
            await self._check_fits(record)
        driver: Driver | None = None
        if self._drivers.room > 0:
            driver = (await self._drivers.take_over(id, self._drivers.left_behind)).driver
        if is_due and driver is None:
            await self._check_fits(record)
        return driver

    def _is_due(self, record: Record) -> bool:
        return record.wake_at is not None and record.wake_at <= self._services.clock.now()
