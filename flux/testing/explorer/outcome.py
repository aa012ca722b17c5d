"""What a run has come to, as plain JSON, and how two of them differ."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import orjson
from attrs import frozen

from flux.definition.workflow import WorkflowDefinition
from flux.engine.loading import load
from flux.errors import InstanceNotFoundError
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import Outcome as Known
from flux.state.status import WorkflowStatus
from flux.storage import WorkflowStorage
from flux.testing.explorer.story import Story

_LONGEST = 160
"""Characters of a value that are shown."""

_NOTHING: Any = object()


@frozen(kw_only=True)
class Outcome:
    """The end of a run: its story, and what is compared with the run without a crash.

    `document` holds `status`, `data` and `steps` of the instance, the same for its sub-workflows
    by id under `children`, and the `effects`. `stuck` tells of instances that nobody will drive on,
    `refused` of actions of the script that the engine refused. `gave_up` are the at-most-once steps
    of which nobody knows whether they acted.
    """

    story: Story
    document: Mapping[str, Any]
    stuck: Sequence[str]
    refused: Sequence[str]
    gave_up: frozenset[str]

    @property
    def status(self) -> str:
        return str(self.document["status"])


@frozen
class Difference:
    """A value that a crash has changed; `path` says which."""

    path: str
    here: Any
    there: Any

    def __str__(self) -> str:
        if self.there is _NOTHING:
            return f"{self.path}: {_shown(self.here)}, which the run without a crash lacks"
        if self.here is _NOTHING:
            return f"{self.path} is missing; without a crash it is {_shown(self.there)}"
        return f"{self.path}: {_shown(self.here)} instead of {_shown(self.there)}"


async def document_of(
    storage: WorkflowStorage, root: str, ids: Sequence[str], effects: Any
) -> dict[str, Any]:
    """What the instances have come to."""
    seen = {id: await _instance_document(storage, id) for id in ids}
    document = seen.pop(root, {"status": "not stored", "data": {}, "steps": {}})
    return {**document, "children": seen, "effects": effects}


async def given_up(
    storage: WorkflowStorage, ids: Sequence[str], workflows: Sequence[WorkflowDefinition]
) -> frozenset[str]:
    """The at-most-once steps whose outcome stays unknown, by idempotency key without number."""
    known = {one.name: one for one in with_children(workflows)}
    found: set[str] = set()
    for id in ids:
        instance = await _instance(storage, id)
        definition = None if instance is None else known.get(instance.origin.workflow)
        if instance is None or definition is None:
            continue
        for execution in instance.executions.values():
            unknown = execution.outcome is Known.UNKNOWN and execution.step in definition
            if unknown and definition.step(execution.step).at_most_once:
                found.add(f"{id}:{execution.step}")
    return frozenset(found)


def with_children(workflows: Sequence[WorkflowDefinition]) -> Iterator[WorkflowDefinition]:
    """The workflows and those that run as their steps."""
    for workflow in workflows:
        yield workflow
        for step in workflow.steps:
            if step.child is not None and not isinstance(step.child.workflow, str):
                yield from with_children([step.child.workflow])


def differences(
    here: Mapping[str, Any], there: Mapping[str, Any], ignore: Sequence[str]
) -> list[Difference]:
    """How one document differs from another, but for the paths that fit a pattern of `ignore`."""
    found = _differences("", here, there)
    return [one for one in found if not any(fnmatchcase(one.path, p) for p in ignore)]


def _differences(path: str, here: Any, there: Any) -> Iterator[Difference]:
    if isinstance(here, dict) and isinstance(there, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(inner, here.get(key, _NOTHING), there.get(key, _NOTHING))
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for index, (one, other) in enumerate(zip(here, there, strict=True)):
            yield from _differences(f"{path}.{index}", one, other)
    elif type(here) is not type(there) or here != there:
        yield Difference(path, here, there)


async def _instance_document(storage: WorkflowStorage, id: str) -> dict[str, Any]:
    instance = await _instance(storage, id)
    if instance is None:
        return {"status": "not stored", "data": {}, "steps": {}}
    return {
        "status": _status(instance),
        "data": orjson.loads(orjson.dumps(instance.data)),
        "steps": {e.step: _step(e) for e in instance.history()},
    }


async def _instance(storage: WorkflowStorage, id: str) -> Instance | None:
    try:
        return (await load(storage, id)).instance
    except InstanceNotFoundError:
        return None


def _status(instance: Instance) -> str:
    """The status; one that failed with nothing undone but what may not have been is `failed`.

    A crash in a step that then fails leaves its outcome unknown, so that it is undone (S11).
    """
    status = instance.head.status
    undone = [e for e in instance.executions.values() if e.compensation is not None]
    may_not_be = all(e.outcome is Known.UNKNOWN for e in undone)
    if status is WorkflowStatus.ROLLED_BACK and may_not_be:
        return WorkflowStatus.FAILED.value
    return status.value


def _step(execution: Execution) -> dict[str, Any]:
    document: dict[str, Any] = {
        "status": execution.status.value,
        "output": None if execution.output is None else orjson.loads(execution.output),
    }
    if execution.compensation is not None and execution.outcome is not Known.UNKNOWN:
        document["undone"] = execution.compensation.status.value
    return document


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
