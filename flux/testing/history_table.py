"""What happened to an instance, as a table that people read when a test has failed."""

from collections.abc import Iterable, Sequence

import orjson

from flux.definition.wait import RESERVED
from flux.state.status import StepStatus
from flux.state.workflow_state import StepExecution, WorkflowState

_WIDEST = 60
"""So many characters of a cell are shown."""

_HEADER = ("step", "status", "attempts", "what came of it")


def history_table(state: WorkflowState) -> str:
    """A line for the instance and one for each step, in the order in which they were reached."""
    told = f"{state.name} {state.id} is {state.status}"
    if state.error is not None:
        told += f": {state.error}"
    if not state.history:
        return f"{told}\n  no step was reached"
    rows = [_HEADER, *(row for entry in state.history for row in _rows(entry))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join([told, *(_line(row, widths) for row in rows)])


def shown(value: object) -> str:
    """A value in one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _line(row: Sequence[str], widths: Iterable[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"  {'  '.join(cells)}".rstrip()


def _rows(entry: StepExecution) -> Iterable[tuple[str, str, str, str]]:
    yield entry.name, str(entry.status), str(entry.attempt_count or ""), _outcome(entry)
    undone = entry.compensation
    if undone is not None and (undone.error is not None or undone.reason is not None):
        why = f"skipped: {undone.reason}" if undone.reason else str(undone.error)
        yield "  undoing it", str(undone.status), str(undone.attempts), _cut(why)


def _outcome(entry: StepExecution) -> str:
    if entry.status is StepStatus.SUSPENDED:
        return _waiting(entry)
    if entry.error is not None:
        handled = f"; handled by {entry.handled_by}" if entry.handled_by else ""
        return _cut(f"{entry.error}{handled}")
    if entry.left_out:
        return "another case was chosen"
    if entry.outcome is None and entry.output is None:
        return ""
    return _cut(orjson.dumps(entry.output).decode())


def _waiting(entry: StepExecution) -> str:
    until = "" if entry.wakes_at is None else f" until {entry.wakes_at:%Y-%m-%d %H:%M:%S}"
    if entry.waiting_for is None:
        return f"sleeps{until}"
    if entry.waiting_for.startswith(RESERVED):
        return f"waits for its child {entry.waiting_for.rpartition('ended:')[2]}"
    return f"waits for {entry.waiting_for!r}{until}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
