"""Log lines as people read them in a terminal: the event's name, then its fields."""

import logging

_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Writes the fields that a record got by `extra` behind its message, as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        given = ((name, value) for name, value in vars(record).items() if name not in _USUAL)
        fields = (f"{name}={_in_one_word(value)}" for name, value in given)
        return " ".join((super().formatMessage(record), *fields))


def log_to_stderr() -> None:
    """Write log lines to the error stream, unless the app has set up its logging."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _in_one_word(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)
