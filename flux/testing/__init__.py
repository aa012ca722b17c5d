"""For users' tests and for Flux's own; nothing else in Flux imports it."""

from flux.testing.clock import ManualClock
from flux.testing.explorer import (
    CrashesFoundError,
    CrashFinding,
    CrashPoint,
    CrashReport,
    Effects,
    ExplorationError,
    ScriptAction,
    advance,
    cancel,
    explore,
    signal,
)

__all__ = [
    "CrashFinding",
    "CrashPoint",
    "CrashReport",
    "CrashesFoundError",
    "Effects",
    "ExplorationError",
    "ManualClock",
    "ScriptAction",
    "advance",
    "cancel",
    "explore",
    "signal",
]
