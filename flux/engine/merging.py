"""What steps beside each other write to one key of the data: a conflict, or merged. Pure."""

from collections.abc import Callable, Iterator

import orjson

from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.errors import DataConflictError, NotJSONError
from flux.events import DataChanges
from flux.frozen import frozen
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
    """The data that a step, or an item, sees: what the steps before it in the graph made.

    The items of a map all see the same, whatever others have written meanwhile.
    """
    if definition.sees_all(step) and definition.step(step).each is None:
        return instance.data
    before = definition.before_step(step)

    def is_before(name: str) -> bool:
        return step_of(name) in before

    data = instance.data_of(is_before)
    if definition.merges:
        writers = Writers(definition, instance, is_before)
        for key in definition.merges:
            if writers.is_merged(key):
                _put(data, key, writers.merged(key))
    return data


def conflict(
    definition: WorkflowDefinition, instance: Instance, counts: Callable[[str], bool]
) -> DataConflictError | None:
    """The conflict between what the steps of these names wrote, if there is one."""
    if definition.is_sequence:
        return None
    writers = Writers(definition, instance, lambda name: False)
    try:
        for name, changes in instance.writes():
            if counts(name):
                writers.add(name, changes)
    except DataConflictError as found:
        return found
    return None


class Writers:
    """Who wrote which value to which key, of one instance as its driver goes on."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        instance: Instance,
        counts: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._definition = definition
        self._by_key: dict[str, dict[bytes | None, list[str]]] = {}
        self._merging = {key: _Merging(definition, key) for key in definition.merges}
        for name, changes in instance.writes():
            if counts(name):
                self._note(name, changes)

    def add(self, step: str, changes: DataChanges) -> DataChanges | None:
        """Take note of what a step wrote; what the data hold then, where that was merged.

        `DataConflictError` if a step beside it wrote another value and there is no merge.
        """
        beside = ((key, self._beside(step, key, text)) for key, text in _written(changes))
        conflict = next(((key, other) for key, other in beside if other is not None), None)
        self._note(step, changes)
        if conflict is not None:
            key, other = conflict
            raise DataConflictError(other, step, key)
        merged = [key for key, _ in _written(changes) if self.is_merged(key)]
        if not merged:
            return None
        final = {**dict(_written(changes)), **{key: self.merged(key) for key in merged}}
        return DataChanges(
            set={key: text for key, text in final.items() if text is not None},
            deleted=tuple(key for key, text in final.items() if text is None),
        )

    def is_merged(self, key: str) -> bool:
        """Whether steps beside each other wrote the key, and it has a merge."""
        return key in self._merging and self._merging[key].count > 1

    def merged(self, key: str) -> bytes | None:
        """What the values of the key come to; `DataConflictError` if they cannot be merged."""
        return self._merging[key].value()

    def _beside(self, step: str, key: str, text: bytes | None) -> str | None:
        if key in self._merging:
            return None
        for value, names in self._by_key.get(key, {}).items():
            if value == text:
                continue
            for name in names:
                if name != step and self._definition.are_beside(name, step):
                    return name
        return None

    def _note(self, step: str, changes: DataChanges) -> None:
        for key, text in _written(changes):
            if key in self._merging:
                self._merging[key].add(_Write(step, text))
            else:
                self._by_key.setdefault(key, {}).setdefault(text, []).append(step)


class _Merging:
    """The values of one key that count: those of steps after which no other came that wrote it."""

    def __init__(self, definition: WorkflowDefinition, key: str) -> None:
        self._definition = definition
        self._key = key
        self._merge = definition.merges[key]
        self._last: dict[str, list[_Write]] = {}
        self._so_far: _Write | None = None
        self._pending: list[_Write] = []
        self.count = 0

    def add(self, write: _Write) -> None:
        """Take one in, in the order in which they were folded."""
        own = step_of(write.step)
        beside = {
            step: writes
            for step, writes in self._last.items()
            if (step == own != write.step) or self._definition.are_beside(step, own)
        }
        kept = len(beside) == len(self._last)
        self._last = beside
        self._last.setdefault(own, []).append(write)
        self.count = sum(map(len, self._last.values())) if not kept else self.count + 1
        if kept:
            self._pending.append(write)
        else:
            self._so_far = None
            self._pending = [one for writes in self._last.values() for one in writes]

    def value(self) -> bytes | None:
        """All of them merged; what was merged before is not merged again."""
        for write in self._pending:
            self._so_far = self._with(write)
        self._pending = []
        return None if self._so_far is None else self._so_far.text

    def _with(self, write: _Write) -> _Write:
        before = self._so_far
        if before is None or before.text is None:
            return write
        if write.text is None:
            return before
        steps = before.step, write.step
        try:
            value = self._merge(orjson.loads(before.text), orjson.loads(write.text))
            return _Write(write.step, json_text(value, f"data.{self._key}"))
        except NotJSONError as error:
            why = f"their merge cannot be kept: {error}"
            raise DataConflictError(*steps, self._key, why) from error
        except Exception as error:
            why = f"their merge failed: {type(error).__name__}: {error}"
            raise DataConflictError(*steps, self._key, why) from error


def _written(changes: DataChanges) -> Iterator[tuple[str, bytes | None]]:
    yield from changes.set.items()
    for key in changes.deleted:
        yield key, None


def _put(data: dict[str, orjson.Fragment], key: str, text: bytes | None) -> None:
    if text is None:
        data.pop(key, None)
    else:
        data[key] = orjson.Fragment(text)
