"""What a contender says that it has done lies in its file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contender import Contender, Entry, Place, made
from benchmarks.contenders import CONTENDERS

IN_FILES = [entry for entry in CONTENDERS if entry.group == "sqlite-full" and not entry.needs]
GROUPS = sorted({entry.group for entry in CONTENDERS})


@pytest.fixture(params=IN_FILES, ids=lambda entry: entry.key)
def entry(request: pytest.FixtureRequest) -> Entry:
    chosen: Entry = request.param
    return chosen


@asynccontextmanager
async def opened(entry: Entry, folder: Path) -> AsyncIterator[Any]:
    contender: Contender = made(entry.made_by, entry.settings)
    await contender.open(Place(folder=folder))
    try:
        yield contender
    finally:
        await contender.close()


def rows(folder: Path, select: str) -> list[Any]:
    (file,) = folder.glob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.execute(select))


async def test_steps_are_saved(entry: Entry, tmp_path: Path) -> None:
    """Three instances of five steps, two of them at once, are fifteen entries in the history."""
    async with opened(entry, tmp_path) as contender:
        await contender.sequence(5)
        await asyncio.gather(contender.sequence(5), contender.sequence(5))
    assert rows(tmp_path, "SELECT count(*) FROM history") == [(15,)]
    assert rows(tmp_path, "SELECT status, revision FROM instances") == [("completed", 6)] * 3


async def test_saga_is_undone(entry: Entry, tmp_path: Path) -> None:
    """Ten saves: one at the start, five steps, four undone."""
    async with opened(entry, tmp_path) as contender:
        await contender.saga()
    assert rows(tmp_path, "SELECT status, revision FROM instances") == [("rolled_back", 10)]
    undone = "SELECT count(*) FROM history WHERE body LIKE '%\"compensation\"%'"
    assert rows(tmp_path, undone) == [(4,)]


async def test_signal_is_consumed(entry: Entry, tmp_path: Path) -> None:
    """Of two that wait the one that is woken ends, and its signal is used up."""
    async with opened(entry, tmp_path) as contender:
        await asyncio.gather(contender.suspend(0), contender.suspend(1))
        await contender.wake(1)
    ended = "SELECT id FROM instances WHERE status = 'completed'"
    assert rows(tmp_path, ended) == [("waiting-1",)]
    assert rows(tmp_path, "SELECT id, consumed_by FROM inbox") == [("waiting-1", "go")]


async def test_heads_have_the_same_columns(tmp_path: Path) -> None:
    """By hand writes what Flux writes."""
    found = []
    for entry in IN_FILES:
        folder = tmp_path / entry.key
        folder.mkdir()
        async with opened(entry, folder) as contender:
            await contender.sequence(1)
        tables = ("instances", "history", "fixed", "inbox")
        found.append([rows(folder, f"PRAGMA table_info({table})") for table in tables])
    assert [columns == found[0] for columns in found] == [True] * len(found)


@pytest.mark.parametrize("group", GROUPS)
def test_group_has_one_baseline_and_one_flux(group: str) -> None:
    """So that each ratio has something to be a ratio to."""
    members = [entry for entry in CONTENDERS if entry.group == group]
    assert [entry.is_baseline for entry in members].count(True) == 1
    assert [entry.name for entry in members].count("Flux") == 1


def test_keys_are_unique() -> None:
    """A name on the command line means one contender."""
    keys = [entry.key for entry in CONTENDERS]
    assert len(set(keys)) == len(keys)


def test_what_is_missing_is_known() -> None:
    """Whose packages are not installed is found out without an import."""
    entry = Entry(
        key="none", name="None", durability="none", group="none", made_by="nowhere:Nobody",
        needs=("attrs", "no_such_package", "no_such_package.part"), answers=frozenset(),
    )  # fmt: skip
    assert entry.missing == ("no_such_package", "no_such_package.part")
