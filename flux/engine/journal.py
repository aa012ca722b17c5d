"""What has happened to one instance since its last save, and the save itself."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from flux.definition.workflow import WorkflowDefinition
from flux.engine.lease import HeldLease
from flux.engine.services import PASSING, Services
from flux.engine.waiting import received
from flux.errors import StaleInstanceError, StorageError, UnseenSignalsError
from flux.events import Event, InstanceFacts, StepFacts
from flux.frozen import unguarded
from flux.state.changes import change
from flux.state.codec import encode_execution, encode_head, encode_origin
from flux.state.execution import Execution
from flux.state.instance import Head, Instance
from flux.storage import Checkpoint, Entry, Record

T = TypeVar("T")


@unguarded
class Terms:
    """How a save leaves the instance: what runs next, who keeps it, when it is due."""

    intent: tuple[str, ...]
    lease: float | None
    wake: float | None

    @property
    def goes_on(self) -> bool:
        """Whether the driver keeps the instance."""
        return self.lease is not None


class Journal:
    """Takes the events of one driver, saves what they changed, and tells the observers.

    The way of one event is the walk of the house: `changes`, `codec`, `storage.save`, `observe`. A
    new instance has revision 0 and is created by the first save.
    """

    def __init__(
        self,
        services: Services,
        definition: WorkflowDefinition,
        instance: Instance,
        *,
        owner: str,
        revision: int,
        held: HeldLease | None,
    ) -> None:
        self.instance = instance
        self.intent: tuple[str, ...] = ()
        self.unread = False
        """Whether there are signals in the inbox that were not read."""
        self.is_stale = False
        """Whether there may be some, so that the inbox is read before anything else is done."""
        self._services = services
        self._monotonic = services.clock.monotonic
        self._owner = owner
        self._revision = revision
        self._held = held
        self._changed: dict[int, Execution] = {}
        self._consumed: dict[int, str] = {}
        self._untold: list[Event] = []
        self._saves = 0
        self._saved_head: Head | None = None
        self._facts = _facts(services, definition, instance)

    def apply(self, event: Event) -> None:
        """Let an event happen; it is true once it is saved, and told then."""
        happened = change(self.instance, event)
        self.instance.accept(happened)
        for execution in happened.executions:
            self._changed[execution.number] = execution
        if happened.consumed:
            self._consumed.update(happened.consumed)
        if self._facts is not None:
            self._untold.append(event)

    @property
    def is_clean(self) -> bool:
        """Whether nothing has happened that is not saved."""
        return self._saved_head is self.instance.head and not self._changed

    def take_back(self, head: Head) -> None:
        """Forget the last event, which changed the head alone, since it could not be saved."""
        self.instance.head = head
        if self._facts is not None:
            self._untold.pop()

    async def read_inbox(self) -> None:
        """Read the signals that have come since the inbox was last read."""
        self.unread = self.is_stale = False
        try:
            signals = await self._patiently(
                lambda: self._services.storage.signals(self.instance.id, after=self.instance.seen)
            )
        except BaseException:
            self.unread = self.is_stale = True
            raise
        if signals:
            self.instance.receive(received(signals), signals[-1].number)
        if self._held is not None:
            self._held.seen = self.instance.seen

    async def save(self, terms: Terms) -> bool:
        """Save all that has happened since the last save; False if the id exists already.

        `UnseenSignalsError`, with nothing saved, if it would end with signals unread.
        """
        if terms.lease is None:
            self.drop_lease()
        asked_at = self._monotonic()
        entries = self._entries()
        if self._revision > 0:
            checkpoint = self._checkpoint(terms, entries)
            try:
                last = await self._services.storage.save(checkpoint)
            except (*PASSING, UnseenSignalsError) as error:
                last = await self._saved_after(error, checkpoint)
            if last > self.instance.seen:
                self.unread = self.is_stale = True
        elif not await self._create(terms, entries):
            return False
        self._revision += 1
        self._changed.clear()
        if self._consumed:
            self._consumed = {}
        self.intent = terms.intent
        self._saved_head = self.instance.head
        if terms.lease is not None:
            self._extend_lease(asked_at)
        if self._untold:
            self._tell_all()
        # On memory nothing suspends a driver whose handlers do not. A turn of the loop costs as
        # much as a save there, so it is not taken every time.
        self._saves += 1
        if self._saves % 16 == 0:
            await asyncio.sleep(0)
        return True

    @property
    def is_clear(self) -> bool:
        """Whether there is nothing to read, and the instance is ours without asking."""
        held = self._held
        if self.is_stale or held is None:
            return False
        return self._monotonic() < held.sure_until

    @property
    def has_lease(self) -> bool:
        """Whether the instance is ours right now, without asking."""
        return self._held is not None and self._services.leases.is_sure(self._held)

    async def ensure_lease(self) -> bool:
        """Make sure that the instance is still ours; whether that needed no asking.

        `StaleInstanceError` if it is another's.
        """
        held = self._held
        if held is None:
            raise StaleInstanceError(self.instance.id, self._revision)
        if self._services.leases.is_sure(held):
            return True
        await self._patiently(lambda: self._services.leases.ensure(held))
        return False

    @property
    def before_call(self) -> Callable[[Event], None] | None:
        """What tells the observers that a handler is about to be called; None if nobody listens."""
        facts = self._facts
        return None if facts is None else partial(self._services.observers.tell, facts)

    def drop_lease(self) -> None:
        """Renew the lease no more."""
        if self._held is not None:
            self._services.leases.drop(self._held)

    async def give_back(self, *, wake: float | None = 0) -> None:
        """Let others have the instance, by default at once, as it was last saved."""
        if self._held is not None:
            await self._services.leases.give_back(self._held, wake=wake)

    async def _saved_after(self, error: StorageError, checkpoint: Checkpoint) -> int:
        """Wait with the results in hand for a storage that is away for a while."""
        storage = self._services.storage
        try:
            if not isinstance(error, PASSING):
                raise error
            return await self._services.patiently(
                lambda: storage.save(checkpoint), instance=checkpoint.id, failed=error
            )
        except UnseenSignalsError:
            self.unread = self.is_stale = True
            if self._held is not None:
                self._services.leases.keep(self._held)
            raise

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        return await self._services.patiently(act, instance=self.instance.id)

    def _entries(self) -> tuple[Entry, ...]:
        # A loop: a comprehension is one more call, up to Python 3.11.
        entries = []
        for number, execution in self._changed.items():
            entries.append(Entry(number, encode_execution(execution)))
        return tuple(entries)

    async def _create(self, terms: Terms, entries: tuple[Entry, ...]) -> bool:
        record = first_record(self.instance, intent=terms.intent, owner=self._owner)
        return await self._services.storage.create(
            record, entries=entries, lease=terms.lease, wake=terms.wake
        )

    def _checkpoint(self, terms: Terms, entries: tuple[Entry, ...]) -> Checkpoint:
        instance = self.instance
        head = instance.head
        # In the order of the fields, as this is on the way of every step.
        return Checkpoint(
            instance.origin.id,
            self._owner,
            self._revision,
            head.status._value_,
            terms.intent,
            encode_head(head),
            head.updated_at,
            terms.lease,
            head.ended_at,
            terms.wake,
            entries,
            self._consumed,
            instance.seen,
        )

    def _extend_lease(self, asked_at: float) -> None:
        if self._held is None:
            self._held = self._services.leases.hold(self.instance.id, self._owner, asked_at)
        else:
            self._held.sure_until = asked_at + self._services.config.lease

    def _tell_all(self) -> None:
        assert self._facts is not None
        for event in self._untold:
            self._services.observers.tell(self._facts, event)
        self._untold.clear()


def first_record(instance: Instance, *, intent: tuple[str, ...] = (), owner: str) -> Record:
    """The record with which an instance is created."""
    origin, head = instance.origin, instance.head
    return Record(
        id=origin.id,
        workflow=origin.workflow,
        version=origin.version,
        status=head.status._value_,
        owner=owner,
        labels=origin.labels,
        unique_key=origin.unique_key,
        created_at=origin.created_at,
        updated_at=head.updated_at,
        ended_at=head.ended_at,
        intent=intent,
        fixed=encode_origin(origin),
        payload=encode_head(head),
    )


def _facts(
    services: Services, definition: WorkflowDefinition, instance: Instance
) -> InstanceFacts | None:
    """What observers are told of the instance; None if nobody listens."""
    if not services.observers.active:
        return None
    default = services.config.default_retries
    return InstanceFacts(
        id=instance.id,
        workflow=definition.name,
        created_at=instance.origin.created_at,
        input=instance.origin.input,
        steps={
            step.name: StepFacts(
                index=index, commit=step.commit, max_retries=(step.retries or default).retries
            )
            for index, step in enumerate(definition.steps)
        },
    )
