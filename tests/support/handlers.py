"""Handlers for tests in which it does not matter what a step does."""

from typing import Any


def nothing(ctx: Any) -> None:
    """A handler that has no effect."""


async def nothing_async(ctx: Any) -> None:
    """The same, awaited in the loop."""
