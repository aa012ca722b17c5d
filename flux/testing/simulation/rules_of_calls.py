"""What must be true when a handler is called. The numbers are those of docs/semantics.md."""

from datetime import datetime, timedelta

from flux.definition.policy import Retry
from flux.definition.step import StepDefinition, step_of
from flux.definition.workflow import WorkflowDefinition
from flux.events import AttemptEnd
from flux.state.execution import Execution
from flux.state.status import Direction, Outcome, StepStatus, WorkflowStatus
from flux.testing.simulation.calls import Call, World, said_not_done
from flux.testing.simulation.hosts import Host
from flux.testing.simulation.ledger import Kept, Ledger, ViolationError

_MOMENT = 0.001
"""Seconds that do not count."""


class RulesOfCalls:
    """Looks at each call when it begins; raises `ViolationError`."""

    def __init__(
        self,
        ledger: Ledger,
        definitions: dict[str, WorkflowDefinition],
        *,
        leases_agree: bool,
        times_agree: bool,
        slack: float,
    ) -> None:
        self.world: World | None = None
        self._ledger = ledger
        self._definitions = definitions
        self._leases_agree = leases_agree
        """Whether no lease seems to be over to one process that is not to another."""
        self._times_agree = times_agree
        """Whether all wall clocks are right."""
        self._slack = timedelta(seconds=slack)
        """So much may an engine be wrong about the storage's time."""

    def look(self, call: Call) -> None:
        kept = self._ledger.kept.get(call.instance)
        if kept is None:
            raise ViolationError(f"S1: {call.key!r} was called before its instance was saved")
        definition = self._definitions[kept.workflow]
        step = definition.step(call.step)
        if kept.host is not call.host:
            self._look_at_zombie(call, kept)
            return
        self._look_at_intent(call, kept)
        self._look_at_limits(kept, definition)
        if call.kind == "undo":
            self._look_at_undo(call, kept, definition)
        else:
            self._look_at_forward(call, kept, step)

    def look_at_end(self, call: Call) -> None:
        """Look at a call when it has ended."""
        step = self._definitions[self._ledger.kept[call.instance].workflow].step(call.step)
        limit = step.compensate_timeout if call.kind == "undo" else step.timeout
        if limit is None or call.ended_at is None or call.host.stalls != call.stalls:
            return
        if call.ended_at - call.began > limit + _MOMENT:
            raise ViolationError(
                f"S9: {call.key!r} ({call.kind}) ended after {call.ended_at - call.began} seconds, "
                f"of which it had {limit}"
            )

    def look_at_question(self, instance: str, step: str, host: Host) -> None:
        """Look at a predicate, a branch's choice or a map's list when it is asked."""
        kept = self._ledger.kept[instance]
        if kept.host is not host or (kept.was_restarted and kept.status.is_rest):
            return  # a person's word lets it be asked again, and is not saved yet
        execution = kept.current(step)
        known = execution is not None and (execution.asked or execution.attempts > 0)
        if known or step in kept.intent:
            raise ViolationError(
                f"S6: {host} asks {step!r} of {instance!r} again, whose answer was saved"
            )

    def _look_at_limits(self, kept: Kept, definition: WorkflowDefinition) -> None:
        kept.is_at_work = True
        places = [one.concurrency for one in definition.limits if one.concurrency is not None]
        if not places:
            return
        at_work = [
            k.id for k in self._ledger.kept.values() if k.is_at_work and k.workflow == kept.workflow
        ]
        if len(at_work) > min(places):
            raise ViolationError(f"limits: {at_work} are at work, and there is room for {places}")

    def _look_at_attempt(
        self, call: Call, retries: Retry | None, failures: int, retry_at: datetime | None
    ) -> None:
        most = 0 if retries is None else retries.retries
        if failures > most:
            raise ViolationError(
                f"S8: {call.host} calls {call.key!r} ({call.kind}) after {failures} failures, and "
                f"may retry {most} times"
            )
        now = call.host.clock.now()
        # One that stood still while it asked a server for the time is wrong about it for a while.
        is_right = self._times_agree and not (self._slack and call.host.stalls)
        if is_right and retry_at is not None and retry_at > now + self._slack:
            raise ViolationError(
                f"S8: {call.host} calls {call.key!r} ({call.kind}) at {now}, and may retry it at "
                f"{retry_at}"
            )

    def _look_at_zombie(self, call: Call, kept: Kept) -> None:
        if not self._leases_agree or kept.was_stolen:
            return
        raise ViolationError(
            f"S13: {call.host} calls {call.key!r} ({call.kind}), though the instance is "
            f"{kept.host}'s and its lease has run out"
        )

    def _look_at_intent(self, call: Call, kept: Kept) -> None:
        # That an item is undone is saved as the undoing of its map.
        name = step_of(call.step) if call.kind == "undo" else call.step
        if name not in kept.intent and call.step not in kept.intent:
            raise ViolationError(
                f"S2: {call.host} calls {call.key!r} ({call.kind}), but the saved intent is "
                f"{list(kept.intent)}"
            )
        if kept.status.is_ended:
            raise ViolationError(f"S16: {call.key!r} is called, but {kept.id!r} is {kept.status}")

    def _look_at_forward(self, call: Call, kept: Kept, step: StepDefinition) -> None:
        if kept.head.direction is Direction.BACK:
            raise ViolationError(
                f"S13: {call.host} calls {call.key!r} ({call.kind}) after the rollback was saved"
            )
        execution = kept.current(call.step)
        if execution is not None and execution.status is StepStatus.COMPLETED:
            raise ViolationError(
                f"S3: {call.host} calls {call.key!r} ({call.kind}), whose result was saved"
            )
        if call.kind == "run":
            self._look_at_run(call, kept, step, execution)

    def _look_at_run(
        self, call: Call, kept: Kept, step: StepDefinition, execution: Execution | None
    ) -> None:
        assert self.world is not None
        if execution is not None:
            tries = execution.tries
            self._look_at_attempt(call, step.retries, tries.failures, tries.retry_at)
        earlier = self.world.by_key.get(call.key, [])
        again = any(c.attempt >= call.attempt for c in earlier)
        if again and not _by_zombies(earlier, call):
            raise ViolationError(
                f"S3: {call.host} calls {call.key!r} as attempt {call.attempt} after attempt "
                f"{max(c.attempt for c in earlier)}"
            )
        committed = [
            e
            for e in kept.executions.values()
            if e.step == call.step and e.outcome is Outcome.COMPLETED and not e.is_compensated
        ]
        if step.commit and committed:
            raise ViolationError(f"S4: {call.key!r} is called, but {call.step!r} was committed")
        if step.at_most_once and earlier:
            self._look_at_most_once(call, kept, earlier[-1], execution)

    def _look_at_most_once(
        self, call: Call, kept: Kept, last: Call, execution: Execution | None
    ) -> None:
        assert self.world is not None
        asked = [c for c in self.world.calls_of(call.instance) if c.key == call.key]
        if any(said_not_done(c) for c in asked if c.number > last.number):
            return
        if kept.head.run > 1 and last.ended == "waits":
            return  # it is known to have acted; a person let it run again
        failed = () if execution is None else execution.tries.ended
        if any(a.number == last.attempt and a.ended is AttemptEnd.FAILED for a in failed):
            return
        raise ViolationError(
            f"S5: {call.host} calls {call.key!r} again, which may have acted in attempt "
            f"{last.attempt}, and no verifier said that it has not"
        )

    def _look_at_undo(self, call: Call, kept: Kept, definition: WorkflowDefinition) -> None:
        if kept.status is not WorkflowStatus.ROLLING_BACK:
            raise ViolationError(
                f"S12: {call.key!r} is undone, but {kept.id!r} is {kept.status} as saved"
            )
        owed = [e for e in kept.executions.values() if e.is_owed and _undoes(definition, e)]
        key = call.key
        this = next((e for e in owed if _key(kept.id, e) == key), None)
        if this is None:
            raise ViolationError(f"S11: {key!r} is undone, which is not owed")
        undone = this.compensation
        if undone is not None:
            retries = definition.step(this.step).compensate_retries
            self._look_at_attempt(call, retries, undone.failures, undone.retry_at)
        for other in owed:
            if other is not this and self._comes_before(kept, other, this):
                raise ViolationError(
                    f"S11: {call.host} undoes {key!r} before {_key(kept.id, other)!r}"
                )

    def _comes_before(self, kept: Kept, first: Execution, second: Execution) -> bool:
        """Whether `first` has to be undone before `second`."""
        unknown = first.outcome is Outcome.UNKNOWN
        if unknown is not (second.outcome is Outcome.UNKNOWN):
            return unknown
        if not unknown:
            return _completion(kept, first) > _completion(kept, second)
        began = self._began(kept, first), self._began(kept, second)
        return None not in began and began[0] > began[1]  # type: ignore[operator]

    def _began(self, kept: Kept, execution: Execution) -> float | None:
        assert self.world is not None
        calls = self.world.by_key.get(_key(kept.id, execution))
        # One whose first attempt was cut off before its call began then, as far as is saved.
        return calls[0].began if calls and calls[0].attempt == 1 else None


def _completion(kept: Kept, execution: Execution) -> tuple[int, int]:
    return kept.completed.get(execution.number, 0), execution.finished or 0


def _key(id: str, execution: Execution) -> str:
    return f"{id}:{execution.step}:{execution.generation}"


def _undoes(definition: WorkflowDefinition, execution: Execution) -> bool:
    step = definition.step(execution.step)
    return step.compensate is not None and not (step.kind == "map" and step.name == execution.step)


def _by_zombies(earlier: list[Call], call: Call) -> bool:
    """Whether only processes that had lost the instance have gone as far."""
    as_far = [c for c in earlier if c.attempt >= call.attempt]
    return all(c.host is not call.host and c.was_late for c in as_far)
