"""From what was declared to the finished workflow, or to all that is wrong with it."""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import Factory, define

from flux.definition.checks import (
    bound_problems,
    correlation_problems,
    cycle_problems,
    function_problem,
    graph_problems,
    idle_problems,
    join_problems,
    wait_problems,
)
from flux.definition.declared import ErrorHandler, Step, names_in, rescues_of
from flux.definition.layout import Gathering, Layout
from flux.definition.nodes import Group, declared_limit
from flux.definition.policy import Duration, seconds
from flux.definition.step import StepDefinition, is_async
from flux.definition.workflow import (
    InputValidator,
    Merge,
    WorkflowDefinition,
    data_type_problem,
    input_type_problem,
)
from flux.errors import DefinitionError, listing


@define(kw_only=True)
class Declared:
    """All that was declared of a workflow, as it was given."""

    name: str
    version: str
    input: type | None = None
    data: type | None = None
    validate: InputValidator | None = None
    correlate_by: str | Iterable[str] = ()
    unique: bool = True
    deadline: Duration | None = None
    fail_fast: bool = False
    steps: list[Step] = Factory(list)
    places: list[str | Gathering] = Factory(list)
    """Steps, by name, and groups and branches, in the order of declaration."""
    groups: list[tuple[Group, tuple[str, ...]]] = Factory(list)
    handlers: list[ErrorHandler] = Factory(list)
    merges: dict[str, Merge] = Factory(dict)
    limits: list[tuple[Any, Any, Any]] = Factory(list)
    children: list[WorkflowDefinition] = Factory(list)
    problems: list[str] = Factory(list)
    """What was seen to be wrong already when it was declared."""


def built(declared: Declared) -> WorkflowDefinition:
    """The finished workflow; `DefinitionError` with all its problems if it makes no sense."""
    layout = _layout(declared)
    steps = [
        *declared.problems,
        *(problem for step in declared.steps for problem in step.problems()),
        *_handler_problems(declared),
        *layout.problems(),
    ]
    _refuse(declared, [*_own_problems(declared), *steps, *graph_problems(_edges(declared, layout))])
    defined = _defined_steps(declared, layout)
    _refuse(declared, cycle_problems(defined))
    definition = _definition(declared, defined)
    apart = dict.fromkeys(handler.step for handler in declared.handlers)
    problems = (
        *wait_problems(definition),
        *join_problems(definition),
        *idle_problems(definition, apart),
    )
    _refuse(declared, problems)
    return definition


def _refuse(declared: Declared, problems: Iterable[str]) -> None:
    if found := list(problems):
        raise DefinitionError(str(declared.name), found)


def _layout(declared: Declared) -> Layout:
    placed = {
        step.name: names_in(step.options["after"])
        for step in declared.steps
        if "after" in step.options
    }
    fallbacks = (step.options.get("fallback") for step in declared.steps)
    apart = {name for name in fallbacks if isinstance(name, str)}
    apart |= {handler.step for handler in declared.handlers}
    return Layout(declared.places, placed, apart)


def _edges(declared: Declared, layout: Layout) -> list[tuple[str, tuple[str, ...]]]:
    sources = layout.sources()
    return [(step.name, sources.get(step.name, ())) for step in declared.steps]


def _defined_steps(declared: Declared, layout: Layout) -> tuple[StepDefinition, ...]:
    sources = layout.sources()
    groups = {name: group for group, names in declared.groups for name in layout.within(names)}
    rescues = rescues_of(declared.steps, sources, declared.handlers)
    return tuple(
        step.definition(
            after=sources[step.name],
            rescues=rescues[step.name],
            group=groups.get(step.name),
        )
        for step in declared.steps
    )


def _definition(declared: Declared, steps: tuple[StepDefinition, ...]) -> WorkflowDefinition:
    return WorkflowDefinition(
        name=declared.name,
        version=declared.version,
        steps=steps,
        input_type=declared.input,
        data_type=declared.data,
        validate=declared.validate,
        correlate_by=names_in(declared.correlate_by),
        unique=declared.unique,
        deadline=None if declared.deadline is None else seconds(declared.deadline),
        fail_fast=declared.fail_fast,
        merges=dict(declared.merges),
        limits=tuple(declared_limit(*limit) for limit in declared.limits),
        children=tuple(declared.children),
    )


def _own_problems(declared: Declared) -> Iterator[str]:
    for what, text in (("name", declared.name), ("version", declared.version)):
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            yield f"its {what} {text!r} is no printable text"
    if declared.input is not None and (why := input_type_problem(declared.input)):
        yield why
    if declared.data is not None and (why := data_type_problem(declared.data)):
        yield why
    if declared.validate is not None and (why := function_problem(declared.validate, "the input")):
        yield f"validate: {why}"
    if declared.validate is not None and is_async(declared.validate):
        yield "validate: it is async; it must be a plain function"
    yield from correlation_problems(
        declared.correlate_by, declared.input, unique=declared.unique, deadline=declared.deadline
    )
    yield from bound_problems(
        fail_fast=declared.fail_fast,
        groups=[group for group, _ in declared.groups],
        merges=declared.merges,
        limits=declared.limits,
    )


def _handler_problems(declared: Declared) -> Iterator[str]:
    names = {step.name for step in declared.steps}
    branches = {step.name for step in declared.steps if step.branch is not None}
    for handler in declared.handlers:
        for name in (handler.step, *(handler.steps or ())):
            if name not in names:
                yield f"on_error: {name!r} is no step; there are: {listing(names)}"
        for error in handler.errors:
            if not (isinstance(error, type) and issubclass(error, BaseException)):
                yield f"on_error: {error!r} is no error type"
    for step in declared.steps:
        fallback = step.options.get("fallback")
        told = f"step {step.name!r}: fallback={fallback!r}"
        if isinstance(fallback, str) and fallback in branches:
            # Nothing could come after the failed step: an edge from a branch leads into its cases.
            yield f"{told} is a branch, which has no result to stand in with; use on_error(...)"
        elif fallback is not None and (not isinstance(fallback, str) or fallback not in names):
            yield f"{told} is no step; there are: {listing(names)}"
