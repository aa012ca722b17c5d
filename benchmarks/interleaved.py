"""The same work for every contender, one round after the other: A B C A B C, and so on.

Machines are noisy, and neighbours come and go; what was measured within one round is measured under
about the same weather. So a ratio is made in each round, and the median of these is told.
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen

from benchmarks.contender import Entry
from benchmarks.table import Row
from benchmarks.worker import ContenderError, Worker, closed, opened

Job = Callable[..., Awaitable[Mapping[str, float]]]


@frozen(kw_only=True)
class Pace:
    """How long things may take, in seconds."""

    slice: float = 0.5
    """One round of one contender, if the work is not counted."""
    rounds: int = 7
    share: float = 6.0
    """Who has used up so much for one figure sits out the rounds that are left."""
    patience: float = 120.0
    """Who does not answer within it is killed."""
    size: float = 1.0
    """A factor to all numbers of instances and steps."""

    def sized(self, count: int) -> int:
        """So many, or fewer in a small run."""
        return max(int(count * self.size), 2)


@frozen(kw_only=True)
class Field:
    """Who takes part, and the Redis that they share."""

    entries: Sequence[Entry]
    redis: str | None
    pace: Pace

    def asked(self, question: str) -> "Mapping[str, Sequence[Entry]]":
        """Those who can answer, by their group."""
        able = [entry for entry in self.entries if question in entry.answers]
        groups = dict.fromkeys(entry.group for entry in able)
        return {group: [entry for entry in able if entry.group == group] for group in groups}


@define
class Measured:
    """What one contender did in the rounds: for each figure a number a round."""

    entry: Entry
    rounds: list[Mapping[str, float]] = field(factory=list)
    spent: float = 0.0
    error: str | None = None

    def figures(self, name: str) -> Sequence[float]:
        return [figures[name] for figures in self.rounds]


class Team:
    """The contenders of a group, each in its process with its folder."""

    def __init__(self, field: Field, folder: Path) -> None:
        self._field = field
        self._folder = folder
        self._workers: dict[str, Worker] = {}

    def folder(self, entry: Entry) -> Path:
        folder = self._folder / entry.key
        folder.mkdir(exist_ok=True)
        return folder

    async def begin(self, entry: Entry) -> None:
        self._workers[entry.key] = await Worker.begun(self.folder(entry))

    async def open(self, entry: Entry) -> None:
        redis = self._field.redis
        await self.ask(
            entry,
            opened,
            made_by=entry.made_by,
            settings=dict(entry.settings),
            folder=str(self.folder(entry)),
            redis=redis and f"{redis}?prefix={self._folder.name}-{entry.key}",
        )

    async def close(self, entry: Entry) -> None:
        await self.ask(entry, closed)

    async def ask(self, entry: Entry, job: Callable[..., Awaitable[Any]], **args: Any) -> Any:
        patience = self._field.pace.patience
        return await self._workers[entry.key].ask(job, patience=patience, **args)

    async def end(self, entry: Entry) -> None:
        await self._workers.pop(entry.key).end()

    async def end_all(self) -> None:
        for worker in self._workers.values():
            await worker.end()
        self._workers.clear()


@asynccontextmanager
async def team(field: Field) -> AsyncIterator[Team]:
    """Processes and folders that are gone afterwards."""
    with TemporaryDirectory(prefix="flux-benchmark-", ignore_cleanup_errors=True) as folder:
        its = Team(field, Path(folder))
        try:
            yield its
        finally:
            await its.end_all()


async def compare(
    field: Field,
    entries: Sequence[Entry],
    job: Job,
    *,
    prepare: Callable[[Team, Entry], Awaitable[None]] | None = None,
    rounds: int | None = None,
    may_be_renewed: bool = True,
    **args: Any,
) -> list[Measured]:
    """Let the contenders of one group do the same, in turn; `prepare` is not counted."""
    pace = field.pace
    measured = [Measured(entry) for entry in entries]
    async with team(field) as its:
        for one in measured:
            with _noting_errors(one):
                await its.begin(one.entry)
                await its.open(one.entry)
                if prepare is not None:
                    await prepare(its, one.entry)
        for number in range(rounds or pace.rounds):
            for one in measured:
                if one.error is None and (number == 0 or one.spent < pace.share):
                    with _noting_errors(one):
                        if one.entry.is_fresh_each_time and may_be_renewed and number > 0:
                            await its.close(one.entry)
                            await its.open(one.entry)
                        await _round(its, one, job, args)
    return measured


async def _round(its: Team, one: Measured, job: Job, args: Mapping[str, Any]) -> None:
    began = time.perf_counter()
    one.rounds.append(await its.ask(one.entry, job, **args))
    one.spent += time.perf_counter() - began


@contextmanager
def _noting_errors(one: Measured) -> Iterator[None]:
    """Who has failed takes no further part, and the others go on."""
    try:
        yield
    except ContenderError as error:
        one.error = str(error)
        print(f"  {one.entry.key}: {error}", file=sys.stderr)


def rows(
    question: str, measured: Sequence[Measured], figure: str, words: Callable[[float], str]
) -> list[Row]:
    """A row for each contender of a group, with its ratios."""
    baseline = next((one for one in measured if one.entry.is_baseline), None)
    flux = next((one for one in measured if one.entry.name == "Flux"), None)
    return [_row(question, one, figure, words, (baseline, flux)) for one in measured]


def _row(
    question: str,
    one: Measured,
    figure: str,
    words: Callable[[float], str],
    others: tuple[Measured | None, Measured | None],
) -> Row:
    entry = one.entry
    if not one.rounds:
        return Row(question, entry.name, entry.durability, f"failed: {one.error}")
    baseline, flux = others
    return Row(
        question,
        entry.name,
        entry.durability,
        words(median(one.figures(figure))),
        _ratio(one, baseline, figure),
        _ratio(flux, one, figure) if flux is not one else "",
        str(len(one.rounds)) + (f", then {one.error}" if one.error else ""),
    )


def _ratio(one: Measured | None, other: Measured | None, figure: str) -> str:
    if one is None or other is None or not one.rounds or not other.rounds:
        return ""
    pairs = zip(one.figures(figure), other.figures(figure), strict=False)
    return f"{median(mine / its for mine, its in pairs):.2f}"
