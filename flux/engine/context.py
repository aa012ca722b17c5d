"""What a handler sees of its instance."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import orjson

from flux.clock import Clock
from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine.data import NO_CHANGES, LazyData, changed, text_of
from flux.engine.items import ItemList
from flux.engine.shared import SharedStorage
from flux.errors import StepNotCompletedError, StoredError
from flux.events import DataChanges
from flux.frozen import unguarded
from flux.state.execution import Execution, compensation_key, idempotency_key
from flux.state.instance import Instance
from flux.state.status import Outcome, StepStatus, WorkflowStatus
from flux.state.workflow_state import StepExecution, history


@unguarded
class Around:
    """What the contexts of one instance have in common."""

    definition: WorkflowDefinition
    instance: Instance
    clock: Clock
    shared: SharedStorage


class WorkflowContext:
    """What a handler sees and may do.

    `input` and `data` are the handler's own: another attempt gets others. What it changes in `data`
    is saved with its result, as a set of top-level keys.
    """

    def __init__(
        self,
        around: Around,
        step: str,
        attempt: int,
        generation: int,
        data: Mapping[str, orjson.Fragment],
        items: ItemList | None = None,
    ) -> None:
        # Its parameters are not told by keyword: this is on the way of every step.
        self.step = step
        """The name of the step."""
        self.attempt = attempt
        """The number of the attempt, from 1; interrupted ones count."""
        self._generation = generation
        self._around = around
        self._instance = around.instance
        self._base = data
        self._items = items
        self._cancelled = False
        self._interrupt: Callable[[], object] | None = None
        self.was_interrupted = False
        """Whether the handler was cancelled because its instance is to go no further."""
        self._input: Any = _UNREAD
        self._data: Any = _UNREAD

    @property
    def id(self) -> str:
        """The id of the instance."""
        return self._instance.id

    @property
    def idempotency_key(self) -> str:
        """Names the effect: the same in every attempt, also after a crash."""
        return idempotency_key(self._instance.id, self.step, self._generation)

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self._instance.origin.workflow

    @property
    def status(self) -> WorkflowStatus:
        return self._instance.head.status

    @property
    def current_step(self) -> str | None:
        """The name of the step, as in the original."""
        return self.step

    @property
    def input(self) -> Any:
        """The input; a copy, changes to it are not kept."""
        if self._input is _UNREAD:
            plain = orjson.loads(self._instance.origin.input)
            self._input = self._around.definition.typed_input(plain)
        return self._input

    @property
    def data(self) -> Any:
        """The data, to be read and changed."""
        if self._data is _UNREAD:
            is_typed = self._around.definition.data_type is not None
            self._data = self._typed_data() if is_typed else LazyData(self._base)
        return self._data

    @data.setter
    def data(self, replacement: Any) -> None:
        self._data = replacement

    @property
    def storage(self) -> Any:
        """Values that all workflows share: `get`, `set`, `delete` and `compare_and_set`.

        An async handler awaits them (`SharedStorage`); in a plain one, which runs in a thread, they
        wait by themselves (`BlockingSharedStorage`).
        """
        return self._around.shared.here()

    @property
    def history(self) -> tuple[StepExecution, ...]:
        """What has happened so far, one entry a step."""
        return history(self._instance)

    def output(self, step: str) -> Any:
        """The result of a step; None if it was skipped, left out, or its outcome is unknown.

        That of its fallback, if that runs instead; None if it failed and the others go on.

        `UnknownStepError` for a name that the workflow lacks, `StepNotCompletedError` for a step
        without a result.
        """
        definition = self._around.definition.step(step)
        execution = self._execution(step)
        if execution is None or execution.handled_by is None or execution.output is not None:
            return _output(step, execution)
        for rescue in definition.rescues:
            if rescue.stands_in and rescue.step == execution.handled_by:
                return self.output(rescue.step)
        return None

    @property
    def failure(self) -> StoredError | None:
        """Why this step runs, if it runs because another failed: the error of the last of those."""
        rescued = (
            self._instance.current[name]
            for name in self._around.definition.rescued.get(step_of(self.step), ())
            if name in self._instance.current
        )
        handled = [e for e in rescued if e.handled_by == step_of(self.step)]
        last = max(handled, key=lambda execution: execution.ended_at or _LONG_AGO, default=None)
        return None if last is None else last.error

    @property
    def index(self) -> int:
        """The index of the item, or of the batch, in a map."""
        return self._of_map()[0]

    @property
    def item(self) -> Any:
        """The item that this call is for, in a map without `batch_size`; a copy."""
        return deepcopy(self._of_map(batch=False)[1])

    @property
    def items(self) -> Any:
        """The items of the batch that this call is for, in a map with `batch_size`; a copy."""
        return deepcopy(self._of_map(batch=True)[1])

    def _of_map(self, *, batch: bool | None = None) -> tuple[int, Any]:
        if self._items is None:
            raise AttributeError(f"step {self.step!r} is no map: its context has no item")
        if batch is not None and batch is not self._items.is_batched:
            there = (
                "items, those of a batch" if self._items.is_batched else "item, it has no batches"
            )
            raise AttributeError(f"map {self.step!r}: its context has {there}")
        return self._items.of(self.step)

    def now(self) -> datetime:
        """The time by the engine's clock, aware, in UTC."""
        return self._around.clock.now()

    def cancelled(self) -> bool:
        """Whether the handler is told to end: its result will be dropped."""
        return self._cancelled

    def cancel(self) -> None:
        """Tell the handler to end; for the engine."""
        self._cancelled = True

    def interrupt(self) -> None:
        """Cancel the handler, or tell it to end if it runs in a thread; for the engine."""
        self.was_interrupted = True
        self.cancel()
        if self._interrupt is not None:
            self._interrupt()

    def interruptible(self, interrupt: Callable[[], object] | None) -> None:
        """How the handler is cancelled while it runs; for the engine."""
        self._interrupt = interrupt
        if interrupt is not None and self.was_interrupted:
            interrupt()

    def changes(self) -> DataChanges:
        """What the handler changed in `data`; `NotJSONError` if it cannot be kept."""
        if self._data is _UNREAD:
            return NO_CHANGES
        if isinstance(self._data, LazyData):
            return self._data.changes()
        plain = self._around.definition.plain_data(self._data)
        texts = {key: text_of(key, value) for key, value in plain.items()}
        gone = (key for key in self._base if key not in texts)
        return DataChanges(set=changed(self._base, texts), deleted=tuple(gone))

    def _typed_data(self) -> Any:
        return self._around.definition.typed_data(orjson.loads(orjson.dumps(self._base)))

    def _execution(self, step: str) -> Execution | None:
        return self._instance.current.get(step)


class CompensationContext(WorkflowContext):
    """What a compensator sees: the same, and what it is to undo."""

    def __init__(
        self, around: Around, execution: Execution, attempt: int, items: ItemList | None = None
    ) -> None:
        data = around.instance.data
        super().__init__(around, execution.step, attempt, execution.generation, data, items)
        self._undone = execution

    @property
    def step_key(self) -> str:
        """The key that the step ran with."""
        return super().idempotency_key

    @property
    def idempotency_key(self) -> str:
        return compensation_key(self.step_key)

    @property
    def outcome(self) -> Outcome:
        """Whether the step `completed` or its outcome is `unknown`."""
        assert self._undone.outcome is not None
        return self._undone.outcome

    @property
    def failure(self) -> StoredError | None:
        """Why the instance is rolled back."""
        return self._instance.head.error

    def _execution(self, step: str) -> Execution | None:
        return self._undone if step == self._undone.step else super()._execution(step)


def _output(step: str, execution: Execution | None) -> Any:
    if execution is None:
        raise StepNotCompletedError(step, "it has not been reached")
    if execution.output is not None:
        return orjson.loads(execution.output)
    if execution.status is StepStatus.SKIPPED or execution.outcome is Outcome.UNKNOWN:
        return None
    raise StepNotCompletedError(step, f"it is {execution.status}")


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_UNREAD: Any = object()
