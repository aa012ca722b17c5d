"""Strategies for plans of workflows and for what happens to their instances."""

from typing import Any

from hypothesis import strategies as st

from flow_plans import LONG, SHORT, Act, FlowPlan, Reaction, Script, StepPlan, WaitPlan
from incidents_model import Incident, Recovery, Request, What

NAMES = ("a", "b", "c", "d")
SIGNALS = ("x", "y")
AT_SAVES = (What.DIES, What.FAILS, What.STALLS, What.CLOSES, What.IS_TOLD)
IN_CALLS = (What.DIES, What.STALLS, What.CLOSES, What.IS_TOLD, What.LASTS)


def scripts(*acts: Act) -> st.SearchStrategy[Script]:
    """What the first few calls do: mostly they go well."""
    return st.lists(st.sampled_from((Act.WELL, *acts)), max_size=4).map(tuple)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def waits(draw: st.DrawFn) -> WaitPlan:
    """What a step waits for: a signal, with or without a limit, or a time."""
    signal = draw(maybe(st.sampled_from(SIGNALS)))
    if signal is None:
        return WaitPlan(hours=draw(st.sampled_from((0.5, 2.5))), by_date=draw(st.booleans()))
    hours = draw(maybe(st.sampled_from((0.5, 2.5))))
    return WaitPlan(signal=signal, hours=hours, goes_on=hours is not None and draw(st.booleans()))


@st.composite
def steps(draw: st.DrawFn, name: str, before: tuple[str, ...]) -> StepPlan:
    """A step after the last of those `before` it; it may name others of them besides."""
    once = draw(st.booleans())
    branches = draw(maybe(st.sets(st.sampled_from(before)))) if before else None
    after = None if branches is None else tuple(sorted({*branches, before[-1]}))
    when = draw(maybe(scripts(Act.DENIES, Act.RAISES)))
    wait = draw(waits())
    if draw(st.integers(0, 7)) == 7:
        signal = None if wait.signal is None else name
        wait = WaitPlan(signal=signal, hours=wait.hours, goes_on=wait.goes_on)
        return StepPlan(name=name, after=after, when=when, is_declared=True, wait=wait)
    return StepPlan(
        name=name,
        after=after,
        script=draw(scripts(Act.WAITS, Act.RAISES, Act.DOUBTS, Act.SPOILS, Act.LOSES)),
        retries=draw(st.integers(0, 2)),
        pause=draw(st.sampled_from((0.0, SHORT, LONG))),
        commit=draw(st.booleans()),
        at_most_once=once,
        forgets=draw(st.booleans()),
        when=when,
        verify=draw(maybe(scripts(Act.DENIES, Act.RAISES, Act.SPOILS))) if once else None,
        undo=draw(maybe(scripts(Act.RAISES, Act.SPOILS, Act.WAITS))),
        undo_retries=draw(st.integers(0, 1)),
        wait=wait,
        told=draw(st.sampled_from(Reaction)),
    )


@st.composite
def plans(draw: st.DrawFn) -> FlowPlan:
    """A workflow of one to four steps."""
    names = NAMES[: draw(st.sampled_from((1, 2, 3, 3, 4, 4)))]
    return FlowPlan(
        tuple(draw(steps(name, names[:n])) for n, name in enumerate(names)),
        deadline=draw(maybe(st.sampled_from((2.5, 7.5)))),
        engines=draw(st.sampled_from((1, 1, 2))),
    )


def requests(*, waits: bool = False) -> st.SearchStrategy[Request]:
    """A signal, or a request to cancel or pause."""
    return st.builds(
        Request,
        verb=st.sampled_from(("signal", "signal", "signal", "cancel", "pause")),
        name=st.sampled_from((*SIGNALS, *NAMES)),
        payload=st.sampled_from((None, 1, {"by": "kim"})),
        signal_id=maybe(st.sampled_from(("i", "j"))),
        rollback=st.booleans(),
        waits=st.just(waits),
    )


def incidents() -> st.SearchStrategy[Incident]:
    """Something that happens at one of the first saves, or in one of the first calls."""
    number = st.sampled_from((1, 1, 1, 2, 2, 3, 4))
    return st.one_of(
        st.builds(_incident, what=st.sampled_from(AT_SAVES), save=number, call=st.none(), **_REST),
        st.builds(_incident, what=st.sampled_from(IN_CALLS), save=st.none(), call=number, **_REST),
    )


def many_incidents() -> st.SearchStrategy[tuple[Incident, ...]]:
    """None, or one and some more after it."""
    return st.lists(incidents(), max_size=6).map(tuple)


def _incident(**fields: Any) -> Incident:
    return Incident(**fields)


_REST: dict[str, st.SearchStrategy[Any]] = {
    "written": st.booleans(),
    "ends": st.booleans(),
    "request": requests(),
    "elsewhere": st.booleans(),
    "hours": st.sampled_from((1, 2, 4)),
    "thaws": maybe(st.integers(1, 3)),
    "recovery": st.sampled_from(Recovery),
}
