"""One rule's turn: an empty storage, and what else the rule asks for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta

from flux.clock import Clock
from flux.errors import StorageClosedError
from flux.storage import Notices, SharedValues, TimeKeeper, WorkflowFilter, WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.processes import Processes
from flux.testing.conformance.rule import KitMisusedError, Rule, RuleBrokenError, RuleSkipped
from flux.testing.conformance.subject import Address, Subject, opened_at
from flux.testing.conformance.time import Time

Another = Callable[[], Awaitable[WorkflowStorage]]
"""Opens another storage object on the same place, as another process would."""


async def keep(rule: Rule, subject: Subject) -> None:
    """Try one rule: `RuleBrokenError` if the storage breaks it, `RuleSkipped` if it cannot be.

    Whatever a storage raises that the rule does not expect breaks the rule, and so does a storage
    that is stuck. `KitMisusedError` if what the kit was given is no storage, or none that is empty.
    """
    try:
        async with asyncio.timeout(rule.longest), AsyncExitStack() as stack:
            trial = Trial(subject, stack)
            await rule.check(**{name: await trial.give(name) for name in rule.asks})
    except (RuleSkipped, KitMisusedError):
        raise
    except Exception as error:
        raise RuleBrokenError(rule, _told(error, rule)) from error


class Trial:
    """What the rules ask for, by the names of their parameters."""

    def __init__(self, subject: Subject, stack: AsyncExitStack) -> None:
        self._subject = subject
        self._stack = stack
        self._clock = subject.clock()
        self._storage: WorkflowStorage | None = None
        self._is_open = False

    async def give(self, name: str) -> object:
        """What a parameter of this name stands for; `RuleSkipped` if this storage has none."""
        given: Awaitable[object] = getattr(self, f"_{name}_given")()
        return await given

    async def _subject_given(self) -> Subject:
        """How to come by storages of one's own."""
        return self._subject

    async def _storage_given(self) -> WorkflowStorage:
        """The open storage."""
        storage = await self._made()
        if not self._is_open:
            await self._opened(storage, self._clock)
            self._is_open = True
            await _check_empty(storage)
        return storage

    async def _closed_given(self) -> WorkflowStorage:
        """The storage, not opened."""
        storage = await self._made()
        self._stack.push_async_callback(_closed_at_last, storage)
        return storage

    async def _clock_given(self) -> ManualClock:
        """The clock by which the storage goes."""
        if isinstance(self._clock, ManualClock):
            return self._clock
        raise RuleSkipped("the storage does not go by a clock that one can set")

    async def _time_given(self) -> Time:
        """The time, set or real."""
        return Time(self._clock)

    async def _values_given(self) -> SharedValues:
        storage = await self._storage_given()
        if isinstance(storage, SharedValues):
            return storage
        raise RuleSkipped("the storage does not offer shared values")

    async def _notices_given(self) -> Notices:
        storage = await self._storage_given()
        if isinstance(storage, Notices):
            return storage
        raise RuleSkipped("the storage does not offer notices")

    async def _keeper_given(self) -> TimeKeeper:
        storage = await self._storage_given()
        if isinstance(storage, TimeKeeper):
            return storage
        raise RuleSkipped("the storage does not offer a time of its own")

    async def _another_given(self) -> Another:
        """Opens the same storage once more."""
        return await self._opener(self._clock)

    async def _ahead_given(self) -> Another:
        """Opens the same storage on a clock that is a day ahead, where time is the server's."""
        if not self._subject.real_time:
            raise RuleSkipped("the storage goes by the clock that it is given")
        return await self._opener(ManualClock(datetime.now(UTC) + timedelta(days=1)))

    async def _processes_given(self) -> Processes:
        return Processes(await self._address(), real_time=self._subject.real_time)

    async def _made(self) -> WorkflowStorage:
        if self._storage is None:
            self._storage = await self._subject.made()
            self._stack.push_async_callback(self._subject.disposed, self._storage)
        return self._storage

    async def _opener(self, clock: Clock) -> Another:
        address = await self._address()

        async def another() -> WorkflowStorage:
            return await self._opened(opened_at(address), clock)

        return another

    async def _opened(self, storage: WorkflowStorage, clock: Clock) -> WorkflowStorage:
        await storage.init(clock)
        self._stack.push_async_callback(storage.close)
        return storage

    async def _address(self) -> Address:
        address = self._subject.address_of(await self._storage_given())
        if address is None:
            raise RuleSkipped("no address was given at which it can be opened once more")
        return address


async def _check_empty(storage: WorkflowStorage) -> None:
    found: Sequence[object] = ()
    # A storage that cannot list breaks rules; that is not to be told here.
    with suppress(Exception):
        found = await storage.list(WorkflowFilter(limit=1))
    if found:
        raise KitMisusedError(
            f"{storage!r} was new and is not empty; each rule needs a storage of its own, "
            "on a place that nothing else uses"
        )


async def _closed_at_last(storage: WorkflowStorage) -> None:
    # A rule that fails may leave the storage open.
    with suppress(StorageClosedError):
        await storage.close()


def _told(error: Exception, rule: Rule) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"it did not end within {rule.longest:g} seconds"
    said = (
        str(error) if type(error) is AssertionError else f"raised {type(error).__name__}: {error}"
    )
    return "\n".join((said, *getattr(error, "__notes__", ())))
