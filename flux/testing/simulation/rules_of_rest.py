"""What must be true of an instance that has come to its rest, or its end."""

import math
from collections.abc import Iterator

import orjson

from flux.definition.workflow import WorkflowDefinition
from flux.state.execution import Execution
from flux.state.status import CompensationStatus, Outcome, StepStatus, WorkflowStatus
from flux.testing.simulation.calls import World
from flux.testing.simulation.ledger import Kept, is_undone

_S = WorkflowStatus


def violations_of_end(
    kept: Kept, definition: WorkflowDefinition, world: World, *, cancelled: bool
) -> Iterator[str]:
    """What is wrong with an instance that has ended."""
    if not kept.status.is_ended:
        yield f"S16: {kept.id!r} does not end: it is {kept.status}"
    if cancelled and kept.status is _S.COMPLETED and not kept.is_child:
        yield f"S26: {kept.id!r} completed, although its cancel was acknowledged"
    for execution in kept.executions.values():
        step = definition.step(execution.step)
        if step.kind in ("step", "map", "item"):
            is_map = step.kind == "map" and step.name == execution.step
            yield from () if is_map else _wrong_results(kept, execution, world)
        if kept.status is _S.ROLLED_BACK and _failed_to_undo(execution):
            yield f"S14: {kept.id!r} is rolled back, but to undo {execution.step!r} has failed"
        if kept.status is _S.ROLLED_BACK and step.compensate is not None:
            is_map = step.kind == "map" and step.name == execution.step
            if execution.is_owed and not is_map:
                yield f"S11: {kept.id!r} is rolled back, but {execution.step!r} is not undone"
    if kept.status is _S.COMPLETED:
        yield from _left_undone(kept, definition)
    yield from _wrong_signals(kept, definition)


def violations_of_rest(kept: Kept, *, paused: bool, may_park: bool) -> Iterator[str]:
    """What is wrong with an instance with which nothing happens any more."""
    if not kept.status.is_rest:
        yield f"S24: {kept.id!r} is stuck: it is {kept.status}, and nobody drives it"
    if kept.status is _S.PAUSED and not paused:
        yield f"S26: {kept.id!r} is paused, and nobody has asked for that"
    if kept.status is _S.ROLLBACK_FAILED and not any(
        map(_failed_to_undo, kept.executions.values())
    ):
        yield f"S14: {kept.id!r} is {kept.status}, though no compensator has failed for good"
    if kept.status is _S.PARKED and not may_park:
        yield f"S25: {kept.id!r} is parked ({kept.head.reason}) before its time"
    if kept.status is not _S.SUSPENDED:
        return
    unread = {signal.name for signal in kept.unread()}
    for execution in kept.executions.values():
        waiting = execution.waiting
        if execution.replaced or execution.status is not StepStatus.SUSPENDED or waiting is None:
            continue
        if waiting.signal in unread:
            yield f"S18: {kept.id!r} waits for {waiting.signal!r}, which is in its inbox"
        if waiting.until is not None:
            yield f"S20: {kept.id!r} waits until {waiting.until}, and is due at no time"


def _failed_to_undo(execution: Execution) -> bool:
    undone = execution.compensation
    return undone is not None and undone.status is CompensationStatus.FAILED


def _wrong_results(kept: Kept, execution: Execution, world: World) -> Iterator[str]:
    key = f"{kept.id}:{execution.step}:{execution.generation}"
    if execution.status is StepStatus.COMPLETED and not execution.cached:
        values = [
            c.value.output if c.kind == "verify" else c.value
            for c in world.calls
            if c.key == key and _gave_result(c)
        ]
        said = [orjson.dumps(value) for value in values if _survives(value)]
        waited = any(c.key == key and c.ended == "waits" for c in world.calls)
        if not waited and execution.output not in said:
            yield f"S3: {key!r} completed with {execution.output!r}, which no handler returned"
    if execution.cached:
        found = [
            orjson.dumps(c.value)
            for c in world.calls
            if c.step == execution.step and c.kind == "run" and c.ended == "returned"
        ]
        if execution.output not in found:
            yield f"caches: {key!r} completed with {execution.output!r}, which nobody returned"
    if is_undone(execution):
        undone = (c for c in world.calls if c.key == key and c.kind == "undo")
        if not any(c.ended == "returned" for c in undone):
            yield f"S12: {key!r} counts as undone, but its compensator never returned"


def _survives(value: object) -> bool:
    """Whether JSON gives back what it is given, but for tuples."""
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(_survives, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_survives, value))
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (bool, str)


def _gave_result(call: object) -> bool:
    kind, ended = getattr(call, "kind", ""), getattr(call, "ended", "")
    value = getattr(call, "value", None)
    if ended != "returned" or kind == "undo":
        return False
    return kind == "run" or hasattr(value, "output")


def _left_undone(kept: Kept, definition: WorkflowDefinition) -> Iterator[str]:
    for step in definition.steps:
        execution = kept.current(step.name)
        if execution is not None and not execution.is_settled:
            yield f"S16: {kept.id!r} completed, but step {step.name!r} is {execution.status}"
        if execution is None and definition.is_sequence:
            yield f"S16: {kept.id!r} completed without step {step.name!r}"
    for execution in kept.executions.values():
        undone = execution.compensation
        if undone is not None and undone.status is not CompensationStatus.COMPLETED:
            yield f"S11: {kept.id!r} completed, but {execution.step!r} was being undone"


def _wrong_signals(kept: Kept, definition: WorkflowDefinition) -> Iterator[str]:
    taken: dict[str, list[int]] = {}
    for number in sorted(kept.consumed):
        taken.setdefault(kept.inbox[number - 1].name, []).append(number)
    for name, numbers in taken.items():
        sent = [n for n, signal in enumerate(kept.inbox, start=1) if signal.name == name]
        if numbers != sent[: len(numbers)] and not name.startswith("flux:"):
            yield f"S18: {kept.id!r} took the signals {numbers} of {sent} named {name!r}"
    waits = [e for e in kept.executions.values() if _took_a_signal(e, definition)]
    for execution in waits:
        takers = [n for n, taker in kept.consumed.items() if taker == execution.step]
        payloads = [kept.inbox[n - 1].payload for n in takers]
        if execution.output not in payloads and execution.waiting is None:
            yield (
                f"S18: step {execution.step!r} of {kept.id!r} has the output "
                f"{execution.output!r}, of which no signal that it took tells"
            )


def _took_a_signal(execution: Execution, definition: WorkflowDefinition) -> bool:
    waits = definition.step(execution.step).waits
    return (
        waits is not None
        and waits.signal is not None
        and waits.default is None
        and execution.outcome is Outcome.COMPLETED
        and waits.on_timeout == "fail"
    )
