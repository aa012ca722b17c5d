"""The outside world of a simulation: it sees every call of a handler, and by whom."""

import asyncio
import inspect
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import Factory, define, evolve

from flux.definition.step import StepDefinition
from flux.definition.wait import Wait
from flux.definition.workflow import WorkflowDefinition
from flux.engine.outcome import NotDone
from flux.errors import OutcomeUnknownError
from flux.testing.simulation.faults import Faults
from flux.testing.simulation.hosts import Host
from flux.testing.simulation.trace import Trace


class InjectedError(RuntimeError):
    """The simulation lets this attempt fail before it has done anything."""


@define(eq=False)
class Call:
    """One call of a handler ("run"), a verifier ("verify") or a compensator ("undo")."""

    kind: str
    host: Host
    instance: str
    step: str
    key: str
    """The key that the step runs with, also for what verifies or undoes it."""
    attempt: int
    began: float
    number: int
    """In the order of beginning."""
    was_late: bool = False
    """Whether its process had lost the instance when it began."""
    ended_at: float | None = None
    stalls: int = 0
    """How often its process had stood still when it began."""
    ended: str | None = None
    """"returned", "waits", "raised", "cancelled"; None while it runs, and for ever if it died."""
    value: Any = None


@define
class World:
    """All calls of a run, and what looks at each of them when it begins."""

    here: Callable[[], Host]
    now: Callable[[], float]
    begins: Callable[[Call], None]
    ends: Callable[[Call], None]
    asks: Callable[[str, str, Host], None]
    """Told of the instance, the step and the process when a function without effects is asked."""
    faults: Faults
    chance: Random
    trace: Trace
    is_calm: bool = False
    calls: list[Call] = Factory(list)
    by_key: dict[str, list[Call]] = Factory(dict)
    """The calls of kind "run" by key."""

    def calls_of(self, instance: str) -> list[Call]:
        return [call for call in self.calls if call.instance == instance]

    def watched(self, definition: WorkflowDefinition) -> WorkflowDefinition:
        """The same workflow, with functions that are seen by this world."""
        return evolve(
            definition,
            steps=tuple(map(self._watched_step, definition.steps)),
            children=tuple(map(self.watched, definition.children)),
        )

    def _watched_step(self, step: StepDefinition) -> StepDefinition:
        step = self._watched_questions(step)
        if step.kind not in ("step", "map"):
            return step
        return evolve(
            step,
            handler=self._watched(step.handler, "run"),
            verify=None if step.verify is None else self._watched(step.verify, "verify"),
            compensate=None if step.compensate is None else self._watched(step.compensate, "undo"),
        )

    def _watched_questions(self, step: StepDefinition) -> StepDefinition:
        if step.when is not None:
            step = evolve(step, when=self._watched_question(step.when))
        if step.branch is not None:
            step = evolve(
                step, branch=evolve(step.branch, on=self._watched_question(step.branch.on))
            )
        if step.each is not None:
            step = evolve(step, each=evolve(step.each, over=self._watched_question(step.each.over)))
        return step

    def _watched_question(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def asked(ctx: Any) -> Any:
            self.trace.note(self.here().name, "asks", ctx.id, ctx.step)
            self.asks(ctx.id, ctx.step, self.here())
            return function(ctx)

        return asked

    def _watched(self, function: Callable[[Any], Any], kind: str) -> Callable[[Any], Any]:
        async def watched(ctx: Any) -> Any:
            return await self._call(kind, function, ctx)

        return watched

    async def _call(self, kind: str, function: Callable[[Any], Any], ctx: Any) -> Any:
        call = self._begin(kind, ctx)
        try:
            value = await self._answer(kind, function, ctx)
        except asyncio.CancelledError:
            self._end(call, "cancelled")
            raise
        except Exception as error:
            self._end(call, "raised", error)
            raise
        self._end(call, "waits" if isinstance(value, Wait) else "returned", value)
        return value

    async def _answer(self, kind: str, function: Callable[[Any], Any], ctx: Any) -> Any:
        chance = 1.0 if self.is_calm or kind == "verify" else self.chance.random()
        if chance < self.faults.step_errors:
            raise InjectedError("the simulation lets this attempt fail before it does anything")
        value = function(ctx)
        # A wait has an `__await__` only to say that it is not awaited.
        if inspect.isawaitable(value) and not isinstance(value, Wait):
            value = await value
        if kind == "run" and chance > 1 - self.faults.step_unknowns and not self.is_calm:
            raise OutcomeUnknownError("the simulation loses the answer of this attempt")
        return value

    def _begin(self, kind: str, ctx: Any) -> Call:
        call = Call(
            kind=kind,
            host=self.here(),
            instance=ctx.id,
            step=ctx.step,
            key=ctx.step_key if kind == "undo" else ctx.idempotency_key,
            attempt=ctx.attempt,
            began=self.now(),
            number=len(self.calls),
            stalls=self.here().stalls,
        )
        self.trace.note(call.host.name, f"{kind} begins", call.key, f"attempt {call.attempt}")
        self.begins(call)
        self.calls.append(call)
        if kind == "run":
            self.by_key.setdefault(call.key, []).append(call)
        return call

    def _end(self, call: Call, ended: str, value: Any = None) -> None:
        call.ended, call.value, call.ended_at = ended, value, self.now()
        self.ends(call)
        shown = type(value).__name__ if isinstance(value, BaseException) else ""
        self.trace.note(call.host.name, f"{call.kind} {ended}", call.key, shown)


def said_not_done(call: Call) -> bool:
    """Whether a verifier said that its step has not acted."""
    return call.kind == "verify" and call.ended == "returned" and isinstance(call.value, NotDone)
