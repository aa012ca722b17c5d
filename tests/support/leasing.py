"""Engines that hold a lease for long, or lose it without a word."""

import asyncio
from collections.abc import Mapping, Sequence

from flux import Lease, Record, StorageError, Workflow, WorkflowContext, WorkflowStorage
from saves import Saves


class Line(Saves):
    """A storage whose renewals are noted, and cut off as if the network were gone.

    It tells of no changes by other processes: an engine on it hears of them as S23 says, in the
    answers to its saves and renewals.
    """

    def __init__(self, storage: WorkflowStorage) -> None:
        super().__init__(storage)
        self.renewed: list[list[str]] = []
        self.is_cut = False
        self.failures = 0
        """So many of the next renewals fail."""

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> Mapping[str, int]:
        self.failures -= 1
        if self.is_cut or self.failures >= 0:
            raise StorageError("the line is cut")
        renewed = await super().renew(leases, lease=lease)
        self.renewed.append([one.id for one in leases])
        return renewed


class Held:
    """An order whose first step waits until it is let go; it notes who ran."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.ran: list[str] = []
        self.order = Workflow("order")

        @self.order.step
        async def pay(ctx: WorkflowContext) -> str:
            attempt = f"pay {ctx.attempt}"
            self.ran.append(attempt)
            if ctx.attempt == 1:
                await self.go_on.wait()
            self.ran.append(f"{attempt} ended")
            return attempt


async def head_of(storage: WorkflowStorage, id: str) -> Record:
    """The head of an instance as it is stored."""
    stored = await storage.load(id, history=False)
    assert stored is not None
    return stored[0]
