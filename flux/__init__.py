"""Business transactions as ordinary Python steps: saved, resumed, undone when they fail."""

from flux.clock import Clock, SystemClock
from flux.config import FluxConfig
from flux.definition.builder import Step, Workflow, create_workflow
from flux.definition.policy import Retry
from flux.definition.step import StepDefinition, StepDescriptor
from flux.definition.workflow import WorkflowDefinition, WorkflowDescriptor
from flux.engine.context import CompensationContext, WorkflowContext
from flux.engine.engine import FluxEngine
from flux.engine.outcome import done, not_done
from flux.errors import (
    DefinitionError,
    EngineClosedError,
    FluxError,
    HandlerCancelledError,
    IllegalMoveError,
    InputError,
    InstanceConflictError,
    InstanceNotFoundError,
    InvalidTransitionError,
    NotADatabaseError,
    NotJSONError,
    OutcomeUnknownError,
    ResultTimeoutError,
    SchemaTooNewError,
    StaleInstanceError,
    StateFormatError,
    StateUnreadableError,
    StepCompensatedError,
    StepNotCompletedError,
    StepTimeoutError,
    StorageBusyError,
    StorageClosedError,
    StorageError,
    StorageFullError,
    StorageURLError,
    StoredError,
    UniqueKeyTakenError,
    UnknownStepError,
    UnknownWorkflowError,
    WorkflowConflictError,
)
from flux.events import AttemptEnd
from flux.observe.jsonl import JSONLinesSink
from flux.observe.logs import LoggingSink
from flux.observe.observers import FluxTraceSink
from flux.observe.trace import FluxTraceEvent
from flux.result import FluxResult
from flux.state.execution import Attempt
from flux.state.status import CompensationStatus, Outcome, StepStatus, WorkflowStatus
from flux.state.workflow_state import StepCompensation, StepExecution, WorkflowState
from flux.storage import (
    Checkpoint,
    Entry,
    Lease,
    Record,
    Signal,
    SignalReceipt,
    StoredSignal,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
    open_storage,
)

__all__ = [
    "Attempt",
    "AttemptEnd",
    "Checkpoint",
    "Clock",
    "CompensationContext",
    "CompensationStatus",
    "DefinitionError",
    "EngineClosedError",
    "Entry",
    "FluxConfig",
    "FluxEngine",
    "FluxError",
    "FluxResult",
    "FluxTraceEvent",
    "FluxTraceSink",
    "HandlerCancelledError",
    "IllegalMoveError",
    "InputError",
    "InstanceConflictError",
    "InstanceNotFoundError",
    "InvalidTransitionError",
    "JSONLinesSink",
    "Lease",
    "LoggingSink",
    "NotADatabaseError",
    "NotJSONError",
    "Outcome",
    "OutcomeUnknownError",
    "Record",
    "ResultTimeoutError",
    "Retry",
    "SchemaTooNewError",
    "Signal",
    "SignalReceipt",
    "StaleInstanceError",
    "StateFormatError",
    "StateUnreadableError",
    "Step",
    "StepCompensatedError",
    "StepCompensation",
    "StepDefinition",
    "StepDescriptor",
    "StepExecution",
    "StepNotCompletedError",
    "StepStatus",
    "StepTimeoutError",
    "StorageBusyError",
    "StorageClosedError",
    "StorageError",
    "StorageFullError",
    "StorageURLError",
    "StoredError",
    "StoredSignal",
    "SystemClock",
    "UniqueKeyTakenError",
    "UnknownStepError",
    "UnknownWorkflowError",
    "Workflow",
    "WorkflowConflictError",
    "WorkflowContext",
    "WorkflowDefinition",
    "WorkflowDescriptor",
    "WorkflowFilter",
    "WorkflowState",
    "WorkflowStatus",
    "WorkflowStorage",
    "WorkflowSummary",
    "create_workflow",
    "done",
    "not_done",
    "open_storage",
]
