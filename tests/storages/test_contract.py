"""The storage contract, once for all who sign it."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from attrs import evolve

from flux.errors import (
    StaleInstanceError,
    StorageClosedError,
    StorageError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.storage import Entry, Lease, Record, StoredSignal, WorkflowFilter, WorkflowStorage
from flux.testing import ManualClock
from records import START, checkpoint, record, signal

ODD_IDS = [
    "",
    " ",
    "o'r\"d;--",
    "%_*?",
    "ordre/ß/日本/😀",
    "a\nb\tc",
    "x" * 2000,
    "NULL",
    "0",
    "\0nul",
]


async def head(storage: WorkflowStorage, id: str = "order-7") -> Record:
    found = await storage.load(id, history=False)
    assert found is not None
    return found[0]


async def bodies(storage: WorkflowStorage, id: str = "order-7") -> dict[int, bytes]:
    found = await storage.load(id)
    assert found is not None
    return {entry.number: entry.body for entry in found[1]}


async def due(storage: WorkflowStorage, *, limit: int = 10) -> list[str]:
    """Claim what is due; the ids in the order in which they came."""
    return [one.id for one in await storage.claim_due(owner="two", lease=30, limit=limit)]


async def ids(storage: WorkflowStorage, **conditions: object) -> list[str]:
    found = await storage.list(WorkflowFilter(**conditions))  # type: ignore[arg-type]
    return [summary.id for summary in found]


class TestOpening:
    async def test_calls_before_init(self, closed_storage: WorkflowStorage) -> None:
        """Nothing can be asked of a storage that is not open."""
        with pytest.raises(StorageClosedError, match="is not open; call init"):
            await closed_storage.load("order-7")

    async def test_calls_after_close(
        self, closed_storage: WorkflowStorage, clock: ManualClock
    ) -> None:
        """Nothing can be asked after the last close."""
        await closed_storage.init(clock)
        await closed_storage.close()
        with pytest.raises(StorageClosedError):
            await closed_storage.create(record())

    async def test_close_without_init(self, closed_storage: WorkflowStorage) -> None:
        """What was not opened cannot be closed."""
        with pytest.raises(StorageClosedError):
            await closed_storage.close()

    async def test_first_of_two_closes(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """When one of two engines closes the storage, the other goes on."""
        await storage.init(clock)
        await storage.close()
        assert await storage.create(record())

    async def test_open_again(self, closed_storage: WorkflowStorage, clock: ManualClock) -> None:
        """Who opens the same storage later finds what was saved."""
        await closed_storage.init(clock)
        await closed_storage.create(record())
        await closed_storage.close()
        await closed_storage.init(clock)
        assert await ids(closed_storage) == ["order-7"]
        await closed_storage.close()

    async def test_clock_of_the_opener(
        self, closed_storage: WorkflowStorage, clock: ManualClock
    ) -> None:
        """After a new opening time is that of the new opener."""
        await closed_storage.init(clock)
        await closed_storage.create(record(), lease=30)
        await closed_storage.close()
        await closed_storage.init(ManualClock(START + timedelta(seconds=30)))
        assert await due(closed_storage) == ["order-7"]
        await closed_storage.close()

    async def test_writes_begun_are_finished(
        self, closed_storage: WorkflowStorage, clock: ManualClock
    ) -> None:
        """A close lets the writes come to their end that were begun before it."""
        await closed_storage.init(clock)
        writes = [asyncio.create_task(closed_storage.create(record(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        await closed_storage.close()
        assert await asyncio.gather(*writes) == [True] * 20


class TestCreate:
    async def test_round_trip(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What was stored comes back as it was given."""
        given = record(
            labels={"city": "Tromsø", "": "'"},
            unique_key="key",
            ended_at=START + timedelta(microseconds=1),
            intent=("reserve", "charge"),
            fixed='{"input":{"sku":"ß日😀"}}'.encode(),
            payload=b'{"direction": "forward",  "n": 1.50}',
        )
        assert await storage.create(given)
        assert await storage.load("order-7") == (given, ())

    async def test_large_payloads(self, storage: WorkflowStorage) -> None:
        """A megabyte in head, entry and signal comes back byte for byte."""
        large = b'"' + "日本語x".encode() * 100_000 + b'"'
        await storage.create(
            record(fixed=large, payload=large), entries=[Entry(number=1, body=large)]
        )
        await storage.send_signal("order-7", signal(payload=large))
        stored = await head(storage)
        (received,) = await storage.signals("order-7")
        assert stored.fixed == stored.payload == received.signal.payload == large
        assert await bodies(storage) == {1: large}

    @pytest.mark.parametrize("id", ODD_IDS)
    async def test_odd_ids(self, storage: WorkflowStorage, id: str) -> None:
        """Any text is an id, a label, a key, a signal's name."""
        await storage.create(record(id, labels={id: id}, unique_key=id, owner=id))
        await storage.send_signal(id, signal(id, signal_id=id))
        await storage.save(checkpoint(id, owner=id, entries=(Entry(number=1, body=b"1"),)))
        assert (await head(storage, id)).labels == {id: id}
        assert await ids(storage, labels={id: id}) == [id]
        assert await storage.signals(id) == (
            StoredSignal(number=1, signal=signal(id, signal_id=id)),
        )

    async def test_times_of_other_zones(self, storage: WorkflowStorage) -> None:
        """An instant given in another zone is the same instant."""
        late = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9)))
        await storage.create(record("late", created_at=late))
        await storage.create(record("later", created_at=datetime(2026, 1, 1, 4, tzinfo=UTC)))
        assert (await head(storage, "late")).created_at == late
        assert await ids(storage) == ["later", "late"]

    async def test_labels_changed_later(self, storage: WorkflowStorage) -> None:
        """What the caller does to its labels afterwards does not show."""
        labels = {"city": "Oslo"}
        await storage.create(record(labels=labels))
        labels["city"] = "Bergen"
        assert (await head(storage)).labels == {"city": "Oslo"}

    async def test_entries(self, storage: WorkflowStorage) -> None:
        """The first entries are stored with the head."""
        await storage.create(
            record(), entries=[Entry(number=2, body=b"2"), Entry(number=1, body=b"1")]
        )
        assert await bodies(storage) == {1: b"1", 2: b"2"}

    async def test_lease_and_wake(self, storage: WorkflowStorage) -> None:
        """Lease and wake are counted from now; what the record says of them is ignored."""
        given = record(lease_until=START + timedelta(1), wake_at=START + timedelta(1))
        await storage.create(given, lease=30, wake=2.5)
        stored = await head(storage)
        assert stored.lease_until == START + timedelta(seconds=30)
        assert stored.wake_at == START + timedelta(seconds=2.5)

    async def test_neither_lease_nor_wake(self, storage: WorkflowStorage) -> None:
        """Without lease and wake the instance rests and is due never."""
        await storage.create(record(lease_until=START, wake_at=START))
        stored = await head(storage)
        assert (stored.lease_until, stored.wake_at) == (None, None)
        assert await due(storage) == []

    async def test_id_exists(self, storage: WorkflowStorage) -> None:
        """A second create of an id answers False and writes nothing."""
        await storage.create(record(labels={"n": "1"}))
        second = record(owner="two", labels={"n": "2"}, unique_key="key")
        assert not await storage.create(second, entries=[Entry(number=1, body=b"1")])
        assert await storage.load("order-7") == (record(labels={"n": "1"}), ())
        assert await ids(storage, labels={"n": "2"}) == []
        assert await storage.create(record("other", unique_key="key"))

    async def test_repetition(self, storage: WorkflowStorage) -> None:
        """A repeated create that finds its own owner at revision 1 has succeeded."""
        await storage.create(record(payload=b"1"), lease=30)
        assert await storage.create(record(payload=b"2"), lease=60)
        assert (await head(storage)).payload == b"1"

    async def test_repetition_after_a_save(self, storage: WorkflowStorage) -> None:
        """A create that comes after a save of its own is no repetition."""
        await storage.create(record())
        await storage.save(checkpoint())
        assert not await storage.create(record())

    async def test_repetition_without_owner(self, storage: WorkflowStorage) -> None:
        """Who gives no owner cannot know the instance for its own."""
        assert await storage.create(record(owner=None))
        assert not await storage.create(record(owner=None))

    async def test_many_creators(self, storage: WorkflowStorage) -> None:
        """Of many who create an id at once, one does."""
        made = [storage.create(record(owner=str(number))) for number in range(20)]
        assert sorted(await asyncio.gather(*made)) == [False] * 19 + [True]


class TestUniqueKeys:
    async def test_taken(self, storage: WorkflowStorage) -> None:
        """A second live instance with the key is refused, and nothing of it is stored."""
        await storage.create(record("first", unique_key="key"))
        with pytest.raises(
            UniqueKeyTakenError, match="'first' holds the unique key 'key'"
        ) as caught:
            await storage.create(record("second", unique_key="key", labels={"a": "b"}))
        assert (caught.value.key, caught.value.holder) == ("key", "first")
        assert await storage.load("second") is None
        assert await ids(storage, labels={"a": "b"}) == []

    async def test_id_comes_first(self, storage: WorkflowStorage) -> None:
        """A repeated create is not told of the key that it holds itself."""
        await storage.create(record(unique_key="key"))
        assert await storage.create(record(unique_key="key"))
        assert not await storage.create(record(unique_key="key", owner="two"))

    async def test_id_comes_before_the_key_of_another(self, storage: WorkflowStorage) -> None:
        """A create of an id that exists is not told of a key that a third instance holds."""
        await storage.create(record("holder", unique_key="key"))
        await storage.create(record("known", unique_key="other"))
        assert await storage.create(record("known", unique_key="key"))
        assert not await storage.create(record("known", unique_key="key", owner="two"))

    async def test_freed_at_the_end(self, storage: WorkflowStorage) -> None:
        """The save that ends an instance gives its key free."""
        await storage.create(record("first", unique_key="key"))
        await storage.save(checkpoint("first", ended_at=START))
        assert await storage.create(record("second", unique_key="key"))

    async def test_freed_by_delete(self, storage: WorkflowStorage) -> None:
        """A deleted instance holds no key."""
        await storage.create(record("first", unique_key="key"))
        await storage.delete("first", revision=1)
        assert await storage.create(record("second", unique_key="key"))

    async def test_created_ended(self, storage: WorkflowStorage) -> None:
        """An instance that is ended from the start takes no key."""
        await storage.create(record("first", unique_key="key", ended_at=START))
        assert await storage.create(record("second", unique_key="key"))

    async def test_created_ended_beside_the_holder(self, storage: WorkflowStorage) -> None:
        """An instance that is ended from the start needs no key, and takes none away."""
        await storage.create(record("first", unique_key="key"))
        assert await storage.create(record("second", unique_key="key", ended_at=START))
        assert await storage.delete("second", revision=1)
        with pytest.raises(UniqueKeyTakenError) as caught:
            await storage.create(record("third", unique_key="key"))
        assert caught.value.holder == "first"

    async def test_taken_again_when_reopened(self, storage: WorkflowStorage) -> None:
        """A save that makes an instance live again takes its key again."""
        await storage.create(record("first", unique_key="key"))
        await storage.save(checkpoint("first", ended_at=START))
        await storage.save(checkpoint("first", expected=2))
        with pytest.raises(UniqueKeyTakenError):
            await storage.create(record("second", unique_key="key"))

    async def test_reopened_too_late(self, storage: WorkflowStorage) -> None:
        """A save that would make a second live instance with the key writes nothing."""
        await storage.create(record("first", unique_key="key"))
        await storage.save(checkpoint("first", ended_at=START))
        await storage.create(record("second", unique_key="key"))
        with pytest.raises(UniqueKeyTakenError) as caught:
            await storage.save(
                checkpoint("first", expected=2, entries=(Entry(number=1, body=b"1"),))
            )
        assert caught.value.holder == "second"
        assert ((await head(storage, "first")).revision, await bodies(storage, "first")) == (2, {})

    async def test_saved_ended_beside_the_holder(self, storage: WorkflowStorage) -> None:
        """An ended instance may be saved, and end again, while another holds its key."""
        await storage.create(record("first", unique_key="key"))
        await storage.save(checkpoint("first", ended_at=START))
        await storage.create(record("second", unique_key="key"))
        later = START + timedelta(seconds=1)
        await storage.save(checkpoint("first", expected=2, ended_at=later))
        with pytest.raises(UniqueKeyTakenError) as caught:
            await storage.create(record("third", unique_key="key"))
        assert caught.value.holder == "second"

    async def test_deleted_after_another_took_it(self, storage: WorkflowStorage) -> None:
        """An ended instance that is deleted leaves the key with its new holder."""
        await storage.create(record("first", unique_key="key"))
        await storage.save(checkpoint("first", ended_at=START, lease=None))
        await storage.create(record("second", unique_key="key"))
        await storage.delete("first", revision=2)
        with pytest.raises(UniqueKeyTakenError):
            await storage.create(record("third", unique_key="key"))


class TestSave:
    async def test_new_head(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A save replaces what it names, raises the revision and leaves the rest."""
        await storage.create(record(labels={"a": "b"}, fixed=b"[1]", unique_key="key"), lease=30)
        clock.advance(10)
        later = clock.now()
        await storage.save(
            checkpoint(status="failed", intent=("a", "b"), payload=b"[2]", updated_at=later, wake=5)
        )
        expected = record(
            labels={"a": "b"}, fixed=b"[1]", unique_key="key", status="failed", revision=2,
            intent=("a", "b"), payload=b"[2]", updated_at=later,
            lease_until=later + timedelta(seconds=30), wake_at=later + timedelta(seconds=5),
        )  # fmt: skip
        assert await head(storage) == expected

    async def test_ended_at(self, storage: WorkflowStorage) -> None:
        """A save ends an instance, and another makes it live again."""
        await storage.create(record())
        await storage.save(checkpoint(ended_at=START))
        assert (await head(storage)).ended_at == START
        await storage.save(checkpoint(expected=2))
        assert (await head(storage)).ended_at is None

    async def test_entries(self, storage: WorkflowStorage) -> None:
        """A save adds entries and replaces those of the same number."""
        await storage.create(
            record(), entries=[Entry(number=1, body=b"1"), Entry(number=2, body=b"2")]
        )
        await storage.save(
            checkpoint(entries=(Entry(number=3, body=b"3"), Entry(number=2, body=b"22")))
        )
        assert await bodies(storage) == {1: b"1", 2: b"22", 3: b"3"}

    @pytest.mark.parametrize("expected", [0, 2, 9])
    async def test_stale_revision(self, storage: WorkflowStorage, expected: int) -> None:
        """A save that expects another revision is refused."""
        await storage.create(record())
        with pytest.raises(StaleInstanceError, match="no longer at revision") as caught:
            await storage.save(checkpoint(expected=expected, owner="two"))
        assert (caught.value.id, caught.value.expected) == ("order-7", expected)

    async def test_stale_owner(self, storage: WorkflowStorage) -> None:
        """A save by another than the owner is refused."""
        await storage.create(record())
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint(owner="two"))

    async def test_unknown_instance(self, storage: WorkflowStorage) -> None:
        """A save of an instance that is not stored is stale."""
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint("nobody", entries=(Entry(number=1, body=b"1"),)))
        assert await storage.load("nobody") is None

    async def test_stale_leaves_nothing(self, storage: WorkflowStorage) -> None:
        """A refused save writes neither head nor entries nor inbox."""
        await storage.create(record(), entries=[Entry(number=1, body=b"1")])
        await storage.send_signal("order-7", signal())
        before = await storage.load("order-7"), await storage.signals("order-7")
        with pytest.raises(StaleInstanceError):
            await storage.save(
                checkpoint(expected=5, entries=(Entry(number=1, body=b"x"),), consumed={1: "taker"})
            )
        assert (await storage.load("order-7"), await storage.signals("order-7")) == before

    async def test_repetition(self, storage: WorkflowStorage) -> None:
        """A repeated save that finds its own revision and owner has succeeded, once."""
        await storage.create(record())
        await storage.send_signal("order-7", signal())
        assert await storage.save(checkpoint(payload=b"[1]")) == 1
        assert await storage.save(checkpoint(payload=b"[2]")) == 1
        assert ((await head(storage)).revision, (await head(storage)).payload) == (2, b"[1]")

    async def test_repetition_after_the_next(self, storage: WorkflowStorage) -> None:
        """A save repeated after the next one is stale."""
        await storage.create(record())
        await storage.save(checkpoint())
        await storage.save(checkpoint(expected=2))
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint())

    async def test_repetition_after_a_claim(self, storage: WorkflowStorage) -> None:
        """A claim is no save: who finds its revision under another owner is stale."""
        await storage.create(record())
        await storage.claim("order-7", owner="two", lease=30)
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint())

    async def test_zombie(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """Whoever held the instance before a claim can save nothing more."""
        await storage.create(record(), lease=30)
        clock.advance(30)
        await storage.claim("order-7", owner="two", lease=30)
        for expected in (1, 2):
            with pytest.raises(StaleInstanceError):
                await storage.save(checkpoint(expected=expected))

    async def test_lease_that_ran_out(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A lease that ran out stays good until somebody claims the instance."""
        await storage.create(record(), lease=30)
        clock.advance(1000)
        assert await storage.save(checkpoint()) == 0

    async def test_lease_given_back(self, storage: WorkflowStorage) -> None:
        """A lease given back does not keep its owner from saving."""
        await storage.create(record(), lease=30)
        await storage.release(Lease(id="order-7", owner="one"))
        assert await storage.save(checkpoint()) == 0
        assert (await head(storage)).lease_until is not None

    async def test_rest(self, storage: WorkflowStorage) -> None:
        """A save without lease puts the instance to rest; the owner's token stays."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint(lease=None))
        assert ((await head(storage)).lease_until, (await head(storage)).owner) == (None, "one")

    @pytest.mark.parametrize("never", [1e12, 1e20])
    async def test_beyond_the_calendar(self, storage: WorkflowStorage, never: float) -> None:
        """A time that no calendar has is refused, and nothing is written."""
        await storage.create(record(), lease=30)
        before = await storage.load("order-7")
        for act in (
            storage.create(record("other"), wake=never),
            storage.save(checkpoint(wake=never)),
            storage.claim("order-7", owner="two", lease=never, held="one"),
            storage.release(Lease(id="order-7", owner="one"), wake=never),
        ):
            with pytest.raises(StorageError, match="cannot keep this value, nothing was saved"):
                await act
        assert (await storage.load("order-7"), await ids(storage)) == (before, ["order-7"])

    async def test_last_signal(self, storage: WorkflowStorage) -> None:
        """A save answers with the number of the last signal, consumed or not."""
        await storage.create(record())
        assert await storage.save(checkpoint()) == 0
        for _ in range(3):
            await storage.send_signal("order-7", signal())
        assert await storage.save(checkpoint(expected=2, consumed={1: "a", 2: "b", 3: "c"})) == 3

    async def test_one_of_many(self, storage: WorkflowStorage) -> None:
        """Of many who save the same revision under tokens of their own, the owner does."""
        await storage.create(record(owner="3"))
        saves = [storage.save(checkpoint(owner=str(n), payload=b"%d" % n)) for n in range(8)]
        answers = await asyncio.gather(*saves, return_exceptions=True)
        assert [n for n, answer in enumerate(answers) if answer == 0] == [3]
        assert (await head(storage)).payload == b"3"

    async def test_many_instances_at_once(self, storage: WorkflowStorage) -> None:
        """Saves that arrive together succeed and fail each for itself."""
        for number in range(20):
            await storage.create(record(str(number)))
        saves = [
            storage.save(checkpoint(str(n), expected=1 + n % 2, owner="one")) for n in range(20)
        ]
        answers = await asyncio.gather(*saves, return_exceptions=True)
        stale = [isinstance(answer, StaleInstanceError) for answer in answers]
        assert stale == [False, True] * 10

    async def test_cancelled_saves(self, storage: WorkflowStorage) -> None:
        """A save whose caller is cancelled has happened whole or not at all."""
        for number in range(20):
            await storage.create(record(str(number)))
        entry = Entry(number=1, body=b"1")
        saves = [
            asyncio.create_task(storage.save(checkpoint(str(n), entries=(entry,))))
            for n in range(20)
        ]
        await asyncio.sleep(0)
        for save in saves[::2]:
            save.cancel()
        await asyncio.gather(*saves, return_exceptions=True)
        for number in range(20):
            revision = (await head(storage, str(number))).revision
            assert (revision - 1) == len(await bodies(storage, str(number)))


class TestLoad:
    async def test_unknown(self, storage: WorkflowStorage) -> None:
        """There is nothing to load of an instance that is not stored."""
        assert await storage.load("nobody") is None
        assert await storage.load("nobody", history=False) is None

    async def test_entries_by_number(self, storage: WorkflowStorage) -> None:
        """Entries come in the order of their numbers."""
        given = [Entry(number=number, body=b"%d" % number) for number in (10, 9, 1, 2**40)]
        await storage.create(record(), entries=given)
        assert list(await bodies(storage)) == [1, 9, 10, 2**40]

    async def test_without_history(self, storage: WorkflowStorage) -> None:
        """Without history there are no entries."""
        await storage.create(record(), entries=[Entry(number=1, body=b"1")])
        assert await storage.load("order-7", history=False) == (record(), ())


class TestClaim:
    async def test_at_rest(self, storage: WorkflowStorage) -> None:
        """A claim takes an instance at rest, due or not, and gives its new head."""
        await storage.create(record(payload=b"[1]", fixed=b"[2]"), wake=60)
        claimed = await storage.claim("order-7", owner="two", lease=30)
        assert claimed == await head(storage)
        assert claimed == record(
            revision=2, owner="two", lease_until=START + timedelta(seconds=30),
            wake_at=START + timedelta(seconds=60), payload=b"[1]", fixed=b"[2]",
        )  # fmt: skip

    async def test_unknown(self, storage: WorkflowStorage) -> None:
        """There is nothing to claim of an instance that is not stored."""
        assert await storage.claim("nobody", owner="two", lease=30) is None

    async def test_held_by_another(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What somebody holds cannot be claimed until the lease has run out."""
        await storage.create(record(), lease=30)
        clock.advance(29.999)
        assert await storage.claim("order-7", owner="two", lease=30) is None
        assert (await head(storage)).revision == 1
        clock.advance(0.001)
        assert await storage.claim("order-7", owner="two", lease=30) is not None

    async def test_own_token_is_no_pass(self, storage: WorkflowStorage) -> None:
        """Even the owner cannot claim what is leased, unless it says that it holds it."""
        await storage.create(record(), lease=30)
        assert await storage.claim("order-7", owner="one", lease=30) is None

    async def test_held_counts_as_free(self, storage: WorkflowStorage) -> None:
        """A lease of the owner `held` can be claimed over, one of another owner cannot."""
        await storage.create(record(), lease=30)
        assert await storage.claim("order-7", owner="three", lease=30, held="two") is None
        claimed = await storage.claim("order-7", owner="two", lease=30, held="one")
        assert claimed is not None
        assert (claimed.owner, claimed.revision) == ("two", 2)

    async def test_one_of_many(self, storage: WorkflowStorage) -> None:
        """Of many who claim at once, one gets the instance."""
        await storage.create(record())
        claims = [storage.claim("order-7", owner=str(n), lease=30) for n in range(20)]
        claimed = [one for one in await asyncio.gather(*claims) if one is not None]
        assert [one.owner for one in claimed] == [(await head(storage)).owner]


class TestClaimDue:
    async def test_lease_ran_out(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What is leased is due when its lease has run out, whatever its wake time."""
        await storage.create(record(), lease=30, wake=1)
        clock.advance(29.999)
        assert await due(storage) == []
        clock.advance(0.001)
        assert await due(storage) == ["order-7"]

    async def test_wake_time_came(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What is at rest is due when its wake time has come."""
        await storage.create(record(), wake=60)
        clock.advance(59.999)
        assert await due(storage) == []
        clock.advance(0.001)
        assert await due(storage) == ["order-7"]

    async def test_new_heads(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A claim of what is due gives whole heads of a new revision, and leaves `wake_at`."""
        await storage.create(record(fixed=b"[1]"), wake=0)
        clock.advance(5)
        (claimed,) = await storage.claim_due(owner="two", lease=30, limit=10)
        assert claimed == await head(storage)
        assert claimed == record(
            revision=2, owner="two", lease_until=START + timedelta(seconds=35), wake_at=START,
            fixed=b"[1]",
        )  # fmt: skip

    async def test_claimed_once(self, storage: WorkflowStorage) -> None:
        """What was claimed is not due until that lease has run out."""
        await storage.create(record(), wake=0)
        assert await due(storage) == ["order-7"]
        assert await due(storage) == []

    async def test_longest_due_first(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """The longest due come first, be it by lease or by wake time."""
        await storage.create(record("b"), wake=20)
        await storage.create(record("a"), lease=30)
        await storage.create(record("d"), lease=10)
        await storage.create(record("c"), wake=25)
        clock.advance(100)
        assert await due(storage) == ["d", "b", "c", "a"]

    async def test_limit(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """No more than `limit` are claimed; the others stay due."""
        for number in range(5):
            await storage.create(record(str(number)), wake=number)
        clock.advance(10)
        assert await due(storage, limit=0) == []
        assert await due(storage, limit=-1) == []
        assert await due(storage, limit=2) == ["0", "1"]
        assert await due(storage, limit=9) == ["2", "3", "4"]

    async def test_tie(self, storage: WorkflowStorage) -> None:
        """Those due since the same moment come in the order of their ids."""
        for id in ("b", "c", "a", "B", "ä"):
            await storage.create(record(id), wake=0)
        assert await due(storage) == ["B", "a", "b", "c", "ä"]

    async def test_workflows(self, storage: WorkflowStorage) -> None:
        """Only instances of the named workflows are claimed; the others stay due."""
        for id in ("order", "refund", "other"):
            await storage.create(record(id, workflow=id), wake=0)
        names = ["refund", "order", "nothing", "order"]
        claimed = await storage.claim_due(owner="two", lease=30, limit=10, workflows=names)
        assert [(one.id, one.revision) for one in claimed] == [("order", 2), ("refund", 2)]
        assert await storage.claim_due(owner="two", lease=30, limit=10, workflows=[]) == ()
        assert await due(storage) == ["other"]

    async def test_limit_over_workflows(self, storage: WorkflowStorage) -> None:
        """The limit counts over all workflows; whose instance is due longest comes first."""
        for number, workflow in enumerate(["refund", "order", "refund", "order"]):
            await storage.create(record(str(number), workflow=workflow), wake=number - 10)
        both = ["order", "refund"]
        claimed = await storage.claim_due(owner="two", lease=30, limit=3, workflows=both)
        assert [one.id for one in claimed] == ["0", "1", "2"]
        assert await due(storage, limit=1) == ["3"]

    async def test_due_time_put_off(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A save puts the due time off, and another draws it near."""
        await storage.create(record(), lease=10)
        await storage.save(checkpoint(lease=60))
        clock.advance(20)
        assert await due(storage) == []
        await storage.save(checkpoint(expected=2, lease=1))
        clock.advance(1)
        assert await due(storage) == ["order-7"]

    async def test_never(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """An instance at rest without wake time is due never."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint(lease=None))
        clock.advance(10**9)
        assert await due(storage) == []

    async def test_two_claimers(self, storage: WorkflowStorage) -> None:
        """Two who claim at once share what is due, and get nothing twice."""
        for number in range(20):
            await storage.create(record(str(number)), wake=0)
        claims = [storage.claim_due(owner=str(n), lease=30, limit=7) for n in range(4)]
        claimed = [one.id for part in await asyncio.gather(*claims) for one in part]
        assert sorted(claimed) == sorted(map(str, range(20)))


class TestNextDue:
    async def test_first_of_those_to_come(
        self, storage: WorkflowStorage, clock: ManualClock
    ) -> None:
        """It is told how long it takes until the first instance becomes due, by wake or lease."""
        await storage.create(record("a"), wake=60)
        await storage.create(record("b"), lease=30, wake=1)
        await storage.create(record("c"), wake=45.25)
        clock.advance(0.75)
        assert await storage.next_due() == 29.25
        await storage.delete("b", revision=1)
        await storage.save(checkpoint("b", lease=90))
        assert await storage.next_due() == 44.5

    async def test_nothing_to_come(self, storage: WorkflowStorage) -> None:
        """Where nothing will become due, there is no time to tell."""
        assert await storage.next_due() is None
        await storage.create(record("resting"))
        assert await storage.next_due() is None

    async def test_due_already(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What is due already does not count, and stays due."""
        await storage.create(record("a"), wake=0)
        await storage.create(record("b"), lease=10)
        await storage.create(record("c"), wake=20)
        clock.advance(10)
        assert await storage.next_due() == 10
        clock.advance(10)
        assert await storage.next_due() is None
        assert await due(storage) == ["a", "b", "c"]

    async def test_workflows(self, storage: WorkflowStorage) -> None:
        """Only instances of the named workflows count."""
        for second, name in enumerate(("order", "refund", "other"), 1):
            await storage.create(record(name, workflow=name), wake=second)
        assert await storage.next_due(workflows=["refund", "other", "nothing"]) == 2
        assert await storage.next_due(workflows=["nothing"]) is None
        assert await storage.next_due(workflows=[]) is None

    async def test_ended_and_deleted(self, storage: WorkflowStorage) -> None:
        """What went to rest for ever, or was deleted, does not count."""
        await storage.create(record("a"), lease=30)
        await storage.create(record("b"), wake=30)
        await storage.save(checkpoint("a", lease=None, ended_at=START))
        await storage.delete("b", revision=1)
        assert await storage.next_due() is None


class TestRenew:
    async def test_all_in_one_call(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """One call extends many leases, counted from now, and leaves the revisions."""
        for id in ("a", "b"):
            await storage.create(record(id), lease=30)
        clock.advance(20)
        leases = [Lease(id="a", owner="one"), Lease(id="b", owner="one")]
        assert await storage.renew(leases, lease=30) == {"a": 0, "b": 0}
        renewed = await head(storage, "b")
        assert (renewed.lease_until, renewed.revision) == (START + timedelta(seconds=50), 1)

    async def test_due_after_the_renewal(
        self, storage: WorkflowStorage, clock: ManualClock
    ) -> None:
        """A renewed lease runs out later."""
        await storage.create(record(), lease=30)
        clock.advance(20)
        await storage.renew([Lease(id="order-7", owner="one")], lease=30)
        clock.advance(29)
        assert await due(storage) == []
        clock.advance(1)
        assert await due(storage) == ["order-7"]

    async def test_signals(self, storage: WorkflowStorage) -> None:
        """A renewal tells the number of the last signal."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        await storage.send_signal("order-7", signal())
        assert await storage.renew([Lease(id="order-7", owner="one")], lease=30) == {"order-7": 2}

    async def test_lost(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """What another has claimed, or nobody knows, is left out and left alone."""
        await storage.create(record(), lease=30)
        clock.advance(30)
        await storage.claim("order-7", owner="two", lease=10)
        leases = [Lease(id="order-7", owner="one"), Lease(id="nobody", owner="one")]
        assert await storage.renew(leases, lease=30) == {}
        assert (await head(storage)).lease_until == START + timedelta(seconds=40)

    async def test_ran_out(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A lease that ran out but was not taken is still held."""
        await storage.create(record(), lease=30)
        clock.advance(100)
        assert await storage.renew([Lease(id="order-7", owner="one")], lease=30) == {"order-7": 0}
        assert await due(storage) == []

    async def test_given_back(self, storage: WorkflowStorage) -> None:
        """A lease that was given back is not renewed."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint(lease=None))
        assert await storage.renew([Lease(id="order-7", owner="one")], lease=30) == {}
        assert (await head(storage)).lease_until is None

    async def test_nothing(self, storage: WorkflowStorage) -> None:
        """A renewal of nothing renews nothing."""
        assert await storage.renew([], lease=30) == {}


class TestRelease:
    async def test_at_rest(self, storage: WorkflowStorage) -> None:
        """A release gives the lease back; revision, owner and wake time stay."""
        await storage.create(record(), lease=30, wake=60)
        assert await storage.release(Lease(id="order-7", owner="one"))
        assert await head(storage) == record(wake_at=START + timedelta(seconds=60))

    async def test_wake(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A release may say when the instance is due, counted from now."""
        await storage.create(record(), lease=30, wake=60)
        clock.advance(3)
        await storage.release(Lease(id="order-7", owner="one"), wake=2)
        assert (await head(storage)).wake_at == START + timedelta(seconds=5)
        clock.advance(2)
        assert await due(storage) == ["order-7"]

    async def test_unseen_signal(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A release that has not seen the last signal leaves the instance due at once."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        clock.advance(3)
        await storage.release(Lease(id="order-7", owner="one", seen=0), wake=60)
        assert (await head(storage)).wake_at == clock.now()

    async def test_seen_signal(self, storage: WorkflowStorage) -> None:
        """A release that has seen the last signal leaves the wake time."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        await storage.release(Lease(id="order-7", owner="one", seen=1))
        assert (await head(storage)).wake_at is None

    async def test_not_held(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A lease of another's, or of nobody's, is not given back, and nothing is written."""
        await storage.create(record(), lease=30)
        assert not await storage.release(Lease(id="order-7", owner="two"), wake=0)
        assert not await storage.release(Lease(id="nobody", owner="one"))
        assert await head(storage) == record(lease_until=START + timedelta(seconds=30))

    async def test_twice(self, storage: WorkflowStorage) -> None:
        """A lease given back is no longer held, so it is given back once."""
        await storage.create(record(), lease=30)
        assert await storage.release(Lease(id="order-7", owner="one"))
        assert not await storage.release(Lease(id="order-7", owner="one"), wake=0)
        assert (await head(storage)).wake_at is None

    async def test_ran_out(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A lease that ran out but was not taken can be given back."""
        await storage.create(record(), lease=30)
        clock.advance(100)
        assert await storage.release(Lease(id="order-7", owner="one"))
        assert await due(storage) == []


class TestSignals:
    async def test_order_of_arrival(self, storage: WorkflowStorage) -> None:
        """Signals are numbered from 1 in the order of arrival, in each instance."""
        for id in ("a", "b"):
            await storage.create(record(id))
        sent = [signal("x"), signal("y", payload=b'"2"'), signal("x", signal_id="e-1")]
        for one in sent:
            await storage.send_signal("a", one)
        receipt = await storage.send_signal("b", signal("z"))
        assert receipt is not None
        assert (receipt.number, receipt.status, receipt.earlier) == (1, "running", None)
        stored = tuple(StoredSignal(number=n, signal=one) for n, one in enumerate(sent, 1))
        assert await storage.signals("a") == stored

    async def test_after(self, storage: WorkflowStorage) -> None:
        """The inbox can be read from after a number."""
        await storage.create(record())
        for _ in range(4):
            await storage.send_signal("order-7", signal())
        assert [one.number for one in await storage.signals("order-7", after=2)] == [3, 4]
        assert await storage.signals("order-7", after=4) == ()
        assert len(await storage.signals("order-7", after=-2)) == 4

    async def test_unknown_instance(self, storage: WorkflowStorage) -> None:
        """A signal to an instance that is not stored has no receipt and leaves nothing."""
        assert await storage.send_signal("nobody", signal()) is None
        assert await storage.signals("nobody") == ()

    async def test_many_at_once(self, storage: WorkflowStorage) -> None:
        """Signals that arrive together get numbers of their own."""
        await storage.create(record())
        sent = [storage.send_signal("order-7", signal(str(n))) for n in range(20)]
        receipts = await asyncio.gather(*sent)
        assert sorted(one.number or 0 for one in receipts if one) == list(range(1, 21))

    async def test_known_id(self, storage: WorkflowStorage) -> None:
        """A known signal id is answered with the earlier signal, and nothing is written."""
        await storage.create(record())
        first = signal(signal_id="e-1", payload=b"[1]")
        await storage.send_signal("order-7", first)
        receipt = await storage.send_signal("order-7", signal("other", signal_id="e-1"))
        assert receipt is not None
        assert (receipt.number, receipt.earlier) == (1, first)
        assert await storage.signals("order-7") == (StoredSignal(number=1, signal=first),)

    async def test_known_id_elsewhere(self, storage: WorkflowStorage) -> None:
        """A signal id counts within its instance."""
        for id in ("a", "b"):
            await storage.create(record(id))
            receipt = await storage.send_signal(id, signal(signal_id="e-1"))
            assert receipt is not None
            assert receipt.earlier is None

    async def test_known_id_wakes_nobody(self, storage: WorkflowStorage) -> None:
        """A repeated signal does not make its instance due."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        await storage.save(checkpoint(lease=None, seen=1))
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        assert await due(storage) == []

    async def test_refused(self, storage: WorkflowStorage) -> None:
        """A status in `refused` keeps the signal out; the receipt names the status."""
        await storage.create(record(status="completed"))
        receipt = await storage.send_signal("order-7", signal(), refused=["failed", "completed"])
        assert receipt is not None
        assert (receipt.status, receipt.number, receipt.earlier) == ("completed", None, None)
        assert await storage.signals("order-7") == ()
        assert await due(storage) == []

    async def test_known_id_before_refusal(self, storage: WorkflowStorage) -> None:
        """A consumed signal's id is acknowledged even where a new signal would be refused."""
        await storage.create(record())
        sent = signal(signal_id="e-1")
        await storage.send_signal("order-7", sent)
        await storage.save(checkpoint(status="completed", consumed={1: "approval"}))
        receipt = await storage.send_signal("order-7", sent, refused=["completed"])
        assert receipt is not None
        assert (receipt.status, receipt.number, receipt.earlier) == ("completed", 1, sent)

    async def test_consumed_are_kept(self, storage: WorkflowStorage) -> None:
        """A consumed signal stays in the inbox with the name of its taker."""
        await storage.create(record())
        for name in ("x", "y"):
            await storage.send_signal("order-7", signal(name))
        await storage.save(checkpoint(consumed={2: "approval", 9: "nobody", 0: "nobody"}))
        takers = [one.consumed_by for one in await storage.signals("order-7")]
        assert takers == [None, "approval"]

    async def test_consumed_before_it_came(self, storage: WorkflowStorage) -> None:
        """A number that no signal bears yet cannot be consumed in advance."""
        await storage.create(record())
        await storage.save(checkpoint(consumed={1: "nobody"}))
        await storage.send_signal("order-7", signal())
        assert [one.consumed_by for one in await storage.signals("order-7")] == [None]

    async def test_revision_stays(self, storage: WorkflowStorage) -> None:
        """A signal leaves the head of a driven instance as it is, but for the last number."""
        await storage.create(record(), lease=30, wake=60)
        before = await head(storage)
        await storage.send_signal("order-7", signal())
        assert await head(storage) == evolve(before, last_signal=1)

    async def test_last_of_the_inbox(self, storage: WorkflowStorage) -> None:
        """Every head tells the number of the last signal, consumed or not."""
        await storage.create(record(), wake=0)
        for _ in range(2):
            await storage.send_signal("order-7", signal())
        found, claimed = await head(storage), await storage.claim("order-7", owner="a", lease=0)
        (due,) = await storage.claim_due(owner="b", lease=30, limit=1)
        await storage.save(checkpoint(expected=3, owner="b", consumed={1: "x", 2: "y"}))
        heads = (found, claimed, due, await head(storage))
        assert [one and one.last_signal for one in heads] == [2, 2, 2, 2]

    async def test_given_last_signal(self, storage: WorkflowStorage) -> None:
        """The storage keeps the number itself: what a new record says of it is ignored."""
        await storage.create(record(last_signal=5))
        assert (await head(storage)).last_signal == 0
        receipt = await storage.send_signal("order-7", signal())
        assert receipt is not None
        assert receipt.number == 1


class TestNoLostWakeUp:
    async def test_signal_after_rest(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A signal to an instance at rest makes it due at once."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint(lease=None, wake=60))
        clock.advance(3)
        await storage.send_signal("order-7", signal())
        assert (await head(storage)).wake_at == clock.now()
        assert await due(storage) == ["order-7"]

    async def test_signal_before_rest(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A save to rest that has not seen the last signal leaves the instance due at once."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        clock.advance(3)
        assert await storage.save(checkpoint(lease=None, wake=60, seen=0)) == 1
        assert (await head(storage)).wake_at == clock.now()
        assert await due(storage) == ["order-7"]

    async def test_signal_seen(self, storage: WorkflowStorage) -> None:
        """A save to rest that has seen the last signal rests."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        await storage.save(checkpoint(lease=None, wake=60, seen=1))
        assert (await head(storage)).wake_at == START + timedelta(seconds=60)

    async def test_unseen_but_driven(self, storage: WorkflowStorage) -> None:
        """A driver that keeps its lease is told of the signal, not woken."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        assert await storage.save(checkpoint(seen=0)) == 1
        assert (await head(storage)).wake_at is None

    async def test_due_already(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A signal to an instance that is due already leaves its place in the order."""
        await storage.create(record(), wake=1)
        clock.advance(3)
        await storage.send_signal("order-7", signal())
        assert (await head(storage)).wake_at == START + timedelta(seconds=1)

    async def test_at_the_same_time(self, storage: WorkflowStorage) -> None:
        """Whichever comes first, signal or rest, the instance is due."""
        for number in range(20):
            await storage.create(record(str(number)), lease=30)
        acts = []
        for number in range(20):
            rest = storage.save(checkpoint(str(number), lease=None))
            sent = storage.send_signal(str(number), signal())
            acts += [rest, sent] if number % 2 else [sent, rest]
        await asyncio.gather(*acts)
        assert len(await due(storage, limit=100)) == 20


class TestUnseenSignals:
    async def test_end_is_refused(self, storage: WorkflowStorage) -> None:
        """A save that would end an instance with an unseen signal is refused, nothing written."""
        await storage.create(record(unique_key="key"), entries=[Entry(number=1, body=b"1")])
        for name in ("x", "y"):
            await storage.send_signal("order-7", signal(name))
        before = await storage.load("order-7"), await storage.signals("order-7")
        end = checkpoint(
            status="completed", ended_at=START, lease=None, seen=1, consumed={1: "x"},
            entries=(Entry(number=1, body=b"x"), Entry(number=2, body=b"2")),
        )  # fmt: skip
        for _ in range(2):
            with pytest.raises(UnseenSignalsError, match="got signal 2 meanwhile") as caught:
                await storage.save(end)
            assert (caught.value.id, caught.value.last) == ("order-7", 2)
        assert (await storage.load("order-7"), await storage.signals("order-7")) == before
        assert await ids(storage, status="completed") == []
        with pytest.raises(UniqueKeyTakenError):
            await storage.create(record("other", unique_key="key"))

    async def test_end_when_seen(self, storage: WorkflowStorage) -> None:
        """Once the driver has seen the signal, the same save succeeds, and so does a repetition."""
        await storage.create(record())
        await storage.send_signal("order-7", signal())
        with pytest.raises(UnseenSignalsError):
            await storage.save(checkpoint(ended_at=START, lease=None))
        for _ in range(2):
            assert await storage.save(checkpoint(ended_at=START, lease=None, seen=1)) == 1
        assert (await head(storage)).revision == 2

    async def test_repetition_after_a_later_signal(self, storage: WorkflowStorage) -> None:
        """A repeated end has succeeded, although a signal has come since."""
        await storage.create(record())
        await storage.save(checkpoint(ended_at=START, lease=None))
        await storage.send_signal("order-7", signal())
        assert await storage.save(checkpoint(ended_at=START, lease=None)) == 1

    async def test_stale_comes_first(self, storage: WorkflowStorage) -> None:
        """Who has lost the instance is told so, whatever it has not seen."""
        await storage.create(record())
        await storage.send_signal("order-7", signal())
        for stale in ({"expected": 5}, {"owner": "two"}):
            with pytest.raises(StaleInstanceError):
                await storage.save(checkpoint(ended_at=START, **({"expected": 1} | stale)))

    async def test_leased_at_its_end(self, storage: WorkflowStorage) -> None:
        """A save that ends the instance and keeps the lease is refused alike."""
        await storage.create(record(), lease=30)
        await storage.send_signal("order-7", signal())
        with pytest.raises(UnseenSignalsError):
            await storage.save(checkpoint(ended_at=START))

    async def test_at_the_same_time(self, storage: WorkflowStorage) -> None:
        """Whichever comes first, signal or end: no signal is in an ended instance unseen."""
        for number in range(20):
            await storage.create(record(str(number)), lease=30)
        acts = []
        for number in range(20):
            end = storage.save(checkpoint(str(number), ended_at=START, lease=None, status="x"))
            sent = storage.send_signal(str(number), signal(), refused=["x"])
            acts += [end, sent] if number % 2 else [sent, end]
        await asyncio.gather(*acts, return_exceptions=True)
        heads = [await head(storage, str(number)) for number in range(20)]
        assert all((one.ended_at is None) == (one.last_signal == 1) for one in heads)


class TestList:
    async def test_newest_first(self, storage: WorkflowStorage) -> None:
        """Heads come newest first, those of one moment by id, the greatest first."""
        for id, second in (("a", 1), ("c", 2), ("b", 2), ("d", 0)):
            await storage.create(record(id, created_at=START + timedelta(seconds=second)))
        assert await ids(storage) == ["c", "b", "a", "d"]

    async def test_summary(self, storage: WorkflowStorage) -> None:
        """A summary is the head without data; the first step intended is the current one."""
        await storage.create(record(labels={"a": "b"}, intent=("x", "y"), ended_at=START))
        (one,) = await storage.list(WorkflowFilter())
        assert (one.id, one.name, one.version, one.status) == ("order-7", "order", "1", "running")
        assert (one.current_step, one.labels) == ("x", {"a": "b"})
        assert one.created_at == one.updated_at == one.ended_at == START

    async def test_no_current_step(self, storage: WorkflowStorage) -> None:
        """Where no step is intended, none is current."""
        await storage.create(record())
        (one,) = await storage.list(WorkflowFilter())
        assert (one.current_step, one.ended_at) == (None, None)

    async def test_by_name_and_status(self, storage: WorkflowStorage) -> None:
        """Name and status must both fit; of several statuses, one."""
        for id, workflow, status in (
            ("1", "a", "x"),
            ("2", "a", "y"),
            ("3", "b", "x"),
            ("4", "a", "z"),
        ):
            await storage.create(record(id, workflow=workflow, status=status))
        assert await ids(storage, name="a") == ["4", "2", "1"]
        assert await ids(storage, status="x") == ["3", "1"]
        assert await ids(storage, status=["x", "y"]) == ["3", "2", "1"]
        assert await ids(storage, name="a", status=("x", "z")) == ["4", "1"]
        assert await ids(storage, status=[]) == ["4", "3", "2", "1"]

    async def test_by_new_status(self, storage: WorkflowStorage) -> None:
        """A save moves the instance from one status to the other."""
        await storage.create(record(status="x"))
        await storage.save(checkpoint(status="y"))
        assert (await ids(storage, status="x"), await ids(storage, status="y")) == ([], ["order-7"])

    async def test_by_labels(self, storage: WorkflowStorage) -> None:
        """All labels asked for must be there with these values."""
        await storage.create(record("1", labels={"city": "Oslo", "size": "L"}))
        await storage.create(record("2", labels={"city": "Oslo", "size": "M"}))
        await storage.create(record("3", labels={"city": "Bergen", "size": "L"}, status="paused"))
        assert await ids(storage, labels={"city": "Oslo"}) == ["2", "1"]
        assert await ids(storage, labels={"city": "Oslo", "size": "L"}) == ["1"]
        assert await ids(storage, labels={"size": "L"}, status="paused", name="order") == ["3"]
        assert await ids(storage, labels={"size": "Oslo"}) == []

    async def test_limit_and_offset(self, storage: WorkflowStorage) -> None:
        """`offset` skips, `limit` ends the list."""
        for number in range(5):
            await storage.create(record(str(number)))
        assert await ids(storage, limit=2) == ["4", "3"]
        assert await ids(storage, limit=2, offset=3) == ["1", "0"]
        assert await ids(storage, limit=2, offset=5) == []
        assert await ids(storage, limit=0) == []

    async def test_default_limit(self, storage: WorkflowStorage) -> None:
        """A list has at most a hundred heads unless more are asked for."""
        for number in range(101):
            await storage.create(record(str(number)))
        assert (len(await ids(storage)), len(await ids(storage, limit=200))) == (100, 101)

    async def test_pages(self, storage: WorkflowStorage) -> None:
        """Page by page, each from after the last, everything comes once."""
        for number in range(7):
            created_at = START + timedelta(seconds=number // 3)
            await storage.create(record(str(number), created_at=created_at))
        pages = [await ids(storage, limit=3)]
        while pages[-1]:
            pages.append(await ids(storage, limit=3, after=pages[-1][-1]))
        assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"], []]

    async def test_pages_with_filter(self, storage: WorkflowStorage) -> None:
        """`after` goes with other conditions and with `offset`, and need not fit itself."""
        for number in range(8):
            status, labels = ("x", "y")[number % 2], {"a": "b"} if number < 6 else {}
            await storage.create(record(str(number), status=status, labels=labels))
        assert await ids(storage, status="x", after="5") == ["4", "2", "0"]
        assert await ids(storage, labels={"a": "b"}, after="7", offset=4) == ["1", "0"]

    async def test_pages_under_changes(self, storage: WorkflowStorage) -> None:
        """New and deleted instances neither repeat nor hide others on later pages."""
        for id in "bcde":
            await storage.create(record(id))
        assert await ids(storage, limit=2) == ["e", "d"]
        await storage.create(record("f"))
        await storage.delete("e", revision=1)
        await storage.delete("c", revision=1)
        await storage.create(record("a"))
        assert await ids(storage, limit=2, after="d") == ["b", "a"]

    async def test_after_a_deleted_one(self, storage: WorkflowStorage) -> None:
        """After an instance that is not stored the list is empty."""
        await storage.create(record("a"))
        assert await ids(storage, after="b") == []

    async def test_count(self, storage: WorkflowStorage) -> None:
        """A count obeys the conditions, whatever limit, after and offset say."""
        for number in range(5):
            labels = {"a": "b"} if number else {}
            await storage.create(record(str(number), status="xyz"[number % 3], labels=labels))
        assert await storage.count(WorkflowFilter()) == 5
        assert await storage.count(WorkflowFilter(limit=1, after="nobody", offset=9)) == 5
        assert await storage.count(WorkflowFilter(status=["x", "y", "x"], name="order")) == 4
        assert await storage.count(WorkflowFilter(labels={"a": "b"}, status="x")) == 1

    async def test_ended_before(self, storage: WorkflowStorage) -> None:
        """Only what has ended before the moment fits, whenever it was created."""
        for number in range(5):
            created_at = START + timedelta(seconds=number)
            await storage.create(record(str(number), created_at=created_at))
        for number in (0, 1, 4):
            ended_at = START + timedelta(seconds=number % 4)
            await storage.save(checkpoint(str(number), ended_at=ended_at, status="completed"))
        moment = START + timedelta(seconds=1)
        assert await ids(storage, ended_before=moment) == ["4", "0"]
        assert await ids(storage, ended_before=moment, limit=1, offset=1) == ["0"]
        assert await ids(storage, ended_before=moment, after="4") == ["0"]
        assert await ids(storage, ended_before=moment, status="running") == []
        assert await ids(storage, ended_before=START) == []
        later = moment + timedelta(microseconds=1)
        assert await storage.count(WorkflowFilter(ended_before=later, status="completed")) == 3
        assert await storage.count(WorkflowFilter(ended_before=later, name="other")) == 0
        assert await storage.count(WorkflowFilter(ended_before=moment)) == 2

    async def test_ended_before_it_was_created(self, storage: WorkflowStorage) -> None:
        """One whose end lies before its beginning, as where clocks differ, is found as well."""
        late = START + timedelta(days=1)
        await storage.create(record("early", created_at=late, ended_at=START))
        await storage.create(record("live", created_at=late))
        await storage.create(record("later", created_at=late, ended_at=late))
        moment = START + timedelta(seconds=1)
        assert await ids(storage, ended_before=moment) == ["early"]
        assert await ids(storage, ended_before=moment, after="live") == ["early"]
        assert await ids(storage, ended_before=moment, after="early") == []

    async def test_ended_early_among_others(self, storage: WorkflowStorage) -> None:
        """One that ended before it was created does not hide those created after it."""
        for id, created, ended in (("a", 2, 1), ("b", 3, 4), ("c", 20, 1), ("d", 30, 31)):
            created_at, ended_at = (START + timedelta(seconds=n) for n in (created, ended))
            await storage.create(record(id, created_at=created_at, ended_at=ended_at))
        moment = START + timedelta(seconds=10)
        assert await ids(storage, ended_before=moment) == ["c", "b", "a"]
        await storage.delete("c", revision=1)
        assert await ids(storage, ended_before=moment) == ["b", "a"]

    async def test_ended_before_in_another_zone(self, storage: WorkflowStorage) -> None:
        """The moment is an instant, in whatever zone it is written."""
        await storage.create(record(ended_at=START))
        far_east = timezone(timedelta(hours=9))
        assert await ids(storage, ended_before=START.astimezone(far_east)) == []
        moment = (START + timedelta(seconds=1)).astimezone(far_east)
        assert await ids(storage, ended_before=moment) == ["order-7"]

    async def test_live_again(self, storage: WorkflowStorage) -> None:
        """What was made live again has not ended."""
        await storage.create(record(ended_at=START))
        await storage.save(checkpoint())
        assert await ids(storage, ended_before=START + timedelta(days=1)) == []


class TestDelete:
    async def test_all_of_it(self, storage: WorkflowStorage) -> None:
        """A delete removes head, entries, inbox and labels."""
        await storage.create(record(labels={"a": "b"}), entries=[Entry(number=1, body=b"1")])
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        assert await storage.delete("order-7", revision=1)
        assert await storage.load("order-7") is None
        assert (await storage.signals("order-7"), await ids(storage, labels={"a": "b"})) == ((), [])

    async def test_made_anew(self, storage: WorkflowStorage) -> None:
        """An id that was deleted begins anew, with nothing left of the first."""
        await storage.create(
            record(labels={"a": "b"}), entries=[Entry(number=1, body=b"1")], wake=0
        )
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        await storage.delete("order-7", revision=1)
        assert await storage.create(record(owner="two"))
        assert await storage.load("order-7") == (record(owner="two"), ())
        assert await ids(storage, labels={"a": "b"}) == []
        assert await storage.save(checkpoint(owner="two")) == 0
        assert await due(storage) == []

    async def test_other_revision(self, storage: WorkflowStorage) -> None:
        """A delete that expects another revision leaves all as it is."""
        await storage.create(record(), entries=[Entry(number=1, body=b"1")])
        assert not await storage.delete("order-7", revision=2)
        assert await bodies(storage) == {1: b"1"}

    async def test_leased(self, storage: WorkflowStorage, clock: ManualClock) -> None:
        """A leased instance is not deleted, not even when the lease has run out."""
        await storage.create(record(), lease=30)
        clock.advance(100)
        assert not await storage.delete("order-7", revision=1)

    async def test_unknown(self, storage: WorkflowStorage) -> None:
        """There is nothing to delete of an instance that is not stored."""
        assert not await storage.delete("nobody", revision=1)

    async def test_neighbours_stay(self, storage: WorkflowStorage) -> None:
        """A delete leaves other instances, also those with the same labels."""
        for id in ("a", "b"):
            await storage.create(
                record(id, labels={"x": "y"}), entries=[Entry(number=1, body=b"1")]
            )
            await storage.send_signal(id, signal())
        await storage.delete("a", revision=1)
        assert (await ids(storage, labels={"x": "y"}), await bodies(storage, "b")) == (
            ["b"],
            {1: b"1"},
        )
        assert len(await storage.signals("b")) == 1
