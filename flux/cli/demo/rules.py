"""By which rules the shop refuses: an empty shelf, a bank that does not pay, no courier."""

import sqlite3

from flux.cli.demo.orders import Order


class ShopError(Exception):
    """The shop refuses, and would refuse again."""


class OutOfStockError(ShopError):
    """There is not enough of an article left."""


class CardDeclinedError(ShopError):
    """The card's bank does not pay."""


class NoCourierError(ShopError):
    """No courier carries such a parcel to that country."""


class WithdrawnError(ShopError):
    """The key was undone before it acted."""


def take(db: sqlite3.Connection, sku: str, quantity: int) -> None:
    """Take units off the shelf, or `OutOfStockError`."""
    taken = db.execute(
        "UPDATE stock SET on_hand = on_hand - :quantity WHERE sku = :sku AND on_hand >= :quantity",
        {"sku": sku, "quantity": quantity},
    )
    if not taken.rowcount:
        left = one(db, "SELECT on_hand FROM stock WHERE sku = ?", sku) or 0
        raise OutOfStockError(f"{quantity} of {sku} wanted, {left} left")


def ask_bank(db: sqlite3.Connection, order: Order) -> None:
    """Return if the bank pays, or `CardDeclinedError`."""
    query = "SELECT expires, limit_cents, blocked FROM cards WHERE card = ?"
    found = db.execute(query, (order.card,)).fetchone()
    if found is None:
        raise CardDeclinedError(f"no bank knows {order.card}")
    expires, limit_cents, blocked = found
    if blocked:
        raise CardDeclinedError(f"{order.card} is blocked")
    if expires < f"{order.placed_at:%Y-%m}":
        raise CardDeclinedError(f"{order.card} expired in {expires}")
    if order.total_cents > limit_cents:
        raise CardDeclinedError(f"{order.total_cents} cents, the limit is {limit_cents}")


def choose_courier(db: sqlite3.Connection, order: Order) -> str:
    """The courier with the lowest limit that carries the parcel, or `NoCourierError`."""
    grams = sum(line.quantity * _grams(db, line.sku) for line in order.lines)
    found = db.execute(
        "SELECT courier FROM couriers WHERE country = ? AND max_grams >= ? ORDER BY max_grams",
        (order.country, grams),
    ).fetchone()
    if found is None:
        raise NoCourierError(f"nobody carries {grams} g to {order.city} ({order.country})")
    return str(found[0])


def one(db: sqlite3.Connection, query: str, value: str) -> str | int | None:
    """The first column of the first row; None if there is none."""
    row = db.execute(query, (value,)).fetchone()
    return None if row is None else row[0]


def _grams(db: sqlite3.Connection, sku: str) -> int:
    return int(one(db, "SELECT grams FROM stock WHERE sku = ?", sku) or 0)
