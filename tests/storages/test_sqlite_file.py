# ruff: noqa: ASYNC221, ASYNC240 - tests may wait for files and processes
"""The file: whose it is, how it is made, and what goes wrong with it, in words."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flux.errors import (
    NotADatabaseError,
    SchemaTooNewError,
    StorageBusyError,
    StorageError,
    StorageFullError,
)
from flux.storage import Entry, WorkflowFilter
from flux.testing import ManualClock
from flux_storages import SQLiteStorage
from records import checkpoint, opened, record

LARGE = b'"' + b"x" * 100_000 + b'"'

OPENING = """
import asyncio, sys
from flux.clock import SystemClock
from flux_storages import SQLiteStorage
sys.path.insert(0, sys.argv[2])
from records import record

async def main():
    storage = SQLiteStorage(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await storage.init(SystemClock())
    await storage.create(record(sys.argv[3]))
    await storage.close()

asyncio.run(main())
"""

DYING = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("CREATE TABLE birds (name TEXT)")
connection.execute("BEGIN")
for _ in range(1000):
    connection.execute("INSERT INTO birds VALUES (?)", ("x" * 500,))
os._exit(0)
"""


async def open_and_close(path: Path, **settings: Any) -> None:
    async with opened(SQLiteStorage(path, **settings)):
        pass


def execute(path: Path, *statements: str) -> list[Any]:
    """Run statements as another program would; the rows of the last one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class TestNotOurs:
    @pytest.mark.parametrize(
        "content",
        [b"x", b"no database, " * 1000, b"SQLite format 3\0", b"SQLite format 3\0" + b"x" * 9000],
        ids=["byte", "text", "header", "garbage"],
    )
    async def test_no_database(self, path: Path, content: bytes) -> None:
        """A file that is no database is refused and left as it is."""
        path.write_bytes(content)
        with pytest.raises(NotADatabaseError, match=r"is not a database of Flux .* unchanged"):
            await open_and_close(path)
        assert contents(path.parent) == {path.name: content}

    @pytest.mark.parametrize("mode", ["DELETE", "WAL"])
    async def test_tables_of_others(self, path: Path, mode: str) -> None:
        """A database with tables of another program is refused and left as it is."""
        execute(path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE birds (name TEXT)")
        before = contents(path.parent)
        with pytest.raises(NotADatabaseError, match="it holds other tables: birds"):
            await open_and_close(path)
        assert contents(path.parent) == before

    async def test_application_of_others(self, path: Path) -> None:
        """A database that another program has marked as its own is refused, even if empty."""
        execute(path, "PRAGMA application_id = 5")
        with pytest.raises(NotADatabaseError, match="its application_id is 0x5"):
            await open_and_close(path)
        assert execute(path, "PRAGMA application_id") == [(5,)]

    async def test_in_use_by_others(self, path: Path) -> None:
        """A foreign database in use is refused without a change to it, log or not."""
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("CREATE TABLE birds (name TEXT)")
            before = path.read_bytes(), Path(f"{path}-wal").read_bytes()
            with pytest.raises(NotADatabaseError, match="birds"):
                await open_and_close(path)
            assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == before

    async def test_half_written_by_others(self, path: Path) -> None:
        """A crashed program's database is left to that program to recover."""
        subprocess.run([sys.executable, "-c", DYING, str(path)], check=True)
        before = contents(path.parent)
        with pytest.raises(NotADatabaseError, match="left it half written"):
            await open_and_close(path)
        assert contents(path.parent) == before

    async def test_newer_schema(self, path: Path) -> None:
        """A database of a newer Flux is refused and left as it is."""
        await open_and_close(path)
        execute(path, "PRAGMA user_version = 99")
        before = contents(path.parent)
        with pytest.raises(SchemaTooNewError, match="has schema 99, this Flux knows") as caught:
            await open_and_close(path)
        assert (caught.value.found, contents(path.parent)) == (99, before)

    async def test_damaged(self, path: Path) -> None:
        """A database that was cut short is reported as damaged, and left as it is."""
        await open_and_close(path)
        os.truncate(path, 6000)
        before = contents(path.parent)
        with pytest.raises(StorageError, match="the file is damaged"):
            await open_and_close(path)
        assert contents(path.parent) == before


class TestPlaces:
    async def test_missing_folder(self, path: Path) -> None:
        """A file in a folder that is not there is not made."""
        with pytest.raises(StorageError, match=r"the folder of .* is missing; create it first"):
            await open_and_close(path / "orders.db")

    async def test_folder(self, tmp_path: Path) -> None:
        """A folder is no place for a database."""
        with pytest.raises(StorageError, match="is a folder; name a file in it"):
            await open_and_close(tmp_path)

    async def test_odd_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The path is taken as it is, and from where the process stands."""
        monkeypatch.chdir(tmp_path)
        for name in ("a?b.db", "c#d%20.db", "file:e.db", "ø 日.db"):
            await open_and_close(Path(name))
        assert sorted(contents(tmp_path)) == ["a?b.db", "c#d%20.db", "file:e.db", "ø 日.db"]

    @pytest.mark.parametrize("mode", [0o444, 0o000])
    async def test_read_only_file(self, path: Path, mode: int) -> None:
        """A file that cannot be written is refused at the start, not at the first save."""
        await open_and_close(path)
        path.chmod(mode)
        path.parent.chmod(0o777)
        with as_nobody(path.parent), pytest.raises(StorageError, match=r"make it writable"):
            await open_and_close(path)

    async def test_read_only_folder(self, path: Path) -> None:
        """A folder in which nothing can be made is named in the error."""
        path.parent.chmod(0o555)
        with as_nobody(path.parent), pytest.raises(StorageError, match="check the folder"):
            await open_and_close(path)
        path.parent.chmod(0o755)

    async def test_closed_folder(self, path: Path) -> None:
        """A folder that cannot be entered is an error of the storage."""
        path.parent.chmod(0o000)
        with as_nobody(path.parent), pytest.raises(StorageError, match="check its permissions"):
            await open_and_close(path)
        path.parent.chmod(0o755)

    async def test_no_shared_memory(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk on which processes cannot share memory, as over a network, is refused."""
        connect = sqlite3.connect

        def remote(address: str, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(f"{address}&vfs=unix-dotfile", **kwargs)
            return connection

        monkeypatch.setattr(sqlite3, "connect", remote)
        with pytest.raises(StorageError, match="no WAL mode; put it on a local disk"):
            await open_and_close(path)

    async def test_old_sqlite(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An SQLite that is too old is named, with the version that is needed."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with pytest.raises(StorageError, match=r"Flux needs 3\.35\.0 or newer"):
            await open_and_close(path)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    for above in list(folder.parents)[:3]:
        if above.stat().st_uid == os.getuid() and len(above.parts) > 2:
            above.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestSchema:
    async def test_marked_as_ours(self, path: Path) -> None:
        """A new file bears the mark of Flux, a version, and is in WAL mode."""
        await open_and_close(path)
        assert execute(path, "PRAGMA application_id") == [(int.from_bytes(b"Flux", "big"),)]
        assert execute(path, "PRAGMA user_version") == [(2,)]
        assert execute(path, "PRAGMA journal_mode") == [("wal",)]

    @pytest.mark.parametrize(
        "before",
        [[], ["PRAGMA user_version = 0"], ["PRAGMA application_id = 1181513080"]],
        ids=["empty file", "empty database", "ours without a schema"],
    )
    async def test_migrated_from_nothing(self, path: Path, before: list[str]) -> None:
        """An empty file or database is brought to the present schema."""
        path.touch()
        execute(path, "SELECT 1", *before)
        async with opened(SQLiteStorage(path)) as storage:
            assert await storage.create(record())
        assert execute(path, "PRAGMA user_version") == [(2,)]

    async def test_migrated_from_the_first(self, path: Path) -> None:
        """A database of the first schema is brought to the present one, with all that is in it."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record(), entries=[Entry(number=1, body=b"1")])
        execute(path, "DROP TABLE shared_values", "PRAGMA user_version = 1")
        tables = "SELECT name, sql FROM sqlite_master ORDER BY name"
        assert all("values" not in name for name, _ in execute(path, tables))
        again = SQLiteStorage(path)
        async with opened(again):
            assert await again.load("order-7") == (record(), (Entry(number=1, body=b"1"),))
            await again.set_value("rate", b"1.5", ttl=30)
            assert await again.get_value("rate") == b"1.5"
        assert execute(path, "PRAGMA user_version") == [(2,)]

    async def test_opened_again(self, path: Path) -> None:
        """An existing database is not made anew."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record(), entries=[Entry(number=1, body=b"1")])
        again = SQLiteStorage(path)
        await again.init(ManualClock())
        assert await again.load("order-7") == (record(), (Entry(number=1, body=b"1"),))
        await again.close()

    def test_many_processes_at_once(self, path: Path) -> None:
        """Processes that open a new file at the same instant all find one whole schema."""
        support = str(Path(__file__).parents[1] / "support")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        commands = [[sys.executable, "-c", OPENING, str(path), support, str(n)] for n in range(8)]
        processes = [subprocess.Popen(command, **pipes) for command in commands]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate()
        assert [process.returncode for process in processes] == [0] * 8
        assert execute(path, "SELECT count(*) FROM instances") == [(8,)]

    async def test_wal_while_another_writes(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The change to WAL waits for who writes at that moment, though SQLite's own does not."""
        connect = sqlite3.connect
        other = connect(path, isolation_level=None, check_same_thread=False)
        verbs = iter(["BEGIN IMMEDIATE", "COMMIT"])

        def interfere(statement: str) -> None:
            if "journal_mode" in statement:
                other.execute(next(verbs))

        def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_trace_callback(interfere)
            return connection

        monkeypatch.setattr(sqlite3, "connect", watched)
        with closing(other):
            await open_and_close(path)
        assert list(verbs) == []

    async def test_many_storages_at_once(self, tmp_path: Path) -> None:
        """Of storages that open a new file at the same instant, one makes the schema."""
        for number in range(10):
            storages = [SQLiteStorage(tmp_path / f"{number}.db") for _ in range(8)]
            await asyncio.gather(*(storage.init(ManualClock()) for storage in storages))
            creates = [storage.create(record(str(id(storage)))) for storage in storages]
            assert await asyncio.gather(*creates) == [True] * 8
            await asyncio.gather(*(storage.close() for storage in storages))


class TestTrouble:
    async def test_busy(self, path: Path) -> None:
        """A lock held for longer than the busy timeout is named with that time."""
        async with opened(SQLiteStorage(path, busy_timeout=0.05)) as storage:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(
                    StorageBusyError, match=r"locked for more than 0\.05 s"
                ) as caught:
                    await storage.create(record())
            assert isinstance(caught.value, TimeoutError)
            assert await storage.create(record())

    async def test_disk_full(self, small_disk: Path) -> None:
        """A save for which there is no room fails alone; with room again it succeeds."""
        filler = small_disk / "filler"
        async with opened(SQLiteStorage(small_disk / "orders.db")) as storage:
            await storage.create(record(), entries=[Entry(number=1, body=b"1")])
            fill(filler)
            save = checkpoint(entries=(Entry(number=1, body=LARGE),))
            with pytest.raises(StorageFullError, match=r"orders\.db is full; make room"):
                await storage.save(save)
            assert await storage.load("order-7") == (record(), (Entry(number=1, body=b"1"),))
            filler.unlink()
            assert await storage.save(save) == 0

    async def test_disk_full_from_the_start(self, small_disk: Path) -> None:
        """A database for which there is no room is not begun; with room again it is made."""
        fill(small_disk / "filler")
        with pytest.raises(StorageFullError):
            await open_and_close(small_disk / "orders.db")
        (small_disk / "filler").unlink()
        await open_and_close(small_disk / "orders.db")

    async def test_database_full(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who shares a transaction with what does not fit is told, too, and may try again."""
        connect = sqlite3.connect

        def limited(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.execute("PRAGMA max_page_count = 40")
            return connection

        monkeypatch.setattr(sqlite3, "connect", limited)
        async with opened(SQLiteStorage(path)) as storage:
            creates = [storage.create(record("large", payload=2 * LARGE)), storage.create(record())]
            outcomes = await asyncio.gather(*creates, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StorageFullError] * 2
            assert await storage.count(WorkflowFilter()) == 0
            assert await storage.create(record())

    async def test_disk_fails(self, path: Path) -> None:
        """A disk that does not write is an error in words; when it writes again, so do we."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            with no_file_longer_than(Path(f"{path}-wal").stat().st_size + 10_000):
                saves = [storage.save(checkpoint(payload=LARGE)), storage.create(record("other"))]
                outcomes = await asyncio.gather(*saves, return_exceptions=True)
            for outcome in outcomes:
                assert isinstance(outcome, StorageError)
                assert "the disk did not read or write" in str(outcome)
            assert await storage.load("order-7") == (record(), ())
            assert await storage.save(checkpoint(payload=LARGE)) == 0

    async def test_cause_is_kept(self, path: Path) -> None:
        """Beneath the error of Flux there is that of SQLite."""
        path.write_bytes(b"SQLite format 3\0")
        with pytest.raises(NotADatabaseError) as caught:
            await open_and_close(path)
        assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(filler: Path) -> None:
    """Write until there is no room left."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let the system refuse to write beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
