"""Waiting for something without having a part in it."""

import asyncio
from typing import Any


async def until_done(future: asyncio.Future[Any]) -> None:
    """Return when `future` is done, however it went; whoever waits may be cancelled without it.

    As `asyncio.wait({future})`, at a fifth of its cost.
    """
    if future.done():
        return
    waiter = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Future[Any]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)
