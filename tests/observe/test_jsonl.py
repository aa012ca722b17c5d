"""Trace events as lines of JSON, with the names and units of the original."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flux.errors import StoredError
from flux.observe.jsonl import JSONLinesSink
from flux.observe.trace import FluxTraceEvent

MADE = FluxTraceEvent(
    type="step:retry",
    timestamp=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
    workflow_id="order-7",
    workflow_name="order",
    step_name="charge",
    step_index=0,
    commit=False,
    retries=1,
    max_retries=3,
    duration=1.2345678,
    error=StoredError(type="CardError", message="declined"),
    status="running",
    data={"last_try": None},
    meta={"ended": "failed", "retry_at": datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)},
)
BARE = FluxTraceEvent(
    type="workflow:complete",
    timestamp=datetime(1970, 1, 1, tzinfo=UTC),
    workflow_id="order-7",
    workflow_name="order",
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(path: Path, event: FluxTraceEvent) -> dict[str, Any]:
    with closing(JSONLinesSink(path)) as sink:
        sink.emit(event)
    return lines(path)[-1]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, like a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_line_is_the_originals(tmp_path: Path) -> None:
    """An event is one object with the original's field names, times and durations in ms."""
    assert written(tmp_path / "trace.jsonl", MADE) == {
        "type": "step:retry",
        "timestamp": 1767268800123,
        "workflowId": "order-7",
        "workflowName": "order",
        "stepName": "charge",
        "stepIndex": 0,
        "commit": False,
        "retries": 1,
        "maxRetries": 3,
        "duration": 1234.568,
        "error": "CardError: declined",
        "status": "running",
        "data": {"last_try": None},
        "meta": {"ended": "failed", "retryAt": 1767268801000},
    }


def test_untold_fields_are_left_out(tmp_path: Path) -> None:
    """What the event does not tell is not in its line."""
    told = written(tmp_path / "trace.jsonl", BARE)
    assert set(told) == {"type", "timestamp", "workflowId", "workflowName"}


def test_other_zones_are_the_same_instant(tmp_path: Path) -> None:
    """The milliseconds count in UTC, whatever zone the time names."""
    tokyo = timezone(timedelta(hours=9))
    event = FluxTraceEvent(
        type="workflow:start",
        timestamp=datetime(1970, 1, 1, 9, 0, 1, tzinfo=tokyo),
        workflow_id="order-7",
        workflow_name="order",
    )
    assert written(tmp_path / "trace.jsonl", event)["timestamp"] == 1000


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    """A line can be read before the file is closed."""
    path = tmp_path / "trace.jsonl"
    with closing(JSONLinesSink(path)) as sink:
        for count in (1, 2):
            sink.emit(BARE)
            assert len(lines(path)) == count


def test_file_is_appended_to(tmp_path: Path) -> None:
    """What an earlier run has written stays."""
    path = tmp_path / "trace.jsonl"
    written(path, MADE)
    written(path, BARE)
    assert [line["type"] for line in lines(path)] == ["step:retry", "workflow:complete"]


def test_file_is_opened_by_the_first_event(tmp_path: Path) -> None:
    """A sink that gets no event makes no file."""
    path = tmp_path / "trace.jsonl"
    JSONLinesSink(path).close()
    assert not path.exists()


def test_closed_sink_opens_again(tmp_path: Path) -> None:
    """A sink goes on after it was closed, as its engine does."""
    path = tmp_path / "trace.jsonl"
    with closing(JSONLinesSink(path)) as sink:
        sink.emit(BARE)
        sink.close()
        sink.emit(BARE)
    assert len(lines(path)) == 2


def test_missing_folder_raises(tmp_path: Path) -> None:
    """A file that cannot be opened is an error of the event, not of the sink's making."""
    sink = JSONLinesSink(os.fspath(tmp_path / "none" / "trace.jsonl"))
    with pytest.raises(FileNotFoundError):
        sink.emit(BARE)


def test_full_disk_raises(tmp_path: Path) -> None:
    """A line for which there is no room raises."""
    too_large = pytest.raises(OSError, match="File too large")
    with closing(JSONLinesSink(tmp_path / "trace.jsonl")) as sink, room_for(0), too_large:
        sink.emit(BARE)


def test_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """A line that a full disk cut short stands alone; the next ones are whole."""
    path = tmp_path / "trace.jsonl"
    with closing(JSONLinesSink(path)) as sink:
        with room_for(10), pytest.raises(OSError, match="File too large"):
            sink.emit(MADE)
        sink.emit(BARE)
        sink.emit(BARE)
    torn, *whole = path.read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["type"] for line in whole] == ["workflow:complete"] * 2


def test_what_json_lacks_raises(tmp_path: Path) -> None:
    """A value that has no JSON is refused, and no part of its line is written."""
    path = tmp_path / "trace.jsonl"
    event = FluxTraceEvent(
        type="workflow:start",
        timestamp=BARE.timestamp,
        workflow_id="order-7",
        workflow_name="order",
        input=object(),
    )
    with pytest.raises(TypeError):
        JSONLinesSink(path).emit(event)
    assert not path.exists()
