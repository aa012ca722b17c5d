"""The scripts of the folder `redis_scripts`, as they are sent."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

from attrs import frozen

Argument = str | bytes | int

_LENGTHS = [b"$%d\r\n" % length for length in range(2048)]


@frozen
class Script:
    """A script as the server gets it, and the name by which it knows it afterwards."""

    by_name: bytes
    """The start of a call that names the script, after the number of its parts."""
    in_full: bytes
    """The same with the script itself, for a server that does not know it."""

    @classmethod
    def of(cls, text: bytes) -> "Script":
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return cls(by_name=packed(["EVALSHA", digest, 1]), in_full=packed(["EVAL", text, 1]))

    def call(self, tag: str, arguments: Iterable[Argument]) -> bytes:
        """A call with the one key that every script gets."""
        parts = [tag, *arguments]
        return b"*%d\r\n%b%b" % (3 + len(parts), self.by_name, packed(parts))

    def call_in_full(self, call: bytes) -> bytes:
        return call.replace(self.by_name, self.in_full, 1)


def command(*parts: Argument) -> bytes:
    """A plain command."""
    return b"*%d\r\n%b" % (len(parts), packed(parts))


def packed(parts: Iterable[Argument]) -> bytes:
    """Parts of a command as the server reads them."""
    # A save has sixteen: with a function for each, and each put together for itself, it takes twice
    # as long, which is a tenth of a save among many.
    pieces: list[bytes] = []
    add = pieces.append
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        elif isinstance(part, int):
            part = b"%d" % part
        length = len(part)
        add(_LENGTHS[length] if length < len(_LENGTHS) else b"$%d\r\n" % length)
        add(part)
        add(b"\r\n")
    return b"".join(pieces)


def read_scripts() -> Mapping[str, Script]:
    """The scripts by name, each with what it needs of the prelude in front."""
    texts = {
        file.name.removesuffix(".lua"): file.read_text("utf-8")
        for file in (files("flux_storages") / "redis_scripts").iterdir()
        if file.name.endswith(".lua")
    }
    prelude = texts.pop("prelude").split("\n\n")
    return {name: Script.of(_with_needed(prelude, text).encode()) for name, text in texts.items()}


def _with_needed(prelude: Iterable[str], text: str) -> str:
    """A script behind those blocks of the prelude whose functions it calls, directly or not.

    The server makes all functions anew with every call: the whole prelude takes a tenth of a save.
    """
    for block in reversed(list(prelude)):
        named = re.search(r"^local function (\w+)", block, re.MULTILINE)
        if named is None or re.search(rf"\b{named[1]}\(", text):
            text = f"{block}\n\n{text}"
    return text


SCRIPTS = read_scripts()
