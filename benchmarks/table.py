"""What the benchmarks measured, as a table."""

from collections.abc import Iterable

from attrs import astuple, frozen

_HEADINGS = ("question", "contender", "durability", "median", "to baseline", "Flux to it", "rounds")


@frozen
class Row:
    """One line: what was asked of whom, and the answer in words."""

    question: str
    contender: str
    durability: str
    figure: str
    to_baseline: str = ""
    """The median, over the rounds, of this contender's figure divided by the baseline's."""
    flux_to_it: str = ""
    """The same for Flux's figure divided by this contender's."""
    rounds: str = ""


def amount(number: float) -> str:
    """A number, with a decimal if it is small."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def micros(number: float) -> str:
    """Microseconds."""
    return f"{amount(number)} µs"


def table(rows: Iterable[Row]) -> str:
    """The rows under each other, a question's rows together, in Markdown."""
    cells = [_HEADINGS, *(astuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    rules = tuple("-" * width for width in widths)
    lines = (_line(row, widths) for row in (_HEADINGS, rules, *cells[1:]))
    return "\n".join(lines)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"
