"""Contenders take turns, and their ratios are those of one round."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.contender import Entry
from benchmarks.interleaved import Field, Measured, Pace, compare, rows
from noting_contender import turn


@pytest.fixture(autouse=True)
def _support_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    support = Path(turn.__code__.co_filename).parent
    monkeypatch.setenv("PYTHONPATH", str(support))


def entry(key: str, *, name: str = "", is_baseline: bool = False, **settings: object) -> Entry:
    return Entry(
        key=key,
        name=name or key,
        durability="none",
        group="tests",
        made_by="noting_contender:NotingContender",
        settings=settings,
        answers=frozenset({"turn"}),
        is_baseline=is_baseline,
    )


def field(*entries: Entry, share: float = 60.0) -> Field:
    pace = Pace(rounds=3, share=share, ends=time.monotonic() + 60)
    return Field(entries=entries, redis=None, pace=pace)


async def turns(its: Field) -> Sequence[Measured]:
    return await compare(its, its.entries, turn)


async def test_contenders_take_turns() -> None:
    """Each has its first round before anyone has a second."""
    first, second = await turns(field(entry("first"), entry("second")))
    order = sorted(
        [(at, "first") for at in first.figures("at")]
        + [(at, "second") for at in second.figures("at")]
    )
    assert [key for _, key in order] == ["first", "second"] * 3


async def test_one_that_fails_leaves_the_others() -> None:
    """The error is told in its row, it is asked no more, and the others have all their rounds."""
    failing, other = await turns(field(entry("failing", fails=True), entry("other")))
    (failed, fine) = rows("turns", [failing, other], "one", str)
    assert failed.figure == "failed: ValueError: it will not"
    assert fine.rounds == "3"


async def test_slow_one_sits_out() -> None:
    """Who has used up its share has one round, so that the whole run ends in time."""
    slow, quick = await turns(field(entry("slow", pause=0.2), entry("quick"), share=0.15))
    assert (len(slow.rounds), len(quick.rounds)) == (1, 3)


async def test_ratios_are_to_the_baseline() -> None:
    """A row tells the figure itself, how it compares with the baseline, and Flux with it."""
    baseline = Measured(entry("baseline", is_baseline=True), rounds=[{"x": 10.0}, {"x": 20.0}])
    flux = Measured(entry("flux", name="Flux"), rounds=[{"x": 5.0}, {"x": 15.0}])
    one, other = rows("how many", [baseline, flux], "x", "{:.0f}".format)
    assert (one.figure, one.to_baseline, one.flux_to_it) == ("15", "1.00", "0.62")
    assert (other.figure, other.to_baseline, other.flux_to_it) == ("10", "0.62", "")


async def test_late_rounds_are_left_out() -> None:
    """When the time for a question is over, who is not quick has the one round that makes a row."""
    slow, quick = entry("slow", pause=0.4), entry("quick")
    late = Pace(rounds=5, share=0.6, ends=time.monotonic())
    found = await turns(Field(entries=[slow, quick], redis=None, pace=late))
    assert [len(one.rounds) for one in found] == [1, 3]
