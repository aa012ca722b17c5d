"""Shared values as people see them in the file, and how SQLite finds them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from flux.testing import ManualClock
from flux_storages import SQLiteStorage
from records import opened


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_json_as_text(path: Path) -> None:
    """People can look into values with SQLite's JSON functions."""
    storage = SQLiteStorage(path)
    async with opened(storage):
        await storage.set_value("rates", b'{"eur": 1.5}', ttl=30)
        query = "SELECT key, json_extract(value, '$.eur'), expires_at FROM shared_values"
        assert rows(path, query) == [("rates", 1.5, "2026-01-01T00:00:30.000000+00:00")]


async def test_expired_are_removed_by_writes(path: Path) -> None:
    """Every write removes some of what has expired, more than it adds."""
    clock, storage = ManualClock(), SQLiteStorage(path)
    async with opened(storage, clock=clock):
        for number in range(40):
            await storage.set_value(str(number), b"1", ttl=1)
        clock.advance(1)
        left = []
        for number in range(3):
            await storage.set_value("new", b"1")
            await storage.compare_and_set_value("new", b"1", b"2")
            await storage.delete_value(f"nobody {number}")
            left += rows(path, "SELECT count(*) FROM shared_values")
    assert left == [(11,), (1,), (1,)]


async def test_no_statement_scans(path: Path, statements: list[str]) -> None:
    """Values are found by their keys, and by their ends."""
    storage = SQLiteStorage(path)
    async with opened(storage):
        statements.clear()
        await storage.set_value("a", b"1", ttl=1)
        await storage.get_value("a")
        await storage.compare_and_set_value("a", b"1", b"2")
        await storage.compare_and_set_value("a", None, b"2")
        await storage.delete_value("a")
    asked = [one for one in statements if "shared_values" in one]
    plans = [str(rows(path, f"EXPLAIN QUERY PLAN {one}")) for one in asked]
    assert len(plans) == 9
    assert not [one for one in plans if "SCAN" in one]
