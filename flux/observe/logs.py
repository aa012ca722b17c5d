"""Trace events as records of the standard `logging`."""

import logging

from attrs import asdict

from flux.observe.trace import FluxTraceEvent


class LoggingSink:
    """An outlet that logs each event: the message is its type, its fields stand in `extra`.

    They are attributes of the record with the prefix `flux_`, such as `flux_workflow_id`; those
    that the event does not tell are left out. The default logger is `flux.trace`.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger("flux.trace")
        self._level = level

    def emit(self, event: FluxTraceEvent) -> None:
        """Log the event, if the logger listens to this level."""
        if not self._logger.isEnabledFor(self._level):
            return
        told = asdict(event, recurse=False, filter=lambda _, value: value is not None)
        fields = {f"flux_{name}": value for name, value in told.items()}
        self._logger.log(self._level, event.type, extra=fields)
