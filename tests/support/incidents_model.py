"""What happens to an instance while it is driven: at one of its saves, or in a call."""

from enum import StrEnum

from attrs import evolve, field, frozen


class What(StrEnum):
    """What kind of incident it is."""

    DIES = "dies"
    """The process that drives the instance is gone from then on."""
    FAILS = "fails"
    """Its storage fails, once; only at a save."""
    STALLS = "stalls"
    """Its process stands still, as if stopped, and goes on when others have taken its place."""
    CLOSES = "closes"
    """Its engine is closed."""
    IS_TOLD = "is told"
    """Somebody sends a request."""
    LASTS = "lasts"
    """Hours pass; only in a call."""


class Recovery(StrEnum):
    """Who finds an instance that was left: a person with a verb, or the poll of an engine."""

    RESUME = "resume"
    EXECUTE = "execute"
    POLL = "poll"


@frozen(kw_only=True)
class Request:
    """What somebody sends to an instance: a signal, or a request to cancel or pause it."""

    verb: str = "signal"
    name: str = "x"
    payload: object = None
    signal_id: str | None = None
    rollback: bool = True
    waits: bool = False
    """Whether the verb waits for the next rest; only where it is not sent from a handler."""


@frozen(kw_only=True)
class Incident:
    """What happens at the n-th save, or in the n-th call, counted from 1 from the one before on.

    `written` says whether the save has happened by then.
    """

    what: What = What.DIES
    save: int | None = None
    written: bool = False
    call: int | None = None
    ends: bool = True
    """Whether the function ends in the grace that a closing engine gives it."""
    request: Request = Request()
    elsewhere: bool = False
    """Whether the request is sent through another engine."""
    hours: int = 0
    thaws: int | None = None
    """At which save of its successor a stalled process goes on; None for when all is over."""
    recovery: Recovery = Recovery.RESUME

    @property
    def is_end(self) -> bool:
        """Whether it ends what the process does."""
        return self.what in (What.DIES, What.FAILS, What.STALLS)


def deadly_if_not_first(incidents: tuple[Incident, ...]) -> tuple[Incident, ...]:
    """Whether anybody hears of a storage that merely fails in a recovery is open: there it dies."""
    return (
        *incidents[:1],
        *(
            evolve(incident, what=What.DIES) if incident.what is What.FAILS else incident
            for incident in incidents[1:]
        ),
    )


@frozen
class Armed:
    """The incidents still to come, and what has been counted since the last one."""

    left: list[Incident] = field(factory=list)
    counts: dict[str, int] = field(factory=dict)

    def arm(self, incidents: tuple[Incident, ...]) -> None:
        """Begin anew with these."""
        self.left[:] = incidents
        self.counts.update(save=0, call=0)

    @property
    def saves(self) -> int:
        """Since the last incident, or since the beginning."""
        return self.counts["save"]

    def at_save(self) -> Incident | None:
        """Count a save; the incident that strikes at it, before or after it is written."""
        return self._count("save")

    def in_call(self) -> Incident | None:
        """Count a call; the incident that strikes in it."""
        return self._count("call")

    def _count(self, what: str) -> Incident | None:
        self.counts[what] += 1
        if not self.left or getattr(self.left[0], what) != self.counts[what]:
            return None
        self.counts.update(save=0, call=0)
        return self.left.pop(0)
