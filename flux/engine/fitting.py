"""Whether what was done of an instance fits a workflow whose code has changed. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import orjson

from flux.definition.nodes import Branch
from flux.definition.registry import Registry
from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.errors import DefinitionChangedError
from flux.events import CONTINUED
from flux.frozen import frozen
from flux.state.instance import Instance
from flux.state.status import Direction


def fitting(
    registry: Registry, instance: Instance, intent: Sequence[str] = ()
) -> WorkflowDefinition:
    """The workflow with which the instance goes on.

    Its own version where it is registered, otherwise the newest whose shape fits;
    `DefinitionChangedError` if none fits, `UnknownWorkflowError` if there is none.
    """
    return _first(registry, instance, lambda known: differences(known, instance, intent))


def undoing(registry: Registry, instance: Instance, *, rollback: bool) -> WorkflowDefinition:
    """The workflow with which the instance can end, though it may not fit to go forward.

    Without a `rollback` any will do. Errors as for `fitting`.
    """
    return _first(
        registry, instance, lambda known: _differences_back(known, instance) if rollback else []
    )


def differences(
    definition: WorkflowDefinition, instance: Instance, intent: Sequence[str] = ()
) -> list[str]:
    """Why the instance cannot go on with this workflow; empty if it can.

    Forward, all that was begun must be as it was, with nothing new before it; what comes later may
    be anything. What is to be undone, now or should a step fail, must keep its compensator.
    """
    if definition.shape_text == instance.shape:
        return list(_not_decided_so(definition, instance, intent))
    if instance.head.direction is Direction.BACK and not instance.head.status.is_ended:
        return _differences_back(definition, instance)
    was = _remembered(instance)
    begun = dict.fromkeys((*instance.current, *intent))
    owed = (e.step for e in instance.executions.values() if e.is_owed and e.replaced)
    return [
        *_not_undone(definition, was, owed),
        *_not_as_begun(definition, was, begun),
        *_not_decided_so(definition, instance, intent),
    ]


def _differences_back(definition: WorkflowDefinition, instance: Instance) -> list[str]:
    owed = (e.step for e in instance.executions.values() if e.is_owed)
    return list(_not_undone(definition, _remembered(instance), owed))


def _first(
    registry: Registry, instance: Instance, differ: Callable[[WorkflowDefinition], list[str]]
) -> WorkflowDefinition:
    name = instance.origin.workflow
    candidates = registry.versions(name, instance.version)
    found = [differ(candidate) for candidate in candidates]
    for candidate, different in zip(candidates, found, strict=True):
        if not different:
            return candidate
    raise DefinitionChangedError(instance.id, name, found[0])


def _remembered(instance: Instance) -> "dict[str, _Step]":
    return {row[0]: _Step(*row) for row in orjson.loads(instance.shape)}


@frozen
class _Step:
    name: str
    kind: str
    commit: bool
    after: Sequence[str]
    has_compensator: bool | None
    """None: it was stored when this was not remembered yet."""


def _not_undone(
    definition: WorkflowDefinition, was: Mapping[str, _Step], owed: Iterable[str]
) -> Iterator[str]:
    for name in dict.fromkeys(map(step_of, owed)):
        had_one = was[name].has_compensator if name in was else False
        if had_one is False:
            continue
        if name not in definition:
            yield f"step {name!r} is to be undone and is no longer there"
        elif had_one and definition.step(name).compensate is None:
            yield f"step {name!r} is to be undone and has no compensator any more"


def _not_as_begun(
    definition: WorkflowDefinition, was: Mapping[str, _Step], begun: Collection[str]
) -> Iterator[str]:
    for name in begun:
        if name not in was:
            continue
        if name not in definition:
            yield f"step {name!r} was begun and is no longer there (removed, or renamed)"
            continue
        step, before = definition.step(name), was[name]
        if step.kind != before.kind:
            yield f"step {name!r} was begun as a {before.kind} and is a {step.kind} now"
        if step.commit != before.commit:
            was_commit, is_commit = f"commit={before.commit}", f"commit={step.commit}"
            yield f"step {name!r} was begun with {was_commit} and has {is_commit}"
        if set(step.after) != set(before.after):
            yield _moved(name, before.after, step.after, begun)


def _not_decided_so(
    definition: WorkflowDefinition, instance: Instance, intent: Sequence[str]
) -> Iterator[str]:
    """Choices of branches, and failures that were handled, of which the workflow knows no more."""
    for name, execution in instance.current.items():
        if name not in definition:
            continue
        step, handler = definition.step(name), execution.handled_by
        if step.branch is not None and execution.output is not None:
            yield from _not_chosen_so(name, step.branch, execution.output, instance, intent)
        if handler is None or step_of(name) != name:
            continue
        known = {rescue.step for rescue in step.rescues}
        if not (handler in known or (handler == CONTINUED and step.continues)):
            way_on = "on_error='continue'" if handler == CONTINUED else repr(handler)
            yield f"step {name!r} failed, and {way_on}, which handled that, is for it no more"


def _not_chosen_so(
    name: str, branch: Branch, output: bytes, instance: Instance, intent: Sequence[str]
) -> Iterator[str]:
    chosen = orjson.loads(output)
    told = f"branch {name!r} chose {'the default' if chosen is None else repr(chosen)}"
    if chosen not in branch.cases and (chosen is not None or branch.default is None):
        yield f"{told}, which is no case of it any more"
        return
    begins = branch.begun_by(chosen)
    for first in sorted(branch.firsts):
        known = instance.current.get(first)
        was_begun = first in intent or (known is not None and not known.left_out)
        if was_begun and first not in begins:
            yield f"{told}, where step {first!r} was begun, which is in another case now"
        elif known is not None and known.left_out and first in begins:
            yield f"{told}, which left out step {first!r} and begins with it now"


def _moved(name: str, before: Sequence[str], now: Sequence[str], begun: Collection[str]) -> str:
    new = [source for source in now if source not in begun]
    if new:
        return f"step {new[0]!r} is new before step {name!r}, which was begun"
    return f"step {name!r} was begun after {_named(before)} and comes after {_named(now)} now"


def _named(names: Iterable[str]) -> str:
    return " and ".join(map(repr, names)) or "nothing"
