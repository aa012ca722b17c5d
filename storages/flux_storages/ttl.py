"""How long a shared value lives."""

import math


def checked(ttl: float | None) -> float | None:
    """The ttl as it was given; `ValueError` for what is no time to live."""
    if ttl is None or (math.isfinite(ttl) and ttl > 0):
        return ttl
    raise ValueError(f"ttl is a number of seconds above 0, or None for ever, not {ttl!r}")
