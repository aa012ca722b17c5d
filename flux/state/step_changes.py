"""What events make of steps on the way forward. Pure."""

from flux import events
from flux.events import AttemptEnd, Event, StepEvent
from flux.frozen import evolve
from flux.state.execution import KEPT_ATTEMPTS, Attempt, Execution, Tries
from flux.state.heads import consuming, ticked
from flux.state.instance import Change, Head, Instance
from flux.state.instance_changes import NOT_WAITING
from flux.state.status import (
    Direction,
    Outcome,
    StepStatus,
)


def completed(instance: Instance, event: events.StepCompleted) -> Change:
    head = ticked(instance, event)
    known = instance.current.get(event.step)
    if known is not None and known.status is StepStatus.SUSPENDED:
        return _waited(known, event, head)
    execution = _at_once(instance, event, head) if known is None else _at_last(known, event, head)
    return Change(head, (execution,), event.merged or event.changes)


def _at_once(instance: Instance, event: events.StepCompleted, head: Head) -> Execution:
    """What a step comes to that nothing is known of."""
    # Constructed, in the order of the fields: this is on the way of every step.
    ticks = head.ticks
    number = instance.head.begun.get(event.step, ticks)
    return Execution(
        number,
        event.step,
        StepStatus.COMPLETED,
        number,
        instance.generation(event.step),
        head.run,
        Outcome.COMPLETED,
        event.attempt,
        event.started_at,
        event.at,
        event.output,
        event.changes,
        ticks,
        ticks,
        event.merged,
        event.cached,
    )


def _at_last(known: Execution, event: events.StepCompleted, head: Head) -> Execution:
    """What a step comes to after attempts that failed, or after its items."""
    return Execution(
        number=known.number,
        step=event.step,
        status=StepStatus.COMPLETED,
        place=known.place,
        generation=known.generation,
        run=head.run,
        outcome=Outcome.COMPLETED,
        attempts=event.attempt,
        tries=Tries(failures=known.tries.failures, ended=known.tries.ended),
        started_at=known.started_at,
        ended_at=event.at,
        output=event.output,
        changes=event.changes,
        finished=head.ticks,
        folded=head.ticks,
        items=known.items,
        batch_size=known.batch_size,
        merged=event.merged,
        cached=event.cached,
    )


def _waited(known: Execution, event: events.StepCompleted, head: Head) -> Change:
    """A suspended step is done: what it changed in the data was saved when it was suspended."""
    waited = evolve(
        known,
        status=StepStatus.COMPLETED,
        outcome=Outcome.COMPLETED,
        waiting=None,
        ended_at=event.at,
        output=event.output,
        finished=head.ticks,
    )
    return Change(head, (waited,))


def suspended(instance: Instance, event: events.StepSuspended) -> Change:
    head = ticked(instance, event)
    known = instance.current.get(event.step) or _new(instance, event, head)
    suspended = evolve(
        known,
        status=StepStatus.SUSPENDED,
        run=head.run,
        tries=known.tries.over,
        attempts=event.attempt,
        started_at=known.started_at or event.started_at,
        waiting=event.waiting,
        suspended_at=event.at,
        again=False,
        changes=event.changes,
        merged=event.merged,
        folded=head.ticks,
    )
    return Change(head, (suspended,), event.merged or event.changes)


def signal_taken(instance: Instance, event: events.SignalTaken) -> Change:
    return consuming(instance, instance.head, event.received.number, event.step)


def unchanged(instance: Instance, event: Event) -> Change:
    return Change(instance.head)


def reached(instance: Instance, event: events.StepReached) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current.get(event.step) or _new(instance, event, head)
    return Change(head, (evolve(known, asked=True),))


def skipped(instance: Instance, event: events.StepSkipped) -> Change:
    head = ticked(instance, event)
    known = instance.current.get(event.step) or _new(instance, event, head)
    return Change(head, (evolve(known, status=StepStatus.SKIPPED, ended_at=event.at),))


def left_out(instance: Instance, event: events.StepLeftOut) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    entry = _new(instance, event, head)
    return Change(
        head, (evolve(entry, status=StepStatus.SKIPPED, left_out=True, ended_at=event.at),)
    )


def map_expanded(instance: Instance, event: events.MapExpanded) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current.get(event.step) or _new(instance, event, head)
    expanded = evolve(
        known,
        attempts=1,
        started_at=event.at,
        items=event.items,
        batch_size=event.batch_size,
    )
    return Change(head, (expanded,))


def replayed(instance: Instance, event: events.StepReplayed) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    past = instance.executions[event.number]
    replayed = evolve(
        past,
        replaced=False,
        run=head.run,
        place=head.ticks,
        folded=head.ticks,
        merged=event.merged,
    )
    folded = event.merged or past.changes
    return Change(head, (*_untried(instance, event.step), replayed), folded)


def reopened(instance: Instance, event: events.StepReopened) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    past = instance.executions[event.number]
    reopened = evolve(
        past,
        replaced=False,
        run=head.run,
        place=head.ticks,
        status=StepStatus.RUNNING,
        asked=False,
        tries=Tries(ended=past.tries.ended, verifying=event.verify),
        ended_at=None,
        handled_by=None,
        closed=False,
        again=True,
        **NOT_WAITING,
    )
    return Change(head, (*_untried(instance, event.step), reopened))


def _untried(instance: Instance, step: str) -> tuple[Execution, ...]:
    """An entry whose predicate raised: it gives way to what was done in an earlier run."""
    untried = instance.current.get(step)
    return () if untried is None else (evolve(untried, replaced=True),)


def attempt_failed(instance: Instance, event: events.AttemptFailed) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current.get(event.step) or _new(instance, event, head)
    failed = evolve(
        known,
        status=StepStatus.RUNNING,
        outcome=_outcome(known, event.ended),
        tries=Tries(
            failures=_failures(known, event),
            ended=_with_attempt(known, event),
            retry_at=event.retry_at,
            verifying=event.verify,
            exhausted=event.is_last,
        ),
        attempts=event.attempt,
        started_at=known.started_at or event.started_at,
        error=event.error,
    )
    return Change(head, (failed,))


def failed(instance: Instance, event: events.StepFailed) -> Change:
    head = ticked(instance, event)
    if event.handled_by is None:
        # The first cause is kept: steps beside each other may both fail.
        head = evolve(head, direction=Direction.BACK, error=instance.head.error or event.error)
    known = instance.current.get(event.step) or _new(instance, event, head)
    suspended = known.status is StepStatus.SUSPENDED and not event.is_undone
    failed = evolve(
        known,
        status=StepStatus.FAILED,
        # A step that waits has acted, in a way that nobody knows.
        outcome=Outcome.UNKNOWN if suspended else known.outcome,
        tries=known.tries.over,
        started_at=known.started_at or event.started_at,
        ended_at=event.at,
        error=event.error,
        handled_by=event.handled_by,
    )
    if event.attempt is not None:
        failed = evolve(
            failed,
            outcome=_outcome(known, event.ended),
            attempts=event.attempt,
            tries=evolve(
                failed.tries,
                failures=_failures(known, event),
                ended=_with_attempt(known, event),
            ),
        )
    return Change(head, (failed,))


def verify_failed(instance: Instance, event: events.VerifyFailed) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current[event.step]
    verifications = known.tries.verifications + 1
    tries = evolve(known.tries, verifications=verifications, retry_at=event.retry_at)
    failed = evolve(known, tries=tries, error=event.error)
    return Change(head, (failed,))


def cleared(instance: Instance, event: events.StepCleared) -> Change:
    head = ticked(instance, event, recoveries=instance.head.recoveries)
    known = instance.current[event.step]
    tries = evolve(known.tries, verifying=False, retry_at=event.retry_at)
    cleared = evolve(known, tries=tries, outcome=None)
    return Change(head, (cleared,))


def _new(instance: Instance, event: StepEvent, head: Head) -> Execution:
    number = instance.head.begun.get(event.step, head.ticks)
    return Execution(
        number=number,
        step=event.step,
        status=StepStatus.RUNNING,
        place=number,
        generation=instance.generation(event.step),
        run=head.run,
    )


def _outcome(known: Execution, ended: AttemptEnd) -> Outcome | None:
    # Once unknown, an outcome stays so until the step completes or a verifier clears it.
    return Outcome.UNKNOWN if ended.may_have_acted else known.outcome


def _failures(known: Execution, event: events.AttemptFailed | events.StepFailed) -> int:
    # Retries count attempts that failed, not those that were interrupted.
    return known.tries.failures + (0 if event.ended is AttemptEnd.INTERRUPTED else 1)


def _with_attempt(
    known: Execution, event: events.AttemptFailed | events.StepFailed
) -> tuple[Attempt, ...]:
    attempt = Attempt(
        number=event.attempt or 0,
        started_at=event.started_at or event.at,
        ended_at=event.at,
        ended=event.ended,
        error=event.error,
    )
    return (*known.tries.ended, attempt)[-KEPT_ATTEMPTS:]
