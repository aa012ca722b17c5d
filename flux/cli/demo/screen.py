"""What the demo shows: on a terminal with a bar and colours, elsewhere as plain lines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flux.cli.demo.books import Books, Totals
from flux.cli.demo.tally import StepTally, Tally

SHOWN_DIFFERENCES = 20
PLAIN_WIDTH = 120


class Screen:
    """Writes to the standard output."""

    def __init__(self) -> None:
        self.console = Console()
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH

    def say(self, text: str, style: str = "") -> None:
        """One line, as long as it is."""
        self.console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes how many orders have ended."""
        if not self.console.is_terminal:
            yield self._quarters(total)
            return
        columns = (TextColumn("orders"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("orders", total=total)
            yield lambda ended: bar.update(task, completed=min(ended, total))

    def tally(self, tally: Tally) -> None:
        """How the orders ended, and what each step did."""
        ends = self._table("end", "orders", "why")
        for end, count in sorted(tally.ends.items()):
            why = ", ".join(f"{number} {error}" for error, number in _most(tally.causes.get(end)))
            ends.add_row(end.replace("_", " "), str(count), why)
        steps = self._table("step", "runs", "completed", "retries", "interrupted", "compensations")
        for name, step in tally.steps.items():
            steps.add_row(name, *map(str, _numbers(step)))
        for table in (ends, steps):
            self._show(table)
            self.say("")

    def books(self, books: Books) -> None:
        """Whether the books balance, and on what."""
        ledger = books.ledger
        opening, left, shipped = map(_sum, (books.opening, ledger.left, ledger.shipped))
        captured, refunded, due = map(_euro, (ledger.captured, ledger.refunded, books.due))
        parcels, mails = _sum(ledger.parcels), _sum(ledger.mails)
        self.say(f"units    {opening} at first = {left} left + {shipped} shipped")
        self.say(f"money    {captured} captured - {refunded} refunded = {due} due")
        self.say(f"parcels  {parcels} sent, {mails} mails, {len(books.completed)} completed orders")
        self._verdict(books.differences)

    def _verdict(self, differences: Sequence[str]) -> None:
        if not differences:
            self.say("The books balance.", style="bold green")
            return
        self.say(f"The books do not balance, differences: {len(differences)}", "bold red")
        for difference in differences[:SHOWN_DIFFERENCES]:
            self.say(f"  {difference}")
        if len(differences) > SHOWN_DIFFERENCES:
            self.say("  ...")

    def _quarters(self, total: int) -> Callable[[int], None]:
        left = [total, *sorted({total * quarter // 4 for quarter in (1, 2, 3)}, reverse=True)]

        def told(ended: int) -> None:
            passed = 0
            while left and left[-1] <= ended:
                passed = left.pop()
            if passed:
                self.say(f"{ended} of {total} orders have ended")

        return told

    def _show(self, table: Table) -> None:
        if self.console.is_terminal:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        for line in captured.get().splitlines():
            self.say(line.rstrip())

    def _table(self, first: str, *others: str) -> Table:
        table = Table(box=box.SIMPLE_HEAD if self.console.is_terminal else None, pad_edge=False)
        table.add_column(first, no_wrap=True)
        for other in others:
            table.add_column(other, justify="left" if other == "why" else "right")
        return table


def _most(causes: Mapping[str, int] | None) -> list[tuple[str, int]]:
    return sorted((causes or {}).items(), key=lambda cause: (-cause[1], cause[0]))


def _numbers(step: StepTally) -> tuple[int, ...]:
    return step.runs, step.completed, step.retries, step.interrupted, step.compensated


def _sum(totals: Totals) -> int:
    return sum(totals.values())


def _euro(totals: Totals) -> str:
    return f"{_sum(totals) / 100:,.2f} EUR"
