"""Report generation: typed input and data, and a retry until the file has come.

    python examples/report_generation.py

The tills of a shop send their sales as CSV. One of them sends only when it is asked, so the first
attempt finds nothing.
"""

import asyncio
import csv
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from attrs import Factory, define, frozen

from flux import CompensationContext, FluxEngine, Retry, Workflow, WorkflowContext

SALES = Path(__file__).with_name("data") / "sales.csv"


@frozen(kw_only=True)
class ReportInput:
    """Which report is wanted."""

    folder: str
    month: str


@define
class ReportData:
    """What the steps hand on; a `Decimal` comes back as a `Decimal`."""

    rows: int = 0
    turnover: dict[str, Decimal] = Factory(dict)


report = Workflow("monthly-report", input=ReportInput, data=ReportData)


@report.step(retries=Retry(4, initial=0.3, jitter=False, retry_on=FileNotFoundError))
def fetch(ctx: WorkflowContext) -> str:
    folder = Path(ctx.input.folder)
    (folder / "please-send").touch()
    with (folder / "sales.csv").open() as file:
        ctx.data.rows = sum(1 for _ in csv.DictReader(file))
    return file.name


@report.step(timeout=5)
def aggregate(ctx: WorkflowContext) -> None:
    with Path(ctx.output("fetch")).open() as file:
        for row in csv.DictReader(file):
            if row["date"].startswith(ctx.input.month):
                add(ctx.data.turnover, row["category"], Decimal(row["amount"]))


@report.step
def write(ctx: WorkflowContext) -> str:
    path = Path(ctx.input.folder, f"report-{ctx.input.month}.md")
    lines = [f"| {category} | {sum} |" for category, sum in sorted(ctx.data.turnover.items())]
    total = sum(ctx.data.turnover.values(), Decimal())
    text = "\n".join([f"# {ctx.input.month}", "", *lines, f"| **total** | {total} |", ""])
    path.write_text(text)
    return str(path)


@write.compensate
def delete(ctx: CompensationContext) -> None:
    Path(ctx.input.folder, f"report-{ctx.input.month}.md").unlink(missing_ok=True)


@report.commit
def archive(ctx: WorkflowContext) -> None:
    """A report without sales is a mistake, and is not archived."""
    if not ctx.data.turnover:
        raise ValueError(f"no sales in {ctx.input.month}")
    written = Path(ctx.output("write"))
    written.with_suffix(".archived").write_bytes(written.read_bytes())


def add(turnover: dict[str, Decimal], category: str, amount: Decimal) -> None:
    turnover[category] = turnover.get(category, Decimal()) + amount


def till(folder: Path) -> None:
    """The till: sends its file once it was asked."""
    while not (folder / "please-send").exists():
        time.sleep(0.01)
    (folder / "sales.part").write_bytes(SALES.read_bytes())
    (folder / "sales.part").rename(folder / "sales.csv")


async def main(folder: Path) -> None:
    Thread(target=till, args=[folder], daemon=True).start()
    async with FluxEngine(workflows=[report]) as flux:
        for month in ("2025-11", "2024-02"):
            wanted = ReportInput(folder=str(folder), month=month)
            result = await flux.execute(report, wanted)
            print(f"{month}: {result.status}, {result.data.rows} rows read")
            for step in result.history:
                print(f"  {step.name}: {step.status}")
                for past in step.attempts:
                    print(f"    attempt {past.number}: {past.error.type}")
    show(folder)


def show(folder: Path) -> None:
    print("files:", *sorted(path.name for path in folder.glob("report-*")))
    print((folder / "report-2025-11.md").read_text(), end="")


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
