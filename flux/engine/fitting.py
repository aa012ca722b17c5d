"""Whether what was done of an instance fits a workflow whose code has changed. Pure."""

from collections.abc import Iterator, Sequence

import orjson

from flux.definition.workflow import ShapeOfStep, WorkflowDefinition
from flux.engine.compensation import owed_steps
from flux.state.instance import Instance
from flux.state.status import Direction


def differences(
    definition: WorkflowDefinition, instance: Instance, intent: Sequence[str] = ()
) -> list[str]:
    """Why the instance cannot go on with this workflow; empty if it can.

    Forward, all that was begun must be as it was, with nothing new before it; what comes later may
    be anything. A rollback needs only the steps that are to be undone.
    """
    if definition.shape_text == instance.shape:
        return []
    if instance.head.direction is Direction.BACK and not instance.head.status.is_ended:
        return list(_missing(definition, owed_steps(instance)))
    begun = dict.fromkeys((*instance.current, *intent))
    known = {row[0]: ShapeOfStep._make(row) for row in orjson.loads(instance.shape)}
    now = {step.name: step for step in definition.shape}
    return [
        problem
        for name in begun
        if name in known
        for problem in _of_step(known[name], now.get(name), begun)
    ]


def _missing(definition: WorkflowDefinition, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in definition:
            yield f"step {name!r} is to be undone and is no longer there"


def _of_step(
    was: ShapeOfStep, now: ShapeOfStep | None, begun: Sequence[str] | dict[str, None]
) -> Iterator[str]:
    if now is None:
        yield f"step {was.name!r} was begun and is no longer there (removed, or renamed)"
        return
    if now.kind != was.kind:
        yield f"step {was.name!r} was begun as a {was.kind} and is a {now.kind} now"
    if now.commit != was.commit:
        yield f"step {was.name!r} was begun with commit={was.commit} and has commit={now.commit}"
    if set(now.after) == set(was.after):
        return
    new = [name for name in now.after if name not in begun]
    if new:
        yield f"step {new[0]!r} is new before step {was.name!r}, which was begun"
    else:
        yield (
            f"step {was.name!r} was begun after {_named(was.after)} "
            f"and comes after {_named(now.after)} now"
        )


def _named(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names)) or "nothing"
