"""URLs and settings: which Redis they name, and what is wrong with them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flux.errors import StorageURLError
from flux.storage import WorkflowFilter, open_storage
from flux_storages import RedisStorage
from flux_storages.redis_place import Place, place_of
from records import opened, record
from redis_server import RedisServer

WITHOUT_DRIVER = """
import sys
sys.modules["redis"] = None
from flux.errors import DriverMissingError
from flux.storage import open_storage
try:
    open_storage("redis://localhost")
except DriverMissingError as error:
    print(error)
"""


def place(target: Any, **settings: Any) -> Place:
    defaults: dict[str, Any] = {"prefix": "flux", "timeout": 5.0}
    return place_of(target, **(defaults | settings))


class TestURL:
    @pytest.mark.parametrize(
        ("url", "name", "connection"),
        [
            ("redis://localhost", "redis://localhost:6379/0", {"db": 0, "port": 6379}),
            ("redis://db.example:7000/3", "redis://db.example:7000/3", {"db": 3, "port": 7000}),
            ("redis://localhost/", "redis://localhost:6379/0", {"db": 0}),
            ("redis://[::1]:7000", "redis://[::1]:7000/0", {"host": "::1"}),
            (
                "redis://kim:p%40ss%3A@localhost",
                "redis://localhost:6379/0",
                {"username": "kim", "password": "p@ss:"},
            ),
            ("redis://:pw@localhost", "redis://localhost:6379/0", {"password": "pw"}),
            (
                "rediss://localhost?ca_certs=/etc/own%20ca.pem",
                "rediss://localhost:6379/0",
                {"ssl": True, "ssl_ca_certs": "/etc/own ca.pem"},
            ),
        ],
    )
    def test_connection(self, url: str, name: str, connection: dict[str, object]) -> None:
        """A URL says where the server is, which database, who asks, and whether encrypted."""
        found = place(url)
        assert found.name == name
        assert {key: found.connection.get(key) for key in connection} == connection

    def test_no_user(self) -> None:
        """Who names no user and no password sends none."""
        assert set(place("redis://localhost").connection) == {"host", "port", "db"}

    @pytest.mark.parametrize(
        ("url", "prefix", "timeout"),
        [
            ("redis://localhost", "mine", 2.0),
            ("redis://localhost?prefix=orders", "orders", 2.0),
            ("redis://localhost?timeout=0.5&prefix=a%20b", "a b", 0.5),
        ],
    )
    def test_settings(self, url: str, prefix: str, timeout: float) -> None:
        """What the URL says of prefix and timeout counts, else what the caller says."""
        found = place(url, prefix="mine", timeout=2.0)
        assert (found.prefix, found.timeout) == (prefix, timeout)
        assert found.tag == "{" + prefix + "}"

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("redis:", "written redis://host:port/db"),
            ("redis:localhost", "written redis://host:port/db"),
            ("redis:///0", "written redis://host:port/db"),
            ("http://localhost", "written redis://host:port/db"),
            ("redis://localhost#1", "written redis://host:port/db"),
            ("redis://localhost:port", "its host or port makes no sense"),
            ("redis://localhost:99999", "its host or port makes no sense"),
            ("redis://[::1", "its host or port makes no sense"),
            ("redis://localhost/orders", "the database is a number, not 'orders'"),
            ("redis://localhost/-1", "the database is a number, not '-1'"),
            ("redis://localhost/²", "the database is a number, not '²'"),
            ("redis://localhost/0/1", "the database is a number, not '0/1'"),
            ("redis://localhost?db=1", "its settings are prefix, timeout, ca_certs, not db"),
            ("redis://localhost?prefix=", "a text without braces, not ''"),
            ("redis://localhost?prefix={a}", "a text without braces, not '{a}'"),
            ("redis://localhost?prefix=a}", "a text without braces"),
            ("redis://localhost?timeout=0", "timeout is a number of seconds above 0"),
            ("redis://localhost?timeout=soon", "timeout is a number of seconds above 0"),
            ("redis://localhost?timeout=inf", "timeout is a number of seconds above 0"),
            ("redis://localhost?ca_certs=a.pem", "ca_certs is for TLS; write rediss:"),
        ],
    )
    def test_refused(self, url: str, why: str) -> None:
        """A URL that makes no sense is refused in words that say why."""
        with pytest.raises(StorageURLError, match=why) as caught:
            RedisStorage.from_url(url)
        assert caught.value.url == url

    @pytest.mark.parametrize(
        "place",
        ["kim:pw-1@localhost/x", ":pw-1@localhost:x", ":p/w-1@localhost", "kim:/w-1@localhost"],
    )
    def test_password_is_not_shown(self, place: str) -> None:
        """The error about a URL does not show the password in it, nor does the storage."""
        with pytest.raises(StorageURLError, match="is no storage") as caught:
            RedisStorage.from_url(f"redis://{place}")
        assert "w-1" not in f"{caught.value!r} {caught.value}"
        storage = RedisStorage.from_url("redis://kim:pw-1@localhost?prefix=orders")
        assert repr(storage) == "RedisStorage('redis://localhost:6379/0', prefix='orders')"

    @pytest.mark.parametrize("scheme", ["redis", "rediss"])
    def test_found_by_scheme(self, scheme: str) -> None:
        """The engine finds the storage by the scheme of its URL."""
        storage = open_storage(f"{scheme}://localhost:7000")
        assert repr(storage) == f"RedisStorage('{scheme}://localhost:7000/0', prefix='flux')"


class TestSettings:
    async def test_of_the_client(self, redis_server: RedisServer, redis_url: str) -> None:
        """Instead of a URL there may be settings of the client."""
        target = {"host": "127.0.0.1", "port": redis_server.port, "client_name": "orders"}
        storage = RedisStorage(target, prefix=redis_url[-32:])
        name = f"redis://127.0.0.1:{redis_server.port}/0"
        assert repr(storage) == f"RedisStorage({name!r}, prefix={redis_url[-32:]!r})"
        async with opened(storage):
            assert await storage.create(record())
            assert await storage.count(WorkflowFilter()) == 1

    async def test_socket(self, tmp_path: Path) -> None:
        """A server on a socket of the file system is reached by its path."""
        path = str(tmp_path / "redis.sock")
        with RedisServer(tmp_path, "--unixsocket", path, "--save", ""):
            storage = RedisStorage({"unix_socket_path": path})
            assert path in repr(storage)
            async with opened(storage):
                assert await storage.create(record())

    def test_defaults(self) -> None:
        """Without settings it is the Redis of this machine."""
        assert place({}).name == "redis://localhost:6379/0"

    @pytest.mark.parametrize("wrong", [{"prefix": ""}, {"prefix": "{"}, {"timeout": -1}])
    def test_refused(self, wrong: dict[str, Any]) -> None:
        """Prefix and timeout must make sense here as well."""
        with pytest.raises(StorageURLError, match="is no storage"):
            RedisStorage({"host": "localhost"}, **wrong)


def test_driver_is_missing() -> None:
    """Without the package redis one is told what to install."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_DRIVER], capture_output=True, text=True, check=True
    )
    assert "the package redis, which is not installed; pip install 'flux-saga[redis]'" in run.stdout
