"""The supported names: adding or removing one is a change to this file too."""

import flux

PINNED = [
    "AmbiguousCorrelationError",
    "Attempt",
    "AttemptEnd",
    "AwaitedSignal",
    "BatchResultError",
    "BlockingSharedStorage",
    "Cache",
    "CannotWaitError",
    "Checkpoint",
    "ChildFailedError",
    "ChildNotUndoneError",
    "Clock",
    "CompensationContext",
    "CompensationStatus",
    "CorrelationError",
    "CorrelationTakenError",
    "CriticalPath",
    "DataConflictError",
    "DeadlineExceededError",
    "DefinitionChangedError",
    "DefinitionError",
    "Diagnosis",
    "DriverMissingError",
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
    "InstanceCancelledError",
    "InstanceConflictError",
    "InstanceEndedError",
    "InstanceNotFoundError",
    "InvalidTransitionError",
    "JSONLinesSink",
    "JoinNotMetError",
    "Lease",
    "LoggingSink",
    "MapFailedError",
    "NoCaseError",
    "NotADatabaseError",
    "NotAListError",
    "NotARedisError",
    "NotJSONError",
    "NothingCorrelatedError",
    "Notice",
    "Notices",
    "Outcome",
    "OutcomeUnknownError",
    "ReceivedSignal",
    "Record",
    "ResultTimeoutError",
    "Retry",
    "SchemaTooNewError",
    "SharedStorage",
    "SharedValues",
    "Signal",
    "SignalConflictError",
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
    "StorageAccessError",
    "StorageBusyError",
    "StorageClosedError",
    "StorageError",
    "StorageFullError",
    "StorageReadOnlyError",
    "StorageURLError",
    "StorageUnavailableError",
    "StoredError",
    "StoredSignal",
    "SystemClock",
    "TimeKeeper",
    "TooDeepError",
    "UniqueKeyTakenError",
    "UnknownStepError",
    "UnknownWorkflowError",
    "UnseenSignalsError",
    "ValuesMissingError",
    "Wait",
    "WaitNotReturnedError",
    "WaitTimeoutError",
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
    "sleep",
    "sleep_until",
    "wait",
]


def test_public_names_are_pinned() -> None:
    """The package offers these names and no others."""
    assert flux.__all__ == PINNED


def test_public_names_are_sorted() -> None:
    """The list is in the order in which people look a name up."""
    assert sorted(flux.__all__) == flux.__all__


def test_public_names_are_there() -> None:
    """Each name can be imported from the package."""
    missing = [name for name in flux.__all__ if not hasattr(flux, name)]
    assert missing == []


def test_public_names_are_documented() -> None:
    """Each name says what it is."""
    silent = [name for name in flux.__all__ if not getattr(flux, name).__doc__]
    assert silent == []
