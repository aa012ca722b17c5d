"""The storage under trial, as its author describes it to the kit."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction

from attrs import frozen

from flux.clock import Clock, SystemClock
from flux.errors import listing
from flux.storage import WorkflowStorage, open_storage
from flux.testing.clock import ManualClock
from flux.testing.conformance.rule import KitMisusedError

Address = str | Callable[[], WorkflowStorage]
"""How another process opens the same storage: a URL, or a function that `pickle` can carry."""

Make = Callable[[], WorkflowStorage | Awaitable[WorkflowStorage]]

Dispose = Callable[[WorkflowStorage], Awaitable[None] | None]

_OWED = tuple(name for name, one in vars(WorkflowStorage).items() if iscoroutinefunction(one))


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
    dispose: Dispose | None = None
    real_time: bool = False
    examples: int = 40
    """How many lives the state machine plays."""

    def __attrs_post_init__(self) -> None:
        for name in ("make", "address", "dispose"):
            given = getattr(self, name)
            if not (callable(given) or (given is None and name != "make")):
                of = "()" if name == "make" else "(storage)"
                raise KitMisusedError(f"{name}={given!r}: give a function, {name}{of}")
        if self.examples < 1:
            raise ValueError(f"examples={self.examples}: the state machine plays one life at least")

    async def made(self) -> WorkflowStorage:
        """A new storage, not opened."""
        made = self.make()
        storage = await made if isawaitable(made) else made
        missing = [name for name in _OWED if not callable(getattr(storage, name, None))]
        if missing:
            raise KitMisusedError(f"{storage!r} is no WorkflowStorage: it lacks {listing(missing)}")
        return storage

    async def disposed(self, storage: WorkflowStorage) -> None:
        """Remove what it keeps."""
        removing = None if self.dispose is None else self.dispose(storage)
        if isawaitable(removing):
            await removing

    def clock(self) -> Clock:
        """The clock to open it with."""
        return SystemClock() if self.real_time else ManualClock()

    def address_of(self, storage: WorkflowStorage) -> Address | None:
        """How to open the same once more; None if nobody can."""
        address = None if self.address is None else self.address(storage)
        if address is None or isinstance(address, str) or callable(address):
            return address
        raise KitMisusedError(
            f"{address!r} is no address; give a URL, or a function that makes the storage"
        )


def opened_at(address: Address) -> WorkflowStorage:
    """Another storage object on the same place, not opened."""
    return open_storage(address) if isinstance(address, str) else address()
