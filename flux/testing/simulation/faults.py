"""What goes wrong in a run: how much of it may, and what the seed has drawn."""

from enum import StrEnum
from random import Random

from attrs import field, frozen


def _share(_: object, attribute: object, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"a share is from 0 to 1, not {value!r}")


@frozen(kw_only=True)
class Faults:
    """What may go wrong in a run, and how much.

    At most `most` incidents strike a run; which they are, and when, the seed chooses among the
    kinds that are True. `step_errors` and `step_unknowns` are the shares of calls of handlers and
    compensators in which these raise an error before they do anything, and an
    `OutcomeUnknownError` once they have done it; `cancels`, `pauses` and `restarts` (from any step,
    or the retry of one) are the shares of instances for which a client asks for that.
    """

    most: int = 5
    crashes: bool = True
    """An engine is gone, between storage calls or in one; another one comes in its place."""
    stops: bool = True
    """An engine is closed gracefully, and another one comes in its place."""
    stalls: bool = True
    """An engine stands still, up to twice its lease, and then goes on as if nothing had been."""
    thefts: bool = True
    """An instance is taken from the engine that drives it, although its lease has not run out."""
    errors: bool = True
    """A storage call fails, before or after it was done."""
    slowness: bool = True
    """A storage call takes up to twice the lease."""
    clock_jumps: bool = True
    """The wall clock of an engine's host jumps, by up to twice the lease, either way."""
    step_errors: float = field(default=0.05, validator=_share)
    step_unknowns: float = field(default=0.02, validator=_share)
    cancels: float = field(default=0.2, validator=_share)
    pauses: float = field(default=0.15, validator=_share)
    restarts: float = field(default=0.15, validator=_share)


class Strike(StrEnum):
    """One incident."""

    CRASH = "crash"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    ERROR_BEFORE = "error before"
    ERROR_AFTER = "error after"
    LONG_BEFORE = "long before"
    LONG_AFTER = "long after"
    STALL = "stall"
    STALL_BEFORE = "stall before"
    STALL_AFTER = "stall after"
    STOP = "stop"
    THEFT = "theft"
    JUMP = "clock jump"


AT_CALLS = (
    Strike.CRASH_BEFORE,
    Strike.CRASH_AFTER,
    Strike.ERROR_BEFORE,
    Strike.ERROR_AFTER,
    Strike.LONG_BEFORE,
    Strike.LONG_AFTER,
    Strike.STALL_BEFORE,
    Strike.STALL_AFTER,
)
"""Those that strike a call of the storage; the others strike at a time."""


@frozen(kw_only=True)
class Fate:
    """The incidents of one run: by the number of the storage call, and by virtual second."""

    at_calls: dict[int, Strike]
    at_times: tuple[tuple[float, Strike], ...]

    @classmethod
    def drawn(cls, faults: Faults, chance: Random, *, calls: int, horizon: float) -> "Fate":
        """Draw the incidents that strike the first `calls` calls or `horizon` seconds."""
        kinds = _kinds(faults)
        at_calls: dict[int, Strike] = {}
        at_times: list[tuple[float, Strike]] = []
        for _ in range(chance.randint(0, faults.most) if kinds else 0):
            kind = chance.choice(chance.choice(kinds))
            if kind in AT_CALLS:
                at_calls[chance.randint(1, calls)] = kind
            else:
                at_times.append((chance.uniform(0, horizon), kind))
        return cls(at_calls=at_calls, at_times=tuple(sorted(at_times)))


def _kinds(faults: Faults) -> list[tuple[Strike, ...]]:
    s = Strike
    by_setting = (
        (faults.crashes, (s.CRASH, s.CRASH_BEFORE, s.CRASH_AFTER)),
        (faults.stops, (s.STOP,)),
        (faults.stalls, (s.STALL, s.STALL_BEFORE, s.STALL_AFTER)),
        (faults.thefts, (s.THEFT,)),
        (faults.errors, (s.ERROR_BEFORE, s.ERROR_AFTER)),
        (faults.slowness, (s.LONG_BEFORE, s.LONG_AFTER)),
        (faults.clock_jumps, (s.JUMP,)),
    )
    return [strikes for chosen, strikes in by_setting if chosen]
