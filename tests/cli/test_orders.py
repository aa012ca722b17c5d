"""The demo's files: what they hold, and that they can be made again."""

import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from flux.cli.demo.orders import read_orders

NAMES = ("orders.csv", "stock.csv", "cards.csv", "couriers.csv")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as the generator writes them now."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, "-m", "flux.cli.demo.generate", folder], check=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_files_are_the_generator_s(generated: Path, name: str) -> None:
    """The files that ship are those that the generator writes, byte for byte."""
    shipped = ROOT / "flux" / "cli" / "demo" / "data" / name
    assert (generated / name).read_bytes() == shipped.read_bytes()


def test_orders_are_many_and_distinct() -> None:
    """There are a few hundred orders, each with an id of its own, in the order of their time."""
    orders = read_orders()
    assert len({order.id for order in orders}) == len(orders) == 400
    assert sorted(orders, key=lambda order: order.placed_at) == orders


def test_lines_of_an_order_are_kept_together() -> None:
    """An order has all its lines, and no article twice."""
    orders = read_orders()
    assert sum(len(order.lines) for order in orders) == 716
    for order in orders:
        assert len({line.sku for line in order.lines}) == len(order.lines)
