"""The storage under trial, as its author describes it to the kit."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from attrs import frozen

from flux.clock import Clock, SystemClock
from flux.storage import WorkflowStorage, open_storage
from flux.testing.clock import ManualClock

Address = str | Callable[[], WorkflowStorage]
"""How another process opens the same storage: a URL, or a function that `pickle` can carry."""

Make = Callable[[], WorkflowStorage | Awaitable[WorkflowStorage]]


@frozen(kw_only=True)
class Subject:
    """How to come by storages of one kind.

    `make` gives a new storage with nothing in it, not opened, each time; `address` tells how to
    open what such a storage keeps a second time, None if nobody else can; `dispose` removes what it
    keeps, after it was closed. `real_time` says that the storage does not go by the clock given to
    `init`: then nothing can be tried that needs a time that one sets, and short times are waited
    for.
    """

    make: Make
    address: Callable[[WorkflowStorage], Address | None] | None = None
    dispose: Callable[[WorkflowStorage], Awaitable[None]] | None = None
    real_time: bool = False
    examples: int = 40
    """How many lives the state machine plays."""

    async def made(self) -> WorkflowStorage:
        """A new storage, not opened."""
        storage = self.make()
        return await storage if isawaitable(storage) else storage

    def clock(self) -> Clock:
        """The clock to open it with."""
        return SystemClock() if self.real_time else ManualClock()

    def address_of(self, storage: WorkflowStorage) -> Address | None:
        """How to open the same once more; None if nobody can."""
        return None if self.address is None else self.address(storage)


def opened_at(address: Address) -> WorkflowStorage:
    """Another storage object on the same place, not opened."""
    return open_storage(address) if isinstance(address, str) else address()
