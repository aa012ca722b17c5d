"""Strategies for plans of workflows and for what happens to their instances."""

from typing import Any

from hypothesis import strategies as st

from flow_plans import LONG, SHORT, Act, Fault, FlowPlan, Recovery, Script, StepPlan

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
    names = NAMES[: draw(st.sampled_from((1, 2, 3, 3, 4, 4)))]
    return FlowPlan(tuple(draw(steps(name, names[:n])) for n, name in enumerate(names)))


def faults() -> st.SearchStrategy[Fault]:
    """A fault at one of the first saves."""
    return st.builds(
        Fault,
        save=st.sampled_from((1, 1, 1, 2, 2, 3, 4, 6)),
        written=st.booleans(),
        dies=st.booleans(),
        recovery=st.sampled_from(Recovery),
    )


def many_faults() -> st.SearchStrategy[tuple[Fault, ...]]:
    """None, or one and some more in the recovery from it."""
    return st.lists(faults(), max_size=6).map(tuple)
