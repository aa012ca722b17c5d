"""The questions, in the order in which they are asked; each is a module of this package."""

from collections.abc import Sequence

QUESTIONS: Sequence[str] = (
    "throughput",
    "latency",
    "saga",
    "documents",
    "signals",
    "recovery",
    "suspended",
    "late_steps",
    "at_rest",
    "imports",
    "cold_start",
)
