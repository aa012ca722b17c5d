"""What happened, as the stored histories tell it."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

from attrs import define

from flux import (
    CompensationStatus,
    FluxEngine,
    Outcome,
    StepExecution,
    StepStatus,
    WorkflowFilter,
    WorkflowState,
)
from flux.cli.demo.place import Place
from flux.events import AttemptEnd
from flux.frozen import frozen

PAGE = 100


@define
class StepTally:
    """One step over all orders.

    `runs` counts the orders that it ran for, `retries` the attempts that followed a failed one,
    `interrupted` those that ended with their process, `compensated` the orders it was undone for.
    """

    runs: int = 0
    completed: int = 0
    retries: int = 0
    interrupted: int = 0
    compensated: int = 0

    def add(self, entry: StepExecution) -> None:
        completed = entry.outcome is Outcome.COMPLETED
        self.runs += 1
        self.completed += completed
        self.retries += entry.retries if completed else max(0, entry.retries - 1)
        self.interrupted += sum(past.ended is AttemptEnd.INTERRUPTED for past in entry.attempts)
        undone = entry.compensation
        self.compensated += undone is not None and undone.status is CompensationStatus.COMPLETED


@frozen(kw_only=True)
class Tally:
    """All instances: how they ended and why, what their steps did, and which completed."""

    ends: Mapping[str, int]
    causes: Mapping[str, Mapping[str, int]]
    steps: Mapping[str, StepTally]
    completed: Sequence[str]

    @property
    def total(self) -> int:
        return sum(self.ends.values())


async def read_tally(place: Place) -> Tally:
    """Read every instance of the storage."""
    ends: Counter[str] = Counter()
    causes: dict[str, Counter[str]] = defaultdict(Counter)
    steps: dict[str, StepTally] = defaultdict(StepTally)
    completed = []
    async for state in _instances(place):
        ends[state.status] += 1
        if state.error is not None:
            causes[state.status][state.error.type] += 1
        if state.status == "completed":
            completed.append(state.id)
        for entry in state.history:
            if entry.status is not StepStatus.SKIPPED:
                steps[entry.name].add(entry)
    return Tally(ends=ends, causes=causes, steps=steps, completed=completed)


async def _instances(place: Place) -> AsyncIterator[WorkflowState]:
    async with FluxEngine(place.url) as flux:  # it knows no workflow, so it only looks
        page = await flux.list(WorkflowFilter(name="order", limit=PAGE))
        while page:
            for head in page:
                yield await flux.get(head.id)
            page = await flux.list(WorkflowFilter(name="order", limit=PAGE, after=page[-1].id))
