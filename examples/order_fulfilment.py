"""Order fulfilment: four orders of a shop, and four ways they end.

    python examples/order_fulfilment.py

The saga and the shop are those of `flux demo`: read flux/cli/demo/saga.py first.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from flux import FluxEngine
from flux.cli.demo.orders import Line, Order, read_orders
from flux.cli.demo.saga import order_workflow
from flux.cli.demo.shop import Shop


def chosen() -> list[Order]:
    """Three orders of the file, and one that wants more than there is."""
    orders = {order.id: order for order in read_orders()}
    kettles = Line(sku="KETTLE-GN", quantity=20, unit_price_cents=8900)
    too_much = evolve(orders["W-10234"], id="W-99999", lines=(kettles,))
    return [orders["W-10231"], orders["W-10254"], orders["W-10333"], too_much]


async def main(folder: Path) -> None:
    shop = Shop.open(folder / "shop.db")
    order = order_workflow(shop)
    async with FluxEngine(f"sqlite:///{folder / 'flux.db'}", workflows=[order]) as flux:
        for wanted in chosen():
            print(f"{wanted.id} for {wanted.customer} in {wanted.city} ({wanted.country})")
            result = await flux.execute(order, wanted, id=wanted.id)
            for step in result.history:
                print(f"  {step.name}: {step.status}")
            print(f"  {result.status}{f', {result.error}' if result.error else ''}")

        # The same id again: the instance is found, and nothing is done twice.
        again = await flux.execute(order, chosen()[0], id="W-10231")
        print(f"W-10231 once more: {again.status}, shipped with {again.data.courier}")
    report(shop)


def report(shop: Shop) -> None:
    """What the shop's own database says."""
    with closing(sqlite3.connect(shop.path)) as db:
        for table in ("reservations", "payments", "shipments"):
            rows = db.execute(f"SELECT order_id, state FROM {table} ORDER BY order_id")
            print(f"{table}:", ", ".join(" ".join(row) for row in rows))


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
