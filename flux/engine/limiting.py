"""Whose turn it is: the limits of a workflow, asked before the first step of an instance."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from flux import events
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.caching import key_text
from flux.engine.gates import Bound, Gate, Place, bounds_of
from flux.engine.loading import load
from flux.engine.services import Services
from flux.errors import InstanceNotFoundError, StorageError
from flux.events import Event
from flux.frozen import frozen
from flux.state.instance import Instance
from flux.state.status import WorkflowStatus
from flux.storage import SharedValues, Signal

T = TypeVar("T")

_MAY_WAIT = (WorkflowStatus.PENDING, WorkflowStatus.RUNNING)
_NOT_CALLED = tuple(status for status in WorkflowStatus if status not in _MAY_WAIT)


@frozen(kw_only=True)
class Waits:
    """It is not the instance's turn; it looks again after `rest` seconds, or when it is called."""

    told: str
    gates: tuple[str, ...]
    rest: float


class Turns:
    """Asks for one instance, and gives its places back.

    `ask` asks a function of the user's, `call` tells this engine of an instance that was called.
    """

    def __init__(
        self,
        services: Services,
        definition: WorkflowDefinition,
        instance: Instance,
        *,
        ask: Callable[[StepDefinition, Callable[[Any], Any], str], Awaitable[Any]],
        call: Callable[[str], None],
    ) -> None:
        self._services = services
        self._definition = definition
        self._instance = instance
        self._ask = ask
        self._tell = call

    @property
    def is_wanted(self) -> bool:
        """Whether the instance is to be held up to the limits before it goes on.

        What had begun before its workflow had any is not.
        """
        head = self._instance.head
        if not self._definition.limits or head.status not in _MAY_WAIT:
            return False
        return head.ticks == 0 if head.turn is None else not head.turn.admitted

    @property
    def calls(self) -> tuple[int, ...]:
        """The signals in the inbox that told the instance to look."""
        return waiting.calls(self._instance)

    def admitted(self, bounds: Sequence[Bound], at: datetime) -> Event:
        """What happens to an instance whose turn it is."""
        return events.InstanceAdmitted(at=at, gates=_gates(bounds), calls=self.calls)

    def queued(self, waits: Waits, at: datetime) -> Event | None:
        """What happens to one that waits; None if that was noted before."""
        turn, reason = self._instance.head.turn, self._instance.head.reason
        noted = turn is not None and turn.gates == waits.gates and reason == waits.told
        if noted and not self.calls:
            return None
        return events.InstanceQueued(at=at, reason=waits.told, gates=waits.gates, calls=self.calls)

    async def bounds(self) -> list[Bound]:
        """What holds the instance up; raises what a key function raises."""
        first, keys = self._definition.order[0], list[bytes | None]()
        for limit in self._definition.limits:
            if limit.key is None:
                keys.append(None)
                continue
            key = await self._ask(first, limit.key, "the key of a limit before step")
            keys.append(key_text(key, "limit.key"))
        return bounds_of(self._definition.name, self._definition.limits, keys)

    async def ask(self, bounds: Sequence[Bound]) -> Waits | None:
        """None if it is the instance's turn."""
        return await self._services.patiently(
            lambda: self._ask_all(bounds), instance=self._instance.id
        )

    async def leave(self) -> None:
        """Give the places of an instance back that has ended, or that waits no more.

        Whatever fails here: those who wait find out by themselves, a little later.
        """
        head = self._instance.head
        if head.turn is None or not head.turn.gates:
            return
        gave_up = not head.turn.admitted and head.status not in _MAY_WAIT
        if not head.status.is_ended and not gave_up:
            return
        try:
            for key in head.turn.gates:
                await self._leave(key)
        except StorageError:
            told = {"instance": self._instance.id}
            self._services.logger.exception("limit.not_left", extra=told)

    async def _ask_all(self, bounds: Sequence[Bound]) -> Waits | None:
        begins: list[Bound] = []
        for bound in bounds:
            rest = await self._enter(bound)
            if rest is None:
                begins += [bound] if bound.window is not None else []
                continue
            # It does not begin yet, so it does not count as one that has begun.
            for begun in begins:
                await self._change(begun.key, lambda gate, now: gate.step_back(self._place, now))
            return Waits(told=bound.told, gates=_gates(bounds), rest=rest)
        return None

    async def _enter(self, bound: Bound) -> float | None:
        lease = self._services.config.lease
        while True:
            answer = await self._change(
                bound.key, lambda gate, now: gate.ask(self._place, bound, now, lease=lease)
            )
            gone = [place for place in answer.to_check if await self._is_gone(place)]
            if gone:
                await self._change(bound.key, lambda gate, now: gate.drop(gone))  # noqa: B023
            await self._call(bound.key, answer.to_call)
            if answer.is_in or not gone:
                return None if answer.is_in else answer.rest

    async def _leave(self, key: str) -> None:
        def left(gate: Gate, now: float) -> tuple[Place, ...]:
            gate.leave(self._place)
            return gate.to_call(now, lease=self._services.config.lease)

        await self._call(key, await self._change(key, left))

    async def _call(self, key: str, places: Collection[Place]) -> None:
        """Tell those who can enter now; who is no longer there makes room for the next."""
        while places:
            gone = [place for place in places if not await self._is_called(place)]
            if not gone:
                return

            def dropped(gate: Gate, now: float) -> tuple[Place, ...]:
                gate.drop(gone)  # noqa: B023
                return gate.to_call(now, lease=self._services.config.lease)

            places = await self._change(key, dropped)

    async def _is_called(self, place: Place) -> bool:
        signal = Signal(name=waiting.TURN, payload=b"null", sent_at=self._services.clock.now())
        receipt = await self._services.storage.send_signal(place.id, signal, refused=_NOT_CALLED)
        if receipt is None or receipt.number is None:
            return False
        self._tell(place.id)
        return True

    async def _is_gone(self, place: Place) -> bool:
        """Whether one that is inside has no right to be there any more."""
        try:
            head = (await load(self._services.storage, place.id, history=False)).instance.head
        except InstanceNotFoundError:
            return True
        if head.status.is_ended or head.turn is None:
            return head.status.is_ended
        gave_up = not head.turn.admitted and head.status not in _MAY_WAIT
        return gave_up or head.turn.number != place.turn

    async def _change(self, key: str, act: Callable[[Gate, float], T]) -> T:
        """What `act` says of the gate, once what it made of it is stored."""
        values = cast(SharedValues, self._services.storage)
        # Within an engine one after the other: of those that change it at once, only one succeeds.
        lock = self._services.gate_locks.setdefault(key, asyncio.Lock())
        async with lock:
            while True:
                before = await values.get_value(key)
                gate, now = Gate.read(before), self._services.clock.now().timestamp()
                said = act(gate, now)
                after = gate.text()
                if after == before:
                    return said
                lasts = gate.lasts(now)
                if await values.compare_and_set_value(key, before, after, ttl=lasts):
                    return said

    @property
    def _place(self) -> Place:
        turn = self._instance.head.turn
        return Place(self._instance.id, 1 if turn is None else turn.number)


def _gates(bounds: Sequence[Bound]) -> tuple[str, ...]:
    return tuple(bound.key for bound in bounds)
