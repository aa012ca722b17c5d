"""The instances that are kept under tests/upgrades: what they lived through, and how they go on.

`live` brings one after the other into its state on a storage, always in the same way, by a clock of
its own. `shown` tells how they stand. `go_on` comes long after, in a mended world, and lets each of
them end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from attrs import asdict, frozen, has

from flux import FluxConfig, FluxEngine, WorkflowFilter, WorkflowState, WorkflowStorage
from jumping import DAY, FAR, JumpingClock
from kept_places import scrubbed
from kept_workflows import World
from saves import DiedError
from sharing import Sharing

Act = Callable[[FluxEngine, str], Awaitable[Any]]

LATER = 40 * DAY
"""Seconds that pass before the instances go on: naps are over by then, waits for signals not."""


@frozen(kw_only=True)
class Life:
    """An instance begins in a process of its own, and so does all that befalls it `then`.

    `ends` is what people do, long after, so that it ends. `begun` waits until its first process is
    over, if that is not at its first rest. Between two processes pass so many seconds.
    """

    id: str
    workflow: str
    input: Any = None
    begun: Act | None = None
    then: tuple[Act, ...] = ()
    ends: tuple[Act, ...] = ()
    between: float = 60.0
    max_recoveries: int = 10


# What befalls an instance


def signal(name: str, payload: Any = None, signal_id: str | None = None, to: str = "") -> Act:
    """A signal to this instance, or to its child: `to` is appended to the id."""
    return lambda engine, known: engine.signal(known + to, name, payload, signal_id=signal_id)


def served(id: str) -> Act:
    """Another one at the desk has been served."""
    return lambda engine, _: engine.signal(id, "served")


def restart(step: str) -> Act:
    return lambda engine, known: engine.restart(known, step)


def skip(step: str) -> Act:
    return lambda engine, known: engine.skip_compensation(known, step, reason="by phone")


async def pause(engine: FluxEngine, id: str) -> None:
    await engine.pause(id, reason="stock-taking")
    await until_it_is("paused")(engine, id)


async def resume(engine: FluxEngine, id: str) -> None:
    await engine.resume(id)


async def retry_rollback(engine: FluxEngine, id: str) -> None:
    await engine.retry_rollback(id)


async def cancel(engine: FluxEngine, id: str) -> None:
    await engine.cancel(id, reason="a change of mind")
    await until(lambda state: state.status.is_ended)(engine, id)


def until(holds: Callable[[WorkflowState], bool], of: str = "") -> Act:
    """Only what the engine does by itself; a process that has died sees no state any more."""

    async def look(engine: FluxEngine, id: str) -> None:
        while not holds(await engine.get(id + of)):  # noqa: ASYNC110 - seen by looking
            await asyncio.sleep(0.001)

    return look


def until_it_is(status: str, of: str = "") -> Act:
    return until(lambda state: state.status == status, of)


def in_turn(*acts: Act) -> Act:
    async def act(engine: FluxEngine, id: str) -> None:
        for one in acts:
            await one(engine, id)

    return act


def found_by(name: str, payload: Any, **keys: str) -> Act:
    return lambda engine, _: engine.deliver(name, payload, correlation=keys)


APPROVED = signal("approved", {"by": "kim", "at": [1, 2.5, None, True, "ä"]}, "evt-1")


def order(id: str, *then: Act, ends: Iterable[Act] = ()) -> Life:
    input = {"sku": f"article {id}", "total": 900.0, "notes": ["fragile"]}
    return Life(id=id, workflow="order", input=input, then=then, ends=tuple(ends))


def trip(id: str, *then: Act, ends: Iterable[Act] = (), **input: Any) -> Life:
    return Life(id=id, workflow="trip", input=input, then=then, ends=tuple(ends))


CHILD = ":travel:1"
PARTY = in_turn(until_it_is("suspended"), until_it_is("suspended", CHILD))
_LEE = {"by": "lee"}

LIVES = (
    order("completed", APPROVED, ends=[restart("approval"), signal("approved", _LEE, "evt-3")]),
    order("suspended", ends=[found_by("approved", _LEE, sku="article suspended")]),
    order("unread", signal("news", "nobody reads it", "evt-2"), ends=[signal("approved", _LEE)]),
    order("paused", pause, ends=[resume, signal("approved", _LEE)]),
    order("cancelled", cancel),
    trip("abandoned", dies_in=["hotel"]),
    trip("rolled_back", fails_in=["car"], ends=[restart("flight")]),
    trip("rolling_back", fails_in=["car"], dies_in=["undo hotel"]),
    trip("rollback_failed", fails_in=["car", "undo hotel"], ends=[retry_rollback]),
    trip("settled", skip("hotel"), fails_in=["car", "undo hotel"]),
    trip("restarted", restart("hotel"), ends=[restart("car")]),
    Life(
        id="cancelling", workflow="hosted trip", input={"dies_in": ["undo hotel"]}, then=(cancel,)
    ),
    Life(id="failed", workflow="poison", input={"fails_in": ["taste"]}, ends=(resume,)),
    Life(id="parent", workflow="party", begun=PARTY, ends=(signal("invitation", to=CHILD),)),
    Life(
        id="told",
        workflow="party",
        begun=PARTY,
        then=(in_turn(signal("invitation", to=CHILD), until_it_is("completed")),),
    ),
    Life(id="merged", workflow="fan"),
    Life(id="beside", workflow="fan", input={"dies_in": ["right"]}),
    Life(id="mapped", workflow="batch", ends=(restart("send"),)),
    Life(id="in_a_map", workflow="batch", input={"dies_in": ["pack b"]}),
    Life(id="in_a_batch", workflow="batch", input={"dies_in": ["send a+b"]}),
    Life(id="inside", workflow="desk", input={"desk": "north"}, ends=(signal("served"),)),
    Life(
        id="queued",
        workflow="desk",
        input={"desk": "north"},
        begun=until(lambda state: state.reason is not None),
        ends=(signal("served"),),
    ),
    Life(id="served", workflow="desk", input={"desk": "south"}),
    Life(
        id="called",
        workflow="desk",
        input={"desk": "south"},
        begun=until(lambda state: state.reason is not None),
        then=(in_turn(served("served"), until_it_is("suspended")),),
        ends=(signal("served"),),
    ),
    Life(id="priced", workflow="prices", input={"sku": "A1"}),
    Life(id="cached", workflow="prices", input={"sku": "A1"}, ends=(restart("price"),)),
    Life(id="routed", workflow="routes", input={"fails_in": ["print"]}, ends=(restart("call"),)),
    Life(id="unsure", workflow="routes", input={"dies_in": ["sign"]}),
    Life(id="napping", workflow="waits", input={"nap": 30 * DAY, "ask": 0}),
    Life(id="asking", workflow="waits", input={"nap": 0, "ask": 30 * DAY}),
    Life(
        id="dialling",
        workflow="waits",
        input={"nap": 0, "ask": 0, "fails_in": ["dial"]},
        begun=until(lambda state: any(step.retry_at for step in state.history)),
    ),
    # The last one: by its end the leases of all others have run out.
    Life(
        id="parked",
        workflow="poison",
        input={"dies_in": ["taste"]},
        then=(until_it_is("parked"), until_it_is("parked")),
        ends=(resume,),
        between=5 * DAY,
        max_recoveries=1,
    ),
)


def clock_at(moment: str) -> JumpingClock:
    """A clock that stands at this ISO time."""
    clock = JumpingClock()
    clock.advance((datetime.fromisoformat(moment) - clock.now()).total_seconds())
    return clock


class Lives:
    """The processes in which these instances live, one after the other, on one storage."""

    def __init__(self, storage: WorkflowStorage, clock: JumpingClock | None = None) -> None:
        self.clock = clock or JumpingClock()
        self.values: set[str] = set()
        """The keys of the shared values that were asked for."""
        self.storage = storage

    async def live(self) -> None:
        """All the lives, from the beginning."""
        for life in LIVES:
            begin: Act = partial(_begin, life)
            for act in (begin, *life.then):
                await self._befall(life, act)
                self.clock.advance(life.between)

    async def shown(self) -> dict[str, Any]:
        """How all instances stand, children too, as JSON has it, replaced executions included."""
        async with FluxEngine(self.storage, clock=self.clock) as engine:
            heads = await engine.list(WorkflowFilter(limit=1000))
            states = [await engine.get(head.id, replaced=True) for head in heads]
        return _shown({state.id: state for state in states})

    async def go_on(self, ids: Collection[str]) -> dict[str, Any]:
        """How these instances end, with what ran on the way there."""
        world = World()
        async with FluxEngine(
            self.storage, workflows=world.workflows(), config=FluxConfig(**FAR), clock=self.clock
        ) as engine:
            lives = [life for life in LIVES if life.id in ids]
            ended = {life.id: await self._end(life, engine) for life in lives}
        return _shown({id: {**end, "ran": world.ran[id]} for id, end in ended.items()})

    async def _befall(self, life: Life, act: Act) -> None:
        process = Sharing(self.storage)
        known = {life.workflow, "hosted trip"} if life.workflow == "party" else {life.workflow}
        async with FluxEngine(
            process,
            workflows=[one for one in World(process).workflows() if one.name in known],
            config=FluxConfig(grace=0.2, max_recoveries=life.max_recoveries, **FAR),
            clock=self.clock,
        ) as engine:
            with suppress(DiedError):
                async with asyncio.timeout(10):
                    await act(engine, life.id)
        self.values.update(process.asked)

    async def _end(self, life: Life, engine: FluxEngine) -> dict[str, Any]:
        for act in life.ends:
            await act(engine, life.id)
        result = await engine.result(life.id, timeout=10)
        return {"status": result.status, "data": result.data, "error": result.error}


async def _begin(life: Life, engine: FluxEngine, id: str) -> None:
    if life.begun is None:
        await engine.execute(life.workflow, life.input, id=id, labels={"kept": "for long"})
    else:
        await engine.start(life.workflow, life.input, id=id, labels={"kept": "for long"})
        await life.begun(engine, id)


def _shown(by_id: dict[str, Any]) -> dict[str, Any]:
    """The values as they are read again from JSON; without tracebacks, which tell of code."""
    text = scrubbed(orjson.dumps(by_id, default=_fields).decode())
    shown: dict[str, Any] = orjson.loads(text)
    return shown


def _fields(value: Any) -> Any:
    return asdict(value, recurse=False) if has(type(value)) else dict(value)
