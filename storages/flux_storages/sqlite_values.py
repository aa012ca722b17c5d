"""What the calls for shared values do to an SQLite database: plain functions on a connection."""

import sqlite3

from flux_storages.sqlite_file import SQL
from flux_storages.sqlite_times import Moment

SWEPT = 10
"""How many values whose time has come a write removes at most; more than it can add."""


def get_value(connection: sqlite3.Connection, now: Moment, key: str) -> bytes | None:
    row = connection.execute(SQL["get_value"], {"key": key, "now": now.text}).fetchone()
    return None if row is None else str(row[0]).encode()


def set_value(
    connection: sqlite3.Connection, now: Moment, key: str, value: bytes, *, ttl: float | None
) -> None:
    _sweep(connection, now)
    connection.execute(SQL["set_value"], _value(key, value, now, ttl))


def delete_value(connection: sqlite3.Connection, now: Moment, key: str) -> bool:
    terms = {"key": key, "now": now.text}
    deleted = connection.execute(SQL["delete_value"], terms).rowcount == 1
    _sweep(connection, now)
    return deleted


def compare_and_set_value(
    connection: sqlite3.Connection,
    now: Moment,
    key: str,
    expected: bytes | None,
    value: bytes,
    *,
    ttl: float | None,
) -> bool:
    terms = _value(key, value, now, ttl) | {"now": now.text}
    if expected is None:
        changed = connection.execute(SQL["set_absent_value"], terms)
    else:
        terms["expected"] = expected.decode()
        changed = connection.execute(SQL["set_equal_value"], terms)
    was_set = changed.rowcount == 1
    _sweep(connection, now)
    return was_set


def _sweep(connection: sqlite3.Connection, now: Moment) -> None:
    connection.execute(SQL["sweep_values"], {"now": now.text, "limit": SWEPT})


def _value(key: str, value: bytes, now: Moment, ttl: float | None) -> dict[str, str | None]:
    return {"key": key, "value": value.decode(), "expires_at": now.later(ttl)}
