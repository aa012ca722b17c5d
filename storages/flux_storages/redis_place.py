"""Where a Redis is: URLs and settings, read and checked."""

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from flux.errors import StorageURLError

SETTINGS = ("prefix", "timeout", "ca_certs")


@frozen(kw_only=True)
class Place:
    """A Redis, what to connect to it with, and the keys in it that are ours."""

    name: str
    """For messages: without a password."""
    connection: Mapping[str, Any]
    """Settings of the client."""
    prefix: str
    timeout: float

    @property
    def tag(self) -> str:
        """With what all keys begin; for the braces a cluster keeps them in one slot."""
        return "{" + self.prefix + "}"


def place_of(target: str | Mapping[str, Any], *, prefix: str, timeout: float) -> Place:
    """The place that a URL, or settings of the client, name.

    A URL is `redis://user:password@host:port/db?prefix=…&timeout=…`; what it says of prefix and
    timeout counts for more than the arguments.
    """
    if isinstance(target, str):
        return _place_of_url(target, prefix=prefix, timeout=timeout)
    host, port = target.get("host", "localhost"), target.get("port", 6379)
    address = target.get("unix_socket_path", f"redis://{host}:{port}/{target.get('db', 0)}")
    _check(address, prefix, timeout)
    return Place(name=address, connection=dict(target), prefix=prefix, timeout=timeout)


def _place_of_url(url: str, *, prefix: str, timeout: float) -> Place:
    hidden = _without_password(url)
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise StorageURLError(hidden, str(error)) from error
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
        raise StorageURLError(hidden, "a Redis is written redis://host:port/db, rediss: for TLS")
    settings = _settings(hidden, parts.query)
    prefix = settings.get("prefix", prefix)
    timeout = _number(settings["timeout"]) if "timeout" in settings else timeout
    _check(hidden, prefix, timeout)
    db = _database(hidden, parts.path)
    connection: dict[str, Any] = {"host": unquote(parts.hostname), "port": port, "db": db}
    if parts.username:
        connection["username"] = unquote(parts.username)
    if parts.password:
        connection["password"] = unquote(parts.password)
    if parts.scheme == "rediss":
        connection["ssl"] = True
        if "ca_certs" in settings:
            connection["ssl_ca_certs"] = settings["ca_certs"]
    elif "ca_certs" in settings:
        raise StorageURLError(hidden, "ca_certs is for TLS; write rediss:")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{parts.scheme}://{host}:{port}/{db}"
    return Place(name=name, connection=connection, prefix=prefix, timeout=timeout)


def _settings(url: str, query: str) -> dict[str, str]:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    for name in settings:
        if name not in SETTINGS:
            raise StorageURLError(url, f"its settings are {', '.join(SETTINGS)}, not {name}")
    return settings


def _database(url: str, path: str) -> int:
    text = path.removeprefix("/")
    if not ((text.isascii() and text.isdigit()) or text == ""):
        raise StorageURLError(url, f"the database is a number, not {text!r}")
    return int(text or 0)


def _check(url: str, prefix: str, timeout: float) -> None:
    if not prefix or "{" in prefix or "}" in prefix:
        raise StorageURLError(url, f"a prefix is a text without braces, not {prefix!r}")
    if not 0 < timeout <= 86400:
        raise StorageURLError(url, "timeout is a number of seconds above 0, up to 86400")


def _without_password(url: str) -> str:
    return re.sub(r"(?<=//)([^:@/]*):.*@", r"\1:***@", url)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
