"""Storages broken on purpose that only a second opener can find out; `breaks` names the rule."""

import asyncio
from pathlib import Path

from flux.storage import Record
from flux_storages import SQLiteStorage


class OldHeads(SQLiteStorage):
    """Heads that were read once are kept, whatever others have written since."""

    breaks = "reopening.own_write_is_read"

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="normal")
        self._heads: dict[str, Record] = {}

    async def load(self, id: str, *, history: bool = True):  # type: ignore[no-untyped-def]
        found = await super().load(id, history=history)
        return found and (self._heads.setdefault(id, found[0]), found[1])


class LockOfItsOwn(SQLiteStorage):
    """Claims exclude each other by a lock that is this process' alone."""

    breaks = "processes.no_lost_update"

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="normal")
        self._lock = asyncio.Lock()

    async def claim(
        self, id: str, *, owner: str, lease: float, held: str | None = None
    ) -> Record | None:
        async with self._lock:
            found = await self.load(id, history=False)
            if found is None or found[0].lease_until is not None:
                return None
            await asyncio.sleep(0.01)
            again = await self.load(id, history=False)
            over = again and again[0].owner
            claimed = await super().claim(id, owner=owner, lease=lease, held=over)
            await asyncio.sleep(0.01)  # so that the other comes in between
            return claimed


BROKEN_PLACES = (OldHeads, LockOfItsOwn)
