"""One run of a workflow as its driver holds it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

import orjson
from attrs import Factory

from flux.errors import StoredError
from flux.events import DataChanges, Received
from flux.frozen import evolve, frozen, unguarded
from flux.state.execution import Execution
from flux.state.status import Cancelling, CompensationStatus, Direction, WorkflowStatus

_Counts = Callable[[Execution], bool]


@frozen(kw_only=True)
class Parent:
    """The instance, and its step, as which this one runs; `depth` is how many lie above."""

    id: str
    step: str
    depth: int


@unguarded(kw_only=True)
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
    deadline: datetime | None = None
    unique_key: str | None = None
    parent: Parent | None = None


@frozen(kw_only=True)
class Turn:
    """What the limits of its workflow say of an instance: whether it may begin.

    `number` counts its turns: one that has ended and goes on needs another. `gates` are the keys of
    the shared values in which it waits, or has its place.
    """

    number: int = 1
    gates: tuple[str, ...] = ()
    admitted: bool = False


@unguarded
class Head:
    """What moves: one new head with every event that counts.

    `cancelling` is set once a cancel was heeded. `undated` says that a person let the instance go
    on, so that its deadline no longer counts. All signals up to `inbox_read` are consumed, those up
    to `inbox_seen` were there when the head was saved, and its driver knew of them. `shape`
    and `version` are those of the workflow at hand if they are not the ones of the origin. `turn`
    is None if the instance was never held up to the limits of its workflow. `begun` has, by step,
    the numbers of executions that began beside others and have no entry yet.
    """

    status: WorkflowStatus
    direction: Direction
    run: int
    ticks: int
    recoveries: int
    error: StoredError | None
    reason: str | None
    updated_at: datetime
    ended_at: datetime | None
    cancelling: Cancelling | None = None
    undated: bool = False
    inbox_read: int = 0
    inbox_seen: int = 0
    shape: bytes | None = None
    version: str | None = None
    turn: Turn | None = None
    begun: Mapping[str, int] = Factory(dict)


_NONE: Mapping[int, str] = MappingProxyType({})


@unguarded
class Change:
    """What an event makes of an instance: its new head, and executions new or changed.

    `folded` is taken into the data; `refold` says that the data must be folded anew. `consumed` are
    numbers of signals, each with the name of its taker.
    """

    head: Head
    executions: tuple[Execution, ...] = ()
    folded: DataChanges | None = None
    refold: bool = False
    consumed: Mapping[int, str] = _NONE


class Instance:
    """An instance: its origin, its head, its executions and the data they fold to.

    It belongs to one driver, which alone lets it accept changes. A driver whose save fails throws
    it away: what is true is what is saved.
    """

    def __init__(self, origin: Origin, head: Head, executions: Iterable[Execution] = ()) -> None:
        self.id = origin.id
        self.origin = origin
        self.head = head
        self.executions = {execution.number: execution for execution in executions}
        self.current: dict[str, Execution] = {}
        """By step, the execution that counts now."""
        self.past: dict[str, Execution] = {}
        """By step, the newest of those that were begun and that a restart set aside."""
        self.data: dict[str, orjson.Fragment] = {}
        """The JSON texts that the executions fold to, by top-level key."""
        self.inbox: dict[int, Received] = {}
        """By number, the signals that were read and are not consumed, in the order of arrival."""
        self.seen = head.inbox_read
        """The number of the last signal that was read."""
        if self.executions:
            self._index()
        else:
            self.data = self._first_data()

    @property
    def deadline(self) -> datetime | None:
        """When it is to have ended; None for never, or no more."""
        return None if self.head.undated else self.origin.deadline

    @property
    def shape(self) -> bytes:
        """The shape of the workflow with which it was last driven."""
        return self.head.shape or self.origin.shape

    @property
    def version(self) -> str:
        """The version of the workflow with which it was last driven."""
        return self.head.version or self.origin.version

    def receive(self, signals: Iterable[Received], seen: int) -> None:
        """Take in what was read of the inbox, up to the signal of number `seen`."""
        # What was read before may be consumed, though that is not saved yet.
        new = (signal for signal in signals if signal.number > self.seen)
        self.inbox.update((signal.number, signal) for signal in new)
        self.seen = max(self.seen, seen)
        if self.seen > self.head.inbox_seen:
            self.head = evolve(self.head, inbox_seen=self.seen)

    def reserve(self, step: str) -> None:
        """Number the execution of a step that begins beside others, in the order of beginning."""
        if step not in self.current:
            ticks = self.head.ticks + 1
            self.head = evolve(self.head, ticks=ticks, begun={**self.head.begun, step: ticks})

    def read_without(self, *numbers: int) -> int:
        """Up to which number all signals are consumed once these are."""
        left = (known for known in self.inbox if known not in numbers)
        return min(left, default=self.seen + 1) - 1

    def accept(self, change: Change) -> None:
        """Take a change over."""
        self.head = change.head
        if change.consumed:
            for number in change.consumed:
                self.inbox.pop(number, None)
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

    def data_of(self, counts: Callable[[str], bool]) -> dict[str, orjson.Fragment]:
        """The data as only the executions of these names made it, each by itself."""
        return self._folded(lambda execution: counts(execution.step), merged=False)

    def writes(self) -> list[tuple[str, DataChanges]]:
        """By name, what executions changed in the data, in the order in which it was taken."""
        taken = [
            (execution.folded, execution.step, execution.changes)
            for execution in self.current.values()
            if execution.folded and execution.changes is not None
        ]
        return [(step, changes) for _, step, changes in sorted(taken, key=lambda one: one[0])]

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

    def _folded(self, counts: _Counts, *, merged: bool = True) -> dict[str, orjson.Fragment]:
        taken = sorted(self._taken(counts, merged=merged), key=lambda placed: placed[0])
        data = self._first_data()
        for _, changes in taken:
            _fold(data, changes)
        return data

    def _first_data(self) -> dict[str, orjson.Fragment]:
        return {key: orjson.Fragment(text) for key, text in self.origin.first_data.items()}

    def _taken(self, counts: _Counts, *, merged: bool) -> Iterator[tuple[int, DataChanges]]:
        for execution in self.executions.values():
            if not counts(execution):
                continue
            if execution.changes is not None and execution.folded and not execution.replaced:
                changes = execution.merged if merged else None
                yield execution.folded, changes or execution.changes
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
