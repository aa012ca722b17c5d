"""One run of a workflow as its driver holds it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

import orjson
from attrs import Factory, frozen

from flux.errors import StoredError
from flux.events import DataChanges
from flux.state.execution import Execution
from flux.state.status import CompensationStatus, Direction, WorkflowStatus

_Counts = Callable[[Execution], bool]


@frozen(kw_only=True)
class Origin:
    """What is fixed when an instance starts."""

    id: str
    workflow: str
    version: str
    created_at: datetime
    input: bytes
    first_data: Mapping[str, bytes] = Factory(dict)
    labels: Mapping[str, str] = Factory(dict)
    shape: bytes = b"[]"


@frozen(kw_only=True)
class Head:
    """What moves: one new head with every event that counts."""

    status: WorkflowStatus
    direction: Direction
    run: int
    ticks: int
    recoveries: int
    error: StoredError | None
    reason: str | None
    updated_at: datetime
    ended_at: datetime | None


@frozen
class Change:
    """What an event makes of an instance: its new head, and executions new or changed.

    `folded` is taken into the data; `refold` says that the data must be folded anew.
    """

    head: Head
    executions: tuple[Execution, ...] = ()
    folded: DataChanges | None = None
    refold: bool = False


class Instance:
    """An instance: its origin, its head, its executions and the data they fold to.

    It belongs to one driver, which alone lets it accept changes. A driver whose save fails throws
    it away: what is true is what is saved.
    """

    def __init__(self, origin: Origin, head: Head, executions: Iterable[Execution] = ()) -> None:
        self.origin = origin
        self.head = head
        self.executions = {execution.number: execution for execution in executions}
        self.current: dict[str, Execution] = {}
        """By step, the execution that counts now."""
        self.past: dict[str, Execution] = {}
        """By step, the newest of those that were begun and that a restart set aside."""
        self.data: dict[str, orjson.Fragment] = {}
        """The JSON texts that the executions fold to, by top-level key."""
        self._index()

    @property
    def id(self) -> str:
        return self.origin.id

    def accept(self, change: Change) -> None:
        """Take a change over."""
        self.head = change.head
        for execution in change.executions:
            self.executions[execution.number] = execution
            if not execution.replaced:
                self.current[execution.step] = execution
        if change.refold:
            self._index()
        elif change.folded is not None and (change.folded.set or change.folded.deleted):
            # A new dict: a handler that was left behind may still look at the old one.
            self.data = dict(self.data)
            _fold(self.data, change.folded)

    def generation(self, step: str) -> int:
        """The generation of the step's next execution."""
        past = self.past.get(step)
        return 1 if past is None else past.generation + 1

    def data_of(self, steps: frozenset[str]) -> dict[str, orjson.Fragment]:
        """The data as only these steps made it."""
        return self._folded(lambda execution: execution.step in steps)

    def history(self, *, replaced: bool = False) -> list[Execution]:
        """The executions that count now, in the order in which they were reached."""
        shown = (e for e in self.executions.values() if replaced or not e.replaced)
        return sorted(shown, key=lambda execution: execution.place)

    def _index(self) -> None:
        by_number = sorted(self.executions.values(), key=lambda execution: execution.number)
        self.current = {e.step: e for e in by_number if not e.replaced}
        aside = (e for e in by_number if e.replaced and e.attempts > 0)
        self.past = {e.step: e for e in aside}
        self.data = self._folded(lambda _: True)

    def _folded(self, counts: _Counts) -> dict[str, orjson.Fragment]:
        taken = sorted(self._taken(counts), key=lambda placed: placed[0])
        data = {key: orjson.Fragment(text) for key, text in self.origin.first_data.items()}
        for _, changes in taken:
            _fold(data, changes)
        return data

    def _taken(self, counts: _Counts) -> Iterator[tuple[int, DataChanges]]:
        for execution in self.executions.values():
            if not counts(execution):
                continue
            if execution.changes is not None and execution.folded and not execution.replaced:
                yield execution.folded, execution.changes
            undone = execution.compensation
            if undone is None or undone.status is not CompensationStatus.COMPLETED:
                continue
            # What a compensation of an earlier run changed went with that run.
            if undone.run == self.head.run and undone.changes and undone.finished:
                yield undone.finished, undone.changes


def _fold(data: dict[str, orjson.Fragment], changes: DataChanges) -> None:
    for key, text in changes.set.items():
        data[key] = orjson.Fragment(text)
    for key in changes.deleted:
        data.pop(key, None)
