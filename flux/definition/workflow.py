"""A workflow: a named, versioned, checked set of steps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property, reduce
from operator import or_
from typing import Any, NamedTuple

import orjson
from attrs import Factory, field

from flux.definition import analysis
from flux.definition.correlation import chosen, correlation_labels, whole_text
from flux.definition.graph import descendants, followers_of, running_order, sources_of
from flux.definition.nodes import Limit
from flux.definition.policy import Duration
from flux.definition.step import StepDefinition, StepDescriptor, step_of
from flux.definition.typed import (
    is_typed,
    lost_fields,
    plain_data,
    plain_input,
    structure,
    unstructure_fields,
)
from flux.errors import CorrelationError, InputError, UnknownStepError
from flux.frozen import frozen

InputValidator = Callable[[Any], Any]
"""Gets the (typed) input; refuses it by raising or by returning False."""


Merge = Callable[[Any, Any], Any]
"""Makes one value of two, each a value of one key of the data: that of the step that completed
first, and that of the other."""

_PLAIN = ("step", "wait", "sleep")


class ShapeOfStep(NamedTuple):
    """What an instance remembers of a step of its workflow."""

    name: str
    kind: str
    commit: bool
    after: tuple[str, ...]


Shape = tuple[ShapeOfStep, ...]


@frozen(kw_only=True)
class WorkflowDescriptor:
    """What `describe()` tells of a workflow; plain values only, so it can be written as JSON."""

    name: str
    version: str
    steps: tuple[StepDescriptor, ...]


@frozen(kw_only=True)
class WorkflowDefinition:
    """A workflow as it was built: complete, checked and fixed."""

    name: str
    version: str
    steps: tuple[StepDefinition, ...]
    """In the order of declaration."""
    input_type: type | None = None
    data_type: type | None = None
    validate: InputValidator | None = None
    correlate_by: tuple[str, ...] = ()
    """Keys of the input by which `deliver` finds an instance."""
    unique: bool = True
    """Whether only one live instance may have a correlation."""
    deadline: float | None = None
    """Seconds after its start by which an instance must have ended."""
    fail_fast: bool = False
    """Whether a step that fails for good cancels all that run beside it."""
    merges: Mapping[str, Merge] = Factory(dict)
    """By key of the data, how values are merged that steps wrote beside each other."""
    limits: tuple[Limit, ...] = ()
    children: tuple["WorkflowDefinition", ...] = ()
    """The workflows that it runs as steps, where they were not given by their names."""
    sources: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)
    """By step, all that come right before it in the graph."""
    order: tuple[StepDefinition, ...] = field(init=False)
    """In the order of running one at a time."""
    is_sequence: bool = field(init=False, repr=False)
    """Whether at most one step is open at any time, and each follows the one before."""
    _places: Mapping[str, int] = field(init=False, repr=False)
    _ancestors: Sequence[int] = field(init=False, repr=False)
    _unbranched: frozenset[str] = field(init=False, repr=False)

    @sources.default
    def _all_sources(self) -> Mapping[str, tuple[str, ...]]:
        return sources_of(self.steps)

    @order.default
    def _running_order(self) -> tuple[StepDefinition, ...]:
        return running_order(self.steps)

    @is_sequence.default
    def _each_after_the_one_before(self) -> bool:
        befores = ((), *((step.name,) for step in self.order))
        return all(
            step.after == before and step.kind in _PLAIN and not step.rescues and not step.continues
            for step, before in zip(self.order, befores, strict=False)
        )

    @_places.default
    def _places_by_name(self) -> Mapping[str, int]:
        return {step.name: place for place, step in enumerate(self.order)}

    @_ancestors.default
    def _ancestors_by_place(self) -> Sequence[int]:
        # A bit a step: sets of names would take space and time in the square of the steps.
        found: list[int] = []
        for step in self.order:
            sources = [self._places[source] for source in self.sources[step.name]]
            found.append(reduce(or_, (found[place] | 1 << place for place in sources), 0))
        return found

    @_unbranched.default
    def _with_no_step_beside_them(self) -> frozenset[str]:
        if any(step.join not in (None, "all") for step in self.steps):
            return frozenset()  # what comes after a step may be done before it
        found: set[str] = set()
        before_all_later = (1 << len(self.order)) - 1
        for place in reversed(range(len(self.order))):
            before = self._ancestors[place]
            if before.bit_count() == place and before_all_later >> place & 1:
                found.add(self.order[place].name)
            before_all_later &= before
        return frozenset(found)

    def step(self, name: str) -> StepDefinition:
        """The step of this name, or of the map whose item has it; or `UnknownStepError`."""
        return self.order[self.place(name)]

    def place(self, name: str) -> int:
        """Where the step stands in `order`, from 0, or `UnknownStepError`."""
        try:
            return self._places[step_of(name)]
        except KeyError:
            raise UnknownStepError(name, self.name, self._places) from None

    def __contains__(self, name: str) -> bool:
        return step_of(name) in self._places

    @cached_property
    def followers(self) -> Mapping[str, tuple[str, ...]]:
        """By step, all that come right after it in the graph."""
        return followers_of(self.sources)

    @cached_property
    def rescued(self) -> Mapping[str, tuple[str, ...]]:
        """By fallback or handler, the steps whose failure it is for."""
        found: dict[str, tuple[str, ...]] = {}
        for step in self.steps:
            for rescue in step.rescues:
                found[rescue.step] = (*found.get(rescue.step, ()), step.name)
        return found

    @cached_property
    def asks_first(self) -> bool:
        """Whether a function of the user is asked before the first save."""
        entries = (step for step in self.steps if not self.sources[step.name])
        return any(step.when or step.branch or step.each for step in entries)

    def are_beside(self, first: str, second: str) -> bool:
        """Whether neither step, or item, comes before the other in the graph."""
        one, other = self.place(first), self.place(second)
        if one == other:
            return first != second and step_of(first) != first and step_of(second) != second
        return not (self._ancestors[other] >> one & 1 or self._ancestors[one] >> other & 1)

    def from_step_on(self, name: str) -> frozenset[str]:
        """The names of the step and of all that come after it in the graph."""
        return descendants(self.step(name).name, self.followers) | {name}

    def before_step(self, name: str) -> frozenset[str]:
        """The names of all steps that come before the step in the graph."""
        before = self._ancestors[self.place(name)]
        return frozenset(step.name for place, step in enumerate(self.order) if before >> place & 1)

    def sees_all(self, name: str) -> bool:
        """Whether every other step, or item, comes before or after the step in the graph."""
        return name in self._unbranched

    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The names of the steps, each as early as what comes before it allows.

        No two steps of a level come before each other. Fallbacks and handlers come after the steps
        that they are for.
        """
        return analysis.levels(self.order)

    def critical_path(
        self, durations: Mapping[str, Duration] | Iterable[analysis.Measured]
    ) -> analysis.CriticalPath:
        """The steps, one after the other, that take the longest, and how long that is.

        `durations` gives seconds (or a `timedelta`) by step, or is the history of an instance: then
        they are measured, from the beginning of a step to its end, retries and waits included.
        Steps without a duration take no part. `UnknownStepError` for a name that is no step.
        """
        given = durations if isinstance(durations, Mapping) else analysis.durations_in(durations)
        for name in given:
            if name not in self._places:
                raise UnknownStepError(name, self.name, self._places)
        return analysis.critical_path(self.order, given)

    def orphans(self) -> Mapping[str, str]:
        """By step that stands alone, or that can be seen never to run, why; empty if all is well.

        They are no errors: a step alone runs when the instance starts.
        """
        return analysis.orphans(self.order)

    @cached_property
    def shape_text(self) -> bytes:
        """The shape as JSON text, with a flag more: whether the step has a compensator."""
        rows = zip(self.shape, self.steps, strict=True)
        return orjson.dumps([(*row, step.compensate is not None) for row, step in rows])

    @cached_property
    def shape(self) -> Shape:
        """What an instance remembers of its workflow."""
        return tuple(
            ShapeOfStep(step.name, step.kind, step.commit, step.after) for step in self.steps
        )

    def describe(self) -> WorkflowDescriptor:
        """Name, version and steps as plain values."""
        return WorkflowDescriptor(
            name=self.name,
            version=self.version,
            steps=tuple(StepDescriptor.of(step) for step in self.steps),
        )

    def plain_input(self, given: Any) -> dict[str, Any]:
        """The input as plain values once it was checked, or `InputError`."""
        plain = plain_input(self.name, self.input_type, given)
        if self.validate is not None:
            self._validate(self.typed_input(deepcopy(plain)))
        return plain

    def correlation(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The values by which an instance with this input is found, or `InputError`."""
        try:
            found = chosen(self.correlate_by, plain)
            correlation_labels(found)
        except CorrelationError as error:
            raise InputError(self.name, str(error), field=error.key) from error
        return found

    def unique_key(self, correlation: Mapping[str, Any]) -> str | None:
        """What no two live instances may share; None if any may."""
        if not self.unique or not correlation:
            return None
        return f"{self.name}:{whole_text(correlation)}"

    def typed_input(self, plain: dict[str, Any]) -> Any:
        """What a handler sees as `ctx.input`."""
        return plain if self.input_type is None else structure(plain, self.input_type)

    def first_data(self) -> dict[str, Any]:
        """The data before any step, as plain values."""
        return {} if self.data_type is None else unstructure_fields(self.data_type())

    def typed_data(self, plain: dict[str, Any]) -> Any:
        """What a user sees as `data`."""
        return plain if self.data_type is None else structure(plain, self.data_type)

    def plain_data(self, typed: Any) -> dict[str, Any]:
        """What a handler left as `data`, as plain values; `NotJSONError` if it cannot be kept."""
        return plain_data(self.data_type, typed)

    def _validate(self, given: Any) -> None:
        assert self.validate is not None
        try:
            answer = self.validate(given)
        except Exception as error:
            raise InputError(self.name, str(error) or type(error).__name__) from error
        if answer is False:
            raise InputError(self.name, "its validator returned False")


def data_type_problem(cls: object) -> str | None:
    """Why `cls` cannot be the type of a workflow's data; None if it can."""
    if not is_typed(cls):
        return f"data={cls!r} is no attrs class"
    if lost := lost_fields(cls):
        return f"data: {lost}"
    try:
        unstructure_fields(cls())  # type: ignore[operator]
    except Exception as error:
        return f"data={cls!r} cannot be made without arguments: {error}"
    return None


def input_type_problem(cls: object) -> str | None:
    """Why `cls` cannot be the type of a workflow's input; None if it can."""
    if not is_typed(cls):
        return f"input={cls!r} is no attrs class"
    lost = lost_fields(cls)
    return f"input: {lost}" if lost else None
