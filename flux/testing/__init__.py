"""For users' tests and for Flux's own; nothing else in Flux imports it."""

from flux.testing.clock import ManualClock
from flux.testing.engine import TestEngine
from flux.testing.mocks import Mock
from flux.testing.run import Run
from flux.testing.steps import Steps
from flux.testing.time_travel import NothingHappensError

__all__ = ["ManualClock", "Mock", "NothingHappensError", "Run", "Steps", "TestEngine"]
