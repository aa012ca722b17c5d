"""For users' tests and for Flux's own; nothing else in Flux imports it."""

from flux.testing.clock import ManualClock

__all__ = ["ManualClock"]
