"""ETL: three sources are read beside each other, joined, and loaded into a warehouse.

    python examples/etl_three_sources.py

Orders come as CSV, customers as JSON, prices stand in a database. What was loaded is checked in the
end; if the check fails the load is undone, and the warehouse is as it was before.
"""

import asyncio
import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flux import CompensationContext, FluxEngine, Workflow, WorkflowContext

etl = Workflow("etl")


def orders(ctx: WorkflowContext) -> list[dict[str, Any]]:
    with Path(ctx.input["folder"], f"orders-{ctx.input['month']}.csv").open() as file:
        return list(csv.DictReader(file))


def customers(ctx: WorkflowContext) -> dict[str, str]:
    listed = json.loads(Path(ctx.input["folder"], "customers.json").read_text())
    return {customer["id"]: customer["country"] for customer in listed}


def prices(ctx: WorkflowContext) -> dict[str, int]:
    with closing(sqlite3.connect(Path(ctx.input["folder"], "shop.db"))) as db:
        return dict(db.execute("SELECT sku, cents FROM prices"))


etl.parallel("extract", [orders, customers, prices])


@etl.step  # comes after the group, which means after all three
def join(ctx: WorkflowContext) -> list[list[Any]]:
    country, cents = ctx.output("customers"), ctx.output("prices")
    return [
        [row["order"], country.get(row["customer"]), int(row["pieces"]) * cents[row["sku"]]]
        for row in ctx.output("orders")
    ]


@etl.step
def load(ctx: WorkflowContext) -> int:
    rows = [[ctx.idempotency_key, *row] for row in ctx.output("join")]
    with closing(warehouse(ctx)) as db, db:
        # Loading twice with one key is loading once.
        db.execute("DELETE FROM sales WHERE load = ?", [ctx.idempotency_key])
        db.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    return len(rows)


@load.compensate
def unload(ctx: CompensationContext) -> None:
    with closing(warehouse(ctx)) as db, db:
        db.execute("DELETE FROM sales WHERE load = ?", [ctx.step_key])


@etl.step
def check(ctx: WorkflowContext) -> None:
    with closing(warehouse(ctx)) as db:
        [(homeless,)] = db.execute("SELECT count(*) FROM sales WHERE country IS NULL")
    if homeless:
        raise ValueError(f"orders of unknown customers: {homeless}")


def warehouse(ctx: WorkflowContext) -> sqlite3.Connection:
    return sqlite3.connect(Path(ctx.input["folder"], "warehouse.db"))


def write_sources(folder: Path) -> None:
    """What other systems would have left there."""
    head = "order,customer,sku,pieces\n"
    (folder / "orders-01.csv").write_text(f"{head}o1,c1,A1,2\no2,c2,B2,1\no3,c1,B2,4\n")
    (folder / "orders-02.csv").write_text(f"{head}o4,c2,A1,1\no5,c9,B2,3\n")
    known = [{"id": "c1", "country": "NL"}, {"id": "c2", "country": "FR"}]
    (folder / "customers.json").write_text(json.dumps(known))
    with closing(sqlite3.connect(folder / "shop.db")) as db, db:
        db.execute("CREATE TABLE prices (sku TEXT, cents INTEGER)")
        db.executemany("INSERT INTO prices VALUES (?, ?)", [("A1", 250), ("B2", 1000)])
    with closing(sqlite3.connect(folder / "warehouse.db")) as db, db:
        db.execute("CREATE TABLE sales (load TEXT, sale TEXT, country TEXT, cents INTEGER)")


async def main(folder: Path) -> None:
    write_sources(folder)
    print("levels:", *(" + ".join(level) for level in etl.build().levels()), sep="\n  ")
    async with FluxEngine(f"sqlite:///{folder / 'flux.db'}", workflows=[etl]) as flux:
        for month in ("01", "02"):
            wanted = {"folder": str(folder), "month": month}
            result = await flux.execute(etl, wanted, id=f"etl-{month}")
            print(f"{month}: {result.status}{f', {result.error}' if result.error else ''}")
            for name in ("orders", "customers", "prices", "join", "load", "check"):
                step = result.state.step(name)
                print(f"  {name}: {step.status if step else 'not reached'}")
    with closing(sqlite3.connect(folder / "warehouse.db")) as db:
        print("warehouse:", *db.execute("SELECT country, sum(cents) FROM sales GROUP BY country"))


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
