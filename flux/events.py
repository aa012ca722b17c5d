"""What can happen to an instance, in the past tense.

The engine makes an event of everything that happens; `state.changes` turns it into the next state
of the instance, and once that is saved, `observe` tells whoever listens.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from attrs import Factory

from flux.errors import StoredError
from flux.frozen import frozen, unguarded


class AttemptEnd(StrEnum):
    """How an attempt that did not complete ended."""

    FAILED = "failed"
    """The handler raised."""
    UNKNOWN = "unknown"
    """The handler raised to say that it cannot tell whether it acted."""
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process died, stopped or lost the instance."""
    REFUSED = "refused"
    """The handler returned something that cannot be kept."""

    @property
    def may_have_acted(self) -> bool:
        return self is not AttemptEnd.FAILED


CONTINUED = "flux:continue"
"""Handled a failure: the step was declared to let the others go on."""


@unguarded
class DataChanges:
    """Top-level keys of `data`: those set, each with its JSON text, and those deleted."""

    set: Mapping[str, bytes] = Factory(dict)
    deleted: tuple[str, ...] = ()


@frozen(kw_only=True)
class Received:
    """A signal in the inbox of an instance; numbers rise in the order of arrival."""

    number: int
    name: str
    payload: bytes
    sent_at: datetime
    signal_id: str | None = None


@frozen(kw_only=True)
class Waiting:
    """What a suspended step waits for: a signal, or only for the time `until`.

    `default` is its output if it goes on after a timeout; None says that it fails then.
    """

    signal: str | None
    until: datetime | None = None
    default: bytes | None = None


@unguarded(kw_only=True)
class Event:
    """Something that happened, `at` a time by the engine's clock."""

    at: datetime


@unguarded(kw_only=True)
class InstanceStarted(Event):
    """The first save is about to be made."""


@unguarded(kw_only=True)
class InstanceQueued(Event):
    """A limit of its workflow lets it begin later; `reason` says which one.

    `gates` are the keys of the shared values in which it waits, `calls` the numbers of the signals
    in its inbox that told it to look again.
    """

    reason: str
    gates: tuple[str, ...]
    calls: tuple[int, ...] = ()


@unguarded(kw_only=True)
class InstanceAdmitted(Event):
    """The limits of its workflow let it begin."""

    gates: tuple[str, ...]
    calls: tuple[int, ...] = ()


@unguarded(kw_only=True)
class AdmissionFailed(Event):
    """The key of a limit of its workflow could not be made."""

    error: StoredError


@unguarded(kw_only=True)
class InstanceRecovered(Event):
    """The instance was taken over from a driver that is gone."""


@unguarded(kw_only=True)
class InstanceParked(Event):
    """It was recovered too often without progress; a person has to look at it."""

    reason: str


@unguarded(kw_only=True)
class InstanceUnparked(Event):
    """A person let a parked instance go on."""


@unguarded(kw_only=True)
class InstanceSuspended(Event):
    """All that is left to do waits for a signal or a time."""


@unguarded(kw_only=True)
class InstanceResumed(Event):
    """What it waited for has come, or a person let a paused instance go on."""


@unguarded(kw_only=True)
class RequestEvent(Event):
    """The signal of this number was a request to the engine and was heeded, or came too late."""

    number: int


@unguarded(kw_only=True)
class InstancePaused(RequestEvent):
    """Somebody asked for it to stop before its next step."""

    reason: str | None = None


@unguarded(kw_only=True)
class CancelRequested(RequestEvent):
    """Somebody asked for it to be cancelled; with `rollback` what was done is undone first."""

    rollback: bool
    error: StoredError


@unguarded(kw_only=True)
class RequestDropped(RequestEvent):
    """The request no longer changes anything."""


@unguarded(kw_only=True)
class InstanceCancelled(Event):
    """It has ended because somebody asked for it."""

    error: StoredError | None = None


@unguarded(kw_only=True)
class DeadlineExceeded(Event):
    """The deadline of its workflow passed before it had ended."""

    error: StoredError


@unguarded(kw_only=True)
class DefinitionAdopted(Event):
    """It goes on with a workflow of another shape, which fits what was done."""

    version: str
    shape: bytes


@unguarded(kw_only=True)
class InstanceCompleted(Event):
    """Nothing is left to run."""


@unguarded(kw_only=True)
class InstanceFailed(Event):
    """A step failed for good, and there is nothing to undo."""

    error: StoredError | None = None


@unguarded(kw_only=True)
class RollbackStarted(Event):
    """A step failed for good, and something is to be undone."""

    error: StoredError | None = None


@unguarded(kw_only=True)
class InstanceRolledBack(Event):
    """All that had to be undone is undone."""

    error: StoredError | None = None


@unguarded(kw_only=True)
class RollbackRequested(Event):
    """It had completed as a part of another instance, which is rolled back."""

    error: StoredError


@unguarded(kw_only=True)
class RollbackFailed(Event):
    """A compensator failed for good; a person has to decide."""

    error: StoredError | None = None


@unguarded(kw_only=True)
class RollbackRetried(Event):
    """A person asked for the failed compensations to be tried afresh."""


@unguarded(kw_only=True)
class InstanceRestarted(Event):
    """A person let the instance run again; the executions of these numbers were replaced."""

    from_step: str
    replaced: tuple[int, ...]


@unguarded(kw_only=True)
class StepsRetried(Event):
    """A person let failed steps run again; those in `verify` are asked whether they acted.

    Those in `aside` had only run since these failed.
    """

    steps: tuple[str, ...]
    verify: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


@unguarded(kw_only=True)
class StepEvent(Event):
    """Something that happened to a step."""

    step: str


@unguarded(kw_only=True)
class StepStarted(StepEvent):
    """Its intent is saved, its handler is about to be called."""

    attempt: int


@unguarded(kw_only=True)
class StepReached(StepEvent):
    """Its predicate said yes, but the engine stops before it runs."""


@unguarded(kw_only=True)
class StepSkipped(StepEvent):
    """Its predicate said no."""


@unguarded(kw_only=True)
class StepLeftOut(StepEvent):
    """A branch chose another case, so that it never runs."""


@unguarded(kw_only=True)
class MapExpanded(StepEvent):
    """What a map runs over is known: the JSON text of a list, and how many of it at a time."""

    items: bytes
    batch_size: int | None = None


@unguarded(kw_only=True)
class StepsClosed(Event):
    """Another step failed for good: those that wait, for a signal or a retry, go no further."""

    error: StoredError


@unguarded(kw_only=True)
class DataConflictFound(Event):
    """Steps beside each other wrote different values to one key of the data."""

    error: StoredError


@unguarded(kw_only=True)
class StepReplayed(StepEvent):
    """Reached again after a restart: the committed execution of this number stands."""

    number: int
    merged: DataChanges | None = None


@unguarded(kw_only=True)
class StepReopened(StepEvent):
    """Reached again after a restart: the unfinished execution of this number goes on.

    With `verify` its verifier is asked first whether it has acted.
    """

    number: int
    verify: bool = False


@unguarded(kw_only=True)
class StepCompleted(StepEvent):
    """Its handler, its verifier or its cache gave a result.

    `merged` has, for keys that steps beside it wrote as well, what the data hold now.
    """

    started_at: datetime
    attempt: int
    output: bytes
    changes: DataChanges
    merged: DataChanges | None = None
    cached: bool = False


@unguarded(kw_only=True)
class StepSuspended(StepEvent):
    """Its handler returned a wait."""

    started_at: datetime
    attempt: int
    changes: DataChanges
    waiting: Waiting
    merged: DataChanges | None = None


@unguarded(kw_only=True)
class SignalTaken(StepEvent):
    """The step takes the signal that it waited for; it completes next."""

    received: Received


@unguarded(kw_only=True)
class WaitTimedOut(StepEvent):
    """The signal did not come in time; the step fails or completes next."""

    signal: str


@unguarded(kw_only=True)
class AttemptFailed(StepEvent):
    """An attempt ended without a result; the step is tried again at `retry_at`.

    With `verify` its verifier is asked first whether the attempt acted; `is_last` says that the
    step has no retries left if it did not.
    """

    started_at: datetime
    attempt: int
    ended: AttemptEnd
    error: StoredError
    retry_at: datetime | None = None
    verify: bool = False
    is_last: bool = False


@unguarded(kw_only=True)
class StepFailed(StepEvent):
    """The step failed for good. `attempt` is None if no attempt was made or added by this.

    `handled_by` is the step that runs instead, or `CONTINUED`; the instance has not failed then.
    `is_undone` says that nothing is left of what it had begun before it waited.
    """

    error: StoredError
    started_at: datetime | None = None
    attempt: int | None = None
    ended: AttemptEnd = AttemptEnd.FAILED
    handled_by: str | None = None
    is_undone: bool = False


@unguarded(kw_only=True)
class VerifyFailed(StepEvent):
    """The verifier raised; it is asked again at `retry_at`."""

    error: StoredError
    retry_at: datetime


@unguarded(kw_only=True)
class StepCleared(StepEvent):
    """The verifier said that the step has not acted; it runs again at `retry_at`."""

    retry_at: datetime | None = None


@unguarded(kw_only=True)
class CompensationEvent(StepEvent):
    """Something that happened to the compensation of the execution of this number."""

    number: int


@unguarded(kw_only=True)
class CompensationStarted(CompensationEvent):
    """Its intent is saved, the compensator is about to be called."""

    attempt: int


@unguarded(kw_only=True)
class StepCompensated(CompensationEvent):
    """The compensator returned."""

    started_at: datetime
    attempt: int
    changes: DataChanges


@unguarded(kw_only=True)
class CompensationAttemptFailed(CompensationEvent):
    """The compensator did not return; it is tried again at `retry_at`."""

    started_at: datetime
    attempt: int
    error: StoredError
    ended: AttemptEnd
    retry_at: datetime | None


@unguarded(kw_only=True)
class CompensationFailed(CompensationEvent):
    """The compensator failed for good."""

    started_at: datetime
    attempt: int
    error: StoredError
    ended: AttemptEnd


@unguarded(kw_only=True)
class CompensationSkipped(CompensationEvent):
    """A person said that the step need not be undone, or was undone by hand."""

    reason: str


@frozen(kw_only=True)
class StepFacts:
    """What observers are told of a step."""

    index: int
    commit: bool
    max_retries: int


@frozen(kw_only=True)
class InstanceFacts:
    """What observers are told of an instance."""

    id: str
    workflow: str
    created_at: datetime
    input: bytes
    steps: Mapping[str, StepFacts]
