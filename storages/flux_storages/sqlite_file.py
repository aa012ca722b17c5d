"""The file of an SQLite storage: looked at without a touch, opened, its errors put in words."""

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Literal

from flux.errors import (
    FluxError,
    NotADatabaseError,
    SchemaTooNewError,
    StorageBusyError,
    StorageError,
    StorageFullError,
    listing,
)

Synchronous = Literal["full", "normal"]

APPLICATION_ID = 0x466C7578
"""`Flux` in ASCII; in the header of the file it says whose database it is."""

OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING."""

_PAUSE = 0.01


def read_statements() -> dict[str, str]:
    """The statements of sqlite.sql by name, without their comments."""
    text = (files("flux_storages") / "sqlite.sql").read_text(encoding="utf-8")
    _, *pieces = re.split(r"^-- (\w+) --\n", text, flags=re.MULTILINE)
    bodies = (re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip() for body in pieces[1::2])
    return dict(zip(pieces[::2], bodies, strict=True))


SQL = read_statements()

MIGRATIONS = [text for name, text in SQL.items() if name.startswith("migration_")]
"""The n-th leads from version n - 1 of the schema to version n."""


def open_for_writing(
    path: str, synchronous: Synchronous, busy_timeout: float
) -> sqlite3.Connection:
    """Open the file, made or migrated if need be; one that is not ours is left as it is."""
    _check_place(path)
    _look_without_touching(path, busy_timeout)
    connection = _connect(path, "mode=rwc", busy_timeout)
    try:
        _migrate(connection, path)
        _use_wal(connection, path, busy_timeout)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: str, busy_timeout: float) -> sqlite3.Connection:
    """Open a file that `open_for_writing` has opened before."""
    connection = _connect(path, "mode=rw", busy_timeout)
    connection.execute("PRAGMA query_only = TRUE")
    return connection


@contextmanager
def errors_in_words(path: str, busy_timeout: float) -> Iterator[None]:
    """Raise the errors from underneath as errors of Flux's."""
    try:
        yield
    except Exception as error:
        told = in_words(error, path, busy_timeout)
        if told is error:
            raise
        raise told from error


def in_words(error: BaseException, path: str, busy_timeout: float) -> BaseException:
    """The error of Flux's that says what one from underneath means; any other as it is."""
    # An error of Flux's may be one of those from underneath by its class.
    if isinstance(error, FluxError) or not isinstance(error, _UNDERNEATH):
        return error
    told = _in_words(error, path, busy_timeout)
    told.__cause__ = error
    return told


_UNDERNEATH = (sqlite3.Error, UnicodeError, OverflowError, OSError)


def _in_words(error: Exception, path: str, busy_timeout: float) -> StorageError:
    if isinstance(error, sqlite3.Error):
        return _sqlite_in_words(error, path, busy_timeout)
    if isinstance(error, OSError):
        return StorageError(f"{path} cannot be opened: {error.strerror}; check its permissions")
    return StorageError(f"{path} cannot keep this value, nothing was saved: {error}")


def _sqlite_in_words(error: sqlite3.Error, path: str, busy_timeout: float) -> StorageError:
    # The primary code is the low byte; errors of the Python module itself have none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageBusyError(path, busy_timeout)
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(path)
    if code == sqlite3.SQLITE_NOTADB:
        return NotADatabaseError(path, "its header is not SQLite's, or it is encrypted")
    advice = _ADVICE.get(code, "nothing of this call was saved")
    return StorageError(f"{path}: SQLite says {str(error)!r}; {advice}")


_ADVICE = {
    sqlite3.SQLITE_CANTOPEN: "check the folder, its permissions and the limit of open files",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup, or rescue it by .recover",
    sqlite3.SQLITE_IOERR: "the disk did not read or write: check it and the room on it",
    sqlite3.SQLITE_PERM: "check the permissions of the file and of its folder",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this process",
}


def _check_place(path: str) -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StorageError(
            f"this Python has SQLite {sqlite3.sqlite_version}, Flux needs {needed} or newer"
        )
    place = Path(path)
    if place.is_dir():
        raise StorageError(f"{path} is a folder; name a file in it")
    if not place.absolute().parent.is_dir():
        raise StorageError(f"the folder of {path} is missing; create it first")
    effective = os.access in os.supports_effective_ids
    if place.exists() and not os.access(place, os.W_OK, effective_ids=effective):
        raise StorageError(f"{path} is read-only for this process; make it writable")


def _look_without_touching(path: str, busy_timeout: float) -> None:
    place = Path(path)
    if not place.exists() or place.stat().st_size == 0:
        return
    with place.open("rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0"):
        raise NotADatabaseError(path, "its header is not SQLite's")
    # Where WAL is in use but nobody has the file open, a look would leave a log beside it.
    unused = header[18:19] == b"\2" and not Path(f"{path}-wal").exists()
    mode = "mode=ro&immutable=1" if unused else "mode=ro"
    try:
        with closing(_connect(path, mode, busy_timeout)) as connection:
            _schema_version(connection, path)
    except sqlite3.OperationalError as error:
        # After a crash in a transaction without WAL, only who may write can read. Flux writes so
        # when it makes the file; the first thing written is the header.
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        if header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
            raise NotADatabaseError(
                path, "a crash of another program left it half written"
            ) from error


def _schema_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of the schema, 0 for an empty file; an error if the file is not for us."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = [name for (name,) in connection.execute(SQL["tables"])]
    if application not in (0, APPLICATION_ID):
        raise NotADatabaseError(path, f"its application_id is {application:#x}")
    if application == 0 and tables:
        raise NotADatabaseError(path, f"it holds other tables: {listing(tables)}")
    if version > len(MIGRATIONS):
        raise SchemaTooNewError(path, version, len(MIGRATIONS))
    return int(version)


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the schema up to date; of several processes that try, one does it."""
    connection.execute("BEGIN IMMEDIATE")
    version = _schema_version(connection, path)
    for migration in MIGRATIONS[version:]:
        for statement in migration.split(";"):
            connection.execute(statement)
    if version < len(MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    # Alone among the statements this one does not wait for the locks of others, so it is repeated.
    for last in (*[False] * int(busy_timeout / _PAUSE), True):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE)
        else:
            break
    if mode != "wal":
        raise StorageError(f"{path} lies where SQLite has no WAL mode; put it on a local disk")


def _connect(path: str, mode: str, busy_timeout: float) -> sqlite3.Connection:
    address = f"{Path(path).absolute().as_uri()}?{mode}"
    return sqlite3.connect(address, uri=True, timeout=busy_timeout, isolation_level=None)
