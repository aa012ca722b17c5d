"""Run the saga for every order, so many at a time."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from flux import FluxConfig, FluxEngine
from flux.cli.demo.orders import Order
from flux.cli.demo.place import Place
from flux.cli.demo.saga import order_workflow


async def fulfil(
    place: Place,
    orders: Iterable[Order],
    *,
    concurrency: int,
    config: FluxConfig | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Drive every order to its end; `told` is called with how many have ended, after each.

    The order's id is its instance's: whoever runs this again finds what has ended, takes over what
    was left behind, and starts only what is new.
    """
    workflow = order_workflow(place.shop())
    waiting, numbers = iter(orders), count(1)
    async with FluxEngine(place.url, workflows=[workflow], config=config) as flux:

        async def work() -> None:
            for order in waiting:
                await flux.execute(workflow, order, id=order.id)
                told(next(numbers))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(work())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
