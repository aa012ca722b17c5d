"""What can be wrong with a workflow, found when it is built, all at once."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import attrs

from flux.definition.graph import cycles, sources_of
from flux.definition.nodes import Branch, Cache, Each, Group, rate
from flux.definition.policy import retry_policy, seconds
from flux.definition.step import StepDefinition, is_async
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
    yield from (f"{told}: {problem}" for problem in _node_problems(options))


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
    for cycle in cycles({name: after for name, after in edges if names[name] == 1}):
        yield f"step {cycle[0]!r} waits for itself: {' -> '.join(cycle)}"


def cycle_problems(steps: Sequence[StepDefinition]) -> Iterator[str]:
    """Steps that wait for each other since some run when others fail."""
    known = {step.name: step for step in steps}
    for cycle in cycles(sources_of(steps)):
        why = (_why_after(known[name], known[before]) for name, before in pairwise(cycle))
        told = "; ".join(filter(None, why))
        yield f"step {cycle[0]!r} waits for itself: {' -> '.join(cycle)} ({told})"


def _why_after(step: StepDefinition, before: StepDefinition) -> str | None:
    """Why the step comes after another; None if it is declared so."""
    if before.name in step.after:
        return None
    if any(rescue.step == step.name for rescue in before.rescues):
        return f"{step.name!r} runs if {before.name!r} fails"
    return f"{step.name!r} comes after a step for which {before.name!r} may stand in"


def idle_problems(definition: WorkflowDefinition, apart: Iterable[str]) -> Iterator[str]:
    """Handlers that are for no step, and so would be like steps that begin by themselves."""
    for name in apart:
        if name not in definition.rescued:
            yield f"on_error: there is no step whose failure {name!r} could handle"


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
    conditions = _conditions(definition)
    for (first, signal), (second, other) in combinations(waiting, 2):
        if signal is None or signal != other or first in definition.before_step(second):
            continue
        if _exclude_each_other(conditions[first], conditions[second]):
            continue
        yield (
            f"steps {first!r} and {second!r} may wait for the signal {signal!r} at the same time; "
            "let one come after the other"
        )


def join_problems(definition: WorkflowDefinition) -> Iterator[str]:
    """Joins that can never be met."""
    conditions = _conditions(definition)
    for step in definition.order:
        edges = step.after
        if isinstance(step.join, int) and not edges and not definition.rescued.get(step.name):
            yield f"step {step.name!r}: join={step.join}, but it comes after nothing"
        if step.join is None or step.join == "any" or not edges:
            continue
        needed = len(edges) if step.join == "all" else step.join
        told = f"step {step.name!r}: join={step.join!r} can never be met"
        if needed > len(edges):
            yield f"{told}, it comes after {len(edges)} steps: {listing(edges)}"
            continue
        by_edge = {
            edge: _conditions_of_edge(definition.step(edge), step.name, conditions)
            for edge in edges
        }
        for branch in dict.fromkeys(branch for edge in edges for branch, _ in by_edge[edge]):
            together = _most_together(branch, edges, by_edge)
            if len(together) < needed:
                left = [edge for edge in edges if edge not in together]
                yield (
                    f"{told}: branch {branch!r} chooses one case, and leaves out {listing(left)}; "
                    "without join= the step runs after whatever was chosen"
                )
                break


_Conditions = frozenset[tuple[str, object]]


def _conditions(definition: WorkflowDefinition) -> dict[str, _Conditions]:
    """By step, the choices of branches without which it never runs."""
    found: dict[str, _Conditions] = {}
    for step in definition.order:
        ways = [
            _conditions_of_edge(definition.step(source), step.name, found) for source in step.after
        ]
        rescued = definition.rescued.get(step.name, ())
        ways += [found[source] for source in rescued]
        every = step.join == "all" and not rescued
        if not ways:
            found[step.name] = frozenset()
        elif every:
            found[step.name] = frozenset().union(*ways)
        else:
            found[step.name] = frozenset.intersection(*ways)
    return found


def _conditions_of_edge(
    source: StepDefinition, target: str, found: Mapping[str, _Conditions]
) -> _Conditions:
    if source.branch is None:
        return found[source.name]
    if target not in source.branch.firsts:  # this edge is for a case without steps
        return found[source.name] | {(source.name, ())}
    cases = [key for key, firsts in source.branch.cases.items() if target in firsts]
    if source.branch.default is not None and target in source.branch.default:
        cases.append(None)
    return found[source.name] | {(source.name, tuple(cases))}


def _exclude_each_other(one: _Conditions, other: _Conditions) -> bool:
    cases = dict(one)
    return any(branch in cases and cases[branch] != case for branch, case in other)


def _most_together(
    branch: str, edges: Sequence[str], conditions: Mapping[str, _Conditions]
) -> list[str]:
    """The most of these steps that one choice of the branch lets run."""
    choices = dict.fromkeys(
        case for edge in edges for one, case in conditions[edge] if one == branch
    )
    together = (
        [e for e in edges if all(one != branch or case == choice for one, case in conditions[e])]
        for choice in choices
    )
    return max(together, key=len)


def bound_problems(
    *,
    fail_fast: object,
    groups: Sequence[Group],
    merges: Mapping[Any, object],
    limits: Sequence[tuple[object, object, Any]],
) -> Iterator[str]:
    """What is wrong with how much may run at once, and with what becomes of the data."""
    if not isinstance(fail_fast, bool):
        yield f"fail_fast is True or False, not {fail_fast!r}"
    for group in groups:
        yield from (f"group {group.name!r}: {problem}" for problem in _name_problems(group.name))
        yield from _count_problems(f"group {group.name!r}: concurrency", group.concurrency)
        if not isinstance(group.fail_fast, bool):
            yield f"group {group.name!r}: fail_fast is True or False, not {group.fail_fast!r}"
    yield from _merge_problems(merges)
    for key, concurrency, speed in limits:
        if key is not None and (why := function_problem(key, "ctx")):
            yield f"limit: key: {why}"
        if concurrency is None and speed is None:
            yield "limit: give concurrency, or rate, or both"
        yield from _count_problems("limit: concurrency", concurrency)
        if speed is not None:
            yield from (f"limit: {p}" for p in _refusal("rate", rate, speed))


def _merge_problems(merges: Mapping[Any, object]) -> Iterator[str]:
    for key, function in merges.items():
        if why := function_problem(function, "the first value", "the second"):
            yield f"merge({key!r}): {why}"
        elif callable(function) and is_async(function):
            yield f"merge({key!r}): it is async; it must be a plain function"


def _count_problems(told: str, count: object) -> Iterator[str]:
    if count is not None and (type(count) is not int or count < 1):
        yield f"{told} is a number of 1 or more, not {count!r}"


def function_problem(function: object, *arguments: str) -> str | None:
    """Why `function` cannot be called with these arguments; None if it can."""
    if not callable(function):
        return f"{function!r} is no function"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return "it is a generator; use a plain or async function"
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        count = "one argument" if len(arguments) == 1 else f"{len(arguments)} arguments"
        told = ", ".join(arguments)
        return f"it must take {count}, {told}: {inspect.signature(function)}"
    except ValueError:  # a builtin without a signature
        return None
    return None


def _name_problems(name: object) -> Iterator[str]:
    if problems := list(_text_problems(name)):
        yield from problems
    elif isinstance(name, str) and any(sign in name for sign in ":[]"):
        yield "a name holds no colon and no bracket, which divide the parts of idempotency keys"


def _text_problems(name: object) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        yield "a name is printable text that is not empty"


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
    yield from after_problems(options.get("after", ()))


def after_problems(after: object) -> Iterator[str]:
    """What is wrong with the steps after which something is to begin."""
    return names_problems("after", after)


def names_problems(option: str, given: object) -> Iterator[str]:
    """What is wrong with names of steps that were given."""
    # A set would give the edges another order, and so the workflow another shape, in each process.
    if isinstance(given, str | tuple | list):
        yield from (f"{option}: {name!r} is no name" for name in given if not isinstance(name, str))
    else:
        yield f"{option}: {given!r} is neither a name nor a tuple of names"


def _node_problems(options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("on_error", "fail") not in ("fail", "continue"):
        yield f"on_error is 'fail' or 'continue', not {options['on_error']!r}"
    if options.get("on_error") == "continue" and options.get("fallback") is not None:
        yield "it has a fallback; on_error='continue' would never count"
    join = options.get("join")
    if join is not None and join not in ("all", "any") and (type(join) is not int or join < 1):
        yield f"join is 'all', 'any' or a number of 1 or more, not {join!r}"
    if not isinstance(options.get("pure", False), bool):
        yield f"pure is True or False, not {options['pure']!r}"
    yield from _cache_problems(options)
    if (branch := options.get("branch")) is not None:
        yield from _branch_problems(branch)
    if (each := options.get("each")) is not None:
        yield from _each_problems(each)
    if (child := options.get("child")) is not None:
        yield from (f"workflow {child.workflow!r}: {why}" for why in _text_problems(child.workflow))
        for option, function in (("input", child.input), ("output", child.output)):
            if function is not None and (why := function_problem(function, "its argument")):
                yield f"{option}: {why}"


def _cache_problems(options: Mapping[str, Any]) -> Iterator[str]:
    cache, pure = options.get("cache"), options.get("pure", False)
    acts = [name for name in ("compensate", "commit", "at_most_once") if options.get(name)]
    if pure and acts:
        yield f"it is declared pure, so there is nothing to {acts[0].replace('_', ' ')}"
    if cache is None:
        return
    if not isinstance(cache, Cache):
        yield f"cache: {cache!r} is no Cache(ttl=…, key=…)"
        return
    if not pure:
        yield "cache: only a step declared pure=True can be cached, one without effects"
    if cache.key is not None and (why := function_problem(cache.key, "ctx")):
        yield f"cache: key: {why}"


def _branch_problems(branch: Branch) -> Iterator[str]:
    if why := function_problem(branch.on, "ctx"):
        yield f"on: {why}"
    if not branch.cases:
        yield "it has no cases"
    for key in branch.cases:
        if not _can_be_saved(key):
            yield f"cases: {key!r} is no text, 64-bit number or truth value, which can be saved"


def _can_be_saved(key: object) -> bool:
    if isinstance(key, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in key)  # no surrogates
    return isinstance(key, int) and -(2**63) <= key < 2**64


def _each_problems(each: Each) -> Iterator[str]:
    if why := function_problem(each.over, "ctx"):
        yield f"over: {why}"
    yield from _count_problems("concurrency", each.concurrency)
    yield from _count_problems("batch_size", each.batch_size)
    if each.on_item_failure not in ("continue", "stop", "cancel"):
        given = each.on_item_failure
        yield f"on_item_failure is 'continue', 'stop' or 'cancel', not {given!r}"


def _types(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
