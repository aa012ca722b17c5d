"""What the benchmarks measured, as a table."""

from collections.abc import Iterable

from attrs import frozen


@frozen
class Row:
    """One figure: the question, the storage it was asked of, and the answer in words."""

    question: str
    storage: str
    answer: str


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows under each other, a question's rows together."""
    listed = list(rows)
    widths = [max(len(row.question) for row in listed), max(len(row.storage) for row in listed)]
    for row in listed:
        print(f"{row.question:<{widths[0]}}  {row.storage:<{widths[1]}}  {row.answer}")
