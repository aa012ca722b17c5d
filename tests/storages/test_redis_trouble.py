"""What goes wrong with a Redis, in words; and that the storage goes on when it is over."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from flux.errors import (
    NotARedisError,
    SchemaTooNewError,
    StorageAccessError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from flux.storage import Entry, Lease, WorkflowFilter, WorkflowStorage
from flux.testing import ManualClock
from flux_storages import RedisStorage
from flux_storages.redis_lua import Script, command
from flux_storages.redis_pipeline import PIECE, Pipeline
from records import checkpoint, opened, record, signal
from redis_look import looking, until
from redis_server import ON_DISK, RedisServer, free_port

IN_A_SCRIPT = b"-ERR Error running script (call to f_1): @user_script:5: @user_script: 5:"
"""How a server before Redis 7 begins to tell of an error that a script has met."""

LARGE = b'"' + b"x" * 100_000 + b'"'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may harm."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def lasting_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill: it keeps on disk what it has acknowledged."""
    with RedisServer(tmp_path, *ON_DISK) as server:
        yield server


async def test_a_piece_waits_for_no_answer() -> None:
    """A few calls wait until those before them are answered, sixteen do not."""
    loop, heard = asyncio.get_running_loop(), bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(heard) <= PIECE:
            heard.extend(await reader.read(1024))
        writer.close()

    async def dial(wire: asyncio.Protocol) -> asyncio.WriteTransport:
        transport, _ = await loop.create_connection(lambda: wire, "127.0.0.1", port)
        return transport

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        pipeline = Pipeline(dial, timeout=30, in_words=lambda error: error)
        calls = [pipeline.ask(b"a")]
        await until(lambda: heard == b"a")
        calls += [pipeline.ask(b"b") for _ in range(PIECE - 1)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert heard == b"a"
        calls.append(pipeline.ask(b"b"))
        await until(lambda: heard == b"a" + PIECE * b"b")
        await asyncio.gather(*calls, return_exceptions=True)  # nobody has answered
        await pipeline.close()


async def test_the_end_waits_for_what_is_on_its_way(server: RedisServer) -> None:
    """Though nobody waits any more for as many calls as are sent at once."""
    loop = asyncio.get_running_loop()

    async def dial(wire: asyncio.Protocol) -> asyncio.WriteTransport:
        transport, _ = await loop.create_connection(lambda: wire, "127.0.0.1", server.port)
        return transport

    pipeline = Pipeline(dial, timeout=30, in_words=lambda error: error)
    unknown = Script.of(b"return 1")  # the server refuses it, and it is asked for anew
    left = [pipeline.ask(unknown.call("t", []), unknown) for _ in range(PIECE + 1)]
    slow = pipeline.ask(command("BLPOP", "nothing", 1))
    while not pipeline.is_busy:  # noqa: ASYNC110 - seen by looking
        await asyncio.sleep(0)
    for call in left:
        call.cancel()
    await pipeline.close()
    assert await slow is None


async def open_and_close(url: str, timeout: float = 5) -> None:
    async with opened(RedisStorage(url, timeout=timeout)):
        pass


async def load_for_ever(storage: WorkflowStorage) -> None:
    while True:
        await storage.load("order-7")


@asynccontextmanager
async def saying(said: bytes) -> AsyncIterator[str]:
    """A server that says always the same, whatever is sent to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(said)
        writer.close()

    async with serving(serve) as url:
        yield url


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that greets as a Redis does, and answers each command as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:length])
            greeting = {b"PING": b"+PONG\r\n", b"CLIENT": b"+OK\r\n"}
            writer.write(greeting.get(words[0]) or answer(words[0]))
        writer.close()

    async with serving(serve) as url:
        yield url


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"redis://127.0.0.1:{port}/0"


class TestGone:
    async def test_nobody_there(self) -> None:
        """Where nobody listens, the error names the place and what to expect."""
        port = free_port()
        place = f"redis://127.0.0.1:{port}/0 cannot be reached"
        with pytest.raises(StorageUnavailableError, match=place) as caught:
            await open_and_close(f"redis://kim:secret@127.0.0.1:{port}")
        assert isinstance(caught.value, ConnectionError)
        assert "secret" not in str(caught.value)

    async def test_unknown_host(self) -> None:
        """A name that nobody knows is an error of the storage, too."""
        with pytest.raises(StorageUnavailableError, match=r"nowhere\.invalid"):
            await open_and_close("redis://nowhere.invalid")

    async def test_restart(self, lasting_server: RedisServer) -> None:
        """After a crash and restart of the server the storage goes on, and nothing is lost."""
        async with opened(RedisStorage(lasting_server.url)) as storage:
            await storage.create(record(), entries=[Entry(number=1, body=b"1")])
            await storage.save(checkpoint(payload=b"[1]"))
            lasting_server.kill()
            with pytest.raises(StorageUnavailableError):
                await storage.save(checkpoint(expected=2))
            with pytest.raises(StorageUnavailableError):
                await storage.load("order-7")
            lasting_server.start()
            assert await storage.save(checkpoint(expected=2)) == 0
            found = await storage.load("order-7")
            assert found is not None
            assert (found[0].revision, found[1]) == (3, (Entry(number=1, body=b"1"),))

    async def test_unnoticed_restart(self, lasting_server: RedisServer) -> None:
        """A restart while nobody asks for anything is not noticed at all."""
        async with opened(RedisStorage(lasting_server.url)) as storage:
            await storage.create(record())
            lasting_server.kill()
            lasting_server.start()
            await asyncio.sleep(0.01)
            assert await storage.save(checkpoint()) == 0

    async def test_killed_under_load(self, lasting_server: RedisServer) -> None:
        """What was acknowledged before a kill is there; what was not is whole or not at all."""
        async with opened(RedisStorage(lasting_server.url)) as storage:
            acknowledged = dict.fromkeys(range(16), 0)

            async def drive(number: int) -> None:
                await storage.create(record(str(number)))
                for revision in range(1, 1000):
                    entry = Entry(number=revision, body=b"%d" % revision)
                    save = checkpoint(str(number), expected=revision, entries=(entry,))
                    await storage.save(save)
                    acknowledged[number] = revision

            drivers = [asyncio.create_task(drive(number)) for number in acknowledged]
            await until(lambda: max(acknowledged.values()) > 20)
            lasting_server.kill()
            outcomes = await asyncio.gather(*drivers, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StorageUnavailableError}
            lasting_server.start()
            for number, last in acknowledged.items():
                found = await storage.load(str(number))
                assert found is not None
                assert found[0].revision - 1 in (last, last + 1)
                assert len(found[1]) == found[0].revision - 1

    async def test_hangs(self, server: RedisServer) -> None:
        """A server that does not answer is unavailable after the timeout, and then it goes on."""
        async with opened(RedisStorage(server.url, timeout=0.2)) as storage:
            await storage.create(record())
            os.kill(server.pid, SIGSTOP)
            try:
                saves = [storage.save(checkpoint()), storage.load("order-7")]
                async with asyncio.timeout(30):
                    outcomes = await asyncio.gather(*saves, return_exceptions=True)
            finally:
                os.kill(server.pid, SIGCONT)
            assert [type(outcome) for outcome in outcomes] == [StorageUnavailableError] * 2
            # Whether the save was done or not: its repetition tells.
            assert await storage.save(checkpoint()) == 0

    async def test_hangs_from_the_start(self) -> None:
        """A server that takes connections and says nothing is given up, too."""
        async with saying(b"") as url, asyncio.timeout(30):
            with pytest.raises(StorageUnavailableError, match="Timeout"):
                await open_and_close(url, timeout=0.2)

    async def test_failed_init(self, server: RedisServer) -> None:
        """An init that failed can be tried again."""
        storage = RedisStorage(server.url)
        server.kill()
        with pytest.raises(StorageUnavailableError):
            await storage.init(ManualClock())
        server.start()
        await storage.init(ManualClock())
        assert await storage.create(record())
        await storage.close()

    async def test_scripts_forgotten(self, redis_url: str) -> None:
        """A server that has forgotten the scripts gets them again."""
        async with opened(RedisStorage(redis_url)) as storage:
            await storage.create(record(), lease=30)
            with looking(redis_url) as look:
                look.client.script_flush()
            saves = [storage.save(checkpoint()), storage.create(record("other"))]
            renewed = storage.renew([Lease(id="order-7", owner="one")], lease=30)
            assert await asyncio.gather(*saves, renewed) == [0, True, {"order-7": 0}]


class TestRefusals:
    async def test_memory_full(self, server: RedisServer) -> None:
        """A save for which there is no room fails whole; with room again it succeeds."""
        async with opened(RedisStorage(server.url)) as storage:
            await storage.create(record(unique_key="key"), entries=[Entry(number=1, body=b"1")])
            await storage.create(record("other"), lease=30)
            before = await storage.load("order-7")
            with looking(server.url) as look:
                look.client.config_set("maxmemory", "1mb")
                look.client.config_set("maxmemory-policy", "noeviction")
                acts = (
                    storage.save(checkpoint(entries=(Entry(number=1, body=LARGE),))),
                    storage.save(
                        checkpoint(status="completed", ended_at=before and before[0].created_at)
                    ),
                    storage.create(record("new", labels={"a": "b"})),
                    storage.claim("order-7", owner="two", lease=30),
                    storage.send_signal("order-7", signal(signal_id="e-1")),
                    storage.release(Lease(id="other", owner="one"), wake=0),
                )
                for act in acts:
                    with pytest.raises(StorageFullError, match="is full; make room"):
                        await act
                look.client.config_set("maxmemory", "0")
            assert await storage.load("order-7") == before
            assert await storage.signals("order-7") == ()
            assert await storage.count(WorkflowFilter()) == 2
            assert await storage.save(checkpoint(entries=(Entry(number=1, body=LARGE),))) == 0

    async def test_replica(self, server: RedisServer) -> None:
        """A server that became a replica takes no writes, and one is told what to do."""
        async with opened(RedisStorage(server.url)) as storage:
            await storage.create(record())
            with looking(server.url) as look:
                look.client.replicaof("127.0.0.1", free_port())
                with pytest.raises(StorageReadOnlyError, match="connect to its master"):
                    await storage.save(checkpoint())
                with pytest.raises(StorageReadOnlyError):
                    await open_and_close(server.url)
                look.client.replicaof("no", "one")
            assert await storage.save(checkpoint()) == 0

    async def test_read_only_hangs_up(self, server: RedisServer) -> None:
        """After a fail-over the next call connects anew, to where the name leads then."""
        async with opened(RedisStorage(server.url)) as storage:
            with looking(server.url) as look:
                mine = look.client.client_id()

                def others() -> set[str]:
                    found = {client["id"] for client in look.client.client_list()}
                    return found - {str(mine)}

                before = others()
                look.client.replicaof("127.0.0.1", free_port())
                with pytest.raises(StorageReadOnlyError):
                    await storage.create(record())
                await storage.load("order-7")
                assert len(before) == len(others()) == len(before | others()) - 1 == 1

    @pytest.mark.parametrize("password", ["", ":wrong@", "kim:wrong@"])
    async def test_password(self, server: RedisServer, password: str) -> None:
        """Without the right password one is told so, and the password is not shown."""
        with looking(server.url) as look:
            look.client.config_set("requirepass", "secret")
            url = server.url.replace("//", f"//{password}")
            with pytest.raises(StorageAccessError, match="check user and password") as caught:
                await open_and_close(url)
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "").replace("wrong n", "")
            await open_and_close(server.url.replace("//", "//:secret@"))
            await open_and_close(server.url.replace("//", "//default:secret@"))

    async def test_rights(self, server: RedisServer) -> None:
        """A user that may not write is told so."""
        with looking(server.url) as look:
            look.client.execute_command("ACL", "SETUSER", "kim", "on", ">pw", "+@read", "~*")
            with pytest.raises(StorageAccessError, match="what the user may do"):
                await open_and_close(server.url.replace("//", "//kim:pw@"))

    async def test_few_rights(self, server: RedisServer) -> None:
        """The rights that docs/redis.md names are enough, but for the notices."""
        rights = "resetchannels -@all ~{flux}* +@read +@write +eval +evalsha +time +select +ping"
        with looking(server.url) as look:
            kim = "ACL", "SETUSER", "kim", "on", ">pw", *rights.split(), "+client|setinfo"
            look.client.execute_command(*kim)
        storage = RedisStorage(server.url.replace("//", "//kim:pw@"))
        async with opened(storage):
            await storage.create(record(labels={"a": "b"}, unique_key="key"), lease=30)
            await storage.send_signal("order-7", signal())
            assert await storage.save(checkpoint(lease=None, seen=1)) == 1
            await storage.set_value("a", b"1", ttl=30)
            assert await storage.delete_value("a")
            assert await storage.count(WorkflowFilter(labels={"a": "b"})) == 1
            assert await storage.delete("order-7", revision=2)

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"220 mail.example.org ESMTP\r\n",
        ],
    )
    async def test_something_else(self, said: bytes) -> None:
        """What does not speak as Redis does is told from a Redis that is down."""
        async with saying(said) as url:
            with pytest.raises(NotARedisError, match="check host, port and TLS") as caught:
                await open_and_close(url)
        assert isinstance(caught.value, ValueError)

    async def test_garbled(self) -> None:
        """So is what greets as a Redis does and then speaks otherwise."""
        async with answering(lambda command: b"what?\r\n") as url:
            with pytest.raises(NotARedisError, match="what"):
                await open_and_close(url)

    async def test_answers_without_questions(self) -> None:
        """What says more than it is asked is hung up on, so that no call gets a wrong answer."""
        asked = []

        def answer(command: bytes) -> bytes:
            asked.append(command)
            return b"$1\r\n1\r\n$5\r\nwrong\r\n"

        async with answering(answer) as url, asyncio.timeout(30):
            await open_and_close(url)
        assert asked == [b"INFO", b"SET", b"GET"]

    async def test_no_tls(self) -> None:
        """TLS with a server that speaks none is no Redis either."""
        async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
            with pytest.raises(NotARedisError, match="check host, port and TLS"):
                await open_and_close(url.replace("redis:", "rediss:"))

    @pytest.mark.parametrize(
        ("said", "kind", "why"),
        [
            (b"-LOADING Redis is loading", StorageUnavailableError, "it is loading its data"),
            (b"-BUSY Redis is busy", StorageUnavailableError, "a script of somebody's"),
            (b"-MISCONF Redis cannot save", StorageUnavailableError, "cannot write to its disk"),
            (b"-MASTERDOWN Link is down", StorageUnavailableError, "has lost its master"),
            (b"-NOREPLICAS Not enough", StorageUnavailableError, "too few replicas"),
            (b"-CLUSTERDOWN Hash slot", StorageUnavailableError, "its cluster is down"),
            (b"-TRYAGAIN Multiple keys", StorageUnavailableError, "is moving keys"),
            (b"-ERR max number of clients reached", StorageUnavailableError, "max number"),
            (b"-MOVED 3999 127.0.0.1:6381", StorageError, "kept by another node"),
            (b"-OOM command not allowed", StorageFullError, "is full"),
            (b"-NOPERM this user has no", StorageAccessError, "denies access"),
            (b"-ERR something new", StorageError, "says 'something new'"),
            (
                b"%b -OOM command not allowed when used memory > 'maxmemory'." % IN_A_SCRIPT,
                StorageFullError,
                "is full",
            ),
            (
                b"%b -READONLY You can't write against a read only replica." % IN_A_SCRIPT,
                StorageReadOnlyError,
                "is a replica",
            ),
        ],
    )
    async def test_said_by_the_server(
        self, said: bytes, kind: type[StorageError], why: str
    ) -> None:
        """Whatever a server says, from Redis 6.2 on, becomes an error of Flux that fits."""

        async with answering(lambda command: said + b"\r\n") as url:
            with pytest.raises(StorageError, match=why) as caught:
                await open_and_close(url)
        assert type(caught.value) is kind

    async def test_busy(self, server: RedisServer) -> None:
        """While a script of somebody's runs on and on, the storage is unavailable."""
        async with opened(RedisStorage(server.url)) as storage:
            with looking(server.url) as look, looking(server.url) as other:
                look.client.config_set("lua-time-limit", 1)
                endless = asyncio.to_thread(other.client.eval, "while true do end", 0)
                running = asyncio.create_task(endless)
                with pytest.raises(StorageUnavailableError, match="a script of somebody's"):
                    await load_for_ever(storage)
                look.client.script_kill()
                await asyncio.wait([running])
                assert running.exception() is not None
            assert await storage.create(record())

    async def test_cause_is_kept(self) -> None:
        """Beneath the error of Flux there is that of the driver."""
        with pytest.raises(StorageUnavailableError) as caught:
            await open_and_close(f"redis://127.0.0.1:{free_port()}")
        assert "redis" in type(caught.value.__cause__).__module__


class TestWhoseItIs:
    async def test_newer_schema(self, redis_url: str) -> None:
        """What a newer Flux has written is refused and left as it is."""
        await open_and_close(redis_url)
        with looking(redis_url) as look:
            assert look.client.get(look.key("schema")) == "1"
            look.client.set(look.key("schema"), 99)
            with pytest.raises(SchemaTooNewError, match="has schema 99, this Flux knows") as caught:
                await open_and_close(redis_url)
            assert (caught.value.found, look.keys) == (99, ["schema"])

    async def test_schema_of_others(self, redis_url: str) -> None:
        """A prefix under which somebody else keeps things is refused."""
        with looking(redis_url) as look:
            look.client.set(look.key("schema"), "birds")
            with pytest.raises(StorageError, match="use another prefix"):
                await open_and_close(redis_url)

    @pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
    async def test_eviction(self, server: RedisServer, policy: str) -> None:
        """A server that may throw instances away is refused."""
        with looking(server.url) as look:
            look.client.config_set("maxmemory-policy", policy)
            await open_and_close(server.url)
            look.client.config_set("maxmemory", "100mb")
            with pytest.raises(StorageError, match=f"{policy}.*set it to noeviction"):
                await open_and_close(server.url)
            look.client.config_set("maxmemory-policy", "volatile-lru")
            await open_and_close(server.url)

    @pytest.mark.parametrize(("version", "is_fine"), [("6.0.16", False), ("6.2.0", True)])
    async def test_old_server(self, version: str, is_fine: bool) -> None:
        """A server that is too old is named, with the version that is needed."""

        def answer(command: bytes) -> bytes:
            told = f"# Server\r\nredis_version:{version}\r\n".encode()
            said = told if command == b"INFO" else b"1"
            return b"$%d\r\n%b\r\n" % (len(said), said)

        async with answering(answer) as url:
            if is_fine:
                await open_and_close(url)
            else:
                with pytest.raises(StorageError, match=r"Redis 6\.0\.16; Flux needs 6\.2"):
                    await open_and_close(url)
