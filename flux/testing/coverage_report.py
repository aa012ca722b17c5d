"""The report on what ran, as lines of text. Pure."""

import math
from collections.abc import Iterator, Sequence

from flux.testing.coverage import KINDS, Coverage, WorkflowCoverage

_HEADER = ("workflow", "steps", "compensators", "cases", "covered")


def coverage_report(coverage: Coverage) -> Sequence[str]:
    """A line for each workflow, then what no test ran, and for what only mocks stood in."""
    if not coverage.workflows:
        return ["no test ran a workflow in a TestEngine"]
    rows = [_HEADER, *map(_row, coverage.workflows)]
    rows.append(("all", "", "", "", shown_percent(coverage.percent)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*lines, *(line for one in coverage.workflows for line in _told(one))]


def shown_percent(percent: float) -> str:
    """Rounded down: nothing is 100 % of which a part is missing."""
    return f"{math.floor(percent)} %"


def _row(one: WorkflowCoverage) -> tuple[str, ...]:
    counts = []
    for kind in KINDS:
        count = len(one.parts[kind])
        counts.append(f"{count - len(one.missing(kind))} of {count}" if count else "-")
    return (one.name, *counts, shown_percent(one.percent))


def _told(one: WorkflowCoverage) -> Iterator[str]:
    missing = [part for kind in KINDS for part in _parts(kind, one.missing(kind))]
    mocked = [part for kind in KINDS for part in _parts(kind, one.only_stood_in(kind))]
    if missing:
        yield f"{one.name}: no test ran"
        yield from missing
    if mocked:
        yield f"{one.name}: only mocks ran for"
        yield from mocked


def _parts(kind: str, names: Sequence[str]) -> Iterator[str]:
    of = "compensator of" if kind == "compensator" else kind
    return (f"  {of} {name}" for name in names)
