"""What Flux asks of a storage, told in prose and in types.

A storage keeps, for every instance, one head (`Record`), a list of history entries and an inbox of
signals. It knows nothing of steps: statuses are text to it, payloads are JSON text in bytes. The
rules live in the engine; a storage owes three things:

1. **Compare and set.** A save happens whole or not at all, and only if the head still has the
   revision and the owner that the checkpoint expects.
2. **Claims under a lease.** An instance is given to one owner at a time. A claim raises the
   revision, so whoever held the instance before can save nothing more.
3. **No lost wake-up.** A signal to an instance at rest makes it due in the same write; a save that
   goes to rest names the last signal that it has seen and leaves the instance due if there is a
   later one; a save that ends the instance is refused if there is a later one.

Callers pass durations, never `now`: a storage reads its own clock, so that processes which share a
storage agree on what has run out. An instance is *leased* while its lease end is set and *at rest*
when it is not. A lease that ran out stays good until somebody claims the instance.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, cast, runtime_checkable

from attrs import Factory

from flux.clock import Clock
from flux.errors import StorageURLError, listing
from flux.frozen import frozen, unguarded


@unguarded(kw_only=True)
class Record:
    """The head of an instance."""

    id: str
    workflow: str
    version: str
    status: str
    revision: int = 1
    """Raised by one with every save and every claim."""
    owner: str | None = None
    """The token of the last driver; it stays when the lease is given back."""
    lease_until: datetime | None = None
    """Set while the instance is leased, by the storage's clock."""
    wake_at: datetime | None = None
    """When the instance wants to be claimed although nobody drives it, by the storage's clock."""
    labels: Mapping[str, str] = Factory(dict)
    """Given once, indexed, fit for filters and correlation."""
    unique_key: str | None = None
    """At most one instance with `ended_at` None may hold a key."""
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    intent: tuple[str, ...] = ()
    """The steps that the driver was about to run when it saved."""
    fixed: bytes = b"{}"
    """JSON text that never changes; given to `create` alone."""
    payload: bytes = b"{}"
    """JSON text that every save replaces."""
    last_signal: int = 0
    """The number of the last signal in the inbox, 0 for none; kept by the storage."""


@unguarded
class Entry:
    """One history entry: `number` is its key within the instance, `body` is JSON text."""

    number: int
    body: bytes


@unguarded
class Checkpoint:
    """One atomic save of an instance."""

    id: str
    owner: str
    expected: int
    """The revision that the head must have; the save makes it one higher."""
    status: str
    intent: tuple[str, ...]
    payload: bytes
    updated_at: datetime
    lease: float | None
    """Seconds from now for which the owner keeps the instance; None gives the lease back."""
    ended_at: datetime | None = None
    wake: float | None = None
    """Seconds from now after which the instance is due; None for never."""
    entries: tuple[Entry, ...] = ()
    """New entries, and changed ones under their old number."""
    consumed: Mapping[int, str] = Factory(dict)
    """Numbers of the signals that this save consumes, each with the name of its taker."""
    seen: int = 0
    """The number of the last signal that the driver knows of."""


@frozen(kw_only=True)
class Lease:
    """A lease as its holder knows it."""

    id: str
    owner: str
    seen: int = 0
    """The number of the last signal that the holder knows of."""


@frozen(kw_only=True)
class Signal:
    """A message to an instance; `payload` is JSON text."""

    name: str
    payload: bytes
    sent_at: datetime
    signal_id: str | None = None


@frozen(kw_only=True)
class StoredSignal:
    """A signal in the inbox. Numbers rise in the order of arrival, from 1 in each instance."""

    number: int
    signal: Signal
    consumed_by: str | None = None


@frozen(kw_only=True)
class SignalReceipt:
    """What became of a signal.

    `status` is that of the instance at that moment. `number` is the signal's place in the inbox,
    None if it was refused for the status. `earlier` is the signal that bore the same `signal_id`,
    if there was one: then nothing was written, and `number` is that of the earlier one.
    """

    status: str
    number: int | None
    earlier: Signal | None = None


@frozen
class WorkflowFilter:
    """Which instances to list. All conditions must hold; `after` is the id of the last one seen."""

    name: str | None = None
    status: str | Sequence[str] | None = None
    labels: Mapping[str, str] = Factory(dict)
    limit: int = 100
    after: str | None = None
    offset: int = 0
    ended_before: datetime | None = None

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses asked for, as plain text; empty for all."""
        if self.status is None:
            return ()
        chosen = (self.status,) if isinstance(self.status, str) else self.status
        return tuple(str(status) for status in chosen)


@frozen(kw_only=True)
class WorkflowSummary:
    """The head of an instance as `list` gives it, without data and history."""

    id: str
    name: str
    version: str
    status: str
    current_step: str | None
    labels: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class WorkflowStorage(Protocol):
    """Where instances are kept. Every method is one atomic act; none retries.

    Whatever goes wrong underneath is raised as a `StorageError`. A cancelled call has happened
    whole or not at all.
    """

    async def init(self, clock: Clock) -> None:
        """Open the storage and make or migrate its schema.

        `clock` is used unless the storage was made with a clock of its own or has its server's.
        Calls of `init` and `close` pair: the last `close` closes.
        """
        ...

    async def close(self) -> None:
        """Undo one `init`. Writes already begun are finished."""
        ...

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        """Store a new instance, leased to `record.owner` for `lease` seconds, due in `wake`.

        False, with nothing written, if the id exists. But a repetition that finds its own owner
        token at revision 1 has succeeded. `UniqueKeyTakenError` if a live instance holds the key.
        `lease_until` and `wake_at` of the record given are ignored.
        """
        ...

    async def save(self, checkpoint: Checkpoint) -> int:
        """Save a checkpoint and return the number of the last signal in the inbox, 0 for none.

        `StaleInstanceError` if revision or owner differ. But a repetition that finds exactly the
        revision and the owner that it would have written has succeeded. Neither a lease that ran
        out nor one given back matters, only a claim does. With `lease` None the instance is at
        rest: due in `wake` seconds, and at once if the inbox holds a signal after `seen`. But with
        `ended_at` set and such a signal nothing is written: `UnseenSignalsError`.
        `UniqueKeyTakenError` if the save would make a second live instance with the key.
        """
        ...

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        """The instance as last saved, entries by number; None if there is none.

        With `history` False there are none.
        """
        ...

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        """Heads that fit, newest first by (created_at, id), from after `filter.after`.

        An `after` that is not stored (it may have been deleted) gives an empty list.
        """
        ...

    async def count(self, filter: WorkflowFilter) -> int:
        """How many fit, whatever `limit`, `after` and `offset` say."""
        ...

    async def delete(self, id: str, *, revision: int) -> bool:
        """Remove head, entries and inbox if the head has this revision and no lease."""
        ...

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        """Give the instance to `owner` for `lease` seconds and return its new head.

        None if there is no such instance or somebody holds a lease on it that has not run out. A
        lease of the owner `held` counts as free. `wake_at` stays as it is.
        """
        ...

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        """Claim up to `limit` instances that are due, the longest due first.

        Due is what is leased and whose lease has run out, and what is at rest and whose `wake_at`
        is not later than now. `workflows` restricts it to these names. The cost does not grow with
        the instances that are not due.
        """
        ...

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        """Seconds until the first of those instances is due that are not due yet; None for none.

        It may be too early, never too late: a lease is counted although it will be renewed.
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        """Extend these leases to `lease` seconds from now, in one call.

        Returns, for every id still held by its owner, the number of the last signal in its inbox.
        The revision stays. A lease that ran out but was not claimed by another is still held; one
        that was given back is not.
        """
        ...

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        """Give a lease back without a save: the instance is at rest, its revision stays.

        `wake` seconds from now it is due; None leaves `wake_at` as it is. A signal after
        `lease.seen` makes it due at once. False, with nothing written, if it is not held.
        """
        ...

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        """Append a signal to the inbox; None if there is no such instance.

        Nothing is written if the `signal_id` is known (consumed signals count) or the status is in
        `refused`; a known id is looked at first. If the instance is at rest it is due at once, in
        the same write. The head's revision stays.
        """
        ...

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        """The inbox in the order of arrival, consumed signals included, from after a number."""
        ...


@frozen
class Notice:
    """Something changed in an instance, by whatever process.

    `is_due` says that it is at rest and has become due at once; otherwise a signal has come for
    whoever drives it, or it has come to rest.
    """

    id: str
    is_due: bool


@runtime_checkable
class Notices(Protocol):
    """What a storage may also offer: to tell of changes by other processes, at once."""

    async def notices(self, tell: Callable[[Notice], None]) -> None:
        """Call `tell` with every change until cancelled.

        Notices are hints: some may be lost, as in a broken connection, which is made anew; and a
        driver may hear of its own rest before its save returns.
        """
        ...


@runtime_checkable
class TimeKeeper(Protocol):
    """What a storage with a server offers: the time by which all that share it agree."""

    async def time(self) -> datetime:
        """The server's time: an aware `datetime` in UTC."""
        ...


@runtime_checkable
class SharedValues(Protocol):
    """What a storage may also offer: values that all workflows share, as JSON texts by key.

    A value with a `ttl` is gone after so many seconds by the storage's clock; `ValueError` for a
    `ttl` that is no such time.
    """

    async def get_value(self, key: str) -> bytes | None:
        """The value; None if there is none."""
        ...

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Set the value, whatever it was."""
        ...

    async def delete_value(self, key: str) -> bool:
        """Remove the value; False if there was none."""
        ...

    async def compare_and_set_value(
        self,
        key: str,
        expected: bytes | None,
        value: bytes,
        *,
        ttl: float | None = None,
    ) -> bool:
        """Set the value if it is `expected`, the very same text, None for no value; else False."""
        ...


def open_storage(url: str) -> WorkflowStorage:
    """Make the storage that a URL names, by the entry points of the group `flux.storages`.

    The name of the entry point is the URL's scheme; it loads a class with a `from_url(url)`.
    """
    # Imported late: it brings half of the standard library with it.
    from importlib.metadata import entry_points

    scheme = url.partition(":")[0]
    found = {point.name: point for point in entry_points(group="flux.storages")}
    if ":" not in url or scheme not in found:
        raise StorageURLError(url, f"the schemes known here are {listing(sorted(found))}")
    return cast(WorkflowStorage, found[scheme].load().from_url(url))
