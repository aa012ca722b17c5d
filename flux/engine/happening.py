"""What follows when something happens to an instance: failures are handled, writes may conflict."""

from flux import events
from flux.definition.workflow import WorkflowDefinition
from flux.engine import outcome
from flux.engine.beside import Beside
from flux.engine.journal import Journal
from flux.engine.merging import Writers
from flux.errors import DataConflictError, StoredError
from flux.events import DataChanges, Event
from flux.frozen import evolve
from flux.state.status import Direction

_Write = events.StepCompleted | events.StepSuspended | events.StepReplayed


class Happening:
    """Lets events happen to one instance. `beside` is what runs several of its steps at once."""

    def __init__(
        self, definition: WorkflowDefinition, journal: Journal, beside: Beside | None
    ) -> None:
        self._definition = definition
        self._journal = journal
        self._instance = journal.instance
        self._beside = beside
        self._writers: Writers | None = None

    def apply(self, event: Event) -> None:
        """Let an event happen, with what follows from it; it is true once it is saved."""
        if type(event) is events.StepFailed:
            self._fail(event)
        elif self._beside is None or not isinstance(event, _Write):
            self._journal.apply(event)
        else:
            self._write(event, self._beside)

    def _fail(self, event: events.StepFailed) -> None:
        """Let a step fail, see what handles that, and stop what is not to go on beside it."""
        event = self._handled(event)
        went_back = self._goes_back
        self._journal.apply(event)
        if self._beside is None:
            return
        if event.handled_by is not None:
            self._beside.stop_items(event)
        elif not went_back:
            self._beside.stop_after(event)

    def _handled(self, event: events.StepFailed) -> events.StepFailed:
        """The failure with what runs now instead; nothing does once the instance turns back."""
        if self._goes_back or event.step not in self._definition:
            return event
        handler = outcome.handler_of(self._definition.step(event.step), event)
        return event if handler is None else evolve(event, handled_by=handler)

    def _write(self, event: _Write, beside: Beside) -> None:
        """Let a step beside others write, and see whether they wrote the same."""
        if self._writers is None:
            self._writers = Writers(self._definition, self._instance)
        changes = self._changes_of(event)
        try:
            merged = None if changes is None else self._writers.add(event.step, changes)
        except DataConflictError as conflict:
            self._journal.apply(event)
            found = events.DataConflictFound(at=event.at, error=StoredError.of(conflict))
            went_back = self._goes_back
            self._journal.apply(found)
            if not went_back:
                beside.stop_after(found)
            return
        self._journal.apply(event if merged is None else evolve(event, merged=merged))

    def _changes_of(self, event: _Write) -> DataChanges | None:
        if isinstance(event, events.StepReplayed):
            return self._instance.executions[event.number].changes
        return event.changes

    @property
    def _goes_back(self) -> bool:
        return self._instance.head.direction is Direction.BACK
