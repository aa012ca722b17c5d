"""How a change makes the next head of an instance. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime

from flux.events import Event, StepEvent
from flux.frozen import evolve
from flux.state.instance import Change, Head, Instance
from flux.state.status import Direction, WorkflowStatus, move


def first_head(at: datetime) -> Head:
    """The head of an instance to which nothing has happened."""
    return Head(
        status=WorkflowStatus.PENDING,
        direction=Direction.FORWARD,
        run=1,
        ticks=0,
        recoveries=0,
        error=None,
        reason=None,
        updated_at=at,
        ended_at=None,
    )


def moved(status: WorkflowStatus) -> Callable[[Instance, Event], Change]:
    """A change that only moves an instance to this status, if the table allows it.

    One that has ended and is undone later keeps its end, and so does not take its unique key again:
    whoever has that by now must not keep it from being undone.
    """

    def moved(instance: Instance, event: Event) -> Change:
        head = instance.head
        undone = status is WorkflowStatus.ROLLING_BACK or (
            status is WorkflowStatus.PARKED and head.direction is Direction.BACK
        )
        return Change(
            _after(
                head,
                event.at,
                move(head.status, status),
                head.ticks,
                head.recoveries,
                event.at if status.is_ended else head.ended_at if undone else None,
                head.begun,
            )
        )

    return moved


def ticked(instance: Instance, event: Event, recoveries: int = 0) -> Head:
    """The head one tick later; without `recoveries`, since something has ended, they are over."""
    head = instance.head
    return _after(
        head,
        event.at,
        head.status,
        head.ticks + 1,
        recoveries,
        head.ended_at,
        head.begun and _without(head.begun, event),
    )


def _after(
    head: Head,
    at: datetime,
    status: WorkflowStatus,
    ticks: int,
    recoveries: int,
    ended_at: datetime | None,
    begun: Mapping[str, int],
) -> Head:
    """The head after an event that changes no more than this."""
    # Constructed, not evolved, and in the order of the fields: this is on the way of every step,
    # and names cost as much as the rest, here and where this is called.
    return Head(
        status,
        head.direction,
        head.run,
        ticks,
        recoveries,
        head.error,
        head.reason,
        at,
        ended_at,
        head.cancelling,
        head.undated,
        head.inbox_read,
        head.inbox_seen,
        head.shape,
        head.version,
        head.turn,
        begun,
    )


def _without(begun: Mapping[str, int], event: Event) -> Mapping[str, int]:
    """Those that still have no entry after what happened to one of them."""
    step = event.step if isinstance(event, StepEvent) else None
    return {name: number for name, number in begun.items() if name != step}


def consuming(instance: Instance, head: Head, number: int, taker: str) -> Change:
    """A change to this head by an event that consumes the signal of this number."""
    read = evolve(head, inbox_read=instance.read_without(number))
    return Change(read, consumed={number: taker})
