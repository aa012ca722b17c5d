"""All storages, driven by the same random operations, give the same answers."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flux.errors import StorageError, UniqueKeyTakenError
from flux.storage import Entry, Lease, SharedValues, WorkflowFilter, WorkflowStorage
from flux.testing import ManualClock
from flux_storages import MemoryStorage, RedisStorage, SQLiteStorage
from records import START, checkpoint, record, signal
from redis_server import RedisServer

IDS = st.sampled_from(["a", "b", "c", "ä"])
OWNERS = st.sampled_from(["one", "two"])
STATUSES = st.sampled_from(["running", "suspended", "completed"])
WORKFLOWS = st.sampled_from(["order", "refund"])
LABELS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
REVISIONS = st.integers(0, 6)
SECONDS = st.sampled_from([0, 1, 2.5, 10])
MAYBE_SECONDS = st.none() | SECONDS
ENTRIES = st.builds(Entry, number=st.integers(1, 3), body=st.sampled_from([b"1", b"2"]))
MAYBE_END = st.sampled_from([None, None, START])
TEXTS = st.sampled_from([b"1", b"2"])
MAYBE_TTL = st.sampled_from([None, 1, 2.5, 10, 0])
SEEN = st.integers(0, 3)
SIGNAL_IDS = st.sampled_from([None, "e-1", "e-2"])

Act = Callable[[WorkflowStorage], Awaitable[object]]


class Agreement(RuleBasedStateMachine):
    """Every rule is done to all storages; what they answer must be equal."""

    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.memory = MemoryStorage()
        self.sqlite = SQLiteStorage(Path(self.folder.name) / "flux.db", synchronous="normal")
        self.redis = RedisStorage(self.redis_url, prefix=uuid4().hex, clock=self.clock)
        self.all(lambda storage: storage.init(self.clock))

    def teardown(self) -> None:
        self.all(lambda storage: storage.close())
        self.runner.close()
        self.folder.cleanup()

    def all(self, act: Act) -> None:
        storages = self.memory, self.sqlite, self.redis
        memory, sqlite, redis = (self.answer(act, one) for one in storages)
        assert memory == sqlite == redis

    def answer(self, act: Act, storage: WorkflowStorage) -> object:
        async def ask() -> object:
            try:
                return await act(storage)
            except UniqueKeyTakenError as error:
                return type(error), error.key, error.holder
            except (StorageError, ValueError) as error:
                return type(error)

        return self.runner.run(ask())

    @rule(seconds=st.sampled_from([0.5, 1, 10]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        id=IDS, owner=st.none() | OWNERS, workflow=WORKFLOWS, status=STATUSES, labels=LABELS,
        key=st.sampled_from([None, "k"]), ended_at=MAYBE_END, entries=st.lists(ENTRIES, max_size=2),
        lease=MAYBE_SECONDS, wake=MAYBE_SECONDS,
    )  # fmt: skip
    def create(self, id: str, key: str | None, entries: Any, **fields: Any) -> None:
        lease, wake = fields.pop("lease"), fields.pop("wake")
        made = record(id, unique_key=key, created_at=self.clock.now(), **fields)
        self.all(lambda storage: storage.create(made, entries=entries, lease=lease, wake=wake))

    @rule(
        id=IDS, expected=REVISIONS, owner=OWNERS, status=STATUSES, ended_at=MAYBE_END, seen=SEEN,
        lease=MAYBE_SECONDS, wake=MAYBE_SECONDS, entries=st.lists(ENTRIES, max_size=2).map(tuple),
        consumed=st.dictionaries(st.integers(-1, 3), STATUSES, max_size=2),
    )  # fmt: skip
    def save(self, id: str, **fields: Any) -> None:
        self.all(lambda storage: storage.save(checkpoint(id, **fields)))

    @rule(
        id=IDS, status=STATUSES, seen=SEEN, lease=MAYBE_SECONDS, wake=MAYBE_SECONDS,
        ended_at=MAYBE_END,
    )  # fmt: skip
    def save_as_owner(self, id: str, **fields: Any) -> None:
        async def save(storage: WorkflowStorage) -> object:
            found = await storage.load(id)
            if found is None:
                return None
            owner = found[0].owner or ""
            return await storage.save(
                checkpoint(id, expected=found[0].revision, owner=owner, **fields)
            )

        self.all(save)

    @rule(id=IDS, revision=REVISIONS)
    def delete(self, id: str, revision: int) -> None:
        self.all(lambda storage: storage.delete(id, revision=revision))

    @rule(id=IDS, owner=OWNERS, lease=SECONDS, held=st.none() | OWNERS)
    def claim(self, id: str, **terms: Any) -> None:
        self.all(lambda storage: storage.claim(id, **terms))

    @rule(
        owner=OWNERS, lease=SECONDS, limit=st.integers(-1, 3),
        workflows=st.none() | st.lists(WORKFLOWS, max_size=2),
    )  # fmt: skip
    def claim_due(self, **terms: Any) -> None:
        self.all(lambda storage: storage.claim_due(**terms))

    @rule(leases=st.lists(st.builds(Lease, id=IDS, owner=OWNERS), max_size=3), lease=SECONDS)
    def renew(self, leases: list[Lease], lease: float) -> None:
        self.all(lambda storage: storage.renew(leases, lease=lease))

    @rule(lease=st.builds(Lease, id=IDS, owner=OWNERS, seen=SEEN), wake=MAYBE_SECONDS)
    def release(self, lease: Lease, wake: float | None) -> None:
        self.all(lambda storage: storage.release(lease, wake=wake))

    @rule(id=IDS, name=STATUSES, signal_id=SIGNAL_IDS, refused=st.lists(STATUSES, max_size=2))
    def send_signal(self, id: str, name: str, signal_id: str | None, refused: list[str]) -> None:
        sent = signal(name, signal_id=signal_id)
        self.all(lambda storage: storage.send_signal(id, sent, refused=refused))

    @rule(
        name=st.none() | WORKFLOWS, status=st.none() | STATUSES | st.lists(STATUSES, max_size=2),
        labels=LABELS, limit=st.integers(-1, 5), after=st.none() | IDS, offset=st.integers(-1, 2),
        ended_before=st.sampled_from([None, START, START + timedelta(seconds=1)]),
    )  # fmt: skip
    def look(self, **conditions: Any) -> None:
        filter = WorkflowFilter(**conditions)
        self.all(lambda storage: storage.list(filter))
        self.all(lambda storage: storage.count(filter))

    @rule(workflows=st.none() | st.lists(WORKFLOWS, max_size=2))
    def next_due(self, workflows: list[str] | None) -> None:
        self.all(lambda storage: storage.next_due(workflows=workflows))

    @rule(key=IDS, value=TEXTS, ttl=MAYBE_TTL)
    def set_value(self, key: str, value: bytes, ttl: float | None) -> None:
        self.all(lambda storage: shared(storage).set_value(key, value, ttl=ttl))

    @rule(key=IDS, expected=st.none() | TEXTS, value=TEXTS, ttl=MAYBE_TTL)
    def swap_value(self, key: str, expected: bytes | None, value: bytes, ttl: float | None) -> None:
        self.all(
            lambda storage: shared(storage).compare_and_set_value(key, expected, value, ttl=ttl)
        )

    @rule(key=IDS)
    def delete_value(self, key: str) -> None:
        self.all(lambda storage: shared(storage).delete_value(key))

    @invariant()
    def same_instances(self) -> None:
        self.all(everything)


async def everything(storage: WorkflowStorage) -> object:
    """All heads, entries, signals and values."""
    found: list[object] = []
    for id in ("a", "b", "c", "ä"):
        found += await storage.load(id), await storage.signals(id)
        found.append(await shared(storage).get_value(id))
    return found


def shared(storage: WorkflowStorage) -> SharedValues:
    assert isinstance(storage, SharedValues)
    return storage


def test_storages_agree(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done, in whatever order, all storages answer the same."""
    monkeypatch.setattr(Agreement, "redis_url", redis_server.url, raising=False)
    chosen = settings(max_examples=40, stateful_step_count=40, deadline=None, database=None)
    run_state_machine_as_test(Agreement, settings=chosen)
