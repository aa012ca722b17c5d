"""What is told of a step below its name."""

from collections.abc import Iterator

from flux.definition.nodes import Each, Group
from flux.definition.step import StepDefinition
from flux.definition.wait import Wait

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def marks_of(step: StepDefinition) -> Iterator[str]:
    """The lines that tell what is special about a step."""
    if step.waits is not None:
        yield _waiting(step.waits)
    if step.each is not None:
        yield _repeated(step.each)
    if step.child is not None:
        yield f"workflow {step.child.workflow}"
    if isinstance(step.join, int):
        yield f"join: {step.join} of {len(step.after)}"
    elif step.join is not None:
        yield f"join: {step.join}"
    told = {
        "if its condition holds": step.when is not None,
        "commit": step.commit,
        "at most once": step.at_most_once,
        "cached": step.cache is not None,
        "goes on if it fails": step.continues,
    }
    yield from (mark for mark, is_true in told.items() if is_true)


def group_title(group: Group) -> str:
    """The name of a group, and how it is bounded."""
    bounds = [] if group.concurrency is None else [f"{group.concurrency:,} at once"]
    if group.fail_fast:
        bounds.append("fail fast")
    return f"{group.name} ({', '.join(bounds)})" if bounds else group.name


def _waiting(wait: Wait) -> str:
    limit = None if wait.seconds is None else _duration(wait.seconds)
    if wait.signal is None:
        return f"sleeps {limit}"
    return f"waits for {wait.signal}" + ("" if limit is None else f", at most {limit}")


def _repeated(each: Each) -> str:
    what = "each item" if each.batch_size is None else f"each {each.batch_size:,} items"
    return f"for {what}" + ("" if each.concurrency is None else f", {each.concurrency:,} at once")


def _duration(seconds: float) -> str:
    """A duration as people say it: `90 min`, `2 d`, `0.5 s`."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:g} s"
