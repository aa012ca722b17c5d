"""Trace events as records of the standard logging."""

import logging
from datetime import UTC, datetime

import pytest

from flux.observe.logs import LoggingSink
from flux.observe.trace import FluxTraceEvent

STARTED = FluxTraceEvent(
    type="step:start",
    timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    workflow_id="order-7",
    workflow_name="order",
    step_name="100%s",
)


def only_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    [record] = caplog.records
    return record


def test_message_is_the_type(caplog: pytest.LogCaptureFixture) -> None:
    """The message is the event's type, on the logger flux.trace at level INFO."""
    caplog.set_level(logging.INFO)
    LoggingSink().emit(STARTED)
    record = only_record(caplog)
    assert (record.name, record.levelname) == ("flux.trace", "INFO")
    assert record.getMessage() == "step:start"


def test_fields_stand_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    """Each field is an attribute of the record, with a prefix."""
    caplog.set_level(logging.INFO)
    LoggingSink().emit(STARTED)
    fields = vars(only_record(caplog))
    assert (fields["flux_workflow_id"], fields["flux_step_name"]) == ("order-7", "100%s")


def test_untold_fields_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """What the event does not tell is no attribute."""
    caplog.set_level(logging.INFO)
    LoggingSink().emit(STARTED)
    assert not hasattr(only_record(caplog), "flux_duration")


def test_logger_and_level_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    """Events go to the logger and the level that are given."""
    caplog.set_level(logging.DEBUG)
    LoggingSink(logging.getLogger("shop"), logging.DEBUG).emit(STARTED)
    record = only_record(caplog)
    assert (record.name, record.levelname) == ("shop", "DEBUG")


def test_quiet_logger_gets_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A logger that does not listen to the level is left alone."""
    caplog.set_level(logging.WARNING)
    LoggingSink().emit(STARTED)
    assert caplog.records == []
