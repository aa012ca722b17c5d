"""Make the files in `data/`: one cyber week of a coffee shop in Utrecht that sells across Europe.

    python -m flux.cli.demo.generate [FOLDER]

The shop is invented, the mail addresses are in reserved domains. The same seed always writes the
same bytes: all chance comes from `Random.random()`, whose sequence Python promises to keep.
"""

import csv
import sys
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TypeVar

from flux.frozen import frozen

T = TypeVar("T")
Row = Sequence[object]

SEED = 1683
ORDERS = 400
OPENING = datetime(2025, 11, 24, 7, 30, tzinfo=UTC)

# sku, title, price in cents, weight in grams, units on hand, popularity
PRODUCTS = (
    ("BEAN-ETH-250", "Ethiopia Guji, 250 g", 1150, 270, 120, 16),
    ("BEAN-ETH-1000", "Ethiopia Guji, 1 kg", 3950, 1040, 60, 7),
    ("BEAN-BRA-250", "Brazil Mogiana, 250 g", 895, 270, 110, 15),
    ("BEAN-BRA-1000", "Brazil Mogiana, 1 kg", 2990, 1040, 90, 10),
    ("BEAN-COL-250", "Colombia Huila, 250 g", 1095, 270, 86, 11),
    ("BEAN-DEC-250", "Decaf Sidamo, 250 g", 1195, 270, 48, 5),
    ("FILT-V60-100", "Paper filters V60, 100", 590, 180, 150, 14),
    ("FILT-AP-350", "Paper filters AeroPress, 350", 690, 210, 80, 6),
    ("DRIP-V60-02", "Dripper V60, ceramic", 2450, 640, 45, 6),
    ("PRESS-AERO", "AeroPress", 3490, 520, 54, 6),
    ("PRESS-FR-08", "French press, 8 cups", 4290, 1150, 25, 3),
    ("MOKA-06", "Moka pot, 6 cups", 3890, 890, 30, 4),
    ("KETTLE-GN", "Gooseneck kettle, 1.2 l", 8900, 1650, 18, 4),
    ("SCALE-01", "Brew scale with timer", 5450, 560, 26, 4),
    ("GRIND-HAND", "Hand grinder, steel burrs", 11900, 790, 16, 4),
    ("GRIND-EL-64", "Electric grinder, 64 mm", 42900, 7400, 11, 2),
    ("ESPR-SINGLE", "Espresso machine, one group", 64900, 13800, 8, 2),
    ("TAMP-58", "Tamper, 58 mm", 3250, 480, 22, 2),
    ("CUP-SET-4", "Espresso cups, set of 4", 2690, 980, 35, 4),
    ("CLEAN-TAB-60", "Cleaning tablets, 60", 1390, 220, 55, 4),
)

# country, share of the customers, given names, family names, cities with a postcode
PLACES = (
    (
        "NL", 30, "Sanne|Daan|Fleur|Bram|Noor|Sem", "de Vries|Jansen|Bakker|Visser|Mulder",
        "Utrecht 3511|Rotterdam 3012|Groningen 9712|Eindhoven 5611|Zwolle 8011",
    ),
    (
        "DE", 22, "Lena|Jonas|Mia|Felix|Clara|Paul", "Schmidt|Wagner|Becker|Hoffmann|Krüger",
        "Köln 50667|Hamburg 20095|Leipzig 04109|München 80331|Münster 48143",
    ),
    (
        "BE", 12, "Lotte|Lucas|Emma|Arthur", "Peeters|Maes|Dubois|Lambert",
        "Gent 9000|Antwerpen 2000|Liège 4000",
    ),
    (
        "FR", 10, "Camille|Hugo|Inès|Louis", "Moreau|Laurent|Garnier|Lefèvre",
        "Lyon 69001|Nantes 44000|Lille 59800",
    ),
    (
        "AT", 5, "Anna|Lukas|Sophie", "Gruber|Huber|Steiner",
        "Wien 1010|Graz 8010|Innsbruck 6020",
    ),
    ("DK", 5, "Freja|Oscar|Ida", "Nielsen|Hansen|Møller", "København 1050|Aarhus 8000"),
    ("ES", 5, "Lucía|Hugo|Carmen", "García|Navarro|Ortega", "Madrid 28013|Valencia 46002"),
    ("IT", 5, "Giulia|Marco|Chiara", "Rossi|Ferrari|Conti", "Torino 10121|Bologna 40121"),
    ("IE", 3, "Aoife|Conor|Niamh", "Byrne|Murphy|Doyle", "Cork T12|Galway H91"),
    ("NO", 3, "Ingrid|Lars|Nora", "Hansen|Berg|Dahl", "Bergen 5003|Oslo 0150"),
    ("IS", 1, "Björk|Jón", "Jónsdóttir|Einarsson", "Reykjavík 101"),
)  # fmt: skip

# courier, country, heaviest parcel in grams
COURIERS = (
    ("Fietspost", "NL", 5000),
    ("Postbode", "NL", 31500),
    ("Postbode", "BE", 23000),
    ("Rheinkurier", "DE", 31500),
    ("Rheinkurier", "AT", 20000),
    ("Colis Express", "FR", 20000),
    *(("Europaket", country, 10000) for country in ("DK", "ES", "IE", "IT")),
)


@frozen(kw_only=True)
class Customer:
    """Who orders, from where, with which card."""

    name: str
    email: str
    city: str
    postcode: str
    country: str
    card: str


def pick(chance: Random, items: Sequence[T], weights: Sequence[int] | None = None) -> T:
    """One of the items, by weight."""
    sums = list(accumulate(weights or [1] * len(items)))
    return items[bisect(sums, chance.random() * sums[-1])]


def plain(name: str) -> str:
    """A name as it stands in a mail address."""
    table = str.maketrans("üøèéíïóöþ", "uoeeiioop")
    return name.lower().translate(table).replace(" ", "")


def customer(chance: Random, number: int) -> Customer:
    country, _, given, family, cities = pick(chance, PLACES, [place[1] for place in PLACES])
    first, last = pick(chance, given.split("|")), pick(chance, family.split("|"))
    city, postcode = pick(chance, cities.split("|")).split()
    domain = pick(chance, ("example.com", "example.org", "example.net"))
    return Customer(
        name=f"{first} {last}",
        email=f"{plain(first)}.{plain(last)}{number}@{domain}",
        city=city,
        postcode=postcode,
        country=country,
        card=f"card_{int(chance.random() * 16**8):08x}",
    )


def card_row(chance: Random, card: str) -> Row:
    """A card as its bank knows it: a few are blocked, some have run out, limits differ."""
    months = int(chance.random() * 48) - (3 if chance.random() < 0.35 else -1)
    year, month = divmod(2025 * 12 + 10 + months, 12)
    limit = pick(chance, (25000, 50000, 100000, 250000), (1, 5, 8, 4))
    return card, date(year, month + 1, 1).strftime("%Y-%m"), limit, int(chance.random() < 0.03)


def basket(chance: Random) -> Iterator[tuple[str, int, int]]:
    """Order lines: sku, quantity, unit price in cents."""
    wanted = pick(chance, (1, 2, 3, 4), (45, 30, 17, 8))
    chosen = {pick(chance, PRODUCTS, [product[5] for product in PRODUCTS]) for _ in range(wanted)}
    for sku, _, price, *_ in sorted(chosen):
        cheap = price < 5000
        yield sku, pick(chance, (1, 2, 3), (7, 2, 1)) if cheap else 1, price


def order_rows(chance: Random, customers: Sequence[Customer]) -> Iterator[Row]:
    """One row an order line, as shops export them; the orders come in the order of their time."""
    placed = OPENING
    for number in range(10231, 10231 + ORDERS):
        placed += timedelta(seconds=60 + int(chance.random() * 2400))
        who = pick(chance, customers)
        for sku, quantity, price in basket(chance):
            yield (
                f"W-{number}", placed.isoformat(), who.name, who.email, who.city, who.postcode,
                who.country, who.card, sku, quantity, price,
            )  # fmt: skip


def write(path: Path, header: str, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split())
        writer.writerows(rows)


def generate(folder: Path) -> None:
    """Write the four files into `folder`."""
    chance = Random(SEED)
    customers = [customer(chance, number) for number in range(1, 221)]
    cards = [card_row(chance, who.card) for who in customers]
    orders = list(order_rows(chance, customers))
    write(folder / "stock.csv", "sku title price_cents grams on_hand", [p[:5] for p in PRODUCTS])
    write(folder / "couriers.csv", "courier country max_grams", COURIERS)
    write(folder / "cards.csv", "card expires limit_cents blocked", cards)
    header = (
        "order placed_at customer email city postcode country card sku quantity unit_price_cents"
    )
    write(folder / "orders.csv", header, orders)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("data"))
