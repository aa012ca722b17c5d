"""How many random examples are tried."""

import os

import pytest
from hypothesis import HealthCheck, settings

TIMEOUT = pytest.mark.timeout(0 if "FLUX_MODEL_EXAMPLES" in os.environ else 120)
"""Who asks for many examples has the time for them."""


def asked(examples: int) -> int:
    """So many examples, or as many as the environment says."""
    return int(os.environ.get("FLUX_MODEL_EXAMPLES") or examples)


def budget(*, examples: int, steps: int = 50) -> settings:
    """So many examples, always the same ones, or as many new ones as the environment says."""
    return settings(
        max_examples=asked(examples),
        stateful_step_count=steps,
        derandomize="FLUX_MODEL_EXAMPLES" not in os.environ,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
