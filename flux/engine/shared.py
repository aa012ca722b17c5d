"""Values that all workflows on a storage share: `ctx.storage`."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson

from flux.definition.policy import Duration, seconds
from flux.definition.workflow import WorkflowDefinition
from flux.errors import StorageError, ValuesMissingError
from flux.state.strict_json import json_text
from flux.storage import SharedValues, WorkflowStorage

T = TypeVar("T")

_PREFIX = "shared:"


class SharedStorage:
    """JSON values by key, the same for all workflows and processes on one storage.

    They are written at once, not with the result of the step: a step that is repeated writes them
    again. A value is never None. `ttl` is how long it is kept, in seconds or as a `timedelta`.
    """

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage
        self._loop = asyncio.get_running_loop()

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` if there is none."""
        text = await self._values().get_value(_key(key))
        return default if text is None else orjson.loads(text)

    async def set(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """Set the value, whatever it was."""
        await self._values().set_value(_key(key), _text(value), ttl=_seconds(ttl))

    async def delete(self, key: str) -> bool:
        """Remove the value; False if there was none."""
        return await self._values().delete_value(_key(key))

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: Duration | None = None
    ) -> bool:
        """Set the value if it is still `expected`, as `get` gave it; None stands for no value."""
        before = None if expected is None else _text(expected)
        return await self._values().compare_and_set_value(
            _key(key), before, _text(value), ttl=_seconds(ttl)
        )

    def here(self) -> "SharedStorage | BlockingSharedStorage":
        """Itself in a loop; in a thread, where nothing can be awaited, one that waits."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return BlockingSharedStorage(self, self._loop)
        return self

    def _values(self) -> SharedValues:
        if not isinstance(self._storage, SharedValues):
            raise StorageError(f"{self._storage!r} keeps no shared values")
        return self._storage


def check_values(storage: WorkflowStorage, definition: WorkflowDefinition) -> None:
    """`ValuesMissingError` if the workflow needs shared values, and the storage keeps none."""
    if isinstance(storage, SharedValues):
        return
    caches = (f"the cache of step {step.name!r}" for step in definition.steps if step.cache)
    needed_for = [*caches, *(["its limits"] if definition.limits else [])]
    if needed_for:
        raise ValuesMissingError(definition.name, repr(storage), needed_for)


class BlockingSharedStorage:
    """The same for plain handlers, which run in a thread: every call waits for its result."""

    def __init__(self, shared: SharedStorage, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` if there is none."""
        return self._wait(self._shared.get(key, default))

    def set(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """Set the value, whatever it was."""
        self._wait(self._shared.set(key, value, ttl))

    def delete(self, key: str) -> bool:
        """Remove the value; False if there was none."""
        return self._wait(self._shared.delete(key))

    def compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: Duration | None = None
    ) -> bool:
        """Set the value if it is still `expected`, as `get` gave it; None stands for no value."""
        return self._wait(self._shared.compare_and_set(key, expected, value, ttl))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise ValueError(f"{key!r} is no key of a shared value; it is text that is not empty")
    return f"{_PREFIX}{key}"


def _text(value: Any) -> bytes:
    if value is None:
        raise ValueError("a shared value is never None; delete it instead")
    return json_text(value, "value")


def _seconds(ttl: Duration | None) -> float | None:
    return None if ttl is None else seconds(ttl)
