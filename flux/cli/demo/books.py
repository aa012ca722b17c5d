"""The check at the end: what the shop has, took and sent, against what the instances say."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from attrs import frozen

from flux.cli.demo.orders import Order, rows


@frozen(kw_only=True)
class Books:
    """What both sides add up to; `differences` is empty if they balance."""

    units_opening: int
    units_left: int
    units_shipped: int
    cents_captured: int
    cents_refunded: int
    cents_due: int
    completed: int
    shipments: int
    mails: int
    differences: Sequence[str]


def check_books(shop: Path, completed: Iterable[Order]) -> Books:
    """Compare the shop's database with the orders whose instances completed."""
    orders = list(completed)
    opening = {row["sku"]: int(row["on_hand"]) for row in rows("stock.csv")}
    with closing(sqlite3.connect(shop)) as db:
        left = _totals(db, "SELECT sku, on_hand FROM stock")
        shipped = _totals(db, _SHIPPED)
        captured = _totals(db, "SELECT order_id, sum(cents) FROM payments GROUP BY order_id")
        refunded = _totals(db, f"{_REFUNDED} GROUP BY order_id")
        shipments = _totals(db, f"{_SENT} GROUP BY order_id")
        mails = _totals(db, "SELECT order_id, count(*) FROM outbox GROUP BY order_id")
    due = {order.id: order.total_cents for order in orders}
    once = {order.id: 1 for order in orders}
    differences = [
        *_differences("units of {} left or shipped", _sum(left, shipped), opening),
        *_differences("units of {} shipped", shipped, _ordered(orders)),
        *_differences("cents kept for order {}", _sum(captured, refunded, sign=-1), due),
        *_differences("shipments of order {}", shipments, once),
        *_differences("mails about order {}", mails, once),
    ]
    return Books(
        units_opening=sum(opening.values()),
        units_left=sum(left.values()),
        units_shipped=sum(shipped.values()),
        cents_captured=sum(captured.values()),
        cents_refunded=sum(refunded.values()),
        cents_due=sum(due.values()),
        completed=len(orders),
        shipments=sum(shipments.values()),
        mails=sum(mails.values()),
        differences=differences,
    )


_SHIPPED = (
    "SELECT sku, sum(quantity) FROM shipped_lines JOIN shipments USING (key)"
    " WHERE state = 'done' GROUP BY sku"
)
_REFUNDED = "SELECT order_id, sum(cents) FROM payments WHERE state = 'undone'"
_SENT = "SELECT order_id, count(*) FROM shipments WHERE state = 'done'"


def _totals(db: sqlite3.Connection, query: str) -> dict[str, int]:
    return dict(db.execute(query).fetchall())


def _ordered(orders: Iterable[Order]) -> Mapping[str, int]:
    units: Counter[str] = Counter()
    for order in orders:
        for line in order.lines:
            units[line.sku] += line.quantity
    return units


def _sum(first: Mapping[str, int], second: Mapping[str, int], sign: int = 1) -> dict[str, int]:
    keys = first.keys() | second.keys()
    return {key: first.get(key, 0) + sign * second.get(key, 0) for key in keys}


def _differences(what: str, found: Mapping[str, int], wanted: Mapping[str, int]) -> Iterator[str]:
    for key in sorted(found.keys() | wanted.keys()):
        is_there, should_be = found.get(key, 0), wanted.get(key, 0)
        if is_there != should_be:
            yield f"{what.format(key)}: {is_there}, but should be {should_be}"
