"""What the storage of a simulation holds, as somebody sees it who only watches the writes.

It keeps the books on its own: who may save, whose lease runs until when, which signals were
consumed. What the storage grants against its own books is a violation.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import Factory, define

from flux.state.codec import decode_execution, decode_head
from flux.state.execution import Execution
from flux.state.instance import Head
from flux.state.status import CompensationStatus, Direction, Outcome, StepStatus, WorkflowStatus
from flux.storage import Checkpoint, Entry, Lease, Record, Signal
from flux.testing.simulation.hosts import Host

_REFUSES = (
    WorkflowStatus.COMPLETED,
    WorkflowStatus.FAILED,
    WorkflowStatus.ROLLED_BACK,
    WorkflowStatus.CANCELLED,
    WorkflowStatus.ROLLING_BACK,
    WorkflowStatus.ROLLBACK_FAILED,
)
"""Statuses in which an instance takes in no signal of a user's."""

_RECOVERY = 120.0
"""So many seconds after the last incident its consequences are over."""


class ViolationError(AssertionError):
    """A promise was broken."""


@define(eq=False)
class Kept:
    """One instance as it was last written."""

    id: str
    workflow: str
    owner: str
    host: Host
    """Who has written last, or claimed it since."""
    head: Head
    intent: tuple[str, ...]
    revision: int = 1
    lease_until: datetime | None = None
    wake_at: datetime | None = None
    executions: dict[int, Execution] = Factory(dict)
    completed: dict[int, int] = Factory(dict)
    """By number of an execution, the save that told of its completion."""
    inbox: list[Signal] = Factory(list)
    consumed: dict[int, str] = Factory(dict)
    saves: int = 1
    is_at_work: bool = False
    """Whether one of its handlers was called since it was started, or became live again."""
    unique_key: str | None = None
    was_restarted: bool = False
    """Whether somebody has asked for a part of it to run again."""
    was_stolen: bool = False
    is_child: bool = False

    @property
    def status(self) -> WorkflowStatus:
        return self.head.status

    @property
    def rests(self) -> bool:
        """Whether nothing will happen to it unless somebody does something."""
        return self.status.is_rest and self.lease_until is None and self.wake_at is None

    def current(self, step: str) -> Execution | None:
        """The execution of a step that counts now."""
        found = (e for e in self.executions.values() if e.step == step and not e.replaced)
        return max(found, key=lambda execution: execution.number, default=None)

    def unread(self) -> list[Signal]:
        """Signals that nobody has consumed."""
        numbered = enumerate(self.inbox, start=1)
        return [signal for number, signal in numbered if number not in self.consumed]


class Ledger:
    """All instances of one storage; every method is told of one write that was done."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.kept: dict[str, Kept] = {}
        self.well_since: float | None = None
        """Since when nothing has gone wrong any more; None if something may."""
        self._time = time
        self._tries: Counter[str] = Counter()
        self._waiting: dict[tuple[str, int], asyncio.Future[None]] = {}

    def tried(self, id: str) -> None:
        """A save of this instance is on its way to the storage."""
        self._tries[id] += 1
        waiting = self._waiting.pop((id, self._tries[id]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def wait_for_save(self, id: str, nth: int, *, at_most: float) -> None:
        """Return when somebody makes the nth save from here on, before it is written."""
        key = id, self._tries[id] + nth
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._waiting[key]], timeout=at_most)

    def created(
        self,
        host: Host,
        record: Record,
        entries: Sequence[Entry],
        *,
        now: datetime,
        lease: float | None,
        wake: float | None,
    ) -> None:
        known = self.kept.get(record.id)
        if known is not None:
            _check(
                (known.revision, known.owner) == (1, record.owner),
                f"S1: {record.id!r} was created twice: {known.host} has claimed it since",
            )
            return
        head = decode_head(
            record.payload,
            status=record.status,
            updated_at=record.updated_at,
            ended_at=record.ended_at,
        )
        self.kept[record.id] = Kept(
            id=record.id,
            workflow=record.workflow,
            owner=record.owner or "",
            host=host,
            head=head,
            intent=record.intent,
            lease_until=_later(now, lease),
            wake_at=_later(now, wake),
            unique_key=record.unique_key,
            is_child=b'"parent"' in record.fixed,
        )
        self._look_for_twins(self.kept[record.id])
        self._take_in(self.kept[record.id], entries, was=None)

    def saved(self, host: Host, checkpoint: Checkpoint, *, now: datetime) -> bool:
        """False if it was a repetition, which writes nothing."""
        kept = self.kept[checkpoint.id]
        _check(
            kept.owner == checkpoint.owner,
            f"S23: {host} saved {kept.id!r}, which {kept.host} has claimed since",
        )
        if kept.revision == checkpoint.expected + 1:
            return False
        _check(
            kept.revision == checkpoint.expected,
            f"S23: {host} saved {kept.id!r} at revision {kept.revision}, "
            f"but expected {checkpoint.expected}",
        )
        _check(
            checkpoint.ended_at is None or len(kept.inbox) <= checkpoint.seen,
            f"S26: {kept.id!r} ended although a signal had come that {host} has not seen",
        )
        was = kept.head
        kept.head = decode_head(
            checkpoint.payload,
            status=checkpoint.status,
            updated_at=checkpoint.updated_at,
            ended_at=checkpoint.ended_at,
        )
        kept.host = host
        kept.revision += 1
        kept.saves += 1
        kept.intent = checkpoint.intent
        kept.lease_until, kept.wake_at = (
            _later(now, checkpoint.lease),
            _later(now, checkpoint.wake),
        )
        if kept.status.is_ended:
            kept.is_at_work = False
        elif was.status.is_ended:
            self._look_for_twins(kept)
        self._consume(kept, checkpoint.consumed)
        self._take_in(kept, checkpoint.entries, was=was)
        if checkpoint.lease is None:
            _wake_if_signalled(kept, checkpoint.seen, now)
        return True

    def claimed(self, host: Host, record: Record, *, now: datetime, held: str | None) -> None:
        kept = self.kept[record.id]
        _check(
            kept.lease_until is None or kept.lease_until <= now or kept.owner == held,
            f"S23: {host} was given {kept.id!r}, whose lease {kept.host} has until "
            f"{kept.lease_until}",
        )
        _check(
            not self._is_well(kept),
            f"S23: {host} was given {kept.id!r}: the lease of {kept.host} ran out, which was well",
        )
        _check(
            record.revision == kept.revision + 1,
            f"S23: a claim of {kept.id!r} left its revision at {record.revision}",
        )
        kept.owner = record.owner or ""
        kept.host = host
        kept.revision = record.revision
        kept.lease_until = record.lease_until

    def renewed(self, leases: Sequence[Lease], held: Mapping[str, int], until: datetime) -> None:
        for lease in leases:
            if lease.id in held:
                kept = self.kept[lease.id]
                _check(
                    kept.owner == lease.owner,
                    f"S23: a lease on {kept.id!r} was renewed that is {kept.host}'s by now",
                )
                kept.lease_until = until

    def released(self, lease: Lease, *, now: datetime, wake: float | None) -> None:
        kept = self.kept[lease.id]
        _check(kept.owner == lease.owner, f"S23: a lease on {kept.id!r} was released by another")
        if wake is not None:
            kept.wake_at = _later(now, wake)
        kept.lease_until = None
        _wake_if_signalled(kept, lease.seen, now)

    def received(self, id: str, signal: Signal, number: int, *, now: datetime) -> None:
        kept = self.kept[id]
        if number == len(kept.inbox) + 1:
            is_known = signal.signal_id in [known.signal_id for known in kept.inbox]
            _check(
                signal.signal_id is None or not is_known,
                f"S19: {id!r} has taken in two signals with the id {signal.signal_id!r}",
            )
            _check(
                kept.status not in _REFUSES or signal.name.startswith("flux:"),
                f"S21: {id!r} has taken in the signal {signal.name!r}, though it is {kept.status}",
            )
            kept.inbox.append(signal)
            if kept.lease_until is None:
                _wake_if_signalled(kept, number - 1, now)

    def _look_for_twins(self, kept: Kept) -> None:
        for other in self.kept.values() if kept.unique_key is not None else ():
            _check(
                other is kept or other.status.is_ended or other.unique_key != kept.unique_key,
                f"S22: {kept.id!r} and {other.id!r} live, with the same correlation",
            )

    def _is_well(self, kept: Kept) -> bool:
        """Whether the driver of an instance has had no reason to let its lease run out."""
        if kept.lease_until is None or self.well_since is None or not kept.host.is_usable:
            return False
        return self._time() > self.well_since + _RECOVERY

    def _consume(self, kept: Kept, consumed: Mapping[int, str]) -> None:
        for number, taker in consumed.items():
            _check(
                number not in kept.consumed,
                f"S18: signal {number} of {kept.id!r} was consumed by "
                f"{kept.consumed.get(number)!r}, and now again by {taker!r}",
            )
            _check(
                1 <= number <= len(kept.inbox), f"S18: {kept.id!r} consumed no signal, but {number}"
            )
            kept.consumed[number] = taker

    def _take_in(self, kept: Kept, entries: Sequence[Entry], *, was: Head | None) -> None:
        rolls_back = was is not None and was.status is WorkflowStatus.ROLLING_BACK
        went_back = was is not None and was.direction is Direction.BACK
        forward_again = kept.head.direction is Direction.FORWARD and kept.status.is_ended
        _check(
            not (went_back and kept.head.direction is Direction.FORWARD and not forward_again)
            or (was is not None and was.status.is_rest),
            f"S13: {kept.id!r} turned forward again after its rollback had begun",
        )
        for entry in entries:
            execution = decode_execution(entry.number, entry.body)
            before = kept.executions.get(entry.number)
            had_completed = before is not None and before.outcome is Outcome.COMPLETED
            completes = execution.outcome is Outcome.COMPLETED and not had_completed
            _check(
                not (rolls_back and completes),
                f"S13: step {execution.step!r} of {kept.id!r} completed in its rollback",
            )
            _check(
                not (had_completed and execution.outcome is not Outcome.COMPLETED),
                f"S3: {kept.id!r} forgot that step {execution.step!r} had completed",
            )
            if completes:
                kept.completed[entry.number] = kept.saves
            kept.executions[entry.number] = execution


def is_undone(execution: Execution) -> bool:
    undone = execution.compensation
    return undone is not None and undone.status is CompensationStatus.COMPLETED


def has_completed(execution: Execution) -> bool:
    return execution.status is StepStatus.COMPLETED


def _wake_if_signalled(kept: Kept, seen: int, now: datetime) -> None:
    if len(kept.inbox) > seen and (kept.wake_at is None or kept.wake_at > now):
        kept.wake_at = now


def _later(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ViolationError(otherwise)
