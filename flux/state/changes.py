"""State and event to change: what each event makes of an instance. Pure."""

from collections.abc import Callable
from typing import Any

from flux import events
from flux.events import Event
from flux.state import instance_changes, step_changes, undo_changes
from flux.state.heads import moved
from flux.state.instance import Change, Instance
from flux.state.status import WorkflowStatus


def change(instance: Instance, event: Event) -> Change:
    """What `event` makes of `instance`, which stays as it is."""
    return _CHANGES[type(event)](instance, event)


_CHANGES: dict[type[Event], Callable[[Instance, Any], Change]] = {
    events.InstanceStarted: moved(WorkflowStatus.RUNNING),
    events.InstanceRecovered: instance_changes.recovered,
    events.InstanceSuspended: moved(WorkflowStatus.SUSPENDED),
    events.InstanceResumed: instance_changes.resumed,
    events.InstancePaused: instance_changes.paused,
    events.CancelRequested: instance_changes.cancel_requested,
    events.RequestDropped: instance_changes.request_dropped,
    events.InstanceCancelled: moved(WorkflowStatus.CANCELLED),
    events.DeadlineExceeded: instance_changes.deadline_exceeded,
    events.InstanceQueued: instance_changes.queued,
    events.InstanceAdmitted: instance_changes.admitted,
    events.AdmissionFailed: instance_changes.admission_failed,
    events.DefinitionAdopted: instance_changes.definition_adopted,
    events.InstanceCompleted: moved(WorkflowStatus.COMPLETED),
    events.InstanceFailed: moved(WorkflowStatus.FAILED),
    events.RollbackStarted: moved(WorkflowStatus.ROLLING_BACK),
    events.InstanceRolledBack: moved(WorkflowStatus.ROLLED_BACK),
    events.RollbackRequested: instance_changes.rollback_requested,
    events.RollbackFailed: moved(WorkflowStatus.ROLLBACK_FAILED),
    events.InstanceParked: instance_changes.parked,
    events.InstanceUnparked: instance_changes.unparked,
    events.RollbackRetried: instance_changes.rollback_retried,
    events.InstanceRestarted: instance_changes.restarted,
    events.StepsRetried: instance_changes.steps_retried,
    events.StepReached: step_changes.reached,
    events.StepSkipped: step_changes.skipped,
    events.StepLeftOut: step_changes.left_out,
    events.MapExpanded: step_changes.map_expanded,
    events.StepsClosed: instance_changes.steps_closed,
    events.DataConflictFound: instance_changes.data_conflict_found,
    events.StepReplayed: step_changes.replayed,
    events.StepReopened: step_changes.reopened,
    events.StepCompleted: step_changes.completed,
    events.StepSuspended: step_changes.suspended,
    events.SignalTaken: step_changes.signal_taken,
    events.WaitTimedOut: step_changes.unchanged,
    events.AttemptFailed: step_changes.attempt_failed,
    events.StepFailed: step_changes.failed,
    events.VerifyFailed: step_changes.verify_failed,
    events.StepCleared: step_changes.cleared,
    events.StepCompensated: undo_changes.compensated,
    events.CompensationAttemptFailed: undo_changes.compensation_attempt_failed,
    events.CompensationFailed: undo_changes.compensation_failed,
    events.CompensationSkipped: undo_changes.compensation_skipped,
}
