"""How an attempt went, to what happened. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
from attrs import evolve

from flux import events
from flux.definition.policy import Retry
from flux.definition.step import StepDefinition
from flux.engine.attempt import Attempted, output_text
from flux.errors import (
    HandlerCancelledError,
    MapFailedError,
    NoCaseError,
    NotAListError,
    NotJSONError,
    OutcomeUnknownError,
    StoredError,
    WaitTimeoutError,
)
from flux.events import CONTINUED, AttemptEnd, DataChanges, Event, Received
from flux.frozen import frozen
from flux.state.execution import Execution
from flux.state.strict_json import json_text


@frozen
class Answer:
    """What a verifier says: the step has acted, with this output."""

    output: object = None


class NotDone:
    """What a verifier says: the step has not acted."""

    def __repr__(self) -> str:
        return "not_done"


def done(output: object = None) -> Answer:
    """A verifier returns `done(output)` when the step has acted."""
    return Answer(output)


not_done = NotDone()
"""A verifier returns `not_done` when the step has not acted."""


def after_attempt(
    step: StepDefinition,
    execution: Execution | None,
    attempted: Attempted,
    *,
    policy: Retry,
    at: datetime,
    called_off: bool = False,
) -> Event:
    """What an attempt of the handler came to.

    `called_off` says that it was cancelled since its instance goes no further.
    """
    attempt = next_attempt(execution)
    if attempted.waiting is not None:
        return events.StepSuspended(
            at=at,
            step=step.name,
            started_at=attempted.started_at,
            attempt=attempt,
            changes=attempted.changes,
            waiting=attempted.waiting,
        )
    if attempted.ended is None:
        return events.StepCompleted(
            at=at,
            step=step.name,
            started_at=attempted.started_at,
            attempt=attempt,
            output=attempted.output,
            changes=attempted.changes,
            cached=attempted.cached,
        )
    assert attempted.error is not None
    failed = 0 if execution is None else execution.tries.failures
    never_began = isinstance(attempted.error, HandlerCancelledError)
    if called_off and (attempted.ended is AttemptEnd.CANCELLED or never_began):
        return _attempt_failed(step, attempted, attempt, retry_at=at, at=at)
    retry_at = _retry_at(attempted, failed, policy, at)
    is_last = retry_at is None
    # An at-most-once step that may have acted is not tried again before it was asked about.
    verify = step.at_most_once and attempted.ended.may_have_acted
    if attempted.ended is AttemptEnd.REFUSED or (verify and step.verify is None):
        retry_at = None
    elif verify:
        retry_at = at
    if retry_at is None:
        return events.StepFailed(
            at=at,
            step=step.name,
            error=StoredError.of(attempted.error),
            started_at=attempted.started_at,
            attempt=attempt,
            ended=attempted.ended,
        )
    return _attempt_failed(
        step, attempted, attempt, retry_at=retry_at, at=at, verify=verify, is_last=is_last
    )


def _attempt_failed(
    step: StepDefinition,
    attempted: Attempted,
    attempt: int,
    *,
    retry_at: datetime,
    at: datetime,
    verify: bool = False,
    is_last: bool = False,
) -> Event:
    assert attempted.error is not None
    assert attempted.ended is not None
    return events.AttemptFailed(
        at=at,
        step=step.name,
        started_at=attempted.started_at,
        attempt=attempt,
        ended=attempted.ended,
        error=StoredError.of(attempted.error),
        retry_at=retry_at,
        verify=verify,
        is_last=is_last,
    )


def after_wait(
    step: StepDefinition, execution: Execution, received: Received | None, *, at: datetime
) -> Sequence[Event]:
    """What a step that waited comes to with this signal, or with None for a timeout."""
    assert execution.waiting is not None
    signal, default = execution.waiting.signal, execution.waiting.default
    happened: list[Event] = []
    if received is not None:
        happened.append(events.SignalTaken(at=at, step=step.name, received=received))
    elif signal is not None:
        happened.append(events.WaitTimedOut(at=at, step=step.name, signal=signal))
    output = default if received is None else received.payload
    if output is None:
        assert signal is not None
        error = StoredError.of(WaitTimeoutError(step.name, signal))
        return [*happened, events.StepFailed(at=at, step=step.name, error=error)]
    completed = events.StepCompleted(
        at=at,
        step=step.name,
        started_at=execution.started_at or at,
        attempt=execution.attempts,
        output=output,
        changes=DataChanges(),
    )
    return [*happened, completed]


def after_choice(step: StepDefinition, value: object, *, at: datetime) -> Event:
    """What a branch comes to whose selector returned `value`; its output is the case's key."""
    branch = step.branch
    assert branch is not None
    if all(isinstance(key, bool) for key in branch.cases):
        value = bool(value)  # a predicate
    chosen = next((key for key in branch.cases if key == value), None)
    if chosen is None and branch.default is None:
        error = StoredError.of(NoCaseError(step.name, value, branch.cases))
        return events.StepFailed(at=at, step=step.name, error=error)
    return events.StepCompleted(
        at=at,
        step=step.name,
        started_at=at,
        attempt=1,
        output=orjson.dumps(chosen),
        changes=DataChanges(),
    )


def after_expansion(step: StepDefinition, value: object, *, at: datetime) -> Event:
    """What a map comes to that is to run over `value`."""
    assert step.each is not None
    try:
        if not isinstance(value, list | tuple):
            raise NotAListError(step.name, value)
        items = json_text(list(value), "items")
        return events.MapExpanded(
            at=at, step=step.name, items=items, batch_size=step.each.batch_size
        )
    except (NotAListError, NotJSONError) as error:
        return events.StepFailed(at=at, step=step.name, error=StoredError.of(error))


def after_items(
    step: StepDefinition, execution: Execution, output: bytes, *, at: datetime
) -> Event:
    """What a map comes to all of whose items have ended."""
    return events.StepCompleted(
        at=at,
        step=step.name,
        started_at=execution.started_at or at,
        attempt=1,
        output=output,
        changes=DataChanges(),
    )


def after_failed_item(
    step: StepDefinition, failed: Execution, open_items: Sequence[str], *, at: datetime
) -> Sequence[Event]:
    """What a map comes to one of whose items has failed; the open ones go no further."""
    assert failed.error is not None
    error = StoredError.of(MapFailedError(step.name, failed.step, failed.error))
    error = evolve(error, cause=failed.error)
    closed = (events.StepFailed(at=at, step=name, error=error) for name in open_items)
    return *closed, events.StepFailed(at=at, step=step.name, error=error)


def handler_of(step: StepDefinition, failed: events.StepFailed) -> str | None:
    """What handles this failure of the step, or of an item of it; None if nothing does."""
    if step.each is not None and failed.step != step.name:
        return CONTINUED if step.each.on_item_failure == "continue" else step.name
    for rescue in step.rescues:
        if rescue.fits(failed.error):
            return rescue.step
    return CONTINUED if step.continues else None


def after_verification(
    step: StepDefinition,
    execution: Execution,
    attempted: Attempted,
    *,
    policy: Retry,
    at: datetime,
) -> Sequence[Event]:
    """What asking the verifier came to."""
    if attempted.ended is None and isinstance(attempted.value, NotDone):
        return _after_not_done(step, execution, policy, at)
    return (_after_other_answer(step, execution, attempted, policy, at),)


def _after_not_done(
    step: StepDefinition, execution: Execution, policy: Retry, at: datetime
) -> Sequence[Event]:
    if execution.tries.exhausted:
        # The cause is the attempt's error; the verifier may have failed since, with its own.
        cause = execution.tries.ended[-1].error
        cleared = events.StepCleared(at=at, step=step.name)
        return cleared, events.StepFailed(at=at, step=step.name, error=cause)
    # Nothing failed if the step was merely interrupted: then it runs again at once.
    failures = execution.tries.failures
    pause = policy.back_off(failures) if failures else 0.0
    return (events.StepCleared(at=at, step=step.name, retry_at=at + timedelta(seconds=pause)),)


def _after_other_answer(
    step: StepDefinition,
    execution: Execution,
    attempted: Attempted,
    policy: Retry,
    at: datetime,
) -> Event:
    try:
        output = _verified(step, attempted)
    except (NotJSONError, TypeError) as error:
        return _still_unknown(step, error, at)
    if output is not None:
        return events.StepCompleted(
            at=at,
            step=step.name,
            started_at=attempted.started_at,
            attempt=execution.attempts,
            output=output,
            changes=attempted.changes,
        )
    assert attempted.error is not None
    retry_at = _retry_at(attempted, execution.tries.verifications, policy, at)
    if retry_at is None or attempted.ended is AttemptEnd.REFUSED:
        return _still_unknown(step, attempted.error, at)
    stored = StoredError.of(attempted.error)
    return events.VerifyFailed(at=at, step=step.name, error=stored, retry_at=retry_at)


def after_compensation(
    step: StepDefinition,
    execution: Execution,
    attempted: Attempted,
    *,
    policy: Retry,
    at: datetime,
) -> Event:
    """What an attempt of the compensator came to."""
    attempt = next_compensation(execution)
    if attempted.ended is None:
        return events.StepCompensated(
            at=at,
            step=execution.step,
            number=execution.number,
            started_at=attempted.started_at,
            attempt=attempt,
            changes=attempted.changes,
        )
    assert attempted.error is not None
    failed = 0 if execution.compensation is None else execution.compensation.failures
    retry_at = _retry_at(attempted, failed, policy, at)
    if retry_at is None or attempted.ended is AttemptEnd.REFUSED:
        return events.CompensationFailed(
            at=at,
            step=execution.step,
            number=execution.number,
            started_at=attempted.started_at,
            attempt=attempt,
            error=StoredError.of(attempted.error),
            ended=attempted.ended,
        )
    return events.CompensationAttemptFailed(
        at=at,
        step=execution.step,
        number=execution.number,
        started_at=attempted.started_at,
        attempt=attempt,
        error=StoredError.of(attempted.error),
        ended=attempted.ended,
        retry_at=retry_at,
    )


def after_interruption(
    name: str,
    step: StepDefinition | None,
    execution: Execution | None,
    *,
    at: datetime,
    retry_at: datetime | None = None,
    called_off: bool = False,
) -> Event:
    """What it means that the driver which had saved the intent to run this step is gone.

    `called_off` says that the instance goes no further anyway, so that the cause is another. `step`
    is None if the code at hand has lost it, as it may where the instance is only undone.
    """
    at_most_once = step is not None and step.at_most_once
    attempt = next_attempt(execution)
    error = StoredError(
        type=OutcomeUnknownError.__name__,
        message=f"attempt {attempt} of step {name!r} was interrupted; whether it acted is unknown",
        kind=OutcomeUnknownError,
    )
    if step is not None and at_most_once and step.verify is None and not called_off:
        return events.StepFailed(
            at=at, step=name, error=error, attempt=attempt, ended=AttemptEnd.INTERRUPTED
        )
    return events.AttemptFailed(
        at=at,
        step=name,
        started_at=at,
        attempt=attempt,
        ended=AttemptEnd.INTERRUPTED,
        error=error,
        retry_at=retry_at,
        verify=at_most_once,
    )


def after_interrupted_compensation(
    step: StepDefinition,
    execution: Execution,
    *,
    at: datetime,
    retry_at: datetime | None = None,
) -> Event:
    """What it means that the driver which had saved the intent to undo this step is gone."""
    attempt = next_compensation(execution)
    error = StoredError(
        type=OutcomeUnknownError.__name__,
        message=f"attempt {attempt} to undo step {execution.step!r} was interrupted",
    )
    return events.CompensationAttemptFailed(
        at=at,
        step=execution.step,
        number=execution.number,
        started_at=at,
        attempt=attempt,
        error=error,
        ended=AttemptEnd.INTERRUPTED,
        retry_at=retry_at,
    )


def next_attempt(execution: Execution | None) -> int:
    """The number of the next attempt of a step."""
    return 1 if execution is None else execution.attempts + 1


def next_compensation(execution: Execution) -> int:
    """The number of the next attempt to undo an execution."""
    return 1 if execution.compensation is None else execution.compensation.attempts + 1


def _retry_at(attempted: Attempted, failed: int, policy: Retry, at: datetime) -> datetime | None:
    assert attempted.error is not None
    try:
        pause = policy.pause(attempted.error, failed + 1)
        return None if pause is None else at + timedelta(seconds=pause)
    except Exception as error:
        # A broken delay function, or a pause past the end of time: no more attempts.
        attempted.error.add_note(f"its retry policy failed: {type(error).__name__}: {error}")
        return None


def _verified(step: StepDefinition, attempted: Attempted) -> bytes | None:
    if attempted.ended is not None:
        return None
    if not isinstance(attempted.value, Answer):
        returned = type(attempted.value).__name__
        raise TypeError(
            f"the verifier of step {step.name!r} returned {returned}; "
            "return done(output) or not_done"
        )
    return output_text(attempted.value.output)


def _still_unknown(step: StepDefinition, error: BaseException, at: datetime) -> Event:
    return events.StepFailed(at=at, step=step.name, error=StoredError.of(error))
