"""What steps beside each other write to one key of the data: a conflict, or merged. Pure."""

from collections.abc import Iterator

import orjson
from attrs import frozen

from flux.definition.step import step_of
from flux.definition.workflow import Merge, WorkflowDefinition
from flux.errors import DataConflictError, NotJSONError
from flux.events import DataChanges
from flux.state.instance import Instance
from flux.state.strict_json import json_text


@frozen
class _Write:
    step: str
    text: bytes | None
    """None for a deletion."""


def data_before(
    definition: WorkflowDefinition, instance: Instance, step: str
) -> dict[str, orjson.Fragment]:
    """The data that a step, or an item, sees: what the steps before it in the graph made."""
    if definition.sees_all(step):
        return instance.data
    before = definition.before_step(step)

    def is_before(name: str) -> bool:
        return step_of(name) in before

    data = instance.data_of(is_before)
    for key, merge in definition.merges.items():
        writes = [write for write in _writes(instance, key) if is_before(write.step)]
        last = _last(definition, writes)
        if len(last) > 1:
            _put(data, key, _merged(merge, key, last))
    return data


class Writers:
    """Who wrote which value to which key, of one instance as its driver goes on."""

    def __init__(self, definition: WorkflowDefinition, instance: Instance) -> None:
        self._definition = definition
        self._instance = instance
        self._by_key: dict[str, dict[bytes | None, list[str]]] = {}
        for name, changes in instance.writes():
            self._note(name, changes)

    def add(self, step: str, changes: DataChanges) -> DataChanges | None:
        """Take note of what a step wrote; what the data hold then, where that was merged.

        `DataConflictError` if a step beside it wrote another value and there is no merge.
        """
        merged: dict[str, bytes | None] = {}
        for key, text in _written(changes):
            other = self._beside(step, key, text)
            if other is None:
                continue
            merge = self._definition.merges.get(key)
            if merge is None:
                self._note(step, changes)
                raise DataConflictError(other, step, key)
            writes = [w for w in _writes(self._instance, key) if w.step != step]
            last = _last(self._definition, [*writes, _Write(step, text)])
            merged[key] = _merged(merge, key, last)
        self._note(step, changes)
        if not merged:
            return None
        final = {**dict(_written(changes)), **merged}
        return DataChanges(
            set={key: text for key, text in final.items() if text is not None},
            deleted=tuple(key for key, text in final.items() if text is None),
        )

    def _beside(self, step: str, key: str, text: bytes | None) -> str | None:
        for value, names in self._by_key.get(key, {}).items():
            if value == text:
                continue
            for name in names:
                if name != step and self._definition.are_beside(name, step):
                    return name
        return None

    def _note(self, step: str, changes: DataChanges) -> None:
        for key, text in _written(changes):
            self._by_key.setdefault(key, {}).setdefault(text, []).append(step)


def _written(changes: DataChanges) -> Iterator[tuple[str, bytes | None]]:
    yield from changes.set.items()
    for key in changes.deleted:
        yield key, None


def _writes(instance: Instance, key: str) -> list[_Write]:
    """In the order in which they were taken into the data."""
    return [
        _Write(name, changes.set.get(key))
        for name, changes in instance.writes()
        if key in changes.set or key in changes.deleted
    ]


def _last(definition: WorkflowDefinition, writes: list[_Write]) -> list[_Write]:
    """Those after which no other of them comes in the graph."""
    return [
        one
        for one in writes
        if all(one is other or _is_last(definition, one.step, other.step) for other in writes)
    ]


def _is_last(definition: WorkflowDefinition, one: str, other: str) -> bool:
    if definition.are_beside(one, other):
        return True
    return definition.place(one) > definition.place(other)


def _merged(merge: Merge, key: str, writes: list[_Write]) -> bytes | None:
    texts = [write.text for write in writes if write.text is not None]
    if not texts:
        return None
    names = writes[0].step, writes[-1].step
    value = orjson.loads(texts[0])
    for text in texts[1:]:
        try:
            value = merge(value, orjson.loads(text))
        except Exception as error:
            why = f"their merge failed: {type(error).__name__}: {error}"
            raise DataConflictError(*names, key, why) from error
    try:
        return json_text(value, f"data.{key}")
    except NotJSONError as error:
        raise DataConflictError(*names, key, f"their merge cannot be kept: {error}") from error


def _put(data: dict[str, orjson.Fragment], key: str, text: bytes | None) -> None:
    if text is None:
        data.pop(key, None)
    else:
        data[key] = orjson.Fragment(text)
