"""A storage in front of another one: it is known when a call is under way, and saves can be held.

It stands only between an engine and its storage; what is kept, and how, is the other one's.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from flux.storage import WorkflowStorage
from flux.testing.activity import Activity

_SAVES = ("create", "save")


class Gate:
    """Lets an instance stand still after each of its saves, while somebody looks at it."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._closed: set[str] = set()
        self._held: dict[str, asyncio.Event] = {}

    def close(self, id: str) -> None:
        """Hold the instance at its next save, and at each after that."""
        self._closed.add(id)

    def open(self, id: str) -> None:
        """Hold it no more."""
        self._closed.discard(id)
        self.let_go(id)

    def open_all(self) -> None:
        for id in tuple(self._closed):
            self.open(id)

    @property
    def held(self) -> frozenset[str]:
        """The instances whose drivers stand there now."""
        return frozenset(self._held)

    def holds(self, id: str) -> bool:
        """Whether a driver stands there now."""
        return id in self._held

    def let_go(self, id: str) -> None:
        """Let the driver that stands there go on, to its next save."""
        held = self._held.pop(id, None)
        if held is not None:
            held.set()

    async def pass_by(self, id: str) -> None:
        """Wait there, if it is closed."""
        if id in self._closed:
            held = self._held[id] = asyncio.Event()
            with self._activity.held(id):
                await held.wait()


class _Watched:
    def __init__(self, storage: WorkflowStorage, activity: Activity, gate: Gate) -> None:
        self._storage = storage
        self._activity = activity
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __repr__(self) -> str:
        return repr(self._storage)


def watched(storage: WorkflowStorage, activity: Activity, gate: Gate) -> WorkflowStorage:
    """The storage with a watch on it: of a class made for it, with the protocols that it keeps."""
    promised = dict(inspect.getmembers(WorkflowStorage, inspect.iscoroutinefunction))
    offered = dict(inspect.getmembers(type(storage), inspect.iscoroutinefunction))
    calls: dict[str, Any] = {name: _counted(name) for name in promised | offered}
    if "notices" in calls:
        calls["notices"] = _forwarded("notices")  # to listen takes for ever
    for name in _SAVES:
        calls[name] = _held(calls[name])
    made = type(f"Watched{type(storage).__name__}", (_Watched,), calls)
    return cast(WorkflowStorage, made(storage, activity, gate))


def _forwarded(name: str) -> Callable[..., Awaitable[Any]]:
    async def forwarded(self: Any, *given: Any, **named: Any) -> Any:
        return await getattr(self._storage, name)(*given, **named)

    return forwarded


def _counted(name: str) -> Callable[..., Awaitable[Any]]:
    async def counted(self: Any, *given: Any, **named: Any) -> Any:
        with self._activity.call():
            return await getattr(self._storage, name)(*given, **named)

    return counted


def _held(save: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def held(self: Any, saved: Any, *given: Any, **named: Any) -> Any:
        answer = await save(self, saved, *given, **named)
        await self._gate.pass_by(saved.id)
        return answer

    return held
