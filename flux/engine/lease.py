"""The leases that this engine holds."""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from attrs import define

from flux.clock import Clock
from flux.errors import StaleInstanceError, StorageError
from flux.storage import Lease, WorkflowStorage

Tell = Callable[[str], None]


@define
class HeldLease:
    """A lease with the moment, on the monotonic clock, up to which it is surely ours."""

    id: str
    owner: str
    sure_until: float
    seen: int = 0


class Leases:
    """Keeps the leases of all driven instances alive, a third of the lease apart, in one call."""

    def __init__(
        self,
        storage: WorkflowStorage,
        *,
        clock: Clock,
        lease: float,
        engine_id: str,
        logger: logging.Logger,
    ) -> None:
        self.seconds = lease
        self._storage = storage
        self._clock = clock
        self._engine_id = engine_id
        self._logger = logger
        self._numbers = itertools.count(1)
        self._held: dict[str, HeldLease] = {}
        self._asking: set[str] = set()

    def new_owner(self) -> str:
        """A token that no claim had before."""
        return f"{self._engine_id}:{next(self._numbers)}"

    @contextmanager
    def asking(self) -> Iterator[str]:
        """A new token, counted as in use while it is asked for."""
        owner = self.new_owner()
        self._asking.add(owner)
        try:
            yield owner
        finally:
            self._asking.remove(owner)

    def is_unused(self, id: str, owner: str | None) -> bool:
        """Whether a lease is of this engine and nothing in it uses it, as after a failed save."""
        if owner is None or not owner.startswith(f"{self._engine_id}:"):
            return False
        held = self._held.get(id)
        return owner not in self._asking and (held is None or held.owner != owner)

    def hold(self, id: str, owner: str, asked_at: float) -> HeldLease:
        """Keep a lease that was asked for at `asked_at` and granted."""
        held = HeldLease(id=id, owner=owner, sure_until=asked_at + self.seconds)
        self._held[id] = held
        return held

    def keep(self, held: HeldLease) -> None:
        """Keep a lease alive that was dropped for a save which was refused."""
        self._held[held.id] = held

    def drop(self, held: HeldLease) -> None:
        """Keep this lease alive no longer."""
        if self._held.get(held.id) is held:
            del self._held[held.id]

    def asked_at(self) -> float:
        """The moment from which a lease asked for now is sure to run."""
        return self._clock.monotonic()

    def is_sure(self, held: HeldLease) -> bool:
        """Whether the lease is ours right now, without asking."""
        return self._clock.monotonic() < held.sure_until

    async def ensure(self, held: HeldLease) -> None:
        """Ask for the lease again, if it may have run out; `StaleInstanceError` if it was taken."""
        # It ran out on our clock, which does not mean that anybody took it.
        if held.id not in await self._renew([held]):
            raise StaleInstanceError(held.id, 0)

    async def ensure_all(self) -> None:
        """Ask again for the leases that may have run out, so that nobody takes them from us."""
        unsure = [held for held in self._held.values() if not self.is_sure(held)]
        if unsure:
            await self._renew(unsure)

    async def keep_alive(self, *, lost: Tell, signalled: Tell) -> None:
        """Renew for ever; tells which instances another has taken, and which have new signals."""
        while True:
            await self._clock.sleep(self.seconds / 3)
            leases = list(self._held.values())
            if not leases:
                continue
            try:
                renewed = await self._renew(leases)
            except Exception:
                self._logger.exception("lease.renewal_failed", extra={"instances": len(leases)})
                continue
            for held in leases:
                if self._held.get(held.id) is not held:
                    continue
                if held.id not in renewed:
                    lost(held.id)
                elif renewed[held.id] > held.seen:
                    signalled(held.id)

    async def give_back(self, held: HeldLease, *, wake: float | None = None) -> None:
        """Release without a save. Should it fail, the lease runs out by itself."""
        self.drop(held)
        lease = Lease(id=held.id, owner=held.owner, seen=held.seen)
        try:
            await self._storage.release(lease, wake=wake)
        except StorageError:
            self._logger.exception("lease.release_failed", extra={"instance": held.id})

    async def _renew(self, leases: list[HeldLease]) -> Mapping[str, int]:
        asked_at = self._clock.monotonic()
        asked = [Lease(id=held.id, owner=held.owner, seen=held.seen) for held in leases]
        answer = await self._storage.renew(asked, lease=self.seconds)
        for held in leases:
            if held.id in answer:
                held.sure_until = max(held.sure_until, asked_at + self.seconds)
        return answer
