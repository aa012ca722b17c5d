"""The order in which the steps of a workflow become ready."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from flux.definition.step import StepDefinition


def find_cycle(sources: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """The members of a cycle in order, the first one again at the end; None without one."""
    try:
        TopologicalSorter(sources).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return None


def running_order(steps: Sequence[StepDefinition]) -> tuple[StepDefinition, ...]:
    """The steps in the order of running one at a time: of those ready, the first declared."""
    place = {step.name: index for index, step in enumerate(steps)}
    sorter = TopologicalSorter({step.name: step.after for step in steps})
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


def descendants(name: str, steps: Iterable[StepDefinition]) -> frozenset[str]:
    """The names of all steps that come after this one in the graph, without itself."""
    return _reachable(name, _followers(steps))


def _followers(steps: Iterable[StepDefinition]) -> Mapping[str, Sequence[str]]:
    followers: dict[str, list[str]] = {}
    for step in steps:
        for source in step.after:
            followers.setdefault(source, []).append(step.name)
    return followers


def _reachable(name: str, edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = list(edges.get(name, ()))
    while waiting:
        reached = waiting.pop()
        if reached not in found:
            found.add(reached)
            waiting.extend(edges.get(reached, ()))
    return frozenset(found)
