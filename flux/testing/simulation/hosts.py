"""The processes of a simulation, each with an engine and a clock of its own."""

import asyncio
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flux.testing.simulation.loop import RUNS_IN, Process, VirtualLoop

if TYPE_CHECKING:
    from flux.engine.engine import FluxEngine

START = datetime(2026, 1, 1, tzinfo=UTC)


class GoneError(Exception):
    """The process that was asked died before it answered."""


class HostClock:
    """The clock of one host: its wall clock may jump, its monotonic one never does."""

    def __init__(self, loop: VirtualLoop, *, began: float = 0.0) -> None:
        self.ahead = timedelta(0)
        """How far the wall clock is wrong."""
        self._loop = loop
        self._began = began

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time()) + self.ahead

    def monotonic(self) -> float:
        return self._loop.time() + self._began

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Host:
    """One process with an engine."""

    engine: "FluxEngine"

    def __init__(self, name: str, loop: VirtualLoop, clock: HostClock) -> None:
        self.name = name
        self.clock = clock
        self.process = Process(name)
        self.died: asyncio.Future[None] = loop.create_future()
        self.is_closing = False
        self.stalls = 0
        """How often it has stood still."""
        self._loop = loop

    def __repr__(self) -> str:
        return self.name

    @property
    def is_dead(self) -> bool:
        return self.process.is_dead

    @property
    def is_usable(self) -> bool:
        """Whether a client may ask it for something."""
        return not (self.process.is_dead or self.process.is_stalled or self.is_closing)

    def context(self) -> Context:
        """A context in which code runs in this process."""
        context = copy_context()
        context.run(RUNS_IN.set, self.process)
        return context

    def die(self) -> None:
        self.process.is_dead = True
        if not self.died.done():
            self.died.set_result(None)

    def stall(self, seconds: float) -> None:
        """Stand still for so long, then go on."""
        if self.process.is_stalled or self.process.is_dead:
            return
        self.process.is_stalled = True
        self.stalls += 1
        outside = copy_context()
        outside.run(RUNS_IN.set, None)
        self._loop.call_later(seconds, self._go_on, context=outside)

    def _go_on(self) -> None:
        self._loop.thaw(self.process)
