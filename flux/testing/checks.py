"""What can be said of a run, and what is wrong with it. Pure: a state in, a problem or None out."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from flux.definition.wait import RESERVED
from flux.errors import listing
from flux.state.status import StepStatus, WorkflowStatus
from flux.state.workflow_state import StepExecution, WorkflowState
from flux.testing.history_table import shown

_RAN = (
    StepStatus.COMPLETED,
    StepStatus.SUSPENDED,
    StepStatus.COMPENSATED,
    StepStatus.COMPENSATING,
)


@frozen(kw_only=True)
class Problem:
    """What a check has found; both are the ends of a sentence."""

    expected: str
    found: str


def begun(state: WorkflowState) -> list[str]:
    """The names of the steps that ran, whatever became of them, as they were reached."""
    return [e.name for e in state.history if not e.replaced and _has_run(e)]


def ran(state: WorkflowState, steps: Sequence[str]) -> Problem | None:
    """Each of them ran; others may have run as well."""
    found = begun(state)
    missing = [step for step in steps if step not in found]
    if not missing:
        return None
    return Problem(
        expected=f"{_names(steps)} ran", found=f"{_names(missing)} did not run; {_who(found)}"
    )


def did_not_run(state: WorkflowState, steps: Sequence[str]) -> Problem | None:
    """None of them ran: not reached, skipped, or left out by a branch."""
    found = begun(state)
    wrong = [step for step in steps if step in found]
    if not wrong:
        return None
    return Problem(expected=f"{_names(steps)} did not run", found=f"{_names(wrong)} ran")


def order(state: WorkflowState, steps: Sequence[str]) -> Problem | None:
    """Each of them ran, and was reached in this order; others may have come between."""
    found = begun(state)
    if len(set(steps)) < len(steps):
        raise ValueError(f"{_names(steps)}: a step has one place in the order; name each once")
    if any(step not in found for step in steps):
        return ran(state, steps)
    as_found = sorted(steps, key=found.index)
    if as_found == list(steps):
        return None
    return Problem(expected=f"{_in_order(steps)}, in this order", found=f"{_in_order(as_found)}")


def output(state: WorkflowState, step: str, expected: Any) -> Problem | None:
    """The step has completed with this output."""
    wanted = f"the output of {step!r} is {shown(expected)}"
    entry = state.step(step)
    if entry is None or entry.outcome is None:
        return Problem(expected=wanted, found=f"it has none: {_stands(entry)}")
    if entry.output == expected:
        return None
    return Problem(expected=wanted, found=f"it is {shown(entry.output)}")


def retried(state: WorkflowState, step: str, times: int | None) -> Problem | None:
    """So many attempts of the step failed and were followed by another; None says at least one."""
    entry = state.step(step)
    found = 0 if entry is None else entry.retries
    if found == times or (times is None and found):
        return None
    wanted = "" if times is None else f" {_times(times)}"
    told = "it was not reached" if entry is None else f"it was retried {_times(found)}"
    return Problem(expected=f"{step!r} was retried{wanted}", found=told)


def compensated(
    state: WorkflowState, steps: Sequence[str], undone: Iterable[str]
) -> Problem | None:
    """These were undone, in this order, and no others; `undone` is how it was."""
    found = list(undone)
    if found == list(steps):
        return None
    return Problem(
        expected=f"{_in_order(steps)} undone, in this order, and nothing else",
        found=f"{_in_order(found)} undone",
    )


def undone(state: WorkflowState, heard: Sequence[str]) -> list[str]:
    """What of the history is undone, in order; `heard` tells apart what was so at one moment."""
    last = {step: place for place, step in enumerate(heard)}
    found = [
        (entry.compensated_at, last.get(entry.name, len(heard)), -place, entry.name)
        for place, entry in enumerate(state.history)
        if entry.compensated_at is not None and not entry.replaced
    ]
    return [name for *_, name in sorted(found)]


def status(state: WorkflowState, expected: str) -> Problem | None:
    """The instance has this status; `ValueError` for what is none."""
    if expected not in tuple(WorkflowStatus):
        raise ValueError(f"{expected!r} is no status; there are {listing(WorkflowStatus)}")
    if state.status == expected:
        return None
    return Problem(expected=f"the status is {str(expected)!r}", found=f"{str(state.status)!r}")


def waits_for(state: WorkflowState, signals: Sequence[str]) -> Problem | None:
    """The instance waits for each of these signals."""
    found = [e.waiting_for for e in state.history if e.status is StepStatus.SUSPENDED]
    if signals and all(signal in found for signal in signals):
        return None
    open_waits = [name for name in found if name is not None and not name.startswith(RESERVED)]
    return Problem(
        expected=f"it waits for {_names(signals)}",
        found=f"it waits for {_names(open_waits)}; it is {state.status}",
    )


def failed_with(
    state: WorkflowState, error: type[BaseException], match: str | None
) -> Problem | None:
    """The instance has such an error, whose message has a part that `match` fits."""
    told = "" if match is None else f" whose message matches {match!r}"
    found = state.error
    if (
        found is not None
        and found.is_one_of((error,))
        and (match is None or re.search(match, found.message))
    ):
        return None
    return Problem(
        expected=f"it failed with {error.__name__}{told}",
        found=f"it is {state.status}" if found is None else f"it has {found}",
    )


def _has_run(entry: StepExecution) -> bool:
    return entry.attempt_count > 0 or entry.status in _RAN


def _stands(entry: StepExecution | None) -> str:
    return "it was not reached" if entry is None else f"it is {entry.status}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _in_order(names: Sequence[str]) -> str:
    return " → ".join(map(repr, names)) or "nothing was"


def _who(found: Sequence[str]) -> str:
    return f"what ran: {_names(found)}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
