"""`flux demo`: fulfil the orders of a shop, then check its books."""

import asyncio
import sqlite3
from pathlib import Path

import click
from rich.console import Console

from flux import FluxError
from flux.cli.demo.books import check_books
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
    screen = Screen(Console())
    try:
        place = Place.at(folder)
        asyncio.run(_fulfil(place, orders, concurrency=concurrency, kill=kill, screen=screen))
        balanced = asyncio.run(_report(place, screen))
    except (FluxError, WorkerFailedError, sqlite3.Error, OSError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
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
