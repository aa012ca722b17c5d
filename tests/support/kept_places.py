"""Stored instances as files: taken from a storage, and put into one.

A folder tests/upgrades/format_<n> holds what the code of that format has written:

- `instances.json`: heads, entries, inboxes and shared values as a storage's contract has them;
- `sqlite.sql`: the SQLite file as text;
- `redis.jsonl`: the keys of the Redis, without their prefix;
- `states.json` and `ends.json`: how the instances stood, and how they ended when they went on.

A format that was written before there was a storage has no file of that; there its instances are
put by the contract.
"""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from attrs import asdict

from flux import Checkpoint, Entry, Record, Signal, WorkflowFilter, WorkflowStorage
from flux.testing import ManualClock
from flux_storages import MemoryStorage, SQLiteStorage
from redis_look import Look
from redis_on_clock import RedisOnClock

FOLDER = Path(__file__).parents[1] / "upgrades"

Document = dict[str, Any]

_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_TIMES = ("lease_until", "wake_at", "created_at", "updated_at", "ended_at")
_OWNER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:\d+")
_TRACEBACK = re.compile(r'"traceback":"(?:[^"\\]|\\.)+"')


def formats() -> list[int]:
    """The formats of which files are kept, the oldest first."""
    return sorted(int(folder.name.removeprefix("format_")) for folder in FOLDER.glob("format_*"))


def folder_of(number: int) -> Path:
    return FOLDER / f"format_{number}"


def read_json(file: Path) -> Any:
    return orjson.loads(file.read_bytes())


def write_json(file: Path, value: Any) -> None:
    file.write_bytes(orjson.dumps(value, option=_READABLE))


def scrubbed(text: str) -> str:
    """The text without what differs from run to run: tokens of owners, and lines of code."""
    text = _OWNER.sub("an-engine:1", text)
    return _TRACEBACK.sub(r'"traceback":"Traceback (most recent call last): …\\n"', text)


# By the contract of a storage


async def take(storage: WorkflowStorage, values: Iterable[str], now: datetime) -> Document:
    """All instances of an open storage, and the shared values under these keys."""
    found = [await _take(storage, head.id) for head in await storage.list(WorkflowFilter())]
    shared = {key: await storage.get_value(key) for key in sorted(values)}  # type: ignore[attr-defined]
    texts = {key: orjson.Fragment(text) for key, text in shared.items() if text is not None}
    document = {"at": now, "instances": found[::-1], "values": texts}
    taken: Document = orjson.loads(scrubbed(orjson.dumps(document, default=dict).decode()))
    return taken


async def _take(storage: WorkflowStorage, id: str) -> Document:
    loaded = await storage.load(id)
    assert loaded is not None
    record, entries = loaded
    head = asdict(record, value_serializer=lambda _, __, value: _as_json(value))
    return {
        **head,
        "history": {str(entry.number): orjson.Fragment(entry.body) for entry in entries},
        "inbox": [
            {**asdict(stored.signal, value_serializer=lambda _, __, value: _as_json(value)),
             "consumed_by": stored.consumed_by}
            for stored in await storage.signals(id)
        ],
    }  # fmt: skip


def _as_json(value: Any) -> Any:
    return orjson.Fragment(value) if isinstance(value, bytes) else value


async def put(storage: WorkflowStorage, taken: Document) -> None:
    """Put what was taken into an empty open storage, whose clock stands at that time."""
    at = datetime.fromisoformat(taken["at"])
    for document in taken["instances"]:
        await _put(storage, at, dict(document))
    for key, value in taken["values"].items():
        await storage.set_value(key, orjson.dumps(value))  # type: ignore[attr-defined]


async def _put(storage: WorkflowStorage, at: datetime, document: Document) -> None:
    history, inbox = document.pop("history"), document.pop("inbox")
    for name in _TIMES:
        document[name] = document[name] and datetime.fromisoformat(document[name])
    for name in ("fixed", "payload"):
        document[name] = orjson.dumps(document[name])
    record = Record(**{**document, "intent": tuple(document["intent"])})
    entries = [Entry(number=int(n), body=orjson.dumps(body)) for n, body in history.items()]
    assert await storage.create(record, entries=entries)
    consumed = {}
    for number, signal in enumerate(inbox, start=1):
        if taker := signal.pop("consumed_by"):
            consumed[number] = taker
        signal["payload"] = orjson.dumps(signal["payload"])
        signal["sent_at"] = datetime.fromisoformat(signal["sent_at"])
        await storage.send_signal(record.id, Signal(**signal))
    assert record.owner is not None
    await storage.save(
        Checkpoint(
            id=record.id,
            owner=record.owner,
            expected=record.revision,
            status=record.status,
            intent=record.intent,
            payload=record.payload,
            updated_at=record.updated_at,
            ended_at=record.ended_at,
            lease=_after(at, record.lease_until),
            wake=_after(at, record.wake_at),
            consumed=consumed,
            seen=record.last_signal,
        )
    )


def _after(at: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else max((moment - at) / timedelta(seconds=1), 0.0)


# As SQLite and Redis keep them


def dump_sqlite(path: Path) -> str:
    """The file, which nobody has open, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        pragmas = [f"PRAGMA application_id = {application};", f"PRAGMA user_version = {version};"]
        return scrubbed("\n".join([*pragmas, *connection.iterdump(), ""]))


def load_sqlite(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)


def dump_redis(url: str) -> str:
    """All keys, one a line."""
    with closing(Look(url)) as look:
        lines = [_dumped(look, name) for name in look.keys]
    return "".join(f"{orjson.dumps(line).decode()}\n" for line in lines)


def _dumped(look: Look, name: str) -> Document:
    key = look.key(name)
    kind = look.client.type(key)
    value: Any = _READ[kind](look.client, key)
    if isinstance(value, dict):
        value = {field: scrubbed(str(text)) for field, text in sorted(value.items())}
    return {"key": name, "type": kind, "value": scrubbed(value) if kind == "string" else value}


_READ: dict[str, Any] = {
    "string": lambda client, key: client.get(key),
    "hash": lambda client, key: client.hgetall(key),
    "set": lambda client, key: sorted(client.smembers(key)),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
}


def load_redis(url: str, text: str) -> None:
    with closing(Look(url)) as look:
        for line in map(orjson.loads, text.splitlines()):
            write, key, value = _WRITE[line["type"]], look.key(line["key"]), line["value"]
            write(look.client, key, value)


_WRITE: dict[str, Any] = {
    "string": lambda client, key, value: client.set(key, value),
    "hash": lambda client, key, value: client.hset(key, mapping=value),
    "set": lambda client, key, value: client.sadd(key, *value),
    "zset": lambda client, key, value: client.zadd(key, dict(value)),
}


# What a test opens


async def memory(folder: Path, place: Path, url: str, clock: ManualClock) -> WorkflowStorage:
    storage = MemoryStorage()
    await _filled(storage, folder, clock)
    return storage


async def sqlite(folder: Path, place: Path, url: str, clock: ManualClock) -> WorkflowStorage:
    """The kept file, copied."""
    load_sqlite(place / "flux.db", (folder / "sqlite.sql").read_text(encoding="utf-8"))
    return SQLiteStorage(place / "flux.db", synchronous="normal")


async def redis(folder: Path, place: Path, url: str, clock: ManualClock) -> WorkflowStorage:
    """The kept keys on a server; of a format without them, its instances."""
    storage, kept = RedisOnClock.from_url(url), folder / "redis.jsonl"
    if kept.exists():
        load_redis(url, kept.read_text(encoding="utf-8"))
    else:
        await _filled(storage, folder, clock)
    return storage


async def _filled(storage: WorkflowStorage, folder: Path, clock: ManualClock) -> None:
    await storage.init(clock)
    await put(storage, read_json(folder / "instances.json"))
    await storage.close()
