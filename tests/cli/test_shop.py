"""The demo's shop: every act happens once for its key, every undoing is right."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from flux.cli.demo.orders import Order, read_orders
from flux.cli.demo.rules import (
    CardDeclinedError,
    NoCourierError,
    OutOfStockError,
    WithdrawnError,
)
from flux.cli.demo.shop import Shop

UNDOES = [
    pytest.param(Shop.reserve, Shop.release, id="reserve"),
    pytest.param(Shop.charge, Shop.refund, id="charge"),
    pytest.param(Shop.ship, Shop.recall, id="ship"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.open(tmp_path / "shop.db")


@pytest.fixture
def order() -> Order:
    return read_orders()[0]


def dump(shop: Shop) -> list[str]:
    """All that is in the shop's database."""
    with closing(sqlite3.connect(shop.path)) as db:
        return list(db.iterdump())


def on_hand(shop: Shop, sku: str) -> int:
    with closing(sqlite3.connect(shop.path)) as db:
        (units,) = db.execute("SELECT on_hand FROM stock WHERE sku = ?", (sku,)).fetchone()
    return int(units)


def test_opening_again_changes_nothing(shop: Shop, order: Order) -> None:
    """A shop that is open for business is not stocked up a second time."""
    shop.reserve(order, key="a")
    before = dump(shop)
    assert dump(Shop.open(shop.path)) == before


@pytest.mark.parametrize(("act", "undo"), UNDOES)
def test_acts_happen_once(
    shop: Shop, order: Order, act: Callable[..., object], undo: Callable[..., object]
) -> None:
    """The same key again changes nothing and gives the same answer."""
    answer, once = act(shop, order, key="a"), dump(shop)
    assert act(shop, order, key="a") == answer
    assert dump(shop) == once


@pytest.mark.parametrize(("act", "undo"), UNDOES)
def test_undoing_happens_once(
    shop: Shop, order: Order, act: Callable[..., object], undo: Callable[..., object]
) -> None:
    """An undoing that is repeated gives nothing back a second time."""
    act(shop, order, key="a")
    undo(shop, order, key="a")
    once = dump(shop)
    undo(shop, order, key="a")
    assert dump(shop) == once


@pytest.mark.parametrize(("act", "undo"), UNDOES)
def test_late_acts_are_refused(
    shop: Shop, order: Order, act: Callable[..., object], undo: Callable[..., object]
) -> None:
    """A key that was undone before it acted can never act."""
    undo(shop, order, key="a")
    with pytest.raises(WithdrawnError, match="the key a was withdrawn"):
        act(shop, order, key="a")


def test_release_puts_units_back(shop: Shop, order: Order) -> None:
    """What was reserved is on the shelf again, to the unit."""
    (line,) = order.lines
    before = on_hand(shop, line.sku)
    shop.reserve(order, key="a")
    assert on_hand(shop, line.sku) == before - line.quantity
    shop.release(order, key="a")
    assert on_hand(shop, line.sku) == before


def test_empty_shelf_is_refused(shop: Shop, order: Order) -> None:
    """An order that cannot be filled whole takes nothing."""
    (line,) = order.lines
    before = dump(shop)
    with pytest.raises(OutOfStockError, match=f"999 of {line.sku} wanted, 87 left"):
        shop.reserve(evolve(order, lines=(line, evolve(line, quantity=999))), key="a")
    assert dump(shop) == before


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        pytest.param("W-10254", "is blocked", id="blocked"),
        pytest.param("W-10236", "expired in 2025-", id="expired"),
    ],
)
def test_bank_declines(shop: Shop, id: str, reason: str) -> None:
    """A card that its bank does not honour is not charged, and the key stays free."""
    order = next(order for order in read_orders() if order.id == id)
    before = dump(shop)
    with pytest.raises(CardDeclinedError, match=reason):
        shop.charge(order, key="a")
    assert dump(shop) == before


def test_bank_limits(shop: Shop, order: Order) -> None:
    """A card pays up to its limit."""
    (line,) = order.lines
    dear = evolve(order, lines=(evolve(line, unit_price_cents=10_000_000),))
    with pytest.raises(CardDeclinedError, match="30000000 cents, the limit is"):
        shop.charge(dear, key="a")


def test_bank_knows_its_cards(shop: Shop, order: Order) -> None:
    """A card that no bank has issued is declined."""
    with pytest.raises(CardDeclinedError, match="no bank knows card_none"):
        shop.charge(evolve(order, card="card_none"), key="a")


def test_couriers_have_borders(shop: Shop, order: Order) -> None:
    """A country without a courier gets no parcel."""
    with pytest.raises(NoCourierError, match=r"nobody carries 3120 g to Oslo \(NO\)"):
        shop.ship(evolve(order, city="Oslo", country="NO"), key="a")


def test_mail_has_no_key(shop: Shop, order: Order) -> None:
    """A mail sent twice arrives twice; the shop can tell whether one was sent."""
    assert not shop.has_mailed(order)
    shop.send_mail(order, "on its way")
    shop.send_mail(order, "on its way")
    assert shop.has_mailed(order)
    assert sum("on its way" in line for line in dump(shop)) == 2
