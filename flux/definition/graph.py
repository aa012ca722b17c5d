"""The order in which the steps of a workflow become ready."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from flux.definition.step import StepDefinition


def find_cycle(sources: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """The members of a cycle in order, the first one again at the end; None without one."""
    try:
        TopologicalSorter(sources).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return None


def cycles(sources: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, ...]]:
    """Cycles that have among them all members of any; no two have the same edges."""
    left = {name: list(dict.fromkeys(before)) for name, before in sources.items()}
    while cycle := find_cycle(left):
        yield cycle
        left[cycle[0]].remove(cycle[1])


def sources_of(steps: Iterable[StepDefinition]) -> dict[str, tuple[str, ...]]:
    """By step, all that come right before it in the graph.

    These are the steps that it is declared after, the fallbacks that may stand in for them, and
    those that it rescues.
    """
    known = {step.name: step for step in steps}
    rescued: dict[str, list[str]] = {}
    for step in known.values():
        for rescue in step.rescues:
            rescued.setdefault(rescue.step, []).append(step.name)
    return {
        name: tuple(dict.fromkeys((*_with_stand_ins(step.after, known), *rescued.get(name, ()))))
        for name, step in known.items()
    }


def _with_stand_ins(names: Iterable[str], known: Mapping[str, StepDefinition]) -> Iterator[str]:
    """The steps, each with the fallbacks that may stand in for it, and theirs."""
    found: set[str] = set()
    waiting = list(names)[::-1]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        yield name
        if name in known:
            waiting += [rescue.step for rescue in known[name].rescues if rescue.stands_in]


def running_order(steps: Sequence[StepDefinition]) -> tuple[StepDefinition, ...]:
    """The steps in the order of running one at a time: of those ready, the first declared."""
    place = {step.name: index for index, step in enumerate(steps)}
    sorter = TopologicalSorter(sources_of(steps))
    sorter.prepare()
    order: list[StepDefinition] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, place[name])
        step = steps[heapq.heappop(ready)]
        sorter.done(step.name)
        order.append(step)
    return tuple(order)


def followers_of(sources: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """By step, all that come right after it."""
    found: dict[str, list[str]] = {name: [] for name in sources}
    for name, before in sources.items():
        for source in before:
            found[source].append(name)
    return {name: tuple(after) for name, after in found.items()}


def descendants(name: str, followers: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The names of all steps that come after this one in the graph, without itself."""
    found: set[str] = set()
    waiting = list(followers.get(name, ()))
    while waiting:
        reached = waiting.pop()
        if reached not in found:
            found.add(reached)
            waiting.extend(followers.get(reached, ()))
    return frozenset(found)
