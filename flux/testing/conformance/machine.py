"""Random acts in a random order, done to the storage and to the model: their answers must be equal.

The state machine is Hypothesis'; this is the one module of the kit that imports it.
"""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from flux.errors import StorageError, UniqueKeyTakenError
from flux.storage import Entry, Lease, Record, SharedValues, WorkflowFilter
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same
from flux.testing.conformance.model import Model
from flux.testing.conformance.sample import START, checkpoint, record, signal
from flux.testing.conformance.subject import Subject

KNOWN = ("a", "b", "c", "ä")
SHORTENING = 5.0
"""Seconds for which a life that fails is made shorter."""
LONGEST = 10.0
"""Seconds that one act may take, with a look at all that is kept."""

IDS = st.sampled_from([*KNOWN, "a", "a"])
OWNERS = st.sampled_from(["one", "two"])
STATUSES = st.sampled_from(["running", "suspended", "completed"])
WORKFLOWS = st.sampled_from(["order", "refund"])
KEYS = st.sampled_from([None, "k"])
LABELS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
REVISIONS = st.integers(0, 6)
SECONDS = st.sampled_from([0, 1, 2.5, 10])
MAYBE_SECONDS = st.none() | SECONDS
ENTRIES = st.lists(
    st.builds(Entry, number=st.integers(1, 3), body=st.sampled_from([b"1", b"2"])),
    max_size=2,
    unique_by=lambda entry: entry.number,
)
MAYBE_END = st.sampled_from([None, None, START])
TEXTS = st.sampled_from([b"1", b"2"])
MAYBE_TTL = st.sampled_from([None, 1, 2.5, 10, 0])
SEEN = st.integers(0, 3)
INTENTS = st.sampled_from([(), ("reserve",), ("reserve", "charge")])
SIGNAL_IDS = st.sampled_from([None, "e-1", "e-2"])


def run(subject: Subject, *, examples: int) -> None:
    """Let so many machines of forty acts each run.

    Raises what the shortest failing one raised that was found within `SHORTENING` seconds after the
    first; its notes tell what was done.
    """
    search = Search()

    class Machine(Acts):
        def __init__(self) -> None:
            super().__init__(subject, search)

    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Machine, settings=chosen)
    except (Exception, SearchIsOver):
        # A search that was broken off leaves Hypothesis with complaints of its own.
        if search.shortest is not None:
            raise search.shortest from None
        raise


class SearchIsOver(BaseException):
    """A failing life has been made shorter for long enough."""


class Search:
    """What the search for a short failing life has found so far."""

    def __init__(self) -> None:
        self.shortest: AssertionError | None = None
        self._length = 0
        self._ends = math.inf

    @property
    def is_over(self) -> bool:
        """Whether it has been shortened for long enough."""
        return time.monotonic() > self._ends

    def failed(self, error: AssertionError, length: int) -> None:
        """Take in a failure after so many acts."""
        if self.shortest is None:
            self._ends = time.monotonic() + SHORTENING
        if self.shortest is None or length <= self._length:
            self.shortest, self._length = error, length


@frozen
class Question:
    """A call that storage and model get alike."""

    act: str
    terms: tuple[Any, ...]
    named: dict[str, Any]

    def __str__(self) -> str:
        parts = [*map(repr, self.terms), *(f"{name}={one!r}" for name, one in self.named.items())]
        return f"{self.act}({', '.join(parts)})"

    def put(self, to: object) -> Callable[[], Any]:
        return partial(getattr(to, self.act), *self.terms, **self.named)


class Acts(RuleBasedStateMachine):
    """Every rule is done to the storage and to the model."""

    def __init__(self, subject: Subject, search: Search) -> None:
        super().__init__()
        self._search = search
        self._subject = subject
        self._clock = ManualClock()
        self._model = Model(self._clock)
        self._runner = asyncio.Runner()
        self._storage = self._runner.run(subject.made())
        self._runner.run(self._storage.init(self._clock))
        self._has_values = isinstance(self._storage, SharedValues)
        self._looks = ("load", "signals", *(("get_value",) if self._has_values else ()))
        self._done: list[Question] = []

    def teardown(self) -> None:
        self._runner.run(self._storage.close())
        self._runner.run(self._subject.disposed(self._storage))
        self._runner.close()

    def agree(self, act: str, *terms: Any, **named: Any) -> None:
        """Do the act to both, and compare the answers and all that is kept then."""
        if self._search.is_over:
            raise SearchIsOver
        asked = Question(act, terms, named)
        self._done.append(asked)
        self._runner.run(self._compared(asked))

    async def _compared(self, asked: Question) -> None:
        questions = [asked, *(Question(look, (id,), {}) for look in self._looks for id in KNOWN)]
        async with asyncio.timeout(LONGEST):
            for one in questions:
                try:
                    same(await _answer(one.put(self._storage)), await _answer(one.put(self._model)))
                except AssertionError as error:
                    error.add_note(f"in answer to {one}, after")
                    for done in self._done:
                        error.add_note(f"  {done}")
                    self._search.failed(error, len(self._done))
                    raise

    @initialize(
        made=st.lists(
            st.fixed_dictionaries(
                {
                    "id": IDS, "owner": OWNERS, "workflow": WORKFLOWS, "unique_key": KEYS,
                    "lease": MAYBE_SECONDS, "wake": MAYBE_SECONDS, "entries": ENTRIES,
                }
            ),
            min_size=1,
            max_size=4,
        )
    )  # fmt: skip
    def begin(self, made: list[dict[str, Any]]) -> None:
        """A life begins with instances, so that all that follows has something to act on."""
        for one in made:
            terms = {name: one.pop(name) for name in ("entries", "lease", "wake")}
            self.agree("create", record(**one, created_at=self._clock.now()), **terms)

    @rule(seconds=st.sampled_from([0.5, 1, 10]))
    def time_passes(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._done.append(Question("clock.advance", (seconds,), {}))

    @rule(
        id=IDS, owner=st.none() | OWNERS, workflow=WORKFLOWS, status=STATUSES, labels=LABELS,
        unique_key=KEYS, ended_at=MAYBE_END, entries=ENTRIES,
        lease=MAYBE_SECONDS, wake=MAYBE_SECONDS,
    )  # fmt: skip
    def create(self, id: str, entries: Any, **fields: Any) -> None:
        lease, wake = fields.pop("lease"), fields.pop("wake")
        made = record(id, created_at=self._clock.now(), **fields)
        self.agree("create", made, entries=entries, lease=lease, wake=wake)

    @rule(
        id=IDS, expected=REVISIONS, owner=OWNERS, status=STATUSES, ended_at=MAYBE_END, seen=SEEN,
        lease=MAYBE_SECONDS, wake=MAYBE_SECONDS, entries=ENTRIES.map(tuple),
        consumed=st.dictionaries(st.integers(-1, 3), STATUSES, max_size=2),
    )  # fmt: skip
    def save(self, id: str, **fields: Any) -> None:
        self.agree("save", checkpoint(id, **fields))

    @rule(
        id=IDS, status=STATUSES, seen=SEEN, lease=MAYBE_SECONDS, wake=MAYBE_SECONDS,
        ended_at=MAYBE_END, entries=ENTRIES.map(tuple), intent=INTENTS, earlier=SECONDS,
        consumed=st.dictionaries(st.integers(1, 3), STATUSES, max_size=2),
    )  # fmt: skip
    def save_as_owner(self, id: str, earlier: float, **fields: Any) -> None:
        found = self._head(id)
        if found is not None:
            fields["updated_at"] = self._clock.now() - timedelta(seconds=earlier)
            owner, expected = found.owner or "", found.revision
            self.agree("save", checkpoint(id, expected=expected, owner=owner, **fields))

    @rule(id=IDS, revision=REVISIONS)
    def delete(self, id: str, revision: int) -> None:
        self.agree("delete", id, revision=revision)

    @rule(id=IDS)
    def delete_as_it_is(self, id: str) -> None:
        found = self._head(id)
        if found is not None:
            self.agree("delete", id, revision=found.revision)

    @rule(id=IDS, owner=OWNERS, lease=SECONDS, held=st.none() | OWNERS)
    def claim(self, id: str, **terms: Any) -> None:
        self.agree("claim", id, **terms)

    @rule(
        owner=OWNERS, lease=SECONDS, limit=st.integers(-1, 3),
        workflows=st.none() | st.lists(WORKFLOWS, max_size=2),
    )  # fmt: skip
    def claim_due(self, **terms: Any) -> None:
        self.agree("claim_due", **terms)

    @rule(leases=st.lists(st.builds(Lease, id=IDS, owner=OWNERS), max_size=3), lease=SECONDS)
    def renew(self, leases: list[Lease], lease: float) -> None:
        self.agree("renew", leases, lease=lease)

    @rule(ids=st.lists(IDS, max_size=4), lease=SECONDS)
    def renew_as_owner(self, ids: list[str], lease: float) -> None:
        heads = [found for id in ids if (found := self._head(id)) is not None]
        leases = [Lease(id=one.id, owner=one.owner or "") for one in heads]
        self.agree("renew", leases, lease=lease)

    @rule(id=IDS, seen=SEEN, wake=MAYBE_SECONDS)
    def release_as_owner(self, id: str, seen: int, wake: float | None) -> None:
        found = self._head(id)
        if found is not None:
            lease = Lease(id=id, owner=found.owner or "", seen=seen)
            self.agree("release", lease, wake=wake)

    @rule(lease=st.builds(Lease, id=IDS, owner=OWNERS, seen=SEEN), wake=MAYBE_SECONDS)
    def release(self, lease: Lease, wake: float | None) -> None:
        self.agree("release", lease, wake=wake)

    @rule(id=IDS, name=STATUSES, signal_id=SIGNAL_IDS, refused=st.lists(STATUSES, max_size=2))
    def send_signal(self, id: str, name: str, signal_id: str | None, refused: list[str]) -> None:
        self.agree("send_signal", id, signal(name, signal_id=signal_id), refused=refused)

    @rule(
        name=st.none() | WORKFLOWS, status=st.none() | STATUSES | st.lists(STATUSES, max_size=2),
        labels=LABELS, limit=st.integers(-1, 5), after=st.none() | IDS, offset=st.integers(-1, 2),
        ended_before=st.sampled_from([None, START, START + timedelta(seconds=1)]),
    )  # fmt: skip
    def look(self, **conditions: Any) -> None:
        asked = WorkflowFilter(**conditions)
        self.agree("list", asked)
        self.agree("count", asked)

    @rule(workflows=st.none() | st.lists(WORKFLOWS, max_size=2))
    def next_due(self, workflows: list[str] | None) -> None:
        self.agree("next_due", workflows=workflows)

    @rule(key=IDS, value=TEXTS, ttl=MAYBE_TTL)
    def set_value(self, key: str, value: bytes, ttl: float | None) -> None:
        if self._has_values:
            self.agree("set_value", key, value, ttl=ttl)

    @rule(key=IDS, expected=st.none() | TEXTS, value=TEXTS, ttl=MAYBE_TTL)
    def swap_value(self, key: str, expected: bytes | None, value: bytes, ttl: float | None) -> None:
        if self._has_values:
            self.agree("compare_and_set_value", key, expected, value, ttl=ttl)

    @rule(key=IDS)
    def delete_value(self, key: str) -> None:
        if self._has_values:
            self.agree("delete_value", key)

    def _head(self, id: str) -> Record | None:
        """The head of an instance by the model, if there is one."""
        found = self._model.load(id)
        return None if found is None else found[0]


async def _answer(asked: Callable[[], Any]) -> object:
    """What is answered: a value, or the error that is raised."""
    try:
        answer = asked()
        return await answer if isawaitable(answer) else answer
    except UniqueKeyTakenError as error:
        return type(error), error.key, error.holder
    except (StorageError, ValueError) as error:
        return type(error)
