"""The check of the books: it balances when all is right, and finds whatever is not."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from flux.cli.demo.books import read_books
from flux.cli.demo.orders import Order, read_orders
from flux.cli.demo.shop import Shop


@pytest.fixture
def orders() -> Sequence[Order]:
    return read_orders()[:3]


@pytest.fixture
def shop(tmp_path: Path, orders: Sequence[Order]) -> Shop:
    """A shop that has fulfilled these orders, and taken back another."""
    shop = Shop.open(tmp_path / "shop.db")
    for order in orders:
        shop.reserve(order, key=order.id)
        shop.charge(order, key=order.id)
        shop.ship(order, key=order.id)
        shop.send_mail(order, "on its way")
    other = read_orders()[3]
    shop.reserve(other, key=other.id)
    shop.charge(other, key=other.id)
    shop.refund(other, key=other.id)
    shop.release(other, key=other.id)
    return shop


def test_honest_books_balance(shop: Shop, orders: Sequence[Order]) -> None:
    """What is right shows no difference."""
    assert read_books(shop.path, orders).differences == []


def test_completed_order_must_be_shipped(shop: Shop, orders: Sequence[Order]) -> None:
    """An order that is said to have completed must have been shipped, paid and announced."""
    more = [*orders, read_orders()[4]]
    lacking = read_books(shop.path, more).differences
    assert [line for line in lacking if "parcels" in line or "mails" in line] == [
        "W-10235: 0 parcels sent, but 1 due",
        "W-10235: 0 mails sent, but 1 due",
    ]


@pytest.mark.parametrize(
    ("falsification", "differences"),
    [
        (
            "UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'TAMP-58'",
            ["TAMP-58: 21 units left or shipped, but 22 at first"],
        ),
        (
            "UPDATE payments SET cents = cents + 1 WHERE order_id = 'W-10231'",
            ["W-10231: 8971 cents kept, but 8970 due"],
        ),
        (
            "UPDATE payments SET state = 'done' WHERE order_id = 'W-10234'",
            ["W-10234: 13135 cents kept, but 0 due"],
        ),
        (
            "INSERT INTO shipments VALUES ('again', 'W-10231', 'done', 'Postbode')",
            ["W-10231: 2 parcels sent, but 1 due"],
        ),
        (
            "INSERT INTO outbox (order_id, recipient, body) VALUES ('W-10231', 'x', 'y')",
            ["W-10231: 2 mails sent, but 1 due"],
        ),
        ("DELETE FROM outbox WHERE order_id = 'W-10232'", ["W-10232: 0 mails sent, but 1 due"]),
    ],
)
def test_falsified_books_do_not_balance(
    shop: Shop, orders: Sequence[Order], falsification: str, differences: list[str]
) -> None:
    """One unit, one cent, one parcel or one mail too many or too few is found and named."""
    with closing(sqlite3.connect(shop.path)) as db, db:
        db.execute(falsification)
    assert read_books(shop.path, orders).differences == differences
