"""The crash explorer: a workflow that dies at every save, and what that changes."""

from flux.testing.explorer.effects import Effects
from flux.testing.explorer.errors import CrashesFoundError, ExplorationError
from flux.testing.explorer.exploring import explore
from flux.testing.explorer.points import CrashPoint
from flux.testing.explorer.report import CrashFinding, CrashReport
from flux.testing.explorer.script import ScriptAction, advance, cancel, signal

__all__ = [
    "CrashFinding",
    "CrashPoint",
    "CrashReport",
    "CrashesFoundError",
    "Effects",
    "ExplorationError",
    "ScriptAction",
    "advance",
    "cancel",
    "explore",
    "signal",
]
