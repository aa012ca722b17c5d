"""Work that comes to its end, whatever becomes of those who wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


async def undivided(
    work: Coroutine[Any, Any, None], *, undo: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Let `work` come to its end even if the caller is cancelled; then `undo` it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if undo is not None and not task.cancelled() and task.exception() is None:
            await undo()
        raise
