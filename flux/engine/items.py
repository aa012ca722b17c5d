"""The items of a map: which are under way, which comes next, what they came to. Pure."""

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import evolve

from flux.definition.nodes import Each
from flux.definition.step import StepDefinition, item_name
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import StepStatus


class Items:
    """What one execution of a map runs over.

    Like the plan it belongs to one driver, and only looks at what is under way. `most` is how many
    run at once where the map does not say.
    """

    def __init__(self, step: StepDefinition, items: bytes, most: int = 1) -> None:
        assert step.each is not None
        self.step = step
        self.each: Each = step.each
        self.values: Sequence[Any] = orjson.loads(items)
        self._holds = self.each.concurrency is not None
        self._most = self.each.concurrency or most
        self._size = self.each.batch_size or 1
        self._next = 0
        self._under_way: dict[str, None] = {}
        self.has_failed = False
        """Whether an item has failed, so that no other is to begin."""

    @property
    def count(self) -> int:
        """How many executions there are, of an item or a batch each."""
        return -(-len(self.values) // self._size)

    def under_way(self, instance: Instance) -> Sequence[str]:
        """The names of those that were begun and have not ended, and of those that may begin.

        With a `concurrency` those that wait for a signal count; without one they do not.
        """
        current = instance.current
        count = 0
        for name in tuple(self._under_way):
            count += self._counts(name, current.get(name))
        while not self.has_failed and self._next < self.count and count < self._most:
            name = item_name(self.step.name, self._next)
            self._next += 1
            self._under_way[name] = None
            count += self._counts(name, current.get(name))
        return tuple(self._under_way)

    def step_of_item(self, name: str) -> StepDefinition:
        """The step that the item of this name is."""
        return evolve(
            self.step, name=name, kind="step", when=None, each=None, rescues=(), group=None
        )

    def of(self, name: str) -> tuple[int, Any]:
        """The index of the item of this name and its value; those of a batch, for a batch."""
        index = int(name[len(self.step.name) + 1 : -1])
        if self.each.batch_size is None:
            return index, self.values[index]
        return index, self.values[index * self._size : (index + 1) * self._size]

    def output(self, instance: Instance) -> bytes:
        """What the map comes to: the results in the order of the items, with counts and errors."""
        results: list[Any] = []
        errors: list[dict[str, Any]] = []
        for index in range(self.count):
            execution = instance.current[item_name(self.step.name, index)]
            size = len(self.values[index * self._size : (index + 1) * self._size])
            results += self._results(execution, size)
            if execution.status is StepStatus.FAILED and execution.error is not None:
                told = {"type": execution.error.type, "message": execution.error.message}
                errors += [{"index": index * self._size + at, **told} for at in range(size)]
        failed = len(errors)
        counts = {"succeeded": len(results) - failed, "failed": failed}
        return orjson.dumps({"results": results, **counts, "errors": errors})

    def _results(self, execution: Execution, size: int) -> list[Any]:
        text = execution.output if execution.status is StepStatus.COMPLETED else None
        if self.each.batch_size is None:
            return [None if text is None else orjson.Fragment(text)]
        values = None if text is None else orjson.loads(text)
        return [None] * size if values is None else values

    def _counts(self, name: str, execution: Execution | None) -> bool:
        """Whether the item takes a place; one that has ended is under way no more."""
        if execution is None:
            return True
        if not execution.is_settled:
            return execution.status is not StepStatus.SUSPENDED or self._holds
        del self._under_way[name]
        failed = execution.status is StepStatus.FAILED
        if failed and self.each.on_item_failure != "continue":
            self.has_failed = True
        return False


def first_failed(step: StepDefinition, instance: Instance) -> Execution | None:
    """The item, or batch, of the map that failed first; None if none has."""
    failed = (
        execution
        for execution in instance.current.values()
        if execution.status is StepStatus.FAILED and execution.handled_by == step.name
    )
    return min(failed, key=lambda execution: execution.place, default=None)
