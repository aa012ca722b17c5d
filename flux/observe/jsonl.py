"""Trace events as lines of JSON in a file, with the names and units of the original."""

import os
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import orjson
from attrs import asdict

from flux.errors import StoredError
from flux.observe.trace import FluxTraceEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class JSONLinesSink:
    """An outlet that appends one line of JSON per event to the file at `path`.

    Fields are in camelCase, times are milliseconds since 1970, durations milliseconds, an error is
    its `Type: message`; what an event does not tell is left out. Each line is written at once and
    by one call, so that several processes may share the file. `emit` raises `OSError` when it
    cannot write. The file is opened by the first event; after `close` the next one opens it again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: FileIO | None = None
        self._is_torn = False

    def emit(self, event: FluxTraceEvent) -> None:
        """Append the event's line."""
        line = _line(event)
        if self._file is None:
            self._file = FileIO(self.path, "ab")
        # A line that was cut short by a full disk must not swallow this one.
        self._append(self._file, b"\n" + line if self._is_torn else line)
        self._is_torn = False

    def close(self) -> None:
        """Close the file, if it is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _append(self, file: FileIO, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[file.write(rest) :]
            self._is_torn = True


def _line(event: FluxTraceEvent) -> bytes:
    told = asdict(event, recurse=False, filter=lambda _, value: value is not None)
    meta = told.pop("meta")
    if "duration" in told:
        told["duration"] = round(told["duration"] * 1000, 3)
    if meta:
        told["meta"] = _camel_keys(meta)
    return orjson.dumps(
        _camel_keys(told),
        default=_as_in_the_original,
        option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME,
    )


def _camel_keys(fields: dict[str, Any]) -> dict[str, Any]:
    return {_camel(name): value for name, value in fields.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _as_in_the_original(value: object) -> int | str:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MILLISECOND
    if isinstance(value, StoredError):
        return str(value)
    raise TypeError
