"""What an instance run by hand saves: the columns of Flux's SQLite storage, without its indexes.

A step is one update of the head and one insert into the history; an undone step replaces its
entry. There are as many saves as Flux makes: one that creates the instance, one for each step.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import uuid_utils
from attrs import Factory, define

SCHEMA = """
CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY, workflow TEXT NOT NULL, version TEXT NOT NULL,
    status TEXT NOT NULL, revision INTEGER NOT NULL, owner TEXT, lease_until TEXT, wake_at TEXT,
    last_signal INTEGER NOT NULL DEFAULT 0, labels TEXT NOT NULL, unique_key TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, ended_at TEXT, intent TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE TABLE fixed (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE history (
    id TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (id, number)
);
CREATE TABLE inbox (
    id TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL,
    sent_at TEXT NOT NULL, signal_id TEXT, consumed_by TEXT, PRIMARY KEY (id, number)
);
"""

INSERT_INSTANCE = """
INSERT INTO instances (
    id, workflow, version, status, revision, owner, lease_until, wake_at, labels, unique_key,
    created_at, updated_at, ended_at, intent, payload
) VALUES (
    :id, 'by-hand', '1', :status, :revision, 'me', :lease_until, NULL, '{}', NULL,
    :updated_at, :updated_at, :ended_at, :intent, :payload
)
"""
INSERT_FIXED = "INSERT INTO fixed (id, body) VALUES (:id, :body)"
UPDATE_INSTANCE = """
UPDATE instances SET
    revision = :revision, status = :status, lease_until = :lease_until, wake_at = NULL,
    updated_at = :updated_at, ended_at = :ended_at, intent = :intent, payload = :payload
WHERE id = :id
"""
INSERT_ENTRY = "INSERT INTO history (id, number, body) VALUES (:id, :number, :body)"
REPLACE_ENTRY = "UPDATE history SET body = :body WHERE id = :id AND number = :number"
INSERT_SIGNAL = """
INSERT INTO inbox (id, number, name, payload, sent_at) VALUES (:id, 1, 'go', 'null', :sent_at)
"""
ANNOUNCE_SIGNAL = "UPDATE instances SET last_signal = 1 WHERE id = :id"
CONSUME_SIGNAL = "UPDATE inbox SET consumed_by = 'go' WHERE id = :id AND number = 1"
SELECT_INSTANCE = "SELECT revision, payload FROM instances WHERE id = :id"
SELECT_HISTORY = "SELECT number, body FROM history WHERE id = :id ORDER BY number"
SELECT_SIGNALS = "SELECT number, name, payload, sent_at FROM inbox WHERE id = :id"
SELECT_UNFINISHED = "SELECT id FROM instances WHERE status = 'running'"

LEASE = timedelta(seconds=30)

Statement = tuple[str, Mapping[str, Any]]


@define
class Instance:
    """An instance that is being run."""

    id: str = Factory(lambda: str(uuid_utils.uuid7()))
    revision: int = 0
    data: dict[str, Any] = Factory(dict)

    def created(self) -> Sequence[Statement]:
        self.revision = 1
        fixed = {"format": 1, "input": {}, "shape": [f"step-{number}" for number in range(5)]}
        body = orjson.dumps(fixed).decode()
        return [
            (INSERT_INSTANCE, self._head("running", intent=1)),
            (INSERT_FIXED, {"id": self.id, "body": body}),
        ]

    def ended(
        self, number: int, status: str, step_status: str = "completed"
    ) -> Sequence[Statement]:
        """The step of this number has ended, or waits."""
        self.revision += 1
        entry = self._entry(number, step_status, {"set": self.data})
        return [
            (UPDATE_INSTANCE, self._head(status, intent=number + 1)),
            (INSERT_ENTRY, entry),
        ]

    def undone(self, number: int, status: str) -> Sequence[Statement]:
        self.revision += 1
        entry = self._entry(number, "completed", {"set": self.data, "compensation": "completed"})
        return [
            (UPDATE_INSTANCE, self._head(status, intent=number - 1)),
            (REPLACE_ENTRY, entry),
        ]

    def sent(self) -> Sequence[Statement]:
        now = datetime.now(UTC).isoformat()
        return [
            (INSERT_SIGNAL, {"id": self.id, "sent_at": now}),
            (ANNOUNCE_SIGNAL, {"id": self.id}),
        ]

    def woken(self, number: int) -> Sequence[Statement]:
        """The signal has come, and the step that waited is the last."""
        self.revision += 1
        return [
            (UPDATE_INSTANCE, self._head("completed", intent=0)),
            (REPLACE_ENTRY, self._entry(number, "completed", {"set": {}})),
            (CONSUME_SIGNAL, {"id": self.id}),
        ]

    def _head(self, status: str, intent: int) -> Mapping[str, Any]:
        now = datetime.now(UTC)
        is_driven = status in ("running", "rolling_back")
        payload = {"format": 1, "direction": "forward", "run": 1, "ticks": self.revision}
        return {
            "id": self.id,
            "status": status,
            "revision": self.revision,
            "lease_until": (now + LEASE).isoformat() if is_driven else None,
            "updated_at": now.isoformat(),
            "ended_at": None if is_driven or status == "suspended" else now.isoformat(),
            "intent": f'["step-{intent}"]' if is_driven else "[]",
            "payload": orjson.dumps(payload).decode(),
        }

    def _entry(self, number: int, status: str, rest: Mapping[str, Any]) -> Mapping[str, Any]:
        now = datetime.now(UTC)
        body = {
            "format": 1, "step": f"step-{number}", "status": status, "place": number,
            "attempts": 1, "started_at": now, "ended_at": now, "output": None, **rest,
            "outcome": "completed", "finished": number,
        }  # fmt: skip
        return {"id": self.id, "number": number, "body": orjson.dumps(body).decode()}
