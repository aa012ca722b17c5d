"""Plans of workflows whose handlers follow a script, and what a person does with their instances.

A plan is plain frozen data: its repr, as a failing test prints it, can be pasted into a test.
"""

from enum import StrEnum

from attrs import evolve, field, frozen

DAY = 86_400.0
LEASE = 3 * DAY
SHORT, LONG = 1.0, 5 * DAY
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


Script = tuple[Act, ...]
"""What the first calls do; all later ones go well."""


@frozen(kw_only=True)
class StepPlan:
    """A step: its policies, and scripts for its functions. None: it has no such function."""

    name: str
    after: tuple[str, ...] | None = None
    """None for the step before it."""
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


@frozen
class FlowPlan:
    """A workflow."""

    steps: tuple[StepPlan, ...]

    def sources(self, step: StepPlan) -> tuple[str, ...]:
        """The steps that it comes after."""
        if step.after is not None:
            return step.after
        place = self.steps.index(step)
        return (self.steps[place - 1].name,) if place else ()

    def before(self, name: str) -> frozenset[str]:
        """All steps that come before it in the graph."""
        sources = self.sources(self.step(name))
        return frozenset(sources).union(*(self.before(source) for source in sources))

    def from_on(self, name: str) -> frozenset[str]:
        """The step and all that come after it in the graph."""
        after = (step.name for step in self.steps if name in self.before(step.name))
        return frozenset({name, *after})

    def step(self, name: str) -> StepPlan:
        return next(step for step in self.steps if step.name == name)

    @property
    def order(self) -> tuple[StepPlan, ...]:
        """One step at a time: of those that are ready, the first declared."""
        done: list[StepPlan] = []
        while len(done) < len(self.steps):
            names = {step.name for step in done}
            done.append(
                next(
                    step
                    for step in self.steps
                    if step not in done and names.issuperset(self.sources(step))
                )
            )
        return tuple(done)


class Recovery(StrEnum):
    """Who finds the instance after a fault: a person with a verb, or the poll of an engine."""

    RESUME = "resume"
    EXECUTE = "execute"
    POLL = "poll"


@frozen(kw_only=True)
class Fault:
    """What goes wrong at the n-th save of a command, counted from 1, and who goes on after it.

    A process that `dies` there is gone, and its lease has to run out; else its storage merely
    fails once. `written` says whether the save has happened all the same.
    """

    save: int
    written: bool
    dies: bool = True
    recovery: Recovery = Recovery.RESUME


def _deadly_in_recovery(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    return (*faults[:1], *(evolve(fault, dies=True) for fault in faults[1:]))


@frozen
class Command:
    """A verb, the step that it names if it names one, and the faults on its way.

    The second fault strikes in the recovery from the first one, and so on. In a recovery a fault
    always kills: whether anybody hears of a storage that merely fails there is open.
    """

    verb: str
    step: str | None = None
    faults: tuple[Fault, ...] = field(default=(), converter=_deadly_in_recovery)


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


@frozen(kw_only=True)
class Seen:
    """What a test looks at in an instance at rest."""

    status: str
    error: str | None
    run: int
    data: dict[str, object]
    history: tuple[Entry, ...]
    replaced: tuple[Entry, ...] = field(factory=tuple)
