"""The questions, in the order in which they are asked; each is a module of this package."""

from collections.abc import Sequence

QUESTIONS: Sequence[str] = (
    "throughput",
    "saga",
    "latency",
    "documents",
    "imports",
    "cold_start",
    "signals",
    "recovery",
    "suspended",
    "at_rest",
    "late_steps",
    "scale",
)
