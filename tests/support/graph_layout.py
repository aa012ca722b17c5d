"""Where the steps of a plan stand in the graph: what the declarations mean."""

import heapq
from collections.abc import Iterator

from graph_plans import Act, GraphPlan, GroupPlan, HandlerPlan, Node

Rescue = tuple[str, tuple[Act, ...]]


class Graph:
    """The edges of a plan, and all that follows from them alone."""

    def __init__(self, plan: GraphPlan) -> None:
        self.nodes = plan.nodes
        self.merges = frozenset(plan.merges)
        self.fail_fast = plan.fail_fast
        self.most = plan.most
        self._plan = plan
        self._places = [*_places(plan)]
        fallbacks = {node.fallback for node in self.nodes.values() if node.fallback}
        self.handlers = {handler.step for handler in plan.handlers}
        self.apart = fallbacks | self.handlers
        self._before = self._declared_before()
        self.after = {name: tuple(dict.fromkeys(self._after(name))) for name in self.nodes}
        """By step, the steps from which an edge leads to it."""
        self.rescues = {name: tuple(self._rescues(name)) for name in self.nodes}
        self.rescued = {
            name: tuple(one for one, all_ in self.rescues.items() if name in dict(all_))
            for name in self.apart
        }
        self.sources = {name: tuple(dict.fromkeys(self._sources(name))) for name in self.nodes}
        self.order = tuple(self._running_order())
        self.ancestors: dict[str, frozenset[str]] = {}
        for name in self.order:
            sources = self.sources[name]
            found = frozenset(sources).union(*(self.ancestors[source] for source in sources))
            self.ancestors[name] = found

    def step_of(self, name: str) -> str:
        """The step, for a call of a map."""
        return name.partition("[")[0]

    def group(self, name: str) -> GroupPlan | None:
        """The group of which it is a member."""
        for group in self._plan.groups.values():
            if any(name in chain for chain in group.chains):
                return group
        return None

    def firsts(self, name: str) -> frozenset[str]:
        """The steps that begin the cases of the branch of this name; none for another step."""
        cases = self.nodes[name].cases
        return frozenset(chain[0] for chain in cases.all_chains if chain) if cases else frozenset()

    def are_beside(self, one: str, other: str) -> bool:
        """Whether neither comes before the other."""
        first, second = self.step_of(one), self.step_of(other)
        if first == second:
            return one != other
        return first not in self.ancestors[second] and second not in self.ancestors[first]

    # Edges

    def _after(self, name: str) -> Iterator[str]:
        for gathering, start, chains in self._places:
            for chain in chains:
                if name not in chain:
                    continue
                place = chain.index(name)
                if place:
                    yield from self._ends(chain[place - 1])
                elif gathering in self.nodes:
                    yield gathering
                else:
                    given = self._before[gathering] if start is None else start
                    yield from (end for one in given for end in self._ends(one))
                return
        after = self.nodes[name].after
        if after is None:
            after = () if name in self.apart else self._before[name]
        yield from (end for one in after for end in self._ends(one))

    def _ends(self, name: str) -> Iterator[str]:
        """What comes last in a group or a branch; the step itself for another."""
        for gathering, _, chains in self._places:
            if gathering == name:
                for chain in chains:
                    yield from self._ends(chain[-1]) if chain else ()
                if name not in self.nodes:
                    return
        yield name

    def _declared_before(self) -> dict[str, tuple[str, ...]]:
        members = {name for _, _, chains in self._places for chain in chains for name in chain}
        found: dict[str, tuple[str, ...]] = {}
        before: tuple[str, ...] = ()
        for one in self._plan.declared:
            if isinstance(one, HandlerPlan):
                continue
            found[one.name] = before
            if one.name not in members and one.name not in self.apart:
                before = (one.name,)
        return found

    def _rescues(self, name: str) -> Iterator[Rescue]:
        node = self.nodes[name]
        if node.fallback is not None:
            yield node.fallback, ()
        for handler in self._plan.handlers:
            if handler.steps is not None:
                covered = name in handler.steps
            else:
                covered = name not in self.handlers and name not in self._later(handler.step)
            if covered:
                yield handler.step, handler.errors

    def _later(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        for _ in self.nodes:
            found |= {n for n, after in self.after.items() if {name, *found} & set(after)}
        return frozenset(found)

    def _sources(self, name: str) -> Iterator[str]:
        for source in self.after[name]:
            stand_in: str | None = source
            while stand_in is not None:
                yield stand_in
                stand_in = self.nodes[stand_in].fallback
        yield from self.rescued.get(name, ())

    def _running_order(self) -> Iterator[str]:
        places = {name: place for place, name in enumerate(self.nodes)}
        waiting = {name: set(sources) for name, sources in self.sources.items()}
        ready = [places[name] for name, sources in waiting.items() if not sources]
        heapq.heapify(ready)
        names = list(self.nodes)
        while ready:
            name = names[heapq.heappop(ready)]
            yield name
            for other, sources in waiting.items():
                if name in sources:
                    sources.remove(name)
                    if not sources:
                        heapq.heappush(ready, places[other])


def _places(
    plan: GraphPlan,
) -> Iterator[tuple[str, tuple[str, ...] | None, tuple[tuple[str, ...], ...]]]:
    """Groups and branches: the name, what a group is declared after, and the chains."""
    for one in plan.declared:
        if isinstance(one, GroupPlan):
            yield one.name, one.after, one.chains
        elif isinstance(one, Node) and one.cases is not None:
            yield one.name, None, one.cases.all_chains
