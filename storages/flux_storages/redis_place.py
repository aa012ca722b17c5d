"""Where a Redis is: URLs and settings, read and checked."""

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import frozen

from flux.errors import StorageURLError

SETTINGS = ("prefix", "timeout", "ca_certs")

UNREADABLE = "its host or port makes no sense (in a password, / ? # and @ are percent-encoded)"


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
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise _unreadable(url) from error
    if "@" in parts.path + parts.query + parts.fragment:
        raise _unreadable(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
        raise StorageURLError(url, "a Redis is written redis://host:port/db, rediss: for TLS")
    settings = _settings(url, parts.query)
    prefix = settings.get("prefix", prefix)
    timeout = _number(settings["timeout"]) if "timeout" in settings else timeout
    _check(url, prefix, timeout)
    if "ca_certs" in settings and parts.scheme == "redis":
        raise StorageURLError(url, "ca_certs is for TLS; write rediss:")
    db = _database(url, parts.path)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{parts.scheme}://{host}:{port}/{db}"
    connection = {"host": unquote(parts.hostname), "port": port, "db": db}
    connection |= _credentials(parts) | _encryption(parts, settings)
    return Place(name=name, connection=connection, prefix=prefix, timeout=timeout)


def _credentials(parts: SplitResult) -> dict[str, Any]:
    given = {"username": parts.username, "password": parts.password}
    return {name: unquote(text) for name, text in given.items() if text}


def _encryption(parts: SplitResult, settings: Mapping[str, str]) -> dict[str, Any]:
    if parts.scheme == "redis":
        return {}
    own = {"ssl_ca_certs": settings["ca_certs"]} if "ca_certs" in settings else {}
    return {"ssl": True, **own}


def _unreadable(url: str) -> StorageURLError:
    # What stands before the last @ may be a password, wherever the parser looks for it.
    return StorageURLError(re.sub("//.*@", "//***@", url), UNREADABLE)


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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
