"""The simulation finds what it is there to find: storages that are broken on purpose."""

from collections.abc import Sequence

import pytest
from attrs import evolve

from flux import Checkpoint, Entry, Lease, Record, Signal, SignalReceipt
from flux.testing import SimulationError, random_scenario, simulate
from flux_storages import MemoryStorage

SEEDS = range(400)


class IgnoresLeases(MemoryStorage):
    """Gives an instance to whoever asks for it."""

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        known = await self.load(id, history=False)
        held = None if known is None else known[0].owner
        return await super().claim(id, owner=owner, lease=lease, held=held)


class SavesWhateverCame(MemoryStorage):
    """Takes a save from whoever makes it, whatever was saved since."""

    async def save(self, checkpoint: Checkpoint) -> int:
        known = await self.load(checkpoint.id, history=False)
        assert known is not None
        owner, revision = known[0].owner or "", known[0].revision
        return await super().save(evolve(checkpoint, owner=owner, expected=revision))


class ForgetsEntries(MemoryStorage):
    """Writes the head of every tenth save, and not its history."""

    saves = 0

    async def save(self, checkpoint: Checkpoint) -> int:
        self.saves += 1
        halved = evolve(checkpoint, entries=()) if self.saves % 10 == 0 else checkpoint
        return await super().save(halved)


class LosesWakeUps(MemoryStorage):
    """A signal does not make an instance at rest due."""

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        known = self._instances.get(id)
        due = None if known is None else known.wake_at
        receipt = await super().send_signal(id, signal, refused=refused)
        if known is not None and known.lease_until is None:
            known.wake_at = due
        return receipt


class ConsumesNothing(MemoryStorage):
    """A signal that was taken is there again for whoever reads the inbox."""

    async def save(self, checkpoint: Checkpoint) -> int:
        return await super().save(evolve(checkpoint, consumed={}))


class KeepsReleased(MemoryStorage):
    """A lease that was given back stays with an instance, for ever."""

    async def release(self, lease: Lease, *, wake: float | None = None) -> bool:
        return True


class EndsUnseen(MemoryStorage):
    """Lets an instance end although a signal has come that its driver has not seen."""

    async def save(self, checkpoint: Checkpoint) -> int:
        known = self._instances.get(checkpoint.id)
        seen = checkpoint.seen if known is None else len(known.inbox)
        return await super().save(evolve(checkpoint, seen=seen))


class ForgetsUnseen(MemoryStorage):
    """An instance that goes to its rest is not due for a signal that its driver has not seen."""

    async def save(self, checkpoint: Checkpoint) -> int:
        known = self._instances[checkpoint.id]
        seen = len(known.inbox) if checkpoint.ended_at is None else checkpoint.seen
        return await super().save(evolve(checkpoint, seen=seen))


class KnowsNoIds(MemoryStorage):
    """A signal that was sent again is a second one."""

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        if id in self._instances:
            self._instances[id].numbers.clear()
        return await super().send_signal(id, signal, refused=refused)


class RefusesNothing(MemoryStorage):
    """Takes signals in for those that take none any more."""

    async def send_signal(
        self, id: str, signal: Signal, *, refused: Sequence[str] = ()
    ) -> SignalReceipt | None:
        return await super().send_signal(id, signal)


class LosesKeys(MemoryStorage):
    """Lets several instances with one unique key live."""

    async def create(
        self,
        record: Record,
        *,
        entries: Sequence[Entry] = (),
        lease: float | None = None,
        wake: float | None = None,
    ) -> bool:
        self._holders.clear()
        return await super().create(record, entries=entries, lease=lease, wake=wake)


BROKEN = {
    IgnoresLeases: "S23: E. was given",
    SavesWhateverCame: "S23: E. saved",
    ForgetsEntries: "S3: ",
    LosesWakeUps: "S18: |S2[46]: ",
    ConsumesNothing: "S18: ",
    KeepsReleased: "S2[34]: ",
    EndsUnseen: "S24: |S26: ",
    ForgetsUnseen: "S24: ",
    KnowsNoIds: "S19: ",
    RefusesNothing: "S21: ",
    LosesKeys: "S22: ",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_storage_is_found(broken: type[MemoryStorage]) -> None:
    """Some seed shows the fault, and the rule that it breaks is named."""
    with pytest.raises(SimulationError, match=f"seed [0-9]+: {BROKEN[broken]}"):
        simulate(random_scenario, seeds=SEEDS, storage=broken)
