"""The items of a map: which are under way, which comes next, what they came to. Pure."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from attrs import evolve

from flux.definition.step import StepDefinition, item_name, step_of
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import StepStatus


class ItemList:
    """What one execution of a map runs over, one at a time or in batches."""

    def __init__(self, expanded: Execution) -> None:
        assert expanded.items is not None
        self.map = expanded.step
        self.values: Sequence[Any] = orjson.loads(expanded.items)
        self.is_batched = expanded.batch_size is not None
        self._size = expanded.batch_size or 1

    @property
    def count(self) -> int:
        """How many executions there are, of an item or a batch each."""
        return -(-len(self.values) // self._size)

    def of(self, name: str) -> tuple[int, Any]:
        """The index of the item of this name and its value; those of a batch, for a batch."""
        index = int(name[len(self.map) + 1 : -1])
        return index, self.batch(index) if self.is_batched else self.values[index]

    def batch(self, index: int) -> Sequence[Any]:
        """The items of one execution."""
        return self.values[index * self._size : (index + 1) * self._size]

    def output(self, instance: Instance) -> bytes:
        """What the map comes to: the results in the order of the items, with counts and errors."""
        results: list[Any] = []
        errors: list[dict[str, Any]] = []
        for index in range(self.count):
            execution = instance.current[item_name(self.map, index)]
            size = len(self.batch(index))
            results += self._results(execution, size)
            if execution.status is StepStatus.FAILED and execution.error is not None:
                told = {"type": execution.error.type, "message": execution.error.message}
                errors += [{"index": index * self._size + at, **told} for at in range(size)]
        failed = len(errors)
        counts = {"succeeded": len(results) - failed, "failed": failed}
        return orjson.dumps({"results": results, **counts, "errors": errors})

    def _results(self, execution: Execution, size: int) -> list[Any]:
        text = execution.output if execution.status is StepStatus.COMPLETED else None
        if not self.is_batched:
            return [None if text is None else orjson.Fragment(text)]
        values = None if text is None else orjson.loads(text)
        return [None] * size if values is None else values


class Items:
    """The items of one map that are under way, for one driver.

    It only looks at those that run, and of those that wait at the ones for which something has
    come: the ten thousandth item costs what the first did. `most` is how many run at once where the
    map does not say.
    """

    def __init__(self, step: StepDefinition, instance: Instance, most: int) -> None:
        assert step.each is not None
        self.step = step
        self.list = ItemList(instance.current[step.name])
        self._counts_waiting = step.each.concurrency is not None
        self._most = step.each.concurrency or most
        self._fails = step.each.on_item_failure != "continue"
        self._next = 0
        self._active: dict[str, None] = {}
        self._waiting: dict[str, str | None] = {}
        self._by_signal: dict[str, dict[str, None]] = {}
        self._by_time: list[tuple[datetime, str]] = []
        self._told: Sequence[str] = ()
        self.has_failed = False
        """Whether an item has failed, so that no other is to begin."""
        # What an earlier driver has begun comes first, wherever it stands.
        for name, execution in instance.current.items():
            if step_of(name) == step.name != name and not execution.is_settled:
                self._active[name] = None

    def under_way(self, instance: Instance, now: datetime) -> Sequence[str]:
        """The names of those that run or are to run, and of those that wait no more.

        With a `concurrency` those that wait for a signal count; without one they do not.
        """
        current = instance.current
        for name in self._told:
            self._look_again(name, current.get(name))
        for name in tuple(self._active):
            self._look(name, current.get(name))
        while not self.has_failed and self._next < self.list.count and self._has_room:
            name = item_name(self.step.name, self._next)
            self._next += 1
            if name not in self._active and name not in self._waiting:
                self._active[name] = None
                self._look(name, current.get(name))
        return *islice(self._active, self._most), *self._come(instance, now)

    @property
    def is_over(self) -> bool:
        """Whether all that were begun have ended, and no other is to begin."""
        rest = self.has_failed or self._next >= self.list.count
        return rest and not self._active and not self._waiting

    @property
    def until(self) -> datetime | None:
        """When the first of those that wait has waited for long enough; None for never."""
        while self._by_time and self._by_time[0][1] not in self._waiting:
            heapq.heappop(self._by_time)
        return self._by_time[0][0] if self._by_time else None

    @property
    def waiting(self) -> bool:
        """Whether an item waits for a signal or a time."""
        return bool(self._waiting)

    def step_of_item(self, name: str) -> StepDefinition:
        """The step that the item of this name is."""
        return evolve(
            self.step, name=name, kind="item", when=None, each=None, rescues=(), group=None
        )

    @property
    def _has_room(self) -> bool:
        taken = len(self._active) + (len(self._waiting) if self._counts_waiting else 0)
        return taken < self._most

    def _look(self, name: str, execution: Execution | None) -> None:
        """Put an item that no longer runs where it belongs."""
        if execution is None:
            return
        if execution.status is StepStatus.SUSPENDED:
            self._suspend(name, execution)
        elif execution.is_settled:
            del self._active[name]
            self.has_failed |= self._fails and execution.status is StepStatus.FAILED

    def _suspend(self, name: str, execution: Execution) -> None:
        assert execution.waiting is not None
        del self._active[name]
        signal, until = execution.waiting.signal, execution.waiting.until
        self._waiting[name] = signal
        if signal is not None:
            self._by_signal.setdefault(signal, {})[name] = None
        if until is not None:
            heapq.heappush(self._by_time, (until, name))

    def _come(self, instance: Instance, now: datetime) -> Sequence[str]:
        """Those whose signal or time has come: the first for each name, the rest comes after it."""
        names = {received.name for received in instance.inbox.values()}
        come = [name for signal in names for name in islice(self._by_signal.get(signal, ()), 1)]
        if self.until is not None and self.until <= now:
            come.append(self._by_time[0][1])
        self._told = tuple(dict.fromkeys(come))
        return self._told

    def _look_again(self, name: str, execution: Execution | None) -> None:
        """Take an item that waits no more out of those that wait."""
        if execution is not None and execution.status is StepStatus.SUSPENDED:
            return
        signal = self._waiting.pop(name)
        if signal is not None:
            del self._by_signal[signal][name]
        self._active[name] = None


def first_failed(step: StepDefinition, instance: Instance) -> Execution | None:
    """The item, or batch, of the map that failed first; None if none has."""
    failed = (
        execution
        for execution in instance.current.values()
        if execution.status is StepStatus.FAILED
        and execution.handled_by == step.name == step_of(execution.step) != execution.step
    )
    return min(failed, key=lambda one: (one.ended_at or _FAR, one.place), default=None)


_FAR = datetime.max.replace(tzinfo=UTC)


def open_items(step: StepDefinition, instance: Instance) -> Iterator[str]:
    """The names of the items that were begun and have not ended."""
    for name, execution in instance.current.items():
        if step_of(name) == step.name != name and not execution.is_settled:
            yield name
