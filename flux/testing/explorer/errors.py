"""What an exploration raises.

FluxError
├── ExplorationError           RuntimeError   the workflow could not be explored
└── CrashesFoundError          AssertionError what `raise_if_failed` raises of its findings
"""

from flux.errors import FluxError


class ExplorationError(FluxError, RuntimeError):
    """The workflow could not be explored; the message says why."""


class CrashesFoundError(FluxError, AssertionError):
    """A crash makes a difference; the message is the report."""
