"""Redis itself: its time, its keys, its costs, and many calls in one round trip."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from flux.errors import (
    StaleInstanceError,
    StorageClosedError,
    StorageError,
    StorageUnavailableError,
)
from flux.storage import (
    Entry,
    Lease,
    Notice,
    Record,
    TimeKeeper,
    WorkflowFilter,
    WorkflowStorage,
)
from flux.testing import ManualClock
from flux_storages import RedisStorage
from flux_storages.redis_link import Link
from flux_storages.redis_place import place_of
from records import START, checkpoint, opened, record, signal
from redis_look import Look, looking, until
from redis_server import RedisServer, free_port
from redis_tls import encrypted


@pytest.fixture
def look(redis_url: str) -> Iterator[Look]:
    """What redis-cli sees of `storage`."""
    with looking(redis_url) as look:
        yield look


@pytest.fixture
async def storage(redis_url: str) -> AsyncIterator[RedisStorage]:
    """An open storage on the server's time."""
    storage = RedisStorage(redis_url)
    async with opened(storage):
        yield storage


async def head(storage: WorkflowStorage, id: str = "order-7") -> Record:
    found = await storage.load(id, history=False)
    assert found is not None
    return found[0]


def server_time(look: Look) -> datetime:
    seconds, micros = look.client.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)


class TestTime:
    async def test_of_the_server(self, storage: RedisStorage, look: Look) -> None:
        """Leases and wake times are counted by the server's clock, whatever the engine's says."""
        before = server_time(look)
        await storage.create(record(), lease=30, wake=60)
        after = server_time(look)
        stored = await head(storage)
        assert stored.lease_until is not None
        assert stored.wake_at is not None
        assert before <= stored.lease_until - timedelta(seconds=30) <= after
        assert stored.wake_at - stored.lease_until == timedelta(seconds=30)
        assert stored.lease_until.tzinfo is UTC

    async def test_asked(self, storage: RedisStorage, redis_url: str, look: Look) -> None:
        """The storage tells the time by which it counts."""
        before = server_time(look)
        told = await storage.time()
        assert before <= told <= server_time(look)
        assert told.tzinfo is UTC
        async with opened(RedisStorage(redis_url, clock=ManualClock())) as own:
            assert isinstance(own, TimeKeeper)
            assert await own.time() == START

    async def test_leases_run_out(self, storage: RedisStorage) -> None:
        """A lease that ran out by the server's clock can be claimed, one that has not cannot."""
        await storage.create(record("short"), lease=0)
        await storage.create(record("long"), lease=30)
        due = await storage.claim_due(owner="two", lease=30, limit=10)
        assert [one.id for one in due] == ["short"]
        left = await storage.next_due()
        assert left is not None
        assert 29 < left <= 30

    async def test_woken_by_a_signal(self, storage: RedisStorage) -> None:
        """A signal makes an instance due at the server's present time."""
        await storage.create(record(), wake=60)
        await storage.send_signal("order-7", signal())
        assert len(await storage.claim_due(owner="two", lease=30, limit=1)) == 1

    async def test_values_end(self, storage: RedisStorage, look: Look) -> None:
        """The server itself removes a value when its time has come."""
        await storage.set_value("a", b"1", ttl=30.0004)
        assert 29_000 < look.client.pttl(look.key("value:a")) <= 30_001
        assert await storage.compare_and_set_value("a", b"1", b"2", ttl=60)
        assert 59_000 < look.client.pttl(look.key("value:a")) <= 60_000
        await storage.set_value("a", b"3")
        assert look.client.pttl(look.key("value:a")) == -1
        await storage.set_value("b", b"1", ttl=0.000_001)
        await asyncio.sleep(0.005)
        assert await storage.get_value("b") is None
        assert await storage.delete_value("a")


class TestKeys:
    async def test_all_bear_the_tag(self, storage: RedisStorage, look: Look) -> None:
        """Every key begins with the prefix in braces, so that a cluster keeps them in one slot."""
        before = set(look.client.keys("*"))
        await storage.create(
            record(unique_key="key", labels={"city": "Oslo"}),
            entries=[Entry(number=1, body=b"1")],
            lease=30,
        )
        await storage.send_signal("order-7", signal(signal_id="e-1"))
        await storage.set_value("rate", b"1")
        assert all(key.startswith(look.tag) for key in set(look.client.keys("*")) - before)
        assert look.keys == [
            "all",
            "due:order",
            "head:order-7",
            "history:order-7",
            "inbox:order-7",
            "keys",
            "label:city=Oslo",
            "schema",
            "status:running",
            "value:rate",
            "workflow:order",
            "workflows",
        ]

    async def test_nothing_left_of_the_deleted(self, storage: RedisStorage, look: Look) -> None:
        """When everything is deleted, nothing is left but the version of the schema."""
        for id in ("a", "b"):
            await storage.create(
                record(id, unique_key=id, labels={"a=%": "b", "": "="}, ended_at=None),
                entries=[Entry(number=1, body=b"1")],
                wake=0,
            )
            await storage.send_signal(id, signal(signal_id="e-1"))
            end = START - timedelta(seconds=1)
            await storage.save(checkpoint(id, status="x", lease=None, ended_at=end, seen=1))
            assert await storage.delete(id, revision=2)
        assert look.keys == ["schema"]

    async def test_no_early_end_any_more(self, storage: RedisStorage, look: Look) -> None:
        """What ended before its beginning is noted as such only as long as that is its end."""
        early = START - timedelta(seconds=1)
        await storage.create(record(), lease=30)
        await storage.save(checkpoint(ended_at=early))
        assert "ended_early" in look.keys
        await storage.save(checkpoint(expected=2))
        assert "ended_early" not in look.keys

    async def test_labels_are_told_apart(self, storage: RedisStorage) -> None:
        """A label's name and its value are not mixed up, whatever is in them."""
        pairs = [("a=b", "c"), ("a", "b=c"), ("a%3Db", "c"), ("a%", "b"), ("a", "%b")]
        for number, (name, value) in enumerate(pairs):
            await storage.create(record(str(number), labels={name: value}))
        for number, (name, value) in enumerate(pairs):
            (found,) = await storage.list(WorkflowFilter(labels={name: value}))
            assert found.id == str(number)

    async def test_json_as_text(self, storage: RedisStorage, look: Look) -> None:
        """People can read payloads, entries, signals and times with redis-cli."""
        body = json.dumps({"total": 900, "city": "Tromsø"}, ensure_ascii=False)
        await storage.create(
            record(fixed=body.encode(), payload=body.encode(), labels={"a": "b"}),
            entries=[Entry(number=1, body=body.encode())],
        )
        await storage.send_signal("order-7", signal(payload=body.encode(), signal_id="e-1"))
        stored = look.client.hgetall(look.key("head:order-7"))
        assert (stored["fixed"], stored["payload"]) == (body, body)
        assert json.loads(stored["labels"]) == {"a": "b"}
        assert stored["created_at"] == "2026-01-01T00:00:00.000000Z"
        assert look.client.hgetall(look.key("history:order-7")) == {"1": body}
        inbox = look.client.hgetall(look.key("inbox:order-7"))
        assert (inbox["1:payload"], inbox["id:e-1"]) == (body, "1")
        assert json.loads(inbox["1"])["name"] == "approved"

    async def test_two_prefixes(self, redis_server: RedisServer, redis_url: str) -> None:
        """Storages with other prefixes know nothing of each other."""
        one = RedisStorage(redis_url)
        other = RedisStorage(redis_server.url, prefix=f"{redis_url[-32:]}x")
        async with opened(one), opened(other):
            assert await one.create(record(unique_key="key"), wake=0)
            assert await other.create(record(unique_key="key", owner="two"))
            assert await other.claim_due(owner="x", lease=30, limit=1) == ()


class TestCosts:
    async def test_claiming(self, storage: RedisStorage, look: Look) -> None:
        """To claim what is due costs no more when many are not due."""
        costs = []
        for number in range(200):
            await storage.create(record(str(number)), wake=1000)
            if number in (20, 199):
                await storage.create(record(f"due {number}"), wake=0)
                with look.calls() as calls:
                    due = await storage.claim_due(owner="two", lease=30, limit=9)
                    await storage.next_due()
                assert len(due) == 1
                costs.append(calls)
        assert costs[0] == costs[1]

    async def test_list_by_label(self, storage: RedisStorage, look: Look) -> None:
        """A list by label looks at those with the label, and at no others."""
        for number in range(300):
            labels = {"city": "Oslo"} if number % 100 == 0 else {"city": "Bergen"}
            await storage.create(record(str(number), labels=labels))
        filter = WorkflowFilter(name="order", status=["running"], labels={"city": "Oslo"})
        with look.calls() as calls:
            assert len(await storage.list(filter)) == 3
            assert await storage.count(filter) == 3
        assert calls["hmget"] == 3
        assert calls["zscore"] <= 2 * 3 * 2

    async def test_list_of_the_ended(self, storage: RedisStorage, look: Look) -> None:
        """What has ended before a moment is looked for among what was created before it."""
        for number in range(300):
            created_at = START + timedelta(minutes=number)
            ended_at = created_at + timedelta(seconds=1)
            await storage.create(record(str(number), created_at=created_at, ended_at=ended_at))
        for after in (None, "299", "3"):
            filter = WorkflowFilter(ended_before=START + timedelta(minutes=3), after=after)
            with look.calls() as calls:
                assert [one.id for one in await storage.list(filter)] == ["2", "1", "0"]
            assert calls["hget"] == 3 + (after is not None)

    async def test_count_of_all(self, storage: RedisStorage, look: Look) -> None:
        """A count by one condition looks at no instance."""
        for number in range(20):
            await storage.create(record(str(number), labels={"a": "b"}))
        with look.calls() as calls:
            assert await storage.count(WorkflowFilter()) == 20
            assert await storage.count(WorkflowFilter(status=["running", "failed"])) == 20
            assert await storage.count(WorkflowFilter(labels={"a": "b"})) == 20
        assert set(calls) <= {"eval", "evalsha", "zcard"}

    async def test_save_is_lean(self, storage: RedisStorage, look: Look) -> None:
        """A save is one script with few commands, and tells nobody while the lease is kept."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint())
        with look.calls() as calls:
            await storage.save(checkpoint(expected=2, entries=(Entry(number=1, body=b"1"),)))
        assert calls == {"evalsha": 1, "hmget": 1, "time": 1, "hset": 2}

    async def test_renew_is_one_call(self, storage: RedisStorage, look: Look) -> None:
        """However many leases are renewed, it is one script."""
        for number in range(50):
            await storage.create(record(str(number)), lease=30)
        leases = [Lease(id=str(number), owner="one") for number in range(50)]
        await storage.renew(leases[:1], lease=30)
        with look.calls() as calls:
            assert len(await storage.renew(leases, lease=60)) == 50
        assert calls == {"evalsha": 1, "time": 1, "hmget": 50, "hset": 50, "zadd": 50}

    async def test_page_is_one_call(self, storage: RedisStorage, look: Look) -> None:
        """A page is one script, which looks no further than it has to."""
        for number in range(20):
            await storage.create(record(f"{number:02}"))
        await storage.list(WorkflowFilter())
        with look.calls() as calls:
            found = await storage.list(WorkflowFilter(limit=2, offset=1))
            assert [one.id for one in found] == ["18", "17"]
        assert (calls["evalsha"], calls["hmget"]) == (1, 3)

    async def test_long_listing_in_parts(
        self, storage: RedisStorage, look: Look, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No script looks at more than so many instances; the answer is the same."""
        monkeypatch.setattr("flux_storages.redis_listing.LOOKS", 3)
        for number in range(20):
            labels = {"a": "b"} if number % 4 == 0 else {"c": "d"}
            await storage.create(record(f"{number:02}", status="xy"[number % 2], labels=labels))
        filter = WorkflowFilter(labels={"c": "d"}, status=["y", "x"], limit=7, offset=2)
        with look.calls() as calls:
            found = [one.id for one in await storage.list(filter)]
        assert found == [f"{n:02}" for n in range(19, 0, -1) if n % 4][2:9]
        assert calls["evalsha"] > 4
        assert await storage.count(filter) == 15
        later = WorkflowFilter(labels={"c": "d"}, after="05", limit=3)
        assert [one.id for one in await storage.list(later)] == ["03", "02", "01"]


class TestDue:
    """A save that extends a lease leaves its instance where it stands among those that are due."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def storage(self, redis_url: str, clock: ManualClock) -> AsyncIterator[RedisStorage]:
        """An open storage on a clock of its own."""
        storage = RedisStorage(redis_url, clock=clock)
        async with opened(storage):
            yield storage

    async def test_extended(self, storage: RedisStorage, clock: ManualClock, look: Look) -> None:
        """Whose lease was extended is not due before its end, and stands there once looked at."""
        await storage.create(record(), lease=30)
        stood = look.client.zscore(look.key("due:order"), "order-7")
        clock.advance(20)
        await storage.save(checkpoint(lease=30))
        assert look.client.zscore(look.key("due:order"), "order-7") == stood
        clock.advance(15)
        assert await storage.claim_due(owner="two", lease=30, limit=1) == ()
        stands = look.client.zscore(look.key("due:order"), "order-7")
        assert stands == stood + 20_000_000
        assert await storage.next_due() == 15
        clock.advance(15)
        assert len(await storage.claim_due(owner="two", lease=30, limit=1)) == 1

    async def test_next_is_exact(self, storage: RedisStorage, clock: ManualClock) -> None:
        """What comes next is known to the moment, whether an old time is over or not."""
        await storage.create(record("a"), lease=10)
        await storage.create(record("b"), wake=90)
        await storage.save(checkpoint("a", lease=50))
        assert await storage.next_due() == 50
        await storage.save(checkpoint("a", expected=2, lease=70))
        clock.advance(55)
        assert await storage.next_due() == 15

    async def test_shortened(self, storage: RedisStorage, clock: ManualClock) -> None:
        """A save that shortens the lease, or gives it back, counts at once."""
        for id, terms in ("a", {"lease": 5}), ("b", {"lease": None, "wake": 5}):
            await storage.create(record(id), lease=30)
            await storage.save(checkpoint(id, **terms))
        clock.advance(5)
        due = await storage.claim_due(owner="two", lease=30, limit=9)
        assert [one.id for one in due] == ["a", "b"]

    async def test_longest_first(self, storage: RedisStorage, clock: ManualClock) -> None:
        """The longest due is claimed first, even where another stands before it."""
        await storage.create(record("extended"), lease=10)
        await storage.create(record("plain"), wake=20)
        await storage.save(checkpoint("extended", lease=30))
        clock.advance(40)
        for expected in "plain", "extended":
            (claimed,) = await storage.claim_due(owner="two", lease=30, limit=1)
            assert claimed.id == expected

    async def test_many_are_due(self, storage: RedisStorage, look: Look) -> None:
        """With a thousand due, no one looks at them all to learn what is due next."""
        await asyncio.gather(*(storage.create(record(str(n)), wake=0) for n in range(1100)))
        await storage.create(record("last"), lease=30)
        with look.calls() as calls:
            assert await storage.next_due() == 0.000_001
        assert calls["hmget"] == 1000
        assert len(await storage.claim_due(owner="two", lease=60, limit=1100)) == 1100
        assert await storage.next_due() == 30


class TestTogether:
    async def test_few_round_trips(self, storage: RedisStorage, look: Look) -> None:
        """Calls that come together go together, over one connection."""
        before = look.client.info("stats")
        await asyncio.gather(*(storage.create(record(str(n))) for n in range(200)))
        after = look.client.info("stats")
        assert after["total_connections_received"] == before["total_connections_received"]
        assert after["total_reads_processed"] - before["total_reads_processed"] < 100

    async def test_more_than_a_group(self, storage: RedisStorage) -> None:
        """Any number of callers at once get their answers."""
        made = [storage.create(record(str(n), owner=str(n % 3))) for n in range(1500)]
        assert await asyncio.gather(*made) == [True] * 1500
        heads = await asyncio.gather(*(head(storage, str(n)) for n in range(1500)))
        assert [one.id for one in heads] == [str(n) for n in range(1500)]

    async def test_one_fails_alone(self, storage: RedisStorage) -> None:
        """A value that cannot be sent, or a save that is stale, fails alone."""
        await storage.create(record())
        fine, unsayable, stale, found = await asyncio.gather(
            storage.create(record("a")),
            storage.create(record("\ud800")),
            storage.save(checkpoint(expected=9)),
            storage.load("order-7"),
            return_exceptions=True,
        )
        assert (fine, found) == (True, (record(), ()))
        assert isinstance(stale, StaleInstanceError)
        assert isinstance(unsayable, StorageError)
        assert "cannot keep this value, nothing was saved" in str(unsayable)

    async def test_cancelled_under_load(self, storage: RedisStorage) -> None:
        """However many callers are cancelled, nobody gets the answer of another."""
        for number in range(30):
            await storage.create(record(str(number), owner="one", payload=b"[%d]" % number))

        async def drive(number: int) -> None:
            for revision in range(1, 40):
                entry = Entry(number=revision, body=b"[%d]" % number)
                payload = b"[%d]" % number
                save = checkpoint(str(number), expected=revision, entries=(entry,), payload=payload)
                saving = asyncio.create_task(storage.save(save))
                reading = asyncio.create_task(storage.load(str(number)))
                for _ in range((number * 7 + revision * 3) % 9):
                    await asyncio.sleep(0)
                saving.cancel()
                reading.cancel()
                await asyncio.wait([saving, reading])
                assert await storage.save(save) == 0
                found = await storage.load(str(number))
                assert found is not None
                assert (found[0].payload, found[0].revision) == (payload, revision + 1)
                assert len(found[1]) == revision

        await asyncio.gather(*(drive(number) for number in range(30)))

    @pytest.mark.parametrize("turns", range(12))
    async def test_everybody_is_cancelled(self, storage: RedisStorage, turns: int) -> None:
        """When all tasks of a loop are cancelled, the storage can still be used and closed."""
        await storage.create(record("known"))
        writes = [asyncio.create_task(storage.create(record(str(n)))) for n in range(50)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        late = asyncio.create_task(storage.load("known"))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, bool}
        assert await late == (record("known"), ())
        assert await storage.create(record("new"))
        assert (await head(storage, "new")).id == "new"

    async def test_cancelled_before_it_is_sent(self, storage: RedisStorage, look: Look) -> None:
        """What nobody waits for any more when its turn comes is not sent."""
        await storage.load("nobody")
        with look.calls() as calls:
            write = asyncio.create_task(storage.create(record()))
            await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
        assert calls == {}
        assert await storage.load("order-7") is None

    async def test_own_write_is_read(self, storage: RedisStorage) -> None:
        """What a caller has saved, its next read finds."""
        await storage.create(record())
        for revision in range(1, 50):
            await storage.save(checkpoint(expected=revision))
            assert (await head(storage)).revision == revision + 1

    async def test_sees_the_other(self, storage: RedisStorage, redis_url: str) -> None:
        """A storage sees at once what another one on the same keys has saved."""
        async with opened(RedisStorage(redis_url)) as other:
            await storage.create(record())
            await other.save(checkpoint())
            await storage.send_signal("order-7", signal())
            assert len(await other.signals("order-7")) == 1


class TestFailOver:
    """A replica that was behind its master takes over: acknowledged writes are gone."""

    async def test_save_after_lost_saves(self, storage: RedisStorage, look: Look) -> None:
        """A driver whose saves were lost is refused, and nothing is written."""
        await storage.create(record(), lease=30)
        await storage.save(checkpoint())
        behind = look.dump()
        await storage.save(checkpoint(expected=2))
        await storage.save(checkpoint(expected=3))
        look.restore(behind)
        before = await storage.load("order-7")
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint(expected=4, entries=(Entry(number=1, body=b"1"),)))
        assert await storage.load("order-7") == before

    async def test_lost_create(self, storage: RedisStorage, look: Look) -> None:
        """A driver whose instance is gone as a whole is refused, and it stays gone."""
        behind = look.dump()
        await storage.create(record(), lease=30)
        look.restore(behind)
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint(entries=(Entry(number=1, body=b"1"),)))
        assert await storage.renew([Lease(id="order-7", owner="one")], lease=30) == {}
        assert await storage.send_signal("order-7", signal()) is None
        assert look.keys == ["schema"]

    async def test_same_revision_of_another(self, storage: RedisStorage, look: Look) -> None:
        """When others have brought the instance to the very revision, the token tells."""
        await storage.create(record(), lease=0)
        behind = look.dump()
        await storage.claim("order-7", owner="lost", lease=30)
        await storage.save(checkpoint(expected=2, owner="lost", payload=b"[1]"))
        look.restore(behind)
        await storage.claim("order-7", owner="new", lease=30)
        await storage.save(checkpoint(expected=2, owner="new", payload=b"[2]"))
        for expected in (2, 3):
            with pytest.raises(StaleInstanceError):
                await storage.save(checkpoint(expected=expected, owner="lost", payload=b"[3]"))
        assert not await storage.release(Lease(id="order-7", owner="lost"))
        stored = await head(storage)
        assert (stored.revision, stored.owner, stored.payload) == (3, "new", b"[2]")

    async def test_lost_claim(self, storage: RedisStorage, look: Look) -> None:
        """Who claimed in the time that was lost holds nothing, and another may claim."""
        await storage.create(record(), wake=0)
        behind = look.dump()
        await storage.claim_due(owner="lost", lease=30, limit=1)
        look.restore(behind)
        assert await storage.renew([Lease(id="order-7", owner="lost")], lease=30) == {}
        (claimed,) = await storage.claim_due(owner="new", lease=30, limit=1)
        with pytest.raises(StaleInstanceError):
            await storage.save(checkpoint(expected=claimed.revision, owner="lost"))

    async def test_due_but_gone(self, storage: RedisStorage, look: Look) -> None:
        """An instance that an index names and nobody keeps is passed over, and forgotten."""
        await storage.create(record("a"), wake=0)
        await storage.create(record("b"), wake=0)
        look.client.delete(look.key("head:a"))
        claimed = await storage.claim_due(owner="two", lease=0, limit=10)
        assert [one.id for one in claimed] == ["b"]
        assert look.client.zrange(look.key("due:order"), 0, -1) == ["b"]


class TestNotices:
    async def test_what_is_told(self, storage: RedisStorage, look: Look) -> None:
        """One is told of signals and of rests, and of no save that keeps the lease."""
        heard: list[Notice] = []
        listening = asyncio.create_task(storage.notices(heard.append))
        await until(lambda: look.listeners)
        await storage.create(record("a b"), lease=30)
        await storage.create(record("due"), wake=0)
        await storage.create(record("resting"), wake=60)
        await storage.save(checkpoint("a b"))
        await storage.send_signal("a b", signal())
        await storage.save(checkpoint("a b", expected=2, lease=None, seen=0))
        await storage.send_signal("resting", signal(signal_id="e-1"))
        await storage.send_signal("resting", signal(signal_id="e-1"))
        await storage.send_signal("due", signal(), refused=["running"])
        await storage.claim("a b", owner="two", lease=30)
        await storage.save(checkpoint("a b", expected=4, owner="two", lease=None, seen=1))
        await storage.claim("due", owner="two", lease=30)
        await storage.release(Lease(id="due", owner="two"), wake=60)
        await storage.claim("due", owner="two", lease=30)
        await storage.release(Lease(id="due", owner="two"), wake=0)
        await storage.claim("due", owner="two", lease=30)
        await storage.save(checkpoint("due", expected=4, owner="two", lease=None, wake=60))
        await storage.create(record("last"), wake=0)
        await until(lambda: heard and heard[-1].id == "last")
        listening.cancel()
        assert [(notice.id, notice.is_due) for notice in heard] == [
            ("due", True),
            ("a b", False),
            ("a b", True),
            ("resting", True),
            ("a b", False),
            ("due", False),
            ("due", True),
            ("due", False),
            ("last", True),
        ]

    async def test_after_a_restart(self, tmp_path: Path) -> None:
        """Who listens goes on listening when the server was away."""
        heard: list[Notice] = []
        with RedisServer(tmp_path) as server:
            async with opened(RedisStorage(server.url)) as storage:
                assert isinstance(storage, RedisStorage)
                listening = asyncio.create_task(storage.notices(heard.append))
                for life in range(3):
                    await listened_to(server)
                    await storage.create(record(str(life)), wake=0)
                    await hears(heard, life)
                    server.kill()
                    await asyncio.sleep(0.05)
                    server.start()
                listening.cancel()
        assert [notice.id for notice in heard] == ["0", "1", "2"]

    async def test_broken(self, tmp_path: Path) -> None:
        """A connection that broke is told from one that could not be made, which waits longer."""
        with RedisServer(tmp_path) as server:
            link = Link(place_of(server.url, prefix="flux", timeout=1))
            listening = asyncio.create_task(link.listen("{flux}:notices", lambda said: None))
            await listened_to(server)
            server.kill()
            await listening
            with pytest.raises(StorageUnavailableError):
                await link.listen("{flux}:notices", lambda said: None)

    async def test_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that says nothing at all, not even when it is asked, is not listened to."""
        monkeypatch.setattr("flux_storages.redis_link.IDLE", 0.1)
        with RedisServer(tmp_path) as server:
            link = Link(place_of(server.url, prefix="flux", timeout=1))
            listening = asyncio.create_task(link.listen("{flux}:notices", lambda said: None))
            await listened_to(server)
            await asyncio.wait([listening], timeout=0.5)
            assert not listening.done()
            os.kill(server.pid, SIGSTOP)
            try:
                async with asyncio.timeout(10):
                    await listening
            finally:
                os.kill(server.pid, SIGCONT)

    async def test_refused(self, tmp_path: Path) -> None:
        """Who may not listen is told so, and does not try for ever."""
        with RedisServer(tmp_path) as server, looking(server.url) as look:
            rights = ["on", "nopass", "~*", "+@all", "resetchannels"]
            look.client.execute_command("ACL", "SETUSER", "kim", *rights)
            storage = RedisStorage(server.url.replace("//", "//kim:x@"))
            async with opened(storage):
                with pytest.raises(StorageError, match="denies access"):
                    await storage.notices(lambda notice: None)

    async def test_closed(self, redis_url: str) -> None:
        """A storage that is not open tells nothing."""
        with pytest.raises(StorageClosedError):
            await RedisStorage(redis_url).notices(lambda notice: None)

    async def test_cancelled(self, storage: RedisStorage, look: Look) -> None:
        """Who stops listening leaves no connection behind."""
        before = look.connections
        listening = asyncio.create_task(storage.notices(lambda notice: None))
        await until(lambda: look.listeners)
        listening.cancel()
        await asyncio.wait([listening])
        await until(lambda: look.connections == before)


async def listened_to(server: RedisServer) -> None:
    with looking(server.url) as look:
        await until(lambda: look.listeners)


async def hears(heard: list[Notice], life: int) -> None:
    await until(lambda: heard and heard[-1].id == str(life))


class TestCluster:
    async def test_one_slot(self, tmp_path: Path) -> None:
        """In a cluster every script finds all of its keys on one node."""
        port = next(port for port in iter(free_port, None) if port < 55535)
        options = "--cluster-enabled", "yes", "--save", ""
        with RedisServer(tmp_path, *options, port=port) as server:
            with looking(server.url) as look:
                look.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
                await until(lambda: look.client.cluster("INFO")["cluster_state"] == "ok")
            storage = RedisStorage(server.url)
            async with opened(storage):
                await storage.create(record(labels={"a": "b"}, unique_key="key"), lease=30)
                await storage.send_signal("order-7", signal(signal_id="e-1"))
                entry = Entry(number=1, body=b"1")
                await storage.save(checkpoint(entries=(entry,), consumed={1: "x"}, lease=None))
                (claimed,) = await storage.claim_due(owner="two", lease=30, limit=1)
                await storage.release(Lease(id="order-7", owner="two"))
                await storage.set_value("a", b"1", ttl=30)
                assert len(await storage.list(WorkflowFilter(labels={"a": "b"}))) == 1
                assert await storage.delete("order-7", revision=claimed.revision)


class TestEncrypted:
    async def test_large_and_small(self, redis_server: RedisServer, tmp_path: Path) -> None:
        """Over TLS calls, answers and notices go as they do without, large ones too."""
        heard: list[Notice] = []
        async with encrypted(redis_server.port, tmp_path) as url:
            storage = RedisStorage(url, prefix=tmp_path.name)
            async with opened(storage):
                listening = asyncio.create_task(storage.notices(heard.append))
                with looking(f"{redis_server.url}?prefix={tmp_path.name}") as look:
                    await until(lambda: look.listeners)
                await storage.create(record(), lease=30)
                entry = Entry(number=1, body=b'"%b"' % (b"x" * 1_000_000))
                await storage.save(checkpoint(entries=(entry,), lease=None))
                found = await asyncio.gather(*(storage.load("order-7") for _ in range(5)))
                assert [entries for _, entries in filter(None, found)] == [(entry,)] * 5
                await until(lambda: heard)
                listening.cancel()
        assert [notice.id for notice in heard] == ["order-7"]


class TestClosing:
    def test_another_loop(self, redis_url: str) -> None:
        """A storage that was closed can be opened in another event loop."""
        storage = RedisStorage(redis_url)

        async def open_and_close() -> bool:
            await storage.init(ManualClock())
            made = await storage.create(record(owner=None))
            await storage.close()
            return made

        assert [asyncio.run(open_and_close()) for _ in range(2)] == [True, False]

    async def test_connections_end(self, redis_url: str, look: Look) -> None:
        """The last close hangs up."""
        before = look.connections
        async with opened(RedisStorage(redis_url)) as storage:
            await asyncio.gather(*(storage.load("nobody") for _ in range(100)))
        await until(lambda: look.connections == before)

    async def test_cancelled_init(self, redis_url: str) -> None:
        """An init that is cancelled has not happened."""
        storage = RedisStorage(redis_url)
        opening = asyncio.create_task(storage.init(ManualClock()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        with pytest.raises(StorageClosedError):
            await storage.load("order-7")

    async def test_cancelled_close(self, redis_url: str, look: Look) -> None:
        """A close that is cancelled closes all the same, and finishes what was begun."""
        before = look.connections
        storage = RedisStorage(redis_url)
        await storage.init(ManualClock())
        writes = [asyncio.create_task(storage.create(record(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        end = asyncio.create_task(storage.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        end.cancel()
        with pytest.raises(asyncio.CancelledError):
            await end
        with pytest.raises(StorageClosedError):
            await storage.load("order-7")
        assert await asyncio.gather(*writes) == [True] * 20
        await until(lambda: look.connections == before)
