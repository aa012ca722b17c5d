"""For users' tests and for Flux's own; nothing else in Flux imports it, but its command line."""

from flux.testing.clock import ManualClock
from flux.testing.conformance import (
    ConformanceReport,
    RuleBrokenError,
    StorageConformance,
    check_storage,
)
from flux.testing.engine import TestEngine
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
from flux.testing.mocks import Mock
from flux.testing.run import Run
from flux.testing.simulation import (
    Faults,
    Scenario,
    SimulationError,
    SimulationReport,
    random_scenario,
    simulate,
)
from flux.testing.steps import Steps
from flux.testing.time_travel import NothingHappensError

__all__ = [
    "ConformanceReport",
    "CrashFinding",
    "CrashPoint",
    "CrashReport",
    "CrashesFoundError",
    "Effects",
    "ExplorationError",
    "Faults",
    "ManualClock",
    "Mock",
    "NothingHappensError",
    "RuleBrokenError",
    "Run",
    "Scenario",
    "ScriptAction",
    "SimulationError",
    "SimulationReport",
    "Steps",
    "StorageConformance",
    "TestEngine",
    "advance",
    "cancel",
    "check_storage",
    "explore",
    "random_scenario",
    "signal",
    "simulate",
]
