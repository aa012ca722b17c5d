"""What a rollback still owes, and in which order. Pure."""

from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import CompensationStatus, Outcome


def owed(definition: WorkflowDefinition, instance: Instance) -> list[int]:
    """The numbers of the executions to undo, the first one last."""
    found = (e for e in instance.executions.values() if e.is_owed)
    undoable = (e for e in found if compensator_of(definition, e) is not None)
    return [execution.number for execution in sorted(undoable, key=_urgency)]


def failed(instance: Instance) -> Execution | None:
    """The execution whose compensation failed for good; None if there is none."""
    for execution in instance.executions.values():
        undone = execution.compensation
        if undone is not None and undone.status is CompensationStatus.FAILED:
            return execution
    return None


def compensator_of(definition: WorkflowDefinition, execution: Execution) -> StepDefinition | None:
    """The step of the execution if it has a compensator."""
    if execution.step not in definition:
        return None
    step = definition.step(execution.step)
    # Of a map the items are undone, each alone.
    is_map = step.each is not None and step.name == execution.step
    return None if step.compensate is None or is_map else step


def _urgency(execution: Execution) -> tuple[bool, int]:
    # Unknown ones first, the latest started first; then the reverse order of completion. One that
    # a restart replaced keeps the place in which it really completed.
    unknown = execution.outcome is Outcome.UNKNOWN
    return unknown, execution.number if unknown else execution.finished or 0
