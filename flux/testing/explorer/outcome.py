"""What a run has come to, as plain JSON, and how two of them differ."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import orjson
from attrs import frozen

from flux.definition.workflow import WorkflowDefinition
from flux.engine.compensation import owed
from flux.engine.loading import load
from flux.errors import InstanceNotFoundError
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import Outcome as Known
from flux.state.status import StepStatus, WorkflowStatus
from flux.storage import WorkflowStorage
from flux.testing.explorer.story import Story

_LONGEST = 160
"""Characters of a value that are shown."""

_NOTHING: Any = object()

_UNDONE = {WorkflowStatus.FAILED.value, WorkflowStatus.ROLLED_BACK.value}
_BACK = _UNDONE | {WorkflowStatus.CANCELLED.value}

Document = Mapping[str, Any]


@frozen(kw_only=True)
class Outcome:
    """The end of a run: its story, and what is compared with the run without a crash.

    `document` holds `status`, `data` and `steps` of the instance, the same for its sub-workflows
    by id under `children`, and the `effects`; with `unknown`, `is_graph` and `is_beside` (it ran
    beside a step that failed, in an instance above it), which only say what may differ. `stuck`
    tells of instances that nobody will drive on, `refused` of actions of the script that the engine
    refused, `untaken` of its signals that no step has taken.
    """

    story: Story
    document: Document
    stuck: Sequence[str]
    refused: Sequence[str]
    untaken: Sequence[str]
    left: "Leavings"

    @property
    def status(self) -> str:
        return str(self.document["status"])

    @property
    def resting(self) -> Sequence[str]:
        """The steps that still wait for something."""
        steps = self.document["steps"].items()
        return [name for name, step in steps if step["status"] == StepStatus.SUSPENDED]


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
    storage: WorkflowStorage,
    root: str,
    ids: Sequence[str],
    *,
    workflows: Sequence[WorkflowDefinition],
    effects: Any,
) -> dict[str, Any]:
    """What the instances have come to."""
    graphs = {one.name for one in with_children(workflows) if not one.is_sequence}
    seen = {
        id: await _instance_document(storage, id, graphs) for id in {root: 0, **dict.fromkeys(ids)}
    }
    for one in seen.values():
        above = seen.get(one.pop("parent"), {})
        is_undone_graph = above.get("is_graph", False) and above["status"] in _BACK
        one["is_beside"] = is_undone_graph or above.get("is_beside", False)
    document = seen.pop(root)
    return {**document, "children": seen, "effects": effects}


@frozen
class Leavings:
    """Executions that a run has left as they should seldom be left.

    `gave_up` are the at-most-once steps of which nobody knows whether they acted, as instance and
    step; `standing` those that a rollback that has ended did not undo, although it could.
    """

    gave_up: frozenset[tuple[str, str]]
    standing: Sequence[tuple[str, str]]


async def leavings(
    storage: WorkflowStorage, ids: Sequence[str], workflows: Sequence[WorkflowDefinition]
) -> Leavings:
    """What the instances have left."""
    known = {one.name: one for one in with_children(workflows)}
    gave_up: list[tuple[str, str]] = []
    standing: list[tuple[str, str]] = []
    for id in ids:
        instance = await _instance(storage, id)
        definition = None if instance is None else known.get(instance.origin.workflow)
        if instance is None or definition is None:
            continue
        for execution in instance.executions.values():
            unknown = execution.outcome is Known.UNKNOWN and execution.step in definition
            if unknown and definition.step(execution.step).at_most_once:
                gave_up.append((id, execution.step))
        if instance.head.status is WorkflowStatus.ROLLED_BACK:
            owing = owed(definition, instance)
            standing += [(id, instance.executions[number].step) for number in owing]
    return Leavings(frozenset(gave_up), standing)


def with_children(workflows: Sequence[WorkflowDefinition]) -> Iterator[WorkflowDefinition]:
    """The workflows and those that run as their steps."""
    for workflow in workflows:
        yield workflow
        yield from with_children(workflow.children)


def differences(here: Document, there: Document, ignore: Sequence[str]) -> list[Difference]:
    """How one document differs from another, but for the paths that fit a pattern of `ignore`."""
    found = _differences("", *_comparable(here, there))
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


def _comparable(here: Document, there: Document) -> tuple[Document, Document]:
    """Both without what may differ by the rules.

    A crash may leave it unknown whether a step has acted that in the whole run had failed, or had
    completed beside one that had (S11, S13); such a step is undone, and what it changed is missing.
    Where steps run beside each other, what had begun when one failed depends on their order.
    """
    one, other = dict(here), dict(there)
    unknown = set(one.pop("unknown")) ^ set(other.pop("unknown"))
    is_graph = one.pop("is_graph") | other.pop("is_graph")
    is_beside = one.pop("is_beside") | other.pop("is_beside")
    if one["status"] in _BACK and other["status"] in _BACK:
        # One that had not begun beside a failure ends as cancelled, not as rolled back.
        if is_beside or {one["status"], other["status"]} <= _UNDONE:
            one["status"] = other["status"]
        is_graph |= is_beside
        for document in (one, other) if is_graph or unknown else ():
            del document["data"]
            steps = document["steps"]
            document["steps"] = {
                name: step for name, step in steps.items() if not is_graph and name not in unknown
            }
    if "children" in one and "children" in other:
        one["children"], other["children"] = dict(one["children"]), dict(other["children"])
        for id in list(one["children"] | other["children"]):
            _make_comparable(id, one["children"], other["children"])
    return one, other


def _make_comparable(id: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    if id in here and id in there:
        here[id], there[id] = _comparable(here[id], there[id])
        return
    lonely = here if id in here else there
    if lonely[id]["is_beside"]:
        del lonely[id]  # it depends on the order whether it had begun
        return
    lonely[id] = lonely[id]["status"]


async def _instance_document(
    storage: WorkflowStorage, id: str, graphs: Collection[str]
) -> dict[str, Any]:
    instance = await _instance(storage, id)
    if instance is None:
        return {
            "status": "not stored",
            "data": {},
            "steps": {},
            "unknown": [],
            "is_graph": False,
            "parent": None,
        }
    return {
        "status": instance.head.status.value,
        "data": orjson.loads(orjson.dumps(instance.data)),
        "steps": {e.step: _step(e) for e in instance.history()},
        "unknown": [e.step for e in instance.history() if e.outcome is Known.UNKNOWN],
        "is_graph": instance.origin.workflow in graphs,
        "parent": None if instance.origin.parent is None else instance.origin.parent.id,
    }


async def _instance(storage: WorkflowStorage, id: str) -> Instance | None:
    try:
        return (await load(storage, id)).instance
    except InstanceNotFoundError:
        return None


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
