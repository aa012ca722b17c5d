"""For users' tests and for Flux's own; nothing else in Flux imports it."""

from flux.testing.clock import ManualClock
from flux.testing.conformance import (
    ConformanceReport,
    RuleBrokenError,
    StorageConformance,
    check_storage,
)

__all__ = [
    "ConformanceReport",
    "ManualClock",
    "RuleBrokenError",
    "StorageConformance",
    "check_storage",
]
