"""The check at the end: what the shop has, took and sent, against what the instances say."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

from flux.cli.demo.orders import Order, rows
from flux.frozen import frozen

Totals = Mapping[str, int]
"""Numbers by sku, or by order."""


@frozen(kw_only=True)
class Ledger:
    """What the shop's database says: units by sku, the rest by order, money in cents."""

    left: Totals
    shipped: Totals
    captured: Totals
    refunded: Totals
    parcels: Totals
    mails: Totals

    @classmethod
    def read(cls, shop: Path) -> Self:
        with closing(sqlite3.connect(shop)) as db:
            return cls(**{name: dict(db.execute(query)) for name, query in QUERIES.items()})


QUERIES = {
    "left": "SELECT sku, on_hand FROM stock",
    "shipped": "SELECT sku, sum(quantity) FROM shipped_lines JOIN shipments USING (key)"
    " WHERE state = 'done' GROUP BY sku",
    "captured": "SELECT order_id, sum(cents) FROM payments GROUP BY order_id",
    "refunded": "SELECT order_id, sum(cents) FROM payments WHERE state = 'undone'"
    " GROUP BY order_id",
    "parcels": "SELECT order_id, count(*) FROM shipments WHERE state = 'done' GROUP BY order_id",
    "mails": "SELECT order_id, count(*) FROM outbox GROUP BY order_id",
}


@frozen(kw_only=True)
class Books:
    """The shop's ledger, what it had at first, and the orders that completed."""

    opening: Totals
    ledger: Ledger
    completed: Sequence[Order]

    @property
    def due(self) -> Totals:
        """What the completed orders cost, in cents."""
        return {order.id: order.total_cents for order in self.completed}

    @property
    def differences(self) -> list[str]:
        """Where the two sides differ, to the last unit; empty if the books balance."""
        ledger, once = self.ledger, {order.id: 1 for order in self.completed}
        accounted = _combined(ledger.left, ledger.shipped)
        kept = _combined(ledger.captured, {id: -cents for id, cents in ledger.refunded.items()})
        return [
            *_differences("{}: {} units left or shipped, but {} at first", accounted, self.opening),
            *_differences("{}: {} units shipped, but {} ordered", ledger.shipped, self._ordered()),
            *_differences("{}: {} cents kept, but {} due", kept, self.due),
            *_differences("{}: {} parcels sent, but {} due", ledger.parcels, once),
            *_differences("{}: {} mails sent, but {} due", ledger.mails, once),
        ]

    def _ordered(self) -> Totals:
        units: Counter[str] = Counter()
        for order in self.completed:
            for line in order.lines:
                units[line.sku] += line.quantity
        return units


def read_books(shop: Path, completed: Iterable[Order]) -> Books:
    """The books of a shop, given the orders whose instances completed."""
    opening = {row["sku"]: int(row["on_hand"]) for row in rows("stock.csv")}
    return Books(opening=opening, ledger=Ledger.read(shop), completed=list(completed))


def _combined(first: Totals, second: Totals) -> Totals:
    return {key: first.get(key, 0) + second.get(key, 0) for key in first.keys() | second.keys()}


def _differences(sentence: str, found: Totals, wanted: Totals) -> Iterator[str]:
    for key in sorted(found.keys() | wanted.keys()):
        is_there, should_be = found.get(key, 0), wanted.get(key, 0)
        if is_there != should_be:
            yield sentence.format(key, is_there, should_be)
