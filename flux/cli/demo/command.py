"""`flux demo`: fulfil the orders of a shop, then check its books."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import click

from flux import FluxError
from flux.cli.demo.books import read_books
from flux.cli.demo.fulfil import fulfil
from flux.cli.demo.kill import Kill, WorkerFailedError, fulfil_with_kills
from flux.cli.demo.orders import Order, read_orders
from flux.cli.demo.place import Place
from flux.cli.demo.screen import Screen
from flux.cli.demo.tally import read_tally
from flux.clock import SystemClock


@click.command()
@click.option("--orders", "count", type=click.IntRange(1), help="Only the first so many orders.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where to work.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 200),
    default=16,
    show_default=True,
    help="How many orders at a time.",
)
@click.option("--kill", is_flag=True, help="Kill the worker process several times on the way.")
def demo(count: int | None, folder: Path | None, concurrency: int, kill: bool) -> None:
    """Fulfil the orders of a shop, undo those that fail, then check the shop's books.

    The orders come with Flux. Stock, payments and shipments are tables of a SQLite database of the
    shop, what Flux saves is in another; both are in a new temporary folder, or in --folder. Ends
    with exit code 1 if the books do not balance.
    """
    orders = _first(count)
    screen = Screen()
    try:
        place = Place.at(folder)
        asyncio.run(_fulfil(place, orders, concurrency=concurrency, kill=kill, screen=screen))
        balanced = asyncio.run(_report(place, screen))
    except sqlite3.Error as error:
        raise click.ClickException(f"{place.shop_file}: {error}; use another folder") from error
    except (FluxError, WorkerFailedError, OSError) as error:
        raise click.ClickException(str(error)) from error
    screen.say(f"Look into {place.instances} and {place.shop_file} with sqlite3.")
    if not balanced:
        raise click.exceptions.Exit(1)


def _first(count: int | None) -> list[Order]:
    orders = read_orders()
    if count is not None and count > len(orders):
        raise click.BadParameter(f"there are only {len(orders)} orders", param_hint="--orders")
    return orders[:count]


async def _fulfil(
    place: Place, orders: list[Order], *, concurrency: int, kill: bool, screen: Screen
) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    screen.say(f"Fulfilling {len(orders)} orders, {concurrency} at a time")
    with screen.progress(len(orders)) as told:
        if kill:
            await _with_kills(place, len(orders), concurrency, told=told, screen=screen)
        else:
            await fulfil(place, orders, concurrency=concurrency, told=told)
    screen.say(f"Done after {clock.monotonic() - began:.1f} s\n")


async def _with_kills(
    place: Place, count: int, concurrency: int, *, told: Callable[[int], None], screen: Screen
) -> None:
    kills: list[Kill] = []

    def killed(kill: Kill) -> None:
        kills.append(kill)
        screen.say(
            f"killed the worker after {kill.ended} orders, with {len(kill.in_flight)} in flight"
        )

    left = await fulfil_with_kills(
        place, count=count, concurrency=concurrency, told=told, killed=killed
    )
    in_flight = {id for kill in kills for id in kill.in_flight}
    screen.say(
        f"kills: {len(kills)}; orders in flight at a kill: {len(in_flight)};"
        f" ended since: {len(in_flight - left)}"
    )


async def _report(place: Place, screen: Screen) -> bool:
    """Show what the stored histories tell, and whether the shop's books agree with it."""
    tally = await read_tally(place)
    screen.tally(tally)
    orders = {order.id: order for order in read_orders()}
    completed = [orders[id] for id in tally.completed if id in orders]
    books = read_books(place.shop_file, completed)
    screen.books(books)
    return not books.differences
