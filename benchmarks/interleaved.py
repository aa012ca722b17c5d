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

LEAST_ROUNDS = 3

Job = Callable[..., Awaitable[Mapping[str, float]]]


@frozen(kw_only=True)
class Pace:
    """How long things may take, in seconds."""

    slice: float = 0.4
    """One round of one contender, if the work is not counted."""
    rounds: int = 5
    share: float = 6.0
    """Who has used up so much for one figure sits out the rounds that are left."""
    patience: float = 120.0
    """Who does not answer within it is killed."""
    clients: Sequence[int] = (1, 64, 512)
    """How many instances run at once."""
    size: float = 1.0
    """A factor to all numbers of instances and steps."""
    ends: float
    """When, by `time.monotonic`, no other round begins of who is not quick."""

    def sized(self, count: int) -> int:
        """So many, or fewer in a small run."""
        return max(int(count * self.size), 2)


@define
class Measured:
    """What one contender did in the rounds: for each figure a number a round."""

    entry: Entry
    rounds: list[Mapping[str, float]] = field(factory=list)
    spent: float = 0.0
    error: str | None = None
    note: str = ""
    """Said with every figure."""

    def add(self, figures: Mapping[str, float]) -> None:
        self.rounds.append(figures)

    def has(self, figure: str) -> bool:
        return any(figure in figures for figures in self.rounds)

    def figures(self, name: str) -> Sequence[float]:
        return [figures[name] for figures in self.rounds]

    @contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Count the time; who has failed takes no further part, and the others go on."""
        began = time.monotonic()
        try:
            yield
        except ContenderError as error:
            self.error = str(error)
            print(f"  {self.entry.key}: {error}", file=sys.stderr)
        finally:
            self.spent += time.monotonic() - began


@frozen(kw_only=True)
class Field:
    """Who takes part, and the Redis that they share."""

    entries: Sequence[Entry]
    redis: str | None
    pace: Pace

    def asked(self, question: str) -> Mapping[str, Sequence[Entry]]:
        """Those who can answer, by their group."""
        able = [entry for entry in self.entries if question in entry.answers]
        groups = dict.fromkeys(entry.group for entry in able)
        return {group: [entry for entry in able if entry.group == group] for group in groups}

    def left(self, measured: Sequence[Measured]) -> Iterator[Measured]:
        """Those who take part in the next round, one after the other."""
        for one in measured:
            if one.error is None and (not one.rounds or self._has_time(one)):
                yield one

    def _has_time(self, one: Measured) -> bool:
        # Of the quick ones even a late run has a median worth its name.
        if len(one.rounds) < LEAST_ROUNDS and one.spent < self.pace.share / 2:
            return True
        return one.spent < self.pace.share and time.monotonic() < self.pace.ends


class Team:
    """Contenders, each in its process with its folder."""

    def __init__(self, field: Field, folder: Path) -> None:
        self._field = field
        self._folder = folder
        self._workers: dict[str, Worker] = {}

    async def begin(self, entry: Entry) -> None:
        """Start its process."""
        folder = self._folder / entry.key
        folder.mkdir(exist_ok=True)
        self._workers[entry.key] = await Worker.begun(folder)

    def opening(self, entry: Entry, **settings: object) -> Mapping[str, Any]:
        """What it is opened with, in any process."""
        redis = self._field.redis
        return {
            "made_by": entry.made_by,
            "settings": {**entry.settings, **settings},
            "folder": str(self._folder / entry.key),
            "redis": redis and f"{redis}?prefix={self._folder.name}-{entry.key}",
        }

    async def open(self, entry: Entry) -> None:
        await self.ask(entry, opened, **self.opening(entry))

    async def renew(self, entry: Entry) -> None:
        """Let it forget what it has in memory."""
        await self.ask(entry, closed)
        await self.open(entry)

    async def ask(self, entry: Entry, job: Callable[..., Awaitable[Any]], **args: Any) -> Any:
        pace = self._field.pace
        patience = min(pace.patience, max(pace.ends - time.monotonic(), pace.patience / 2))
        return await self._workers[entry.key].ask(job, patience=patience, **args)

    async def end(self, entry: Entry) -> None:
        """Kill its process."""
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
    counts: Mapping[str, int] | None = None,
    **args: Any,
) -> list[Measured]:
    """Let the contenders of one group do the same, in turn; `prepare` is not counted.

    `counts` says for each key how many instances or steps the job is given as `count`; who has
    fewer than others has that said.
    """
    measured = [Measured(entry) for entry in entries]
    async with team(field) as its:
        for one in measured:
            with one.noting_errors():
                await its.begin(one.entry)
                await its.open(one.entry)
                if prepare is not None:
                    await prepare(its, one.entry)
            one.spent = 0.0
        for number in range(min(rounds or field.pace.rounds, field.pace.rounds)):
            for one in field.left(measured):
                with one.noting_errors():
                    if one.entry.is_fresh_each_time and may_be_renewed and number > 0:
                        await its.renew(one.entry)
                    if counts is not None:
                        args["count"] = counts[one.entry.key]
                        is_less = args["count"] < max(counts.values())
                        one.note = f" (of {args['count']:,})" if is_less else ""
                    one.add(await its.ask(one.entry, job, **args))
    return measured


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
        return Row(question, entry.name, entry.durability, f"failed: {one.error or 'no time left'}")
    baseline, flux = others
    return Row(
        question,
        entry.name,
        entry.durability,
        words(median(one.figures(figure))) + one.note,
        _ratio(one, baseline, figure),
        _ratio(flux, one, figure) if flux is not one else "",
        str(len(one.rounds)) + (f", then {one.error}" if one.error else ""),
    )


def _ratio(one: Measured | None, other: Measured | None, figure: str) -> str:
    if one is None or other is None:
        return ""
    pairs = zip(one.figures(figure), other.figures(figure), strict=False)
    ratios = [mine / its for mine, its in pairs if its]
    return f"{median(ratios):.2f}" if ratios else ""
