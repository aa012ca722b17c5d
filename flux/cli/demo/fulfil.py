"""Run the saga for every order, so many at a time."""

import asyncio
from collections.abc import Callable, Iterable

from flux import FluxConfig, FluxEngine
from flux.cli.demo.orders import Order
from flux.cli.demo.place import Place
from flux.cli.demo.saga import order_workflow

LEASE = 2.0
"""Seconds until another worker may take over what a killed one held."""


async def fulfil(
    place: Place,
    orders: Iterable[Order],
    *,
    concurrency: int,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Drive every order to its end; `told` is called after each.

    The order's id is its instance's: whoever runs this again finds what has ended, takes over what
    was left behind, and starts only what is new.
    """
    workflow = order_workflow(place.shop())
    config = FluxConfig(lease=LEASE)
    waiting = iter(orders)
    async with FluxEngine(place.url, workflows=[workflow], config=config) as flux:

        async def work() -> None:
            for order in waiting:
                await flux.execute(workflow, order, id=order.id)
                told()

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
