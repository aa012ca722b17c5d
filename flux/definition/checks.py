"""What can be wrong with a workflow, found when it is built, all at once."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import attrs

from flux.definition.graph import find_cycle
from flux.definition.policy import retry_policy, seconds
from flux.definition.wait import bounded
from flux.definition.workflow import WorkflowDefinition
from flux.errors import listing

FUNCTIONS = ("handler", "when", "verify", "compensate")
_RETRIES = ("retries", "compensate_retries")
_TIMEOUTS = ("timeout", "compensate_timeout")
_FLAGS = ("commit", "at_most_once")


def option_problems(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of one step, each problem naming the step."""
    told = f"step {name!r}"
    yield from (f"{told}: {problem}" for problem in _name_problems(name))
    for function in FUNCTIONS:
        yield from (f"{told}: {p}" for p in _function_problems(function, options.get(function)))
    for option in _RETRIES:
        yield from (f"{told}: {p}" for p in _refusal(option, retry_policy, options.get(option, 0)))
    for option in _TIMEOUTS:
        yield from (f"{told}: {p}" for p in _timeout_problems(option, options.get(option)))
    for option in _FLAGS:
        if not isinstance(options.get(option, False), bool):
            yield f"{told}: {option} is True or False, not {options[option]!r}"
    yield from (f"{told}: {problem}" for problem in _policy_problems(options))


def graph_problems(edges: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """What is wrong with the steps taken together, each given as its name and its sources."""
    names = Counter(name for name, _ in edges)
    if not edges:
        yield "it has no steps; add one with @workflow.step"
    yield from (
        f"step {name!r} is declared {count} times; names are unique"
        for name, count in names.items()
        if count > 1
    )
    unknown = [(name, source) for name, after in edges for source in after if source not in names]
    for name, source in unknown:
        yield f"step {name!r}: after={source!r} is no step; there are: {listing(names)}"
    waiting = {name: after for name, after in edges if names[name] == 1}
    while cycle := find_cycle(waiting):
        yield f"step {cycle[0]!r} waits for itself: {' -> '.join(cycle)}"
        waiting = {name: after for name, after in waiting.items() if name not in cycle}


def correlation_problems(
    correlate_by: object, input_type: type | None, *, unique: object, deadline: object
) -> Iterator[str]:
    """What is wrong with how instances are found, and with how long they may take."""
    if deadline is not None:
        refused = list(_refusal("deadline", bounded, deadline))
        yield from refused or _timeout_problems("deadline", deadline)
    if not isinstance(unique, bool):
        yield f"unique is True or False, not {unique!r}"
    keys = (correlate_by,) if isinstance(correlate_by, str) else correlate_by
    if not isinstance(keys, tuple | list):
        yield f"correlate_by: {correlate_by!r} is neither a key of the input nor a tuple of keys"
        return
    yield from (f"correlate_by: {key!r} is no key" for key in keys if not isinstance(key, str))
    if isinstance(input_type, type) and attrs.has(input_type):
        names = [field.name for field in attrs.fields(input_type)]
        for key in keys:
            if key not in names:
                yield f"correlate_by: {key!r} is no field of the input; there are: {listing(names)}"


def wait_problems(definition: WorkflowDefinition) -> Iterator[str]:
    """Declared waits that may wait for one signal at the same time."""
    declared = ((step.name, step.waits) for step in definition.order)
    waiting = [(name, waits.signal) for name, waits in declared if waits is not None]
    for (first, signal), (second, other) in combinations(waiting, 2):
        if signal is None or signal != other or first in definition.before_step(second):
            continue
        yield (
            f"steps {first!r} and {second!r} may wait for the signal {signal!r} at the same time; "
            "let one come after the other"
        )


def function_problem(function: object, argument: str) -> str | None:
    """Why `function` cannot be called with one argument; None if it can."""
    if not callable(function):
        return f"{function!r} is no function"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return "it is a generator; use a plain or async function"
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return f"it must take one argument, {argument}: {inspect.signature(function)}"
    except ValueError:  # a builtin without a signature
        return None
    return None


def _name_problems(name: object) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        yield "a name is printable text that is not empty"
    elif ":" in name:
        yield "a name holds no colon, which divides the parts of idempotency keys"


def _function_problems(option: str, function: Callable[..., Any] | None) -> Iterator[str]:
    if function is None and option != "handler":
        return
    problem = function_problem(function, "ctx")
    if problem:
        yield f"{option}: {problem}"


def _refusal(option: str, convert: Callable[[Any], Any], given: object) -> Iterator[str]:
    try:
        convert(given)
    except (ValueError, TypeError) as error:
        yield f"{option}: {error}"


def _timeout_problems(option: str, given: object) -> Iterator[str]:
    if given is None:
        return
    refused = list(_refusal(option, seconds, given))
    yield from refused
    if not refused and seconds(given) == 0:  # type: ignore[arg-type]
        yield f"{option}: it must be more than 0 seconds; None is for no limit"


def _policy_problems(options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("verify") is not None and not options.get("at_most_once"):
        yield "verify is asked of steps with at_most_once=True alone"
    needless = [name for name in ("compensate_retries", "compensate_timeout") if name in options]
    if needless and options.get("compensate") is None:
        yield f"{listing(needless)} without a compensator"
    for error in _types(options.get("unknown_on", ())):
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            yield f"unknown_on: {error!r} is no error type"
    # A set would give the edges another order, and so the workflow another shape, in each process.
    if isinstance(after := options.get("after", ()), str | tuple | list):
        yield from (f"after: {name!r} is no name" for name in after if not isinstance(name, str))
    else:
        yield f"after: {after!r} is neither a name nor a tuple of names"


def _types(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
