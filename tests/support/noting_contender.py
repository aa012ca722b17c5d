"""A contender that tells when it was asked, is slow if it is told to be, and fails if so."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.contender import Place


class NotingContender:
    """`pause` is how long it takes; `fails` that it cannot do it the first time."""

    def __init__(self, *, pause: float = 0.0, fails: bool = False) -> None:
        self._pause = pause
        self._fails = fails

    async def open(self, place: Place) -> None:
        pass

    async def close(self) -> None:
        pass

    async def sequence(self, steps: int) -> None:
        await asyncio.sleep(self._pause)
        if self._fails:
            self._fails = False
            raise ValueError("it will not")

    async def saga(self) -> None:
        raise NotImplementedError


async def turn(stage: Any) -> Mapping[str, float]:
    """When the contender was asked; the clock is that of the machine."""
    at = time.monotonic()
    await stage.contender.sequence(1)
    return {"at": at, "one": 1.0}
