"""Whole runs of engines in virtual time, with faults, in an order that a seed chooses."""

from flux.testing.simulation.faults import Faults
from flux.testing.simulation.random_workflows import random_scenario
from flux.testing.simulation.scenario import Scenario
from flux.testing.simulation.simulate import SimulationError, SimulationReport, simulate

__all__ = [
    "Faults",
    "Scenario",
    "SimulationError",
    "SimulationReport",
    "random_scenario",
    "simulate",
]
