"""By hand, in memory: a dict a head, a list of dicts a history; nothing survives the process."""

from datetime import UTC, datetime
from typing import Any

import uuid_utils

from benchmarks import work
from benchmarks.contender import Place


class ByHandMemory:
    """Instances by id."""

    async def open(self, place: Place) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.histories: dict[str, list[dict[str, Any]]] = {}

    async def close(self) -> None:
        self.instances.clear()
        self.histories.clear()

    async def sequence(self, steps: int) -> None:
        id = self._create()
        data: dict[str, Any] = {}
        for number in range(1, steps + 1):
            await _count(data)
            self._save(id, number, {"count": data["count"]}, "completed")
        self.instances[id]["status"] = "completed"

    async def saga(self) -> None:
        id = self._create()
        data: dict[str, Any] = {}
        for number in range(1, work.SAGA_STEPS):
            await _count(data)
            self._save(id, number, {"count": data["count"]}, "completed")
        try:
            await _fail()
        except work.StepFailedError as error:
            self._save(id, work.SAGA_STEPS, {"error": str(error)}, "failed")
        for number in range(work.SAGA_STEPS - 1, 0, -1):
            await _count_back(data)
            self.histories[id][number - 1]["compensation"] = "completed"
            self._save_head(id)
        self.instances[id]["status"] = "rolled_back"

    async def document(self, steps: int, key_bytes: int) -> None:
        id = self._create()
        keys = range(work.DOCUMENT_KEYS)
        for number in range(steps):
            touched = keys if number == 0 else [number % work.DOCUMENT_KEYS]
            changed = {f"key-{key}": work.text(number, key_bytes) for key in touched}
            self._save(id, number + 1, changed, "completed")
        self.instances[id]["status"] = "completed"

    async def suspend(self, number: int) -> None:
        id = self._create(f"waiting-{number}")
        self._save(id, 1, {}, "suspended")

    async def wake(self, number: int) -> None:
        id = f"waiting-{number}"
        self.instances[id]["inbox"] = [{"name": "go", "sent_at": datetime.now(UTC)}]
        self.histories[id].pop()
        self._save(id, 1, {}, "completed")
        self.instances[id]["status"] = "completed"

    def _create(self, id: str | None = None) -> str:
        id = id or str(uuid_utils.uuid7())
        now = datetime.now(UTC)
        self.instances[id] = {
            "workflow": "by-hand", "status": "running", "revision": 1, "created_at": now,
            "updated_at": now,
        }  # fmt: skip
        self.histories[id] = []
        return id

    def _save(self, id: str, number: int, changed: dict[str, Any], status: str) -> None:
        entry = {
            "number": number,
            "status": status,
            "set": changed,
            "ended_at": self._save_head(id),
        }
        self.histories[id].append(entry)

    def _save_head(self, id: str) -> datetime:
        head = self.instances[id]
        now = datetime.now(UTC)
        self.instances[id] = {**head, "revision": head["revision"] + 1, "updated_at": now}
        return now


async def _count(data: dict[str, Any]) -> None:
    work.count(data)


async def _count_back(data: dict[str, Any]) -> None:
    work.count_back(data)


async def _fail() -> None:
    work.fail()
