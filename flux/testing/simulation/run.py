"""One run of a simulation: one seed, several engines, one storage, one end."""

import asyncio
import logging
import random
import warnings
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from attrs import evolve

from flux.config import FluxConfig
from flux.definition.workflow import WorkflowDefinition
from flux.engine.engine import FluxEngine
from flux.storage import WorkflowStorage
from flux.testing.simulation.calls import Call, World
from flux.testing.simulation.clients import Client
from flux.testing.simulation.faults import Fate, Faults, Strike
from flux.testing.simulation.hosts import GoneError, Host, HostClock
from flux.testing.simulation.ledger import Kept, ViolationError
from flux.testing.simulation.links import Link, Net, ServerLink
from flux.testing.simulation.loop import RUNS_IN, NothingLeftError, VirtualLoop
from flux.testing.simulation.rules_of_calls import RulesOfCalls
from flux.testing.simulation.rules_of_rest import violations_of_end
from flux.testing.simulation.scenario import Scenario
from flux.testing.simulation.trace import Trace, without_addresses

T = TypeVar("T")

CONFIG = FluxConfig(lease=30.0, poll=10.0, grace=5.0, max_recoveries=10)

_CALLS = 40
"""Incidents strike among so many of the first calls of the storage."""

_LATENCIES = (0.0, 0.0, 0.01, 0.1, 1.0)


class Run:
    """Plays one seed; `violation` is what it has found, None for nothing."""

    def __init__(
        self,
        seed: int,
        make: Callable[[Random], Scenario],
        storage: WorkflowStorage,
        *,
        engines: int,
        faults: Faults,
    ) -> None:
        self.seed = seed
        self.violation: str | None = None
        chance = Random(f"{seed}:faults")
        order = Random(f"{seed}:order")
        in_order = chance.random() < 0.25
        # What has to do with files and processes is missing, and nobody asks for it.
        self.loop = VirtualLoop(order, in_order=in_order)  # type: ignore[abstract]
        self.trace = Trace(self.loop.time)
        self.scenario = make(Random(f"{seed}:scenario"))
        self.faults = faults
        self._engines = engines
        self._chance = chance
        config = self.scenario.config or CONFIG
        self._config = evolve(config, logger=self._logger())
        fate = Fate.drawn(faults, chance, calls=_CALLS, horizon=self.scenario.horizon)
        self._fate = fate
        # With a server, as of Redis, all go by its time; else each by that of its own host.
        self._has_server = chance.random() < 0.5
        self._storage = storage
        self._clock = _CallersClock(self) if not self._has_server else HostClock(self.loop)
        self.net = Net(
            storage,
            self._clock,
            chance=chance,
            strikes=fate.at_calls,
            latency=chance.choice(_LATENCIES),
            longest=2 * config.lease,
            trace=self.trace,
            violated=self.violated,
        )
        if not fate.at_calls and not fate.at_times:
            self.net.ledger.well_since = -self.scenario.patience
        self.definitions: dict[str, WorkflowDefinition] = {}
        self._rules = RulesOfCalls(
            self.net.ledger,
            self.definitions,
            leases_agree=self._has_server or not _jumps(fate),
            times_agree=not _jumps(fate),
            slack=2 * max(_LATENCIES) if self._has_server else 0.0,
        )
        self.world = World(
            here=self.here,
            now=self.loop.time,
            begins=self._look_at,
            ends=self._look_at_end,
            asks=self._look_at_question,
            faults=faults,
            chance=Random(f"{seed}:handlers"),
            trace=self.trace,
        )
        self._rules.world = self.world
        self.workflow = self.world.watched(self.scenario.workflow)
        self._define(self.workflow)
        self.hosts: list[Host] = []
        self._all: list[Host] = []
        self._asked: list[tuple[asyncio.Task[Any], Host]] = []
        """What was asked of which host, whether or not somebody still waits for the answer."""
        self._hosts_made = 0

    def play(self) -> None:
        """Play it to its end, or to the first violation."""
        state = random.getstate()
        random.seed(self.seed)  # back-offs, and what users draw
        with warnings.catch_warnings():
            # A coroutine of a process that died before it began is never awaited.
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                self.loop.run_until_complete(self._play())
            except NothingLeftError as error:
                self.violated(f"S24: {error}")
            finally:
                self.loop.close()
                random.setstate(state)
        if self.violation is None and self.loop.errors:
            self.violation = f"an error that nobody caught: {self.loop.errors[0]}"

    def violated(self, why: str) -> None:
        """Take note of the first violation, and end the run."""
        if self.violation is None:
            self.violation = without_addresses(why)
            self.trace.note("", "VIOLATION", why)
            self.loop.stop()

    # Hosts

    def here(self) -> Host:
        """The host whose code is running."""
        process = RUNS_IN.get()
        return next(host for host in self._all if host.process is process)

    async def boot(self, place: int) -> None:
        """Let a new process with an engine begin at this place, until one is up."""
        while True:
            host = self._made()
            self.trace.note(host.name, "begins")
            try:
                await self.ask(host, lambda engine: engine.init())
            except GoneError:
                continue
            except Exception as error:
                self.trace.note(host.name, "did not begin", type(error).__name__)
                host.die()
                await asyncio.sleep(1.0)
                continue
            self.hosts[place] = host
            return

    async def ask(self, host: Host, verb: Callable[[FluxEngine], Awaitable[T]]) -> T:
        """Let an engine do something; `GoneError` if its process dies before it answers."""

        async def asked() -> T:
            return await verb(host.engine)

        task = self.loop.create_task(asked(), context=host.context())
        self._asked = [(one, other) for one, other in self._asked if not one.done()]
        self._asked.append((task, host))
        ends: list[asyncio.Future[Any]] = [task, host.died]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError(host.name)
        answer: T = task.result()
        return answer

    def usable(self) -> Host | None:
        """A host that a client may ask for something, by chance."""
        found = [host for host in self.hosts if host.is_usable]
        return self._chance.choice(found) if found else None

    def _made(self) -> Host:
        self._hosts_made += 1
        name = f"E{self._hosts_made}"
        clock = HostClock(self.loop, began=1000.0 * self._hosts_made)
        host = Host(name, self.loop, clock)
        link = ServerLink if self._has_server else Link
        host.engine = FluxEngine(
            link(self.net, host), workflows=[self.workflow], config=self._config, clock=clock
        )
        self._all.append(host)
        return host

    # The script

    async def _play(self) -> None:
        await self._storage.init(self._clock)
        self.hosts = [self._made() for _ in range(self._engines)]
        await asyncio.gather(*(self.boot(place) for place in range(self._engines)))
        clients = [
            Client(self, f"i{number}", Random(f"{self.seed}:client {number}"))
            for number in range(1, self.scenario.instances + 1)
        ]
        incidents = self.loop.create_task(self._incidents())
        await asyncio.gather(*(client.act() for client in clients))
        await incidents
        await self._calm_down()
        await asyncio.gather(*(client.see_to_the_end() for client in clients))
        await self._end(clients)

    async def _incidents(self) -> None:
        for time, strike in self._fate.at_times:
            await asyncio.sleep(max(0.0, time - self.loop.time()))
            await self._strike(strike)
        await asyncio.sleep(max(0.0, self.scenario.horizon - self.loop.time()))

    async def _strike(self, strike: Strike) -> None:
        if strike is Strike.THEFT:
            await self._steal()
            return
        place = self._chance.randrange(len(self.hosts))
        host = self.hosts[place]
        if not host.is_usable:
            return
        self.trace.note(host.name, f"FAULT {strike}")
        longest = 2 * self._config.lease
        if strike is Strike.CRASH:
            host.die()
        elif strike is Strike.STALL:
            host.stall(self._chance.uniform(0.1, 1) * longest)
        elif strike is Strike.JUMP:
            host.clock.ahead += timedelta(seconds=self._chance.uniform(-1, 1) * longest)
        elif strike is Strike.STOP:
            host.is_closing = True
            self.loop.create_task(self._stop(host))

    async def _stop(self, host: Host) -> None:
        try:
            await self.ask(host, lambda engine: engine.close())
        except GoneError:
            return
        self.trace.note(host.name, "has stopped")
        self._look_for_leases(host)
        host.die()

    def _look_for_leases(self, host: Host) -> None:
        kept_by = [k.id for k in self.net.ledger.kept.values() if _leased_to(k, host)]
        if kept_by and self.net.is_calm:
            self.violated(f"S27: {host} has stopped, and keeps the lease of {kept_by[0]!r}")

    async def _steal(self) -> None:
        leased = [k for k in self.net.ledger.kept.values() if k.lease_until is not None]
        if not leased:
            return
        kept = self._chance.choice(leased)
        self.trace.note("", "FAULT theft", kept.id)
        thief = Host("thief", self.loop, HostClock(self.loop))
        self._all.append(thief)
        kept.was_stolen = True
        now = self._clock.now()
        record = await self._storage.claim(kept.id, owner="thief:1", lease=1.0, held=kept.owner)
        if record is None:
            self.violated(f"a claim of {kept.id!r} with the token of its holder was refused")
        else:
            self.net.book(self.net.ledger.claimed, thief, record, now=now, held=kept.owner)

    async def _calm_down(self) -> None:
        """From here on nothing goes wrong any more."""
        self.net.is_calm = self.world.is_calm = True
        if self.net.ledger.well_since is None:
            self.net.ledger.well_since = self.loop.time()
        self.trace.note("", "calm")
        if any(host.process.is_stalled for host in self.hosts):
            await asyncio.sleep(2 * self._config.lease)  # the longest of all stalls
        asked = [task for task, host in self._asked if not host.is_dead and not task.done()]
        if asked:  # else a verb that was slow might come to an instance that has ended
            await asyncio.wait(asked, timeout=4 * self._config.lease)
        for place, host in enumerate(self.hosts):
            if host.is_dead or host.is_closing:
                await self.boot(place)

    async def keep_up(self) -> None:
        """See that there is at least one engine that works."""
        while self.usable() is None:
            await asyncio.sleep(self._chance.uniform(0.5, self._config.lease))
            for place, host in enumerate(self.hosts):
                if host.is_dead and not self.hosts[place].process.is_stalled:
                    await self.boot(place)

    async def _end(self, clients: "list[Client]") -> None:
        cancelled = {client.id for client in clients if client.must_not_complete}
        for kept in list(self.net.ledger.kept.values()):
            for why in violations_of_end(
                kept,
                self.definitions[kept.workflow],
                self.world,
                cancelled=kept.id in cancelled,
            ):
                self.violated(why)
        if self.violation is None and self.scenario.check is not None:
            await self._check(clients)

    async def _check(self, clients: "list[Client]") -> None:
        assert self.scenario.check is not None
        host = self.usable()
        assert host is not None
        states = [await self.ask(host, client.looked) for client in clients if client.exists]
        try:
            self.scenario.check(states)
        except AssertionError as error:
            self.violated(f"check: {error}")

    # Small things

    def _define(self, definition: WorkflowDefinition) -> None:
        self.definitions[definition.name] = definition
        for child in definition.children:
            self._define(child)

    def _look_at(self, call: Call) -> None:
        kept = self.net.ledger.kept.get(call.instance)
        call.was_late = kept is not None and kept.host is not call.host
        try:
            self._rules.look(call)
        except ViolationError as violation:
            self.violated(str(violation))

    def _look_at_end(self, call: Call) -> None:
        try:
            self._rules.look_at_end(call)
        except ViolationError as violation:
            self.violated(str(violation))

    def _look_at_question(self, instance: str, step: str, host: Host) -> None:
        try:
            self._rules.look_at_question(instance, step, host)
        except ViolationError as violation:
            self.violated(str(violation))

    def _logger(self) -> logging.Logger:
        logger = logging.Logger("flux.simulation", logging.WARNING)  # noqa: LOG001 - of this run
        logger.addHandler(_Tracing(self))
        return logger


class _Tracing(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def handle(self, record: logging.LogRecord) -> bool:
        process = RUNS_IN.get()
        error = record.exc_info[1] if record.exc_info else None
        self._run.trace.note(
            "" if process is None else process.name,
            str(record.msg),
            record.__dict__.get("instance", ""),
            "" if error is None else f"{type(error).__name__}: {error}",
        )
        return True


class _CallersClock(HostClock):
    """The clock of the host that calls: a storage without a server has no other."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.loop)
        self._run = run

    def now(self) -> Any:
        return super().now() if RUNS_IN.get() is None else self._run.here().clock.now()


def _leased_to(kept: Kept, host: Host) -> bool:
    return kept.lease_until is not None and kept.host is host


def _jumps(fate: Fate) -> bool:
    return any(strike is Strike.JUMP for _, strike in fate.at_times)
