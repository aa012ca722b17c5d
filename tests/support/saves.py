"""A storage that a test looks through: it counts saves, and dies or fails where the test says.

A process that dies at a save is played by `Saves(storage)`: an engine on it is abandoned, for
every later call is refused, while `storage` itself is kept and another engine goes on with it.

    saves = Saves(storage, die_after=2)         # the 2nd save is written, nobody hears of it
    with pytest.raises(DiedError):
        await (await open_engine(saves)).execute(order)
"""

from collections.abc import Mapping, Sequence

from flux import (
    Checkpoint,
    Clock,
    Entry,
    Lease,
    Record,
    Signal,
    SignalReceipt,
    StorageError,
    StoredSignal,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
)


class DiedError(StorageError):
    """The process that used this storage is dead, as far as the test is concerned."""


class Saves:
    """A `WorkflowStorage` in front of another one.

    A save is a `create` or a `save`; they count from 1. `die_before` and `die_after` name the save
    before or after which the process dies. `fail_before` and `fail_after` name a save that fails
    once with `error`, without or with having been written; the process lives on.
    """

    def __init__(
        self,
        storage: WorkflowStorage,
        *,
        die_before: int | None = None,
        die_after: int | None = None,
        fail_before: int | None = None,
        fail_after: int | None = None,
        error: StorageError | None = None,
    ) -> None:
        self.made: list[Record | Checkpoint] = []
        """What was written, in order; a `Record` for a `create`."""
        self.entries: list[tuple[Entry, ...]] = []
        """The history entries of each save."""
        self.tried = 0
        self.is_dead = False
        self.error = error or StorageError("the test lets this save fail")
        self._storage = storage
        self._die = (die_before, die_after)
        self._fail = (fail_before, fail_after)

    def die(self) -> None:
        """Refuse every call from now on."""
        self.is_dead = True

    # What is counted

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        self._before()
        made = await self._storage.create(record, entries=entries, lease=lease, wake=wake)
        if made:
            self._after(record, tuple(entries))
        return made

    async def save(self, checkpoint: Checkpoint) -> int:
        self._before()
        number = await self._storage.save(checkpoint)
        self._after(checkpoint, checkpoint.entries)
        return number

    def _before(self) -> None:
        self._alive()
        self.tried += 1
        self._stop_at(0)

    def _after(self, saved: Record | Checkpoint, entries: tuple[Entry, ...]) -> None:
        self.made.append(saved)
        self.entries.append(entries)
        self._stop_at(1)

    def _stop_at(self, when: int) -> None:
        if self.tried == self._die[when]:
            self.die()
            self._alive()
        if self.tried == self._fail[when]:
            raise self.error

    # What is passed on while the process lives

    async def init(self, clock: Clock) -> None:
        await self._storage.init(clock)

    async def close(self) -> None:
        # A dead engine too is closed when its test ends.
        await self._storage.close()

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        self._alive()
        return await self._storage.load(id, history=history)

    async def count(self, filter: WorkflowFilter) -> int:
        self._alive()
        return await self._storage.count(filter)

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        self._alive()
        return await self._storage.list(filter)

    async def delete(self, id: str, *, revision: int) -> bool:
        self._alive()
        return await self._storage.delete(id, revision=revision)

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        self._alive()
        return await self._storage.claim(id, owner=owner, lease=lease, held=held)

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        self._alive()
        return await self._storage.claim_due(
            owner=owner, lease=lease, limit=limit, workflows=workflows
        )

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        self._alive()
        return await self._storage.next_due(workflows=workflows)

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        self._alive()
        return await self._storage.renew(leases, lease=lease)

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        self._alive()
        return await self._storage.release(lease, wake=wake)

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        self._alive()
        return await self._storage.send_signal(id, signal, refused=refused)

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        self._alive()
        return await self._storage.signals(id, after=after)

    def _alive(self) -> None:
        if self.is_dead:
            raise DiedError("the process that used this storage is dead")
