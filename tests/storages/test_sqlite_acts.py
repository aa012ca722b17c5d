# ruff: noqa: ASYNC240 - tests may wait for files
"""The statements that SQLite gets to see, and what people see in the file."""

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from flux.storage import Checkpoint, Entry, Lease, WorkflowFilter
from flux_storages import SQLiteStorage
from records import checkpoint, opened, record, signal


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What somebody with the sqlite3 program sees."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def plans_of_listing(path: Path, statements: list[str], filter: WorkflowFilter) -> str:
    """How SQLite goes about a list and a count, a line a step."""
    async with opened(SQLiteStorage(path)) as storage:
        statements.clear()
        await storage.list(filter)
        await storage.count(filter)
    return "\n".join(plan(path, statement) for statement in statements if "SELECT" in statement)


def plan(path: Path, statement: str) -> str:
    return "\n".join(str(step[3]) for step in rows(path, f"EXPLAIN QUERY PLAN {statement}"))


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (WorkflowFilter(), "instances_by_age"),
        (WorkflowFilter(name="order"), "instances_by_workflow (workflow=?)"),
        (WorkflowFilter(status="failed"), "instances_by_status (status=?)"),
        (WorkflowFilter(after="order-7"), "instances_by_age (created_at<?)"),
        (WorkflowFilter(name="order", after="x"), "(workflow=? AND created_at<?)"),
        (WorkflowFilter(status="failed", after="x"), "(status=? AND created_at<?)"),
    ],
)
async def test_list_in_order(
    path: Path, statements: list[str], filter: WorkflowFilter, index: str
) -> None:
    """A list reads an index in the order asked for, sorts nothing and scans no table."""
    plans = await plans_of_listing(path, statements, filter)
    assert index in plans
    assert "USE TEMP B-TREE" not in plans
    assert "SCAN instances\n" not in plans + "\n"


@pytest.mark.parametrize(
    "filter",
    [
        WorkflowFilter(labels={"a": "b"}),
        WorkflowFilter(labels={"a": "b", "c": "d"}),
        WorkflowFilter(labels={"a": "b"}, status="failed", name="order"),
        WorkflowFilter(labels={"a": "b"}, status=["failed", "paused"], after="x"),
    ],
)
async def test_list_by_label(path: Path, statements: list[str], filter: WorkflowFilter) -> None:
    """A list by label begins with the label, whatever else is asked for."""
    plans = await plans_of_listing(path, statements, filter)
    assert plans.startswith("SEARCH labels USING PRIMARY KEY (name=? AND value=?")
    assert "SCAN instances" not in plans
    assert "instances_by_status" not in plans


@pytest.mark.parametrize("workflows", [None, ["order"]])
async def test_due_by_index(path: Path, statements: list[str], workflows: list[str] | None) -> None:
    """What is due is found by the index of due times, in its order."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(), wake=0)
        statements.clear()
        await storage.claim_due(owner="two", lease=30, limit=10, workflows=workflows)
    plans = [plan(path, one) for one in statements if one.startswith("SELECT id")]
    assert len(plans) == 2
    assert all("instances_due (<expr><?)" in one and "TEMP B-TREE" not in one for one in plans)


async def test_no_statement_scans(path: Path, statements: list[str]) -> None:
    """Whatever a storage does to one instance, it finds by an index."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(unique_key="key", labels={"a": "b"}), lease=30)
        statements.clear()
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        await storage.save(checkpoint(consumed={1: "x"}, entries=(Entry(number=1, body=b"1"),)))
        await storage.renew([Lease(id="order-7", owner="one")], lease=30)
        await storage.release(Lease(id="order-7", owner="one"))
        await storage.claim("order-7", owner="two", lease=30)
        await storage.load("order-7")
        await storage.signals("order-7")
        await storage.save(checkpoint(expected=3, owner="two", lease=None))
        await storage.delete("order-7", revision=4)
    verbs = ("SELECT", "UPDATE", "INSERT", "DELETE")
    plans = [plan(path, one) for one in statements if one.startswith(verbs)]
    assert len(plans) > 12
    assert not [one for one in plans if "SCAN" in one]


async def test_save_is_lean(path: Path, statements: list[str]) -> None:
    """A save is one update and one upsert an entry, in one transaction."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record())
        statements.clear()
        await storage.save(
            checkpoint(entries=(Entry(number=1, body=b"1"), Entry(number=2, body=b"2")))
        )
    words = [statement.split()[0] for statement in statements[:5]]
    assert words == ["BEGIN", "UPDATE", "INSERT", "INSERT", "COMMIT"]


async def test_only_what_moves_is_set(path: Path, statements: list[str]) -> None:
    """A save that goes on sets no column that has a value of its own in an index, but the lease."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(), lease=30)
        statements.clear()
        await storage.save(checkpoint())
    (update,) = [one for one in statements if one.startswith("UPDATE")]
    columns, _, _ = update.partition("WHERE")
    assert "lease_until =" in columns
    assert not [name for name in ("status", "wake_at", "ended_at") if name in columns]


async def test_wake_time_is_cleared(path: Path) -> None:
    """A save that goes on and names no wake time leaves none behind, though its lease is new."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(), lease=30, wake=60)
        await storage.save(checkpoint())
        assert rows(path, "SELECT revision, wake_at FROM instances") == [(2, None)]


async def test_json_as_text(path: Path) -> None:
    """People can look into payloads, entries, signals and labels with SQLite's JSON functions."""
    async with opened(SQLiteStorage(path)) as storage:
        body = json.dumps({"total": 900, "city": "Tromsø"}, ensure_ascii=False).encode()
        await storage.create(
            record(labels={"a": "b"}, fixed=body, payload=body),
            entries=[Entry(number=1, body=body)],
        )
        await storage.send_signal("order-7", signal(payload=body))
        columns = {"instances": "payload", "fixed": "body", "history": "body", "inbox": "payload"}
        for table, column in columns.items():
            (found,) = rows(path, f"SELECT typeof({column}), {column} FROM {table}")
            assert found == ("text", body.decode())
            query = f"SELECT json_extract({column}, '$.total') FROM {table} WHERE id = 'order-7'"
            assert rows(path, query) == [(900,)]
        assert rows(path, "SELECT json_extract(labels, '$.a') FROM instances") == [("b",)]


async def test_times_as_text(path: Path) -> None:
    """Times are ISO texts in UTC of one length, so that they sort as they read."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(), lease=30, wake=0.25)
        found = rows(path, "SELECT created_at, lease_until, wake_at FROM instances")
        assert found == [
            (
                "2026-01-01T00:00:00.000000+00:00",
                "2026-01-01T00:00:30.000000+00:00",
                "2026-01-01T00:00:00.250000+00:00",
            )
        ]


async def test_times_of_elsewhere(path: Path) -> None:
    """A time in another zone is kept as the same time in UTC."""
    async with opened(SQLiteStorage(path)) as storage:
        noon = datetime(2026, 6, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
        await storage.create(record(created_at=noon))
        assert rows(path, "SELECT created_at FROM instances") == [
            ("2026-06-01T10:00:00.000005+00:00",)
        ]


async def test_input_is_not_written_again(path: Path) -> None:
    """What is fixed lies beside the head, so that a save does not write it anew."""
    async with opened(SQLiteStorage(path)) as storage:
        await storage.create(record(fixed=b'"' + b"x" * 1_000_000 + b'"'))
        log = Path(f"{path}-wal")
        before = log.stat().st_size
        saves: list[Checkpoint] = [checkpoint(expected=revision) for revision in range(1, 11)]
        for save in saves:
            await storage.save(save)
        assert log.stat().st_size - before < 300_000
