# ruff: noqa: ASYNC240 - tests may wait for files
"""Saves in groups, reads beside them, processes on one file."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flux.errors import (
    StaleInstanceError,
    StorageBusyError,
    StorageClosedError,
    StorageError,
    StorageURLError,
)
from flux.storage import Entry, open_storage
from flux.testing import ManualClock
from flux_storages import SQLiteStorage
from records import START, checkpoint, opened, record, signal

ADDING = """
import asyncio, sys
from flux.clock import SystemClock
from flux.errors import StaleInstanceError
from flux.storage import Checkpoint
from flux_storages import SQLiteStorage

async def add(storage, owner):
    head = await storage.claim("sum", owner=owner, lease=30)
    if head is None:
        return False
    await storage.save(Checkpoint(
        id="sum", owner=owner, expected=head.revision, status="x", intent=(), lease=None,
        payload=b"%d" % (int(head.payload) + 1), updated_at=head.updated_at,
    ))
    return True

async def main(path, owner):
    storage = SQLiteStorage(path, synchronous="normal")
    await storage.init(SystemClock())
    added = 0
    while added < 100:
        added += await add(storage, owner)
    await storage.close()

asyncio.run(main(*sys.argv[1:]))
"""

SAVING = """
import asyncio, sys
from flux.clock import SystemClock
from flux.storage import Entry
from flux_storages import SQLiteStorage
sys.path.insert(0, sys.argv[2])
from records import checkpoint, record

async def main(path):
    storage = SQLiteStorage(path)
    await storage.init(SystemClock())
    await storage.create(record(), lease=30)
    revision = 1
    while True:
        entry = Entry(number=revision, body=b"%d" % revision)
        payload = b"%d" % revision
        await storage.save(checkpoint(expected=revision, entries=(entry,), payload=payload))
        print(revision, flush=True)
        revision += 1

asyncio.run(main(sys.argv[1]))
"""


FORGETTING = """
import asyncio, sys
from flux.clock import SystemClock
from flux_storages import SQLiteStorage
sys.path.insert(0, sys.argv[2])
from records import record

storage = SQLiteStorage(sys.argv[1])

async def main():
    await storage.init(SystemClock())
    await storage.create(record())

asyncio.run(main())
"""

SUPPORT = Path(__file__).parents[1] / "support"


def commits_in_log(path: Path) -> int:
    """How many transactions the write-ahead log holds: frames that end one name the new size."""
    log = Path(f"{path}-wal").read_bytes()
    page_size = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log), 24 + page_size)
    return sum(any(log[frame + 4 : frame + 8]) for frame in frames)


class StoppingClock(ManualClock):
    """A clock that fails once."""

    failures = 1

    def now(self) -> datetime:
        self.failures -= 1
        if self.failures == 0:
            raise ZeroDivisionError
        return super().now()


def still_running(before: list[threading.Thread]) -> list[threading.Thread]:
    """The threads that were not there before and do not end."""
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(timeout=5)
    return [thread for thread in new if thread.is_alive()]


async def check_after_kill(path: Path, acknowledged: int) -> None:
    """The last save acknowledged, or the one after it, is there with all its entries."""
    async with opened(SQLiteStorage(path)) as storage:
        found = await storage.load("order-7")
        assert found is not None
        saved, entries = found
        assert saved.revision - 1 in (acknowledged, acknowledged + 1)
        assert [int(entry.body) for entry in entries] == list(range(1, saved.revision))
        assert int(saved.payload) == saved.revision - 1
        await storage.save(checkpoint(expected=saved.revision))


class TestURL:
    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///orders.db", "orders.db"),
            ("sqlite:////var/lib/orders.db", "/var/lib/orders.db"),
            ("sqlite:///a%20b%3Fc%25.db?synchronous=normal&busy_timeout=0.5", "a b?c%.db"),
        ],
    )
    def test_path(self, url: str, path: str) -> None:
        """Three slashes begin a relative path, four an absolute one; it is percent-decoded."""
        assert repr(SQLiteStorage.from_url(url)) == f"SQLiteStorage({path!r})"

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("sqlite:orders.db", "followed by three slashes"),
            ("sqlite://orders.db", "followed by three slashes"),
            ("sqlite:///", "write memory:"),
            ("sqlite:///:memory:", "write memory:"),
            ("sqlite:///a.db?mode=ro", "its settings are synchronous, busy_timeout, not mode"),
            ("sqlite:///a.db?synchronous=off", "full or normal, not 'off'"),
            ("sqlite:///a.db?synchronous", "full or normal, not ''"),
            ("sqlite:///a.db?busy_timeout=soon", "number of seconds from 0"),
            ("sqlite:///a.db?busy_timeout=-1", "number of seconds from 0"),
            ("sqlite:///a.db?busy_timeout=nan", "number of seconds from 0"),
        ],
    )
    def test_refused(self, url: str, why: str) -> None:
        """A URL that makes no sense is refused in words that say why."""
        with pytest.raises(StorageURLError, match=why) as caught:
            SQLiteStorage.from_url(url)
        assert caught.value.url == url

    @pytest.mark.parametrize("path", ["", ":memory:"])
    def test_no_file(self, path: str) -> None:
        """The class itself refuses what names no file, too."""
        with pytest.raises(StorageURLError, match="memory:"):
            SQLiteStorage(path)

    async def test_settings_count(self, path: Path, statements: list[str]) -> None:
        """The settings of a URL reach the database."""
        storage = open_storage(f"sqlite:///{path}?synchronous=normal")
        await storage.init(ManualClock())
        await storage.close()
        assert "PRAGMA synchronous = normal" in statements

    async def test_full_by_default(self, path: Path, statements: list[str]) -> None:
        """Unless told otherwise, a save waits for the disk."""
        async with opened(SQLiteStorage(path)):
            pass
        assert "PRAGMA synchronous = full" in statements


class TestGroups:
    async def test_few_transactions(self, path: Path) -> None:
        """A hundred saves that come together are committed in a few transactions."""
        async with opened(SQLiteStorage(path)) as storage:
            await asyncio.gather(*(storage.create(record(str(n))) for n in range(100)))
            before = commits_in_log(path)
            await asyncio.gather(*(storage.save(checkpoint(str(n))) for n in range(100)))
            assert commits_in_log(path) - before <= 3

    async def test_while_one_is_under_way(self, path: Path) -> None:
        """Saves that come one by one during a transaction go into the next one together."""
        async with opened(SQLiteStorage(path)) as storage:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                creates = []
                for number in range(30):
                    creates.append(asyncio.create_task(storage.create(record(str(number)))))
                    await storage.load("nobody")
                before = commits_in_log(path)
                other.execute("COMMIT")
                await asyncio.gather(*creates)
            assert commits_in_log(path) - before == 2

    async def test_one_fails_alone(self, path: Path) -> None:
        """A value that SQLite cannot keep fails alone in its transaction, and leaves nothing."""
        async with opened(SQLiteStorage(path)) as storage:
            entries = [Entry(number=1, body=b"1"), Entry(number=2**70, body=b"2")]
            fine, broken, unsayable = await asyncio.gather(
                storage.create(record("a")),
                storage.create(record("b"), entries=entries),
                storage.create(record("\ud800")),
                return_exceptions=True,
            )
            assert (fine, await storage.load("b")) == (True, None)
            for error in (broken, unsayable):
                assert isinstance(error, StorageError)
                assert "cannot keep this value" in str(error)

    async def test_nothing_to_undo(self, path: Path, statements: list[str]) -> None:
        """A save that comes too late has written nothing, so that nothing is done again."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            statements.clear()
            outcomes = await asyncio.gather(
                storage.save(checkpoint(expected=7)),
                storage.save(checkpoint()),
                return_exceptions=True,
            )
            assert isinstance(outcomes[0], StaleInstanceError)
            assert outcomes[1] == 0
        assert not [one for one in statements if one.startswith(("ROLLBACK", "SAVEPOINT"))]

    async def test_done_again(self, path: Path) -> None:
        """An act that fails halfway is undone with all of its group; the others are done once."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            entries = [Entry(number=1, body=b"1"), Entry(number=2**70, body=b"2")]
            outcomes = await asyncio.gather(
                storage.send_signal("order-7", signal("first")),
                storage.save(checkpoint(entries=entries)),
                storage.create(record("other"), entries=entries[:1]),
                storage.send_signal("order-7", signal("second")),
                return_exceptions=True,
            )
            assert isinstance(outcomes[1], StorageError)
            assert await storage.load("other") == (record("other"), (Entry(number=1, body=b"1"),))
            assert await storage.load("order-7") == (record(last_signal=2, wake_at=START), ())
            inbox = await storage.signals("order-7")
            assert [stored.signal.name for stored in inbox] == ["first", "second"]

    async def test_all_fail_together(self, path: Path) -> None:
        """When a transaction cannot begin, every caller in it is told, and later saves go on."""
        async with opened(SQLiteStorage(path, busy_timeout=0)) as storage:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                creates = [storage.create(record(str(number))) for number in range(5)]
                outcomes = await asyncio.gather(*creates, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StorageBusyError] * 5
            assert len(set(map(id, outcomes))) == 5
            assert await storage.create(record("0"))

    async def test_broken_clock(self, path: Path) -> None:
        """A transaction that was begun and cannot go on leaves nothing behind."""
        async with opened(SQLiteStorage(path), clock=StoppingClock()) as storage:
            with pytest.raises(ZeroDivisionError):
                await storage.create(record())
            assert await storage.create(record())

    async def test_cancelled_writer(self, path: Path) -> None:
        """When all tasks of a loop are cancelled, the storage can still be used and closed."""
        async with opened(SQLiteStorage(path)) as storage:
            writes = [asyncio.create_task(storage.create(record(str(n)))) for n in range(5)]
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            assert await storage.create(record("new"))


class TestReads:
    async def test_during_a_write(self, path: Path) -> None:
        """A read answers while a write waits for the lock, with what was saved before."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                save = asyncio.create_task(
                    storage.save(checkpoint(entries=(Entry(number=1, body=b"1"),)))
                )
                await asyncio.sleep(0)
                assert await storage.load("order-7") == (record(), ())
                assert not save.done()
                other.execute("COMMIT")
                await save

    async def test_few_transactions(self, path: Path, statements: list[str]) -> None:
        """Reads that come together share a transaction."""
        async with opened(SQLiteStorage(path)) as storage:
            await asyncio.gather(*(storage.create(record(str(n))) for n in range(100)))
            statements.clear()
            found = await asyncio.gather(*(storage.load(str(n)) for n in range(100)))
            assert [head and head[0].id for head in found] == [str(n) for n in range(100)]
            assert statements.count("BEGIN") <= 2

    async def test_one_fails_alone(self, path: Path) -> None:
        """A read that SQLite cannot make fails alone among those beside it."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            unsayable, fine = await asyncio.gather(
                storage.load("\ud800"), storage.load("order-7"), return_exceptions=True
            )
            assert isinstance(unsayable, StorageError)
            assert fine == (record(), ())

    async def test_of_one_moment(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Head and history are those of one save, though another is made between the two."""
        connect = sqlite3.connect
        other = connect(path, isolation_level=None, check_same_thread=False)

        def interfere(statement: str) -> None:
            if statement.startswith("SELECT number, body FROM history"):
                other.execute("INSERT INTO history VALUES ('order-7', 1, '1')")

        def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_trace_callback(interfere)
            return connection

        monkeypatch.setattr(sqlite3, "connect", watched)
        with closing(other):
            async with opened(SQLiteStorage(path)) as storage:
                await storage.create(record())
                assert await storage.load("order-7") == (record(), ())
                assert other.execute("SELECT number FROM history").fetchall() == [(1,)]

    async def test_nothing_due_takes_no_lock(self, path: Path) -> None:
        """An engine that looks for due instances and finds none waits for nobody."""
        async with opened(SQLiteStorage(path, busy_timeout=0)) as storage:
            await storage.create(record(), lease=30)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert await storage.claim_due(owner="two", lease=30, limit=10) == ()

    async def test_own_write_is_read(self, path: Path) -> None:
        """What a caller has saved, its next read finds."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
            for revision in range(1, 50):
                await storage.save(checkpoint(expected=revision))
                found = await storage.load("order-7", history=False)
                assert found is not None
                assert found[0].revision == revision + 1


class TestProcesses:
    async def test_two_add(self, path: Path) -> None:
        """Two processes that claim and save one instance in turn lose no addition."""
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record("sum", payload=b"0"))
            commands = [
                [sys.executable, "-c", ADDING, str(path), owner] for owner in ("one", "two")
            ]
            adding = [await asyncio.create_subprocess_exec(*command) for command in commands]
            assert [await process.wait() for process in adding] == [0, 0]
            found = await storage.load("sum")
            assert found is not None
            assert (found[0].payload, found[0].revision) == (b"200", 401)

    async def test_sees_the_other(self, path: Path) -> None:
        """A storage sees at once what another storage on the file has saved."""
        async with opened(SQLiteStorage(path)) as first, opened(SQLiteStorage(path)) as second:
            await first.create(record())
            await second.save(checkpoint())
            await first.send_signal("order-7", signal())
            assert len(await second.signals("order-7")) == 1

    def test_killed_while_saving(self, path: Path) -> None:
        """After a SIGKILL every acknowledged save is there, whole, and the next one can follow."""
        command = [sys.executable, "-c", SAVING, str(path), str(SUPPORT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as saving:
            assert saving.stdout is not None
            lines = [saving.stdout.readline() for _ in range(200)]
            saving.kill()
            lines += saving.stdout.readlines()
        acknowledged = int(lines[-1])
        asyncio.run(check_after_kill(path, acknowledged))


class TestClosing:
    async def test_threads_end(self, path: Path) -> None:
        """The last close ends the threads, and leaves one file."""
        before = threading.enumerate()
        async with opened(SQLiteStorage(path)) as storage:
            await storage.create(record())
        assert still_running(before) == []
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    async def test_writes_under_way(self, path: Path) -> None:
        """A close waits for the transaction under way, and for those that wait for it."""
        storage = SQLiteStorage(path)
        await storage.init(ManualClock())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            creates = []
            for id in ("first", "second", "third"):
                creates.append(asyncio.create_task(storage.create(record(id))))
                await storage.load("nobody")
            end = asyncio.create_task(storage.close())
            await asyncio.sleep(0)
            other.execute("COMMIT")
        assert await asyncio.gather(*creates, end) == [True, True, True, None]

    async def test_reads_under_way(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A close waits for the reads under way, and for those that wait for them."""
        connect = sqlite3.connect
        reading, go_on = threading.Event(), threading.Event()

        def hold(statement: str) -> None:
            if statement == "BEGIN":
                reading.set()
                go_on.wait(timeout=30)

        def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_trace_callback(hold)
            return connection

        monkeypatch.setattr(sqlite3, "connect", watched)
        storage = SQLiteStorage(path)
        await storage.init(ManualClock())
        await storage.create(record())
        loads = [asyncio.create_task(storage.load("order-7"))]
        await asyncio.to_thread(reading.wait, 30)
        loads.append(asyncio.create_task(storage.load("order-7")))
        await asyncio.sleep(0)
        end = asyncio.create_task(storage.close())
        for _ in range(5):
            await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*loads, end) == [(record(), ())] * 2 + [None]

    async def test_cancelled_init(self, path: Path) -> None:
        """An init that is cancelled has not happened, and leaves no thread."""
        before = threading.enumerate()
        storage = SQLiteStorage(path)
        opening = asyncio.create_task(storage.init(ManualClock()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert still_running(before) == []
        with pytest.raises(StorageClosedError):
            await storage.load("order-7")

    async def test_cancelled_close(self, path: Path) -> None:
        """A close that is cancelled closes all the same."""
        before = threading.enumerate()
        storage = SQLiteStorage(path)
        await storage.init(ManualClock())
        end = asyncio.create_task(storage.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        end.cancel()
        with pytest.raises(asyncio.CancelledError):
            await end
        assert still_running(before) == []

    def test_program_without_close(self, path: Path) -> None:
        """A program that ends without a close ends, and what it saved is there."""
        program = FORGETTING, str(path), str(SUPPORT)
        subprocess.run([sys.executable, "-c", *program], check=True, timeout=30)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT id FROM instances").fetchall() == [("order-7",)]

    def test_short_life(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A loop that cannot open its storage ends without a word from other threads."""
        words: list[object] = []
        monkeypatch.setattr(threading, "excepthook", words.append)
        before = threading.enumerate()
        path.write_text("no database")
        for _ in range(50):
            with asyncio.Runner() as runner, pytest.raises(StorageError):
                runner.run(SQLiteStorage(path).init(ManualClock()))
        assert (still_running(before), words) == ([], [])

    async def test_failed_init(self, path: Path) -> None:
        """An init that failed leaves no thread, and can be tried again."""
        before = threading.enumerate()
        path.write_text("no database")
        storage = SQLiteStorage(path)
        with pytest.raises(StorageError):
            await storage.init(ManualClock())
        path.unlink()
        await storage.init(ManualClock())
        await storage.close()
        assert still_running(before) == []

    def test_another_loop(self, path: Path) -> None:
        """A storage that was closed can be opened in another event loop."""
        storage = SQLiteStorage(path)

        async def open_and_close() -> bool:
            await storage.init(ManualClock())
            made = await storage.create(record(owner=None))
            await storage.close()
            return made

        assert [asyncio.run(open_and_close()) for _ in range(2)] == [True, False]

    async def test_its_own_clock(self, path: Path) -> None:
        """A storage that was given a clock keeps to it."""
        async with opened(
            SQLiteStorage(path, clock=ManualClock(START.replace(year=2030)))
        ) as storage:
            await storage.create(record(), lease=30)
            found = await storage.load("order-7")
            assert found is not None
            assert found[0].lease_until is not None
            assert found[0].lease_until.year == 2030
