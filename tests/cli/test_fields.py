"""Log lines with fields, as the worker writes them."""

import logging

import pytest

from flux.cli.fields import FieldsFormatter, log_to_stderr


def line(**fields: object) -> str:
    record = logging.makeLogRecord({"name": "flux", "levelname": "INFO", "msg": "event", **fields})
    return FieldsFormatter().format(record).partition(" INFO ")[2]


def test_fields_follow_the_event() -> None:
    """Each field is shown as name=value, in the order given."""
    assert line(instance="order-1", retry_in=0.5) == "flux event instance=order-1 retry_in=0.5"


def test_event_without_fields() -> None:
    """What has no fields is not followed by anything."""
    assert line() == "flux event"


def test_field_of_several_words_is_quoted() -> None:
    """A field never breaks its line, nor looks like another one."""
    assert line(why="it is down\n  - so") == r"flux event why='it is down\n  - so'"


def test_logging_is_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the app has set up none, lines from INFO on go to the error stream."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    log_to_stderr()
    logging.getLogger("flux.worker").info("worker.started", extra={"pid": 7})
    assert capsys.readouterr().err.endswith(" INFO flux.worker worker.started pid=7\n")


def test_logging_of_the_app_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the app has set up its logging, nothing is added to it."""
    own = logging.NullHandler()
    monkeypatch.setattr(logging.root, "handlers", [own])
    log_to_stderr()
    assert logging.root.handlers == [own]
