"""The world outside of a run: put back before it, looked at after it."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Protocol, cast, runtime_checkable

import orjson

from flux.state.strict_json import json_text


@runtime_checkable
class Effects(Protocol):
    """What the steps of a workflow act on. Both methods may be plain or async."""

    def reset(self) -> Any:
        """Make the world as it was before the first run."""
        ...

    def snapshot(self) -> Any:
        """The state of the world, a JSON value: what it holds, not how it came to that."""
        ...


World = Effects | list[Any] | dict[str, Any] | None
"""A list or a dict is put back to what it held, and is its own snapshot."""


class Outside:
    """The world of an exploration."""

    def __init__(self, world: World) -> None:
        self._reset: Callable[[], Any]
        self._snapshot: Callable[[], Any]
        if world is None:
            self._reset, self._snapshot = lambda: None, lambda: None
        elif isinstance(world, list | dict):
            first = deepcopy(world)
            self._reset, self._snapshot = lambda: _refill(world, first), lambda: world
        elif isinstance(world, Effects):
            self._reset, self._snapshot = world.reset, world.snapshot
        else:
            raise TypeError(
                f"effects={world!r}: give a list or a dict that the steps write to, "
                "or an object with reset() and snapshot()"
            )

    async def reset(self) -> None:
        """Put the world back."""
        await _awaited(self._reset())

    async def snapshot(self) -> Any:
        """The state of the world, a copy; `NotJSONError` for one that JSON would change."""
        return orjson.loads(json_text(await _awaited(self._snapshot()), "effects"))


def _refill(world: list[Any] | dict[str, Any], first: Any) -> None:
    world.clear()
    if isinstance(world, list):
        world.extend(deepcopy(first))
    else:
        world.update(cast(dict[str, Any], deepcopy(first)))


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer
