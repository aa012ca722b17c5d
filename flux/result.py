"""What the engine's verbs return."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from attrs import field

from flux.errors import StoredError
from flux.frozen import frozen
from flux.state.status import WorkflowStatus
from flux.state.workflow_state import StepExecution, WorkflowState


@frozen(kw_only=True, slots=False)
class FluxResult:
    """An instance at its rest. A failed one is returned, never raised: look at `status`.

    `error` is the cause of the failure, `duration` the seconds from the start to the last change.
    """

    id: str
    status: WorkflowStatus
    error: StoredError | None
    duration: float
    _view: Callable[[], WorkflowState] = field(repr=False, eq=False)

    @cached_property
    def state(self) -> WorkflowState:
        """The whole instance, read when it is first asked for."""
        return self._view()

    @property
    def data(self) -> Any:
        """The fold of the history; typed if the workflow's data is."""
        return self.state.data

    @property
    def history(self) -> tuple[StepExecution, ...]:
        """One entry a step, in the order in which they were reached."""
        return self.state.history
