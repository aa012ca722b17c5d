"""A shop on a SQLite database: the outside world that the saga acts upon.

Every act takes a key and happens once for it, however often it is asked for; every undoing takes
the key of the act, and is right even if that act never happened.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Self

from flux.cli.demo.orders import Order, rows
from flux.cli.demo.rules import WithdrawnError, ask_bank, choose_courier, one, take

PATIENCE = 0.03
"""Seconds that the shop waits for its database's lock before it says `database is locked`."""


class Shop:
    """The shop's verbs. Each is one transaction, and may be called from any thread.

    `sqlite3.OperationalError: database is locked` means that nothing has happened: ask again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The shop in this file; a new one gets the stock, the cards and the couriers."""
        shop = cls(path)
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(files("flux.cli.demo").joinpath("shop.sql").read_text())
            with db:
                _stock_up(db)
        return shop

    def reserve(self, order: Order, *, key: str) -> None:
        """Take the order's articles off the shelf."""
        with self._change() as db:
            if _is_first(db, "reservations", key, order.id):
                for line in order.lines:
                    take(db, line.sku, line.quantity)
                _write_lines(db, "reserved_lines", key, order)

    def release(self, order: Order, *, key: str) -> None:
        """Put them back."""
        with self._change() as db:
            if _undo(db, "reservations", key, order.id):
                db.execute(
                    "UPDATE stock SET on_hand = on_hand + line.quantity"
                    " FROM reserved_lines AS line WHERE line.sku = stock.sku AND line.key = ?",
                    (key,),
                )

    def charge(self, order: Order, *, key: str) -> int:
        """Take the money; returns the cents captured."""
        with self._change() as db:
            if _is_first(db, "payments", key, order.id):
                ask_bank(db, order)
                db.execute("UPDATE payments SET cents = ? WHERE key = ?", (order.total_cents, key))
        return order.total_cents

    def refund(self, order: Order, *, key: str) -> None:
        """Give it back."""
        with self._change() as db:
            _undo(db, "payments", key, order.id)

    def ship(self, order: Order, *, key: str) -> str:
        """Hand the parcel to the courier with the lowest limit that carries it; returns who."""
        with self._change() as db:
            if _is_first(db, "shipments", key, order.id):
                courier = choose_courier(db, order)
                db.execute("UPDATE shipments SET courier = ? WHERE key = ?", (courier, key))
                _write_lines(db, "shipped_lines", key, order)
            return str(one(db, "SELECT courier FROM shipments WHERE key = ?", key))

    def recall(self, order: Order, *, key: str) -> None:
        """Take the parcel back from the courier."""
        with self._change() as db:
            _undo(db, "shipments", key, order.id)

    def send_mail(self, order: Order, body: str) -> None:
        """Send a mail, once more at every call."""
        with self._change() as db:
            db.execute(
                "INSERT INTO outbox (order_id, recipient, body) VALUES (?, ?, ?)",
                (order.id, order.email, body),
            )

    def has_mailed(self, order: Order) -> bool:
        """Whether a mail about the order is in the outbox."""
        with self._change() as db:
            return bool(one(db, "SELECT count(*) FROM outbox WHERE order_id = ?", order.id))

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db


def _stock_up(db: sqlite3.Connection) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO stock VALUES (:sku, :title, :price_cents, :grams, :on_hand)",
        rows("stock.csv"),
    )
    db.executemany(
        "INSERT OR IGNORE INTO cards VALUES (:card, :expires, :limit_cents, :blocked)",
        rows("cards.csv"),
    )
    db.executemany(
        "INSERT OR IGNORE INTO couriers VALUES (:courier, :country, :max_grams)",
        rows("couriers.csv"),
    )


def _is_first(db: sqlite3.Connection, table: str, key: str, order_id: str) -> bool:
    """Enter the key; False if it has acted already."""
    state = one(db, f"SELECT state FROM {table} WHERE key = ?", key)
    if state == "undone":
        raise WithdrawnError(f"{order_id}: the key {key} was withdrawn")
    if state is None:
        db.execute(f"INSERT INTO {table} (key, order_id) VALUES (?, ?)", (key, order_id))
    return state is None


def _undo(db: sqlite3.Connection, table: str, key: str, order_id: str) -> bool:
    """Mark the key as undone for good; True if it had acted and was not undone before."""
    state = one(db, f"SELECT state FROM {table} WHERE key = ?", key)
    db.execute(
        f"INSERT INTO {table} (key, order_id, state) VALUES (?, ?, 'undone')"
        " ON CONFLICT (key) DO UPDATE SET state = 'undone'",
        (key, order_id),
    )
    return state == "done"


def _write_lines(db: sqlite3.Connection, table: str, key: str, order: Order) -> None:
    lines = [(key, line.sku, line.quantity) for line in order.lines]
    db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", lines)
