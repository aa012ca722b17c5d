"""For users' tests and for Flux's own; nothing else in Flux imports it."""

from flux.testing.clock import ManualClock
from flux.testing.simulation import (
    Faults,
    Scenario,
    SimulationError,
    SimulationReport,
    random_scenario,
    simulate,
)

__all__ = [
    "Faults",
    "ManualClock",
    "Scenario",
    "SimulationError",
    "SimulationReport",
    "random_scenario",
    "simulate",
]
