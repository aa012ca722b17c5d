"""How many random examples are tried."""

import os

from hypothesis import HealthCheck, settings


def budget(*, examples: int, steps: int = 50) -> settings:
    """So many examples, always the same ones, or as many new ones as the environment says."""
    asked = os.environ.get("FLUX_MODEL_EXAMPLES")
    return settings(
        max_examples=int(asked or examples),
        stateful_step_count=steps,
        derandomize=asked is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
