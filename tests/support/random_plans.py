"""Strategies for plans of workflows and for what happens to their instances."""

from typing import Any

from hypothesis import strategies as st

from flow_plans import LONG, SHORT, Act, Command, Fault, FlowPlan, Recovery, Script, StepPlan

NAMES = ("a", "b", "c", "d")


def scripts(*acts: Act) -> st.SearchStrategy[Script]:
    """What the first few calls do: mostly they go well."""
    return st.lists(st.sampled_from((Act.WELL, *acts)), max_size=4).map(tuple)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def steps(draw: st.DrawFn, name: str, before: tuple[str, ...]) -> StepPlan:
    """A step that may come after any of those `before` it."""
    once = draw(st.booleans())
    branches = draw(maybe(st.sets(st.sampled_from(before)))) if before else None
    return StepPlan(
        name=name,
        after=None if branches is None else tuple(sorted(branches)),
        script=draw(scripts(Act.RAISES, Act.DOUBTS, Act.SPOILS)),
        retries=draw(st.integers(0, 2)),
        pause=draw(st.sampled_from((0.0, SHORT, LONG))),
        commit=draw(st.booleans()),
        at_most_once=once,
        forgets=draw(st.booleans()),
        when=draw(maybe(scripts(Act.DENIES, Act.RAISES))),
        verify=draw(maybe(scripts(Act.DENIES, Act.RAISES, Act.SPOILS))) if once else None,
        undo=draw(maybe(scripts(Act.RAISES, Act.SPOILS))),
        undo_retries=draw(st.integers(0, 1)),
    )


@st.composite
def plans(draw: st.DrawFn) -> FlowPlan:
    """A workflow of one to four steps."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    return FlowPlan(tuple(draw(steps(name, names[:n])) for n, name in enumerate(names)))


@st.composite
def faults(draw: st.DrawFn, *, first: bool) -> Fault:
    """A fault; in a recovery it always kills, for there the storage may fail unheard."""
    return Fault(
        save=draw(st.integers(1, 6)),
        written=draw(st.booleans()),
        dies=draw(st.booleans()) if first else True,
        recovery=draw(st.sampled_from(Recovery)),
    )


def many_faults() -> st.SearchStrategy[tuple[Fault, ...]]:
    """None, or one and some more in the recovery from it."""
    more = st.lists(faults(first=False), max_size=5)
    struck = st.tuples(faults(first=True), more).map(lambda drawn: (drawn[0], *drawn[1]))
    return st.just(()) | struck


def commands(*verbs: str, step: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    """One of these verbs."""
    return st.builds(Command, st.sampled_from(verbs), step, many_faults())
