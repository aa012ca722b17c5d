"""Letting time pass until everything that follows from it has happened, however long that takes.

A test that counts on it watches its storage:

    @pytest.fixture
    def storage(storage: WorkflowStorage) -> WorkflowStorage:
        return watched(storage)
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from flux import WorkflowStorage
from flux.testing import ManualClock

_TURNS = 8
"""So many turns of the loop without a call of a storage: what runs in the loop has come to rest."""


class _Watched:
    """A storage of which it is known whether somebody waits for its answer."""

    calls = 0
    """Of all of them: how many are under way."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        # To listen to notices takes for ever.
        if name == "notices" or not inspect.iscoroutinefunction(found):
            return found
        return _counted(found)


def watched(storage: WorkflowStorage) -> WorkflowStorage:
    """The storage, for which `passing` waits."""
    return cast(WorkflowStorage, _Watched(storage))


async def passing(clock: ManualClock, seconds: float) -> None:
    """Let `seconds` pass by the clock, and all that is due by then happen on watched storages.

    What other processes or threads do is not waited for, nor are notices of a storage.
    """
    clock.advance(seconds)
    async with asyncio.timeout(20):
        turns = 0
        while turns < _TURNS:
            await asyncio.sleep(0.001)
            turns = 0 if _Watched.calls else turns + 1


def _counted(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(*given: Any, **named: Any) -> Any:
        _Watched.calls += 1
        try:
            return await call(*given, **named)
        finally:
            _Watched.calls -= 1

    return counted
