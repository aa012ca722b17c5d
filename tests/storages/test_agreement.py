"""Memory and SQLite, driven by the same random operations, give the same answers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flux.errors import StorageError, UniqueKeyTakenError
from flux.storage import Entry, Lease, WorkflowFilter, WorkflowStorage
from flux.testing import ManualClock
from flux_storages import MemoryStorage, SQLiteStorage
from records import START, checkpoint, record, signal

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
SEEN = st.integers(0, 3)
SIGNAL_IDS = st.sampled_from([None, "e-1", "e-2"])

Act = Callable[[WorkflowStorage], Awaitable[object]]


class Agreement(RuleBasedStateMachine):
    """Every rule is done to both storages; what they answer must be equal."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.memory = MemoryStorage()
        self.sqlite = SQLiteStorage(Path(self.folder.name) / "flux.db", synchronous="normal")
        self.both(lambda storage: storage.init(self.clock))

    def teardown(self) -> None:
        self.both(lambda storage: storage.close())
        self.runner.close()
        self.folder.cleanup()

    def both(self, act: Act) -> None:
        memory, sqlite = (self.answer(act, one) for one in (self.memory, self.sqlite))
        assert memory == sqlite

    def answer(self, act: Act, storage: WorkflowStorage) -> object:
        async def ask() -> object:
            try:
                return await act(storage)
            except UniqueKeyTakenError as error:
                return type(error), error.key, error.holder
            except StorageError as error:
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
        self.both(lambda storage: storage.create(made, entries=entries, lease=lease, wake=wake))

    @rule(
        id=IDS, expected=REVISIONS, owner=OWNERS, status=STATUSES, ended_at=MAYBE_END, seen=SEEN,
        lease=MAYBE_SECONDS, wake=MAYBE_SECONDS, entries=st.lists(ENTRIES, max_size=2).map(tuple),
        consumed=st.dictionaries(st.integers(-1, 3), STATUSES, max_size=2),
    )  # fmt: skip
    def save(self, id: str, **fields: Any) -> None:
        self.both(lambda storage: storage.save(checkpoint(id, **fields)))

    @rule(id=IDS, status=STATUSES, seen=SEEN, lease=MAYBE_SECONDS, wake=MAYBE_SECONDS)
    def save_as_owner(self, id: str, **fields: Any) -> None:
        async def save(storage: WorkflowStorage) -> object:
            found = await storage.load(id)
            if found is None:
                return None
            owner = found[0].owner or ""
            return await storage.save(
                checkpoint(id, expected=found[0].revision, owner=owner, **fields)
            )

        self.both(save)

    @rule(id=IDS, revision=REVISIONS)
    def delete(self, id: str, revision: int) -> None:
        self.both(lambda storage: storage.delete(id, revision=revision))

    @rule(id=IDS, owner=OWNERS, lease=SECONDS, held=st.none() | OWNERS)
    def claim(self, id: str, **terms: Any) -> None:
        self.both(lambda storage: storage.claim(id, **terms))

    @rule(
        owner=OWNERS, lease=SECONDS, limit=st.integers(-1, 3),
        workflows=st.none() | st.lists(WORKFLOWS, max_size=2),
    )  # fmt: skip
    def claim_due(self, **terms: Any) -> None:
        self.both(lambda storage: storage.claim_due(**terms))

    @rule(leases=st.lists(st.builds(Lease, id=IDS, owner=OWNERS), max_size=3), lease=SECONDS)
    def renew(self, leases: list[Lease], lease: float) -> None:
        self.both(lambda storage: storage.renew(leases, lease=lease))

    @rule(lease=st.builds(Lease, id=IDS, owner=OWNERS, seen=SEEN), wake=MAYBE_SECONDS)
    def release(self, lease: Lease, wake: float | None) -> None:
        self.both(lambda storage: storage.release(lease, wake=wake))

    @rule(id=IDS, name=STATUSES, signal_id=SIGNAL_IDS, refused=st.lists(STATUSES, max_size=2))
    def send_signal(self, id: str, name: str, signal_id: str | None, refused: list[str]) -> None:
        sent = signal(name, signal_id=signal_id)
        self.both(lambda storage: storage.send_signal(id, sent, refused=refused))

    @rule(
        name=st.none() | WORKFLOWS, status=st.none() | STATUSES | st.lists(STATUSES, max_size=2),
        labels=LABELS, limit=st.integers(-1, 5), after=st.none() | IDS, offset=st.integers(-1, 2),
    )  # fmt: skip
    def look(self, **conditions: Any) -> None:
        filter = WorkflowFilter(**conditions)
        self.both(lambda storage: storage.list(filter))
        self.both(lambda storage: storage.count(filter))

    @invariant()
    def same_instances(self) -> None:
        self.both(everything)


async def everything(storage: WorkflowStorage) -> object:
    """All heads, entries and signals."""
    return [(await storage.load(id), await storage.signals(id)) for id in ("a", "b", "c", "ä")]


def test_memory_and_sqlite_agree() -> None:
    """Whatever is done, in whatever order, both storages answer the same."""
    chosen = settings(max_examples=40, stateful_step_count=40, deadline=None, database=None)
    run_state_machine_as_test(Agreement, settings=chosen)
