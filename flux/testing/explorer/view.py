"""The storage as a process in a run sees it."""

from collections.abc import Mapping, Sequence

from flux.clock import Clock
from flux.storage import (
    Checkpoint,
    Entry,
    Lease,
    Record,
    SharedValues,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
)
from flux.testing.explorer.process import Process


class View:
    """The storage as a process sees it."""

    def __init__(self, storage: WorkflowStorage, process: Process) -> None:
        self._storage = storage
        self._process = process
        self._through = process.through

    def __repr__(self) -> str:
        return repr(self._storage)

    async def init(self, clock: Clock) -> None:
        await self._storage.init(clock)

    async def close(self) -> None:
        await self._storage.close()

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        return await self._process.written(
            record,
            tuple(entries),
            lambda: self._storage.create(record, entries=entries, lease=lease, wake=wake),
            bool,
        )

    async def save(self, checkpoint: Checkpoint) -> int:
        return await self._process.written(
            checkpoint,
            checkpoint.entries,
            lambda: self._storage.save(checkpoint),
            lambda _: True,
        )

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        return await self._through(self._storage.load(id, history=history))

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        return await self._through(self._storage.list(filter))

    async def count(self, filter: WorkflowFilter) -> int:
        return await self._through(self._storage.count(filter))

    async def delete(self, id: str, *, revision: int) -> bool:
        return await self._through(self._storage.delete(id, revision=revision))

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        return await self._through(self._storage.claim(id, owner=owner, lease=lease, held=held))

    async def claim_due(
        self, *, owner: str, lease: float, limit: int, workflows: Sequence[str] | None = None
    ) -> Sequence[Record]:
        return await self._through(
            self._storage.claim_due(owner=owner, lease=lease, limit=limit, workflows=workflows)
        )

    async def next_due(self, *, workflows: Sequence[str] | None = None) -> float | None:
        return await self._through(self._storage.next_due(workflows=workflows))

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        return await self._through(self._storage.renew(leases, lease=lease))

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        return await self._through(self._storage.release(lease, wake=wake))

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        return await self._through(self._storage.send_signal(id, signal, refused=refused))

    async def signals(self, id: str, *, after: int = 0) -> Sequence[StoredSignal]:
        return await self._through(self._storage.signals(id, after=after))


class SharingView(View):
    """The same of a storage that keeps shared values."""

    def __init__(self, storage: WorkflowStorage, values: SharedValues, process: Process) -> None:
        super().__init__(storage, process)
        self._values = values

    async def get_value(self, key: str) -> bytes | None:
        return await self._through(self._values.get_value(key))

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._through(self._values.set_value(key, value, ttl=ttl))

    async def delete_value(self, key: str) -> bool:
        return await self._through(self._values.delete_value(key))

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        return await self._through(
            self._values.compare_and_set_value(key, expected, value, ttl=ttl)
        )


def view_of(storage: WorkflowStorage, process: Process) -> WorkflowStorage:
    """The storage as this process sees it, with shared values if it keeps them."""
    if isinstance(storage, SharedValues):
        return SharingView(storage, storage, process)
    return View(storage, process)
