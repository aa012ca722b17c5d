"""Plans of workflows whose handlers follow a script, and what people do with their instances.

A plan is plain frozen data: its repr, as a failing test prints it, can be pasted into a test.
"""

from enum import StrEnum

from attrs import field, frozen

from incidents_model import Incident, Request, deadly_if_not_first

HOUR = 3600.0
LEASE = 3 * HOUR
POLL = HOUR
SHORT, LONG = 1.0, 5 * HOUR
"""Back-offs: one within the lease, one that is longer than it."""


class Act(StrEnum):
    """What one call of a handler, a verifier, a predicate or a compensator does."""

    WELL = "well"
    """It succeeds; a predicate says yes, a verifier `done`."""
    RAISES = "raises"
    DOUBTS = "doubts"
    """It raises `OutcomeUnknownError`."""
    SPOILS = "spoils"
    """It leaves what cannot be kept: a result, an answer or data that is not JSON."""
    DENIES = "denies"
    """A predicate says no, a verifier `not_done`."""
    WAITS = "waits"
    """It returns the wait of its step."""
    LOSES = "loses"
    """It makes that wait, and returns something else."""


Script = tuple[Act, ...]
"""What the first calls do; all later ones go well."""


class Reaction(StrEnum):
    """What a function does that is cancelled while it runs."""

    ENDS = "ends"
    """It lets the cancellation through."""
    FINISHES = "finishes"
    """It takes note, and does what its script says."""
    STAYS = "stays"
    """It ignores that, and every other cancellation."""


@frozen(kw_only=True)
class WaitPlan:
    """What a step waits for: a signal, or None for a sleep.

    The hours end at half past, while all else happens at full hours: nothing happens at the very
    moment of a timeout.
    """

    signal: str | None = None
    hours: float | None = None
    goes_on: bool = False
    """Whether it goes on after its timeout; a sleep always does."""
    by_date: bool = False
    """Whether a sleep is told its end instead of its length."""

    @property
    def default(self) -> object:
        """The output after a timeout."""
        return None if self.signal is None else "nobody came"


@frozen(kw_only=True)
class StepPlan:
    """A step: its policies, and scripts for its functions. None: it has no such function."""

    name: str
    after: tuple[str, ...] | None = None
    """None for the step before it, which is one of them otherwise: one step is open at a time."""
    script: Script = ()
    retries: int = 0
    pause: float = 0.0
    commit: bool = False
    at_most_once: bool = False
    forgets: bool = False
    """Whether the handler deletes the key `last` of data instead of setting it."""
    when: Script | None = None
    verify: Script | None = None
    undo: Script | None = None
    undo_retries: int = 0
    wait: WaitPlan = WaitPlan(hours=0.5)
    is_declared: bool = False
    """Whether it is only that wait, without a handler."""
    told: Reaction = Reaction.ENDS


@frozen
class FlowPlan:
    """A workflow, and through how many engines verbs come; there is one more that knows it."""

    steps: tuple[StepPlan, ...]
    deadline: float | None = None
    """In hours, which end at half past."""
    engines: int = 1

    def sources(self, step: StepPlan) -> tuple[str, ...]:
        """The steps that it comes after."""
        if step.after is not None:
            return step.after
        place = self.steps.index(step)
        return (self.steps[place - 1].name,) if place else ()

    def before(self, name: str) -> tuple[str, ...]:
        """All steps that come before it."""
        names = tuple(step.name for step in self.steps)
        return names[: names.index(name)]

    def from_on(self, name: str) -> tuple[str, ...]:
        """The step and all that come after it."""
        names = tuple(step.name for step in self.steps)
        return names[names.index(name) :]

    def step(self, name: str) -> StepPlan:
        return next(step for step in self.steps if step.name == name)


@frozen
class Command:
    """A verb, the step that it names if it names one, and the incidents on its way.

    The second incident strikes after the first one, in the recovery from that if it was the end of
    a process, and so on. `engine` says through which engine the verb comes. Besides the engine's
    verbs there are `tell`, which sends the request, `pass`, which lets so many hours pass, and
    `reopen`, which closes the engine and opens another.
    """

    verb: str
    step: str | None = None
    incidents: tuple[Incident, ...] = field(default=(), converter=deadly_if_not_first)
    engine: int = 0
    request: Request | None = None
    hours: int = 0

    @property
    def is_driven_by_finders(self) -> bool:
        """Whether what comes of it is driven by whoever finds the instance due."""
        return self.verb in ("tell", "pass")


@frozen(kw_only=True)
class Call:
    """A call of a user's function: what it was given to see."""

    what: str
    step: str
    key: object
    attempt: int = 0
    data: object = None
    seen: object = None


@frozen(kw_only=True)
class Entry:
    """What a test looks at in an entry of the history."""

    name: str
    status: str
    outcome: str | None
    output: object
    key: object
    run: int
    retries: int
    attempt_count: int
    lost: tuple[int, ...]
    undone: tuple[str, int] | None
    waiting_for: str | None = None
    wakes: float | None = None
    """In hours since the beginning."""


@frozen(kw_only=True)
class Seen:
    """What a test looks at in an instance at rest."""

    status: str
    error: str | None
    run: int
    data: dict[str, object]
    history: tuple[Entry, ...]
    replaced: tuple[Entry, ...] = field(factory=tuple)
    signals: tuple[tuple[str, object, str | None, str | None], ...] = ()
    """Name, payload, id and taker of each."""
