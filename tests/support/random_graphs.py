"""Strategies for plans of graphs."""

from typing import Any

from attrs import evolve
from hypothesis import assume
from hypothesis import strategies as st

from flux import DefinitionError, WorkflowStorage
from graph_agreement import Death, Life
from graph_plans import (
    BY_INDEX,
    Act,
    Cases,
    GraphPlan,
    GroupPlan,
    HandlerPlan,
    Items,
    Node,
    Script,
)

KEYS = ("x", "y")
Names = tuple[str, ...]


def rarely(strategy: st.SearchStrategy[Any], otherwise: Any = None) -> st.SearchStrategy[Any]:
    """One time in four."""
    return st.integers(0, 3).flatmap(lambda n: strategy if n == 3 else st.just(otherwise))


def scripts() -> st.SearchStrategy[Script]:
    """What the first attempts do: mostly they go well."""
    act = st.sampled_from((Act.WELL, Act.WELL, Act.BOOMS, Act.SLIPS, Act.DOUBTS))
    return st.lists(act, max_size=2).map(tuple)


def writes() -> st.SearchStrategy[tuple[tuple[str, int | None], ...]]:
    write = st.tuples(st.sampled_from(KEYS), st.sampled_from((1, 2, None, BY_INDEX)))
    return rarely(st.lists(write, max_size=2, unique_by=lambda one: one[0]).map(tuple), ())


@st.composite
def deaths(draw: st.DrawFn) -> tuple[Death, ...]:
    """Up to three processes that die."""
    death = st.builds(Death, save=st.integers(1, 8), is_written=st.booleans())
    return tuple(draw(st.lists(death, min_size=1, max_size=3)))


@st.composite
def items(draw: st.DrawFn) -> Items:
    """What a map runs over."""
    return Items(
        count=draw(st.sampled_from((2, 3, 4, 5, 1, 0, None))),
        scripts=draw(st.lists(scripts(), max_size=4).map(tuple)),
        concurrency=draw(st.sampled_from((None, 1, 2, 3))),
        batch_size=draw(rarely(st.integers(1, 3))),
        on_item_failure=draw(st.sampled_from(("continue", "stop", "cancel"))),
    )


@st.composite
def chains(draw: st.DrawFn, pool: list[str], *, most: int, least: int = 0) -> Names:
    """Some of the names that have no place yet, which are taken out of the pool."""
    size = min(len(pool), draw(st.integers(least, most)))
    return tuple(pool.pop() for _ in range(size))


@st.composite
def graphs(draw: st.DrawFn, *, maps: bool = False) -> GraphPlan:
    """A plan; it may make no sense, which the builder says."""
    count = draw(st.integers(1, 3 if maps else 7))
    names = [*"abcdefg"[:count]]
    pool = list(draw(st.permutations(names)))
    branches = {f"r{n}": draw(cases(pool)) for n in range(draw(st.sampled_from((0, 0, 1, 1, 2))))}
    has_group = bool(pool) and draw(st.booleans())
    groups = [draw(group("g", pool, [*branches]))] if has_group else []
    fallbacks: Names = draw(chains(pool, most=2)) if draw(st.booleans()) else ()
    handled: Names = draw(chains(pool, most=1, least=1)) if draw(st.booleans()) else ()
    mapped = draw(st.sets(st.sampled_from(names), min_size=1, max_size=2)) if maps else frozenset()
    placed = {name for one in groups for chain in one.chains for name in chain}
    placed |= {n for one in branches.values() for chain in one.all_chains for n in chain}
    sources = draw(st.permutations([*names, *branches, *(one.name for one in groups)]))
    nodes: list[Node | GroupPlan | HandlerPlan] = []
    for name in (*names, *branches):
        after = None
        if name not in placed and name not in fallbacks and name not in handled:
            after = draw(st.none() | afters(sources[: sources.index(name)]))
        nodes.append(
            Node(
                name=name,
                after=after,
                join=draw(joins(after)) if name not in (*fallbacks, *handled) else None,
                when=draw(rarely(st.sampled_from((True, False, "raises")))),
                script=draw(scripts()) if name not in branches else (),
                retries=draw(st.sampled_from((0, 0, 1))) if name not in branches else 0,
                writes=draw(writes()) if name not in branches else (),
                undo=draw(undos()) if name not in branches else None,
                continues=name not in branches
                and draw(rarely(st.just(value=True), otherwise=False)),
                cases=branches.get(name),
                items=draw(items()) if name in mapped else None,
            )
        )
    nodes = [draw(with_fallback(one, fallbacks)) if isinstance(one, Node) else one for one in nodes]
    nodes += groups
    nodes += [draw(handler(name, names)) for name in handled]
    if draw(st.booleans()):
        nodes = list(draw(st.permutations(nodes)))
    return GraphPlan(
        declared=tuple(nodes),
        merges=tuple(draw(st.sets(st.sampled_from(KEYS)))),
        fail_fast=draw(rarely(st.just(value=True), otherwise=False)),
        most=draw(st.sampled_from((50, 50, 1, 2, 3))),
    )


def undos() -> st.SearchStrategy[Act | None]:
    return st.sampled_from((Act.WELL,) * 6 + (None,) * 3 + (Act.BOOMS,))


def afters(sources: list[str]) -> st.SearchStrategy[Names]:
    if not sources:
        return st.just(())
    return st.lists(st.sampled_from(sources), max_size=3, unique=True).map(tuple)


def joins(after: Names | None) -> st.SearchStrategy[Any]:
    several = after is not None and len(after) > 1
    return rarely(st.sampled_from(("all", "any", 1, 2) if several else ("all", "any")))


@st.composite
def with_fallback(draw: st.DrawFn, node: Node, fallbacks: Names) -> Node:
    if node.cases is not None or node.continues or node.name in fallbacks[-1:] or not fallbacks:
        return node
    if node.name in fallbacks:
        return evolve(node, fallback=draw(st.sampled_from((None, fallbacks[-1]))))
    return evolve(node, fallback=draw(st.sampled_from((None, *fallbacks))))


@st.composite
def cases(draw: st.DrawFn, pool: list[str]) -> Cases:
    """A branch; its steps are taken out of the pool."""
    return Cases(
        chains=(draw(chains(pool, most=2)), draw(chains(pool, most=1))),
        default=draw(st.none() | chains(pool, most=1)),
        choice=draw(st.sampled_from((0, 0, 1, 1, 2, None))),
    )


@st.composite
def group(draw: st.DrawFn, name: str, pool: list[str], branches: list[str]) -> GroupPlan:
    """A group; its steps are taken out of the pool."""
    found = [draw(chains(pool, most=2, least=1)) for _ in range(draw(st.integers(1, 3)))]
    nested = draw(rarely(st.sampled_from(branches))) if branches else None
    return GroupPlan(
        name=name,
        chains=(*(one for one in found if one), *([(nested,)] if nested else ())),
        concurrency=draw(st.sampled_from((None, 1, 2))),
        fail_fast=draw(st.booleans()),
    )


@st.composite
def handler(draw: st.DrawFn, name: str, names: list[str]) -> HandlerPlan:
    others = [other for other in names if other != name]
    some = st.lists(st.sampled_from(others), min_size=1, max_size=3, unique=True).map(tuple)
    return HandlerPlan(
        step=name,
        steps=draw(st.none() | some) if others else None,
        errors=draw(st.sampled_from(((), (Act.BOOMS,), (Act.SLIPS,)))),
    )


def lived(
    plan: GraphPlan, data: st.DataObject, deaths: tuple[Death, ...], storage: WorkflowStorage
) -> None:
    """Let an instance of the plan live, if it is one."""

    def choose(calls: list[str]) -> str:
        return data.draw(st.sampled_from(calls)) if len(calls) > 1 else calls[0]

    try:
        life = Life(plan, storage, choose, deaths)
    except DefinitionError:
        assume(False)
    else:
        life.live()
