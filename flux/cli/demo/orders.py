"""What the shop is given: the orders, and what it has on its shelves."""

import csv
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from itertools import groupby

from flux.frozen import frozen


@frozen(kw_only=True)
class Line:
    """One line of an order; the price is that of one unit, in cents."""

    sku: str
    quantity: int
    unit_price_cents: int


@frozen(kw_only=True)
class Order:
    """One order as the web shop exports it."""

    id: str
    placed_at: datetime
    customer: str
    email: str
    city: str
    country: str
    card: str
    lines: tuple[Line, ...]

    @property
    def total_cents(self) -> int:
        return sum(line.quantity * line.unit_price_cents for line in self.lines)


def read_orders() -> list[Order]:
    """All orders of the file, in the order of their time."""
    by_order = groupby(rows("orders.csv"), key=lambda row: row["order"])
    return [_order(id, list(group)) for id, group in by_order]


def rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of one of the files in `data/`."""
    text = files("flux.cli.demo").joinpath("data", name).read_text(encoding="utf-8")
    return iter(csv.DictReader(text.splitlines()))


def _order(id: str, group: list[dict[str, str]]) -> Order:
    head = group[0]
    return Order(
        id=id,
        placed_at=datetime.fromisoformat(head["placed_at"]),
        customer=head["customer"],
        email=head["email"],
        city=head["city"],
        country=head["country"],
        card=head["card"],
        lines=tuple(_line(row) for row in group),
    )


def _line(row: dict[str, str]) -> Line:
    return Line(
        sku=row["sku"],
        quantity=int(row["quantity"]),
        unit_price_cents=int(row["unit_price_cents"]),
    )
