"""Workflows of chance, for a storage, or for Flux itself, to be tried with."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import Factory, define

from flux.definition.builder import Workflow
from flux.definition.nodes import Cache
from flux.definition.policy import Retry
from flux.definition.wait import sleep, wait
from flux.engine.outcome import done, not_done
from flux.state.status import StepStatus, WorkflowStatus
from flux.state.workflow_state import WorkflowState
from flux.testing.simulation.scenario import Scenario

_DURATIONS = (0.0, 0.0, 0.1, 1.0, 5.0, 40.0)
_FAILS = (0.0, 0.0, 0.0, 0.3, 1.0)
_ODD = (float("nan"), {"deep": [2**64]}, {1: "one"}, [float("inf")])
"""What cannot be kept as JSON."""


def random_scenario(chance: Random) -> Scenario:
    """A sequence or a graph with steps of all kinds, up to three instances, and their signals."""
    made = _Making(chance)
    workflow = made.workflow("main", is_graph=chance.random() < 0.6, depth=0)
    instances = chance.choice((1, 1, 2, 3))
    if instances > 1 and chance.random() < 0.3:
        rate = chance.choice((None, None, "1/m"))
        workflow.limit(concurrency=chance.choice((1, 1, 2)), rate=rate)
    return Scenario(
        workflow,
        {"n": chance.randint(0, 4)},
        instances=instances,
        signals={name: {"of": name} for name in made.signals},
        check=made.check,
        horizon=chance.choice((10.0, 60.0, 120.0)),
    )


@define(eq=False)
class _Making:
    """Makes workflows; its handlers keep to themselves what they have done."""

    chance: Random
    signals: list[str] = Factory(list)
    acted: dict[str, int] = Factory(dict)
    """By key, how often a handler has acted."""
    names: int = 0

    def workflow(self, name: str, *, is_graph: bool, depth: int) -> Workflow:
        chance = self.chance
        deadline = chance.choice((20.0, 90.0)) if chance.random() < 0.1 else None
        # All instances have one input: where it is what they are found by, one lives at a time.
        keys = ("n",) if depth == 0 and chance.random() < 0.1 else ()
        workflow = Workflow(
            name, deadline=deadline, fail_fast=chance.random() < 0.2, correlate_by=keys
        )
        for _ in range(chance.randint(1, 4 if is_graph else 6)):
            kinds = self._graph_kinds(depth) if is_graph else self._kinds()
            chance.choice(kinds)(workflow)
        return workflow

    def check(self, states: Any) -> None:
        """Every handler writes its output to the data, and that its attempt has begun."""
        for state in states:
            if state.status is WorkflowStatus.COMPLETED:
                self._check_data(state)

    def _check_data(self, state: WorkflowState) -> None:
        outputs = {
            entry.name: entry.output
            for entry in state.history
            if not entry.replaced and entry.status is StepStatus.COMPLETED
        }
        for key, written in state.data.items():
            name, _, attempt = key.partition(" ")
            output = outputs.get(name)
            if attempt:
                assert str(output).endswith(f" {attempt}"), (
                    f"S7: data[{key!r}] is left of a failure"
                )
            else:
                assert written == output, f"data[{key!r}] is {written!r}, not its output"

    def _kinds(self) -> list[Callable[[Workflow], Any]]:
        return [
            self._step,
            self._step,
            self._step,
            self._wait,
            self._sleep,
            self._waiting_step,
            self._cached,
        ]

    def _graph_kinds(self, depth: int) -> list[Callable[[Workflow], Any]]:
        kinds: list[Callable[[Workflow], Any]] = [
            *self._kinds(),
            self._group,
            self._group,
            self._branch,
            self._map,
            self._fallback,
            self._continuing,
        ]
        if depth < 2:
            kinds.append(lambda workflow: self._child(workflow, depth))
        return kinds

    # Kinds of steps

    def _step(self, workflow: Workflow, **more: Any) -> str:
        name = self._name("s")
        options = {**self._options(), **more}
        if self.chance.random() < 0.25:
            options["when"] = self._predicate()
        workflow.step(name, self._handler(name), **options)
        return name

    def _cached(self, workflow: Workflow) -> str:
        name = self._name("k")
        duration = self._duration()

        async def handler(ctx: Any) -> Any:
            await asyncio.sleep(duration)
            return [name, ctx.idempotency_key, ctx.attempt]

        ttl = self.chance.choice((None, 5.0, 60.0))
        retries = Retry(self.chance.randint(0, 2), initial=1.0)
        workflow.step(name, handler, pure=True, cache=Cache(ttl=ttl), retries=retries)
        return name

    def _waiting_step(self, workflow: Workflow) -> str:
        name = self._name("w")
        signal = self._signal()
        kind = self.chance.choice(("signal", "timed", "sleep"))
        duration = self.chance.choice((3.0, 20.0))

        def answer() -> Any:
            if kind == "sleep":
                return sleep(duration)
            if kind == "signal":
                return wait(signal)
            return wait(signal, timeout=duration, on_timeout="continue", default="late")

        options = self._options()
        workflow.step(name, self._handler(name, answer), **options)
        return name

    def _wait(self, workflow: Workflow) -> str:
        name = self._name("wait")
        timeout = self.chance.choice((None, None, 5.0, 40.0))
        on_timeout: Any = self.chance.choice(("fail", "continue"))
        workflow.wait(name, self._signal(), timeout, on_timeout if timeout else "fail")
        return name

    def _sleep(self, workflow: Workflow) -> str:
        name = self._name("sleep")
        workflow.sleep(name, self.chance.choice((0.0, 2.0, 35.0)))
        return name

    def _group(self, workflow: Workflow) -> None:
        members: list[Any] = []
        for _ in range(self.chance.randint(2, 3)):
            chain: list[Any] = [
                self._member(workflow) for _ in range(self.chance.choice((1, 1, 2)))
            ]
            members.append(chain)
        workflow.parallel(
            self._name("g"),
            members,
            concurrency=self.chance.choice((None, None, 1, 2)),
            fail_fast=self.chance.random() < 0.3,
        )

    def _member(self, workflow: Workflow) -> str:
        kind = self.chance.choice((self._step, self._step, self._wait, self._waiting_step))
        return kind(workflow)

    def _branch(self, workflow: Workflow) -> None:
        cases: dict[Any, Any] = {
            "left": [self._member(workflow)],
            "right": self.chance.choice((None, [self._member(workflow)])),
        }
        chosen = self.chance.choice(("left", "right", "neither"))
        workflow.branch(
            self._name("b"), on=lambda ctx: chosen, cases=cases, default=[self._member(workflow)]
        )

    def _map(self, workflow: Workflow) -> None:
        name = self._name("m")
        options: dict[str, Any] = self._options()
        options["concurrency"] = self.chance.choice((None, 1, 2))
        options["on_item_failure"] = self.chance.choice(("continue", "stop", "cancel"))
        workflow.map(name, lambda ctx: list(range(ctx.input["n"])), self._item(name), **options)

    def _fallback(self, workflow: Workflow) -> None:
        other = self._name("f")
        self._step(workflow, fallback=other)
        workflow.step(other, self._handler(other), **self._options())

    def _continuing(self, workflow: Workflow) -> None:
        self._step(workflow, on_error="continue")

    def _child(self, workflow: Workflow, depth: int) -> None:
        name = self._name("c")
        child = self.workflow(name, is_graph=self.chance.random() < 0.3, depth=depth + 1)
        workflow.child(name, child)

    # What they do

    def _options(self) -> dict[str, Any]:
        chance = self.chance
        options: dict[str, Any] = {}
        if chance.random() < 0.5:
            options["retries"] = Retry(
                chance.randint(1, 3), initial=chance.choice((0.0, 1.0, 40.0)), factor=2
            )
        if chance.random() < 0.2:
            options["timeout"] = chance.choice((0.5, 10.0))
        if chance.random() < 0.2:
            options["commit"] = True
        if chance.random() < 0.2:
            options["at_most_once"] = True
            if chance.random() < 0.7:
                options["verify"] = self._verifier()
        if chance.random() < 0.7:
            options["compensate"] = self._compensator()
            options["compensate_retries"] = Retry(
                chance.randint(0, 3), initial=chance.choice((0.0, 1.0, 40.0)), factor=2
            )
        return options

    def _predicate(self) -> Any:
        answer = self.chance.random() < 0.6
        duration = self.chance.choice((None, None, 0.0, 0.5, 3.0))
        if duration is None:
            return lambda ctx: answer

        async def ask(ctx: Any) -> bool:
            await asyncio.sleep(duration)
            return answer

        return ask

    def _handler(self, name: str, answer: Callable[[], Any] | None = None) -> Any:
        before, after = self._duration(), self._duration()
        fails = self.chance.choice(_FAILS)
        draw = Random(self.chance.random()).random
        odd = self.chance.choice(_ODD) if self.chance.random() < 0.03 else None

        async def handler(ctx: Any) -> Any:
            if answer is None:
                ctx.data[f"{name} {ctx.attempt}"] = "this attempt has begun"
            if before:
                await asyncio.sleep(before)
            if draw() < fails:
                raise RuntimeError(f"{name} fails")
            self.acted[ctx.idempotency_key] = self.acted.get(ctx.idempotency_key, 0) + 1
            if after:
                await asyncio.sleep(after)
            if answer is not None:
                return answer()
            if odd is not None and draw() < 0.5:
                return odd
            output = f"{ctx.idempotency_key} {ctx.attempt}"
            ctx.data[name] = output
            return output

        return handler

    def _item(self, name: str) -> Any:
        duration = self._duration()
        fails = self.chance.choice((0.0, 0.0, 0.2))
        draw = Random(self.chance.random()).random

        async def item(ctx: Any) -> Any:
            if duration:
                await asyncio.sleep(duration)
            if draw() < fails:
                raise RuntimeError(f"{name} fails")
            return [name, ctx.index, ctx.item]

        return item

    def _verifier(self) -> Any:
        duration = self._duration()

        async def verify(ctx: Any) -> Any:
            if duration:
                await asyncio.sleep(duration)
            acted = self.acted.get(ctx.idempotency_key)
            return done(f"verified {acted}") if acted else not_done

        return verify

    def _compensator(self) -> Any:
        duration = self._duration()
        fails = self.chance.choice((0.0, 0.0, 0.5))
        draw = Random(self.chance.random()).random

        async def compensate(ctx: Any) -> None:
            if duration:
                await asyncio.sleep(duration)
            if draw() < fails:
                raise RuntimeError("the compensator fails")

        return compensate

    def _duration(self) -> float:
        return self.chance.choice(_DURATIONS)

    def _name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    def _signal(self) -> str:
        name = f"go{len(self.signals) + 1}"
        self.signals.append(name)
        return name
