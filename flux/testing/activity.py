"""What goes on in an engine that takes no time of its clock: by it is known when all is quiet."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flux.observe.trace import FluxTraceEvent

_TURNS = 12
"""So many turns of the loop in which nothing begins or ends: what runs in the loop has rested."""

_BRIEF = 100
"""So many turns are spent on what is brief, before the processor is left to what takes longer."""

_BEGINS = frozenset({"step:start", "step:compensate_start"})
_ENDS = frozenset(
    {
        "step:complete",
        "step:suspend",
        "step:retry",
        "step:error",
        "step:compensate",
        "step:compensate_retry",
        "step:compensate_error",
    }
)
_RESTS = frozenset(
    {
        "workflow:cancelled",
        "workflow:complete",
        "workflow:error",
        "workflow:parked",
        "workflow:pause",
        "workflow:rollback_complete",
        "workflow:rollback_failed",
        "workflow:suspend",
    }
)


class Activity:
    """Knows what of an engine is under way: calls of its storage, and of users' functions."""

    def __init__(self) -> None:
        # Threads add and discard as well; each is one act of the interpreter.
        self._under_way: set[object] = set()
        self._handlers: dict[str, set[str]] = {}
        self._sleeping: set[tuple[str, str]] = set()
        self._held: set[str] = set()
        self._changes = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Something is under way that takes time of its own."""
        call = object()
        self._under_way.add(call)
        self._changes += 1
        try:
            yield
        finally:
            self._under_way.discard(call)
            self._changes += 1

    @contextmanager
    def asleep(self, id: str, step: str) -> Iterator[None]:
        """The handler of this step only waits for the clock."""
        self._sleeping.add((id, step))
        self._changes += 1
        try:
            yield
        finally:
            self._sleeping.discard((id, step))
            self._changes += 1

    @contextmanager
    def held(self, id: str) -> Iterator[None]:
        """An instance stands still, whatever was under way in it."""
        self._held.add(id)
        self._changes += 1
        try:
            yield
        finally:
            self._held.discard(id)
            self._changes += 1

    def told(self, event: FluxTraceEvent) -> None:
        """Hear, as an observer, which handlers are called, and that they have ended."""
        self._changes += 1
        if event.type in _BEGINS:
            self._handlers.setdefault(event.workflow_id, set()).add(str(event.step_name))
        elif event.type in _ENDS:
            self._handlers.get(event.workflow_id, set()).discard(str(event.step_name))
        elif event.type in _RESTS:
            self._handlers.pop(event.workflow_id, None)

    async def quiet(self) -> None:
        """Return once nothing can happen any more unless time passes, or somebody acts."""
        turns, busy, seen = 0, 0, -1
        while turns < _TURNS:
            busy = busy + 1 if self._is_busy else 0
            await asyncio.sleep(0 if busy < _BRIEF else 0.001)
            turns = turns + 1 if self._changes == seen and not self._is_busy else 0
            seen = self._changes

    async def changes_within(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        """Whether, in so many real seconds, something begins or ends after all, or it `is_over`."""
        seen, end = self._changes, time.monotonic() + seconds
        while self._changes == seen and not is_over():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.005)
        return True

    @property
    def _is_busy(self) -> bool:
        return bool(self._under_way) or any(
            (id, step) not in self._sleeping
            for id, steps in self._handlers.items()
            if id not in self._held
            for step in steps
        )
