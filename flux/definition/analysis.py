"""What a workflow's graph tells before it runs: what may run together, how long, and what never.

The steps are given in the order of running one at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from flux.definition.graph import followers_of, sources_of
from flux.definition.nodes import Rescue
from flux.definition.policy import Duration, seconds
from flux.definition.step import StepDefinition, step_of
from flux.frozen import frozen

Levels = tuple[tuple[str, ...], ...]


class Measured(Protocol):
    """What a history tells of a step: a `StepExecution` is one."""

    @property
    def name(self) -> str: ...
    @property
    def duration(self) -> float | None: ...
    @property
    def replaced(self) -> bool: ...


@frozen(kw_only=True)
class CriticalPath:
    """The steps, one after the other, that take the longest, and the seconds that they take."""

    steps: tuple[str, ...]
    seconds: float


def levels(order: Sequence[StepDefinition]) -> Levels:
    """The names of the steps, each as early as what comes before it allows."""
    sources = sources_of(order)
    depth: dict[str, int] = {}
    found: list[list[str]] = []
    for step in order:
        at = max((depth[source] + 1 for source in sources[step.name]), default=0)
        depth[step.name] = at
        if at == len(found):
            found.append([])
        found[at].append(step.name)
    return tuple(tuple(level) for level in found)


def durations_in(history: Iterable[Measured]) -> dict[str, float]:
    """By step, the seconds from its beginning to its end; items of maps count with their map."""
    return {
        entry.name: entry.duration
        for entry in history
        if entry.duration is not None and not entry.replaced and step_of(entry.name) == entry.name
    }


def critical_path(
    order: Sequence[StepDefinition], durations: Mapping[str, Duration]
) -> CriticalPath:
    """The longest way through the steps that have a duration; of equal ones, the first.

    The others take no time and are left out of it.
    """
    taken = {name: seconds(duration) for name, duration in durations.items()}
    sources = sources_of(order)
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for step in order:
        last = max(sources[step.name], key=lambda source: ends[source], default=None)
        before[step.name] = last
        ends[step.name] = taken.get(step.name, 0.0) + (0.0 if last is None else ends[last])
    last = max(ends, key=lambda name: ends[name], default=None)
    total = 0.0 if last is None else ends[last]
    path: list[str] = []
    while last is not None:
        path.append(last)
        last = before[last]
    return CriticalPath(steps=tuple(s for s in reversed(path) if s in taken), seconds=total)


def orphans(order: Sequence[StepDefinition]) -> dict[str, str]:
    """By step that stands alone or can never run, why."""
    known = {step.name: step for step in order}
    sources = sources_of(order)
    followers = followers_of(sources)
    found: dict[str, str] = {}
    for step in order:
        ways = dict.fromkeys(step.after, True)
        for name in sources[step.name]:
            if _rescues(known[name], step.name):
                ways[name] = ways.get(name, False) or _is_reached(known[name].rescues, step.name)
        missing = [name for name, leads in ways.items() if not leads or name in found]
        if len(ways) - len(missing) < _needed(step, len(ways)):
            found[step.name] = f"it can never run: {_never(known, step, missing[0], found)}"
    alone = (s.name for s in order if not sources[s.name] and not followers[s.name])
    if len(order) > 1:
        found |= dict.fromkeys(alone, "nothing leads to it, and it leads nowhere")
    return {step.name: found[step.name] for step in order if step.name in found}


def _needed(step: StepDefinition, ways: int) -> int:
    """How many of so many edges must be taken."""
    if not ways:
        return 0
    return step.join if isinstance(step.join, int) else ways if step.join == "all" else 1


def _rescues(step: StepDefinition, name: str) -> bool:
    """Whether the step of this name is there for failures of `step`."""
    return any(rescue.step == name for rescue in step.rescues)


def _is_reached(rescues: Sequence[Rescue], name: str) -> bool:
    """Whether there are errors that are for the step of this name, and that no other takes."""
    taken: list[type[BaseException]] = []
    for rescue in rescues:
        if rescue.step == name and not (rescue.errors and _all_in(rescue.errors, taken)):
            return True
        if not rescue.errors:
            return False
        taken += rescue.errors
    return False


def _all_in(errors: Iterable[type[BaseException]], taken: Sequence[type[BaseException]]) -> bool:
    return all(issubclass(error, tuple(taken)) for error in errors)


def _never(
    known: Mapping[str, StepDefinition],
    step: StepDefinition,
    missing: str,
    found: Mapping[str, str],
) -> str:
    if missing in found:
        return f"{missing!r}, which leads to it, never runs"
    taker = known[missing].rescues[0].step
    return f"what fails in {missing!r} is taken by {taker!r} before"
