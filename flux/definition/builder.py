"""The one builder of workflows: fluent, or with decorators."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar, Unpack, overload

from flux.definition.checks import (
    correlation_problems,
    function_problem,
    graph_problems,
    option_problems,
    wait_problems,
)
from flux.definition.policy import Duration, Retry, retry_policy, seconds
from flux.definition.step import (
    Handler,
    StepDefinition,
    StepKind,
    StepOptions,
    WaitOptions,
    is_async,
)
from flux.definition.wait import OnTimeout, Wait, declared_sleep, declared_wait
from flux.definition.workflow import (
    InputValidator,
    WorkflowDefinition,
    WorkflowDescriptor,
    data_type_problem,
    input_type_problem,
)
from flux.errors import DefinitionError

HandlerT = TypeVar("HandlerT", bound=Handler)


class Step:
    """A declared step: callable as its handler was; takes a compensator and a verifier."""

    def __init__(
        self,
        workflow: "Workflow",
        name: str,
        handler: Handler,
        options: Any,
        *,
        kind: StepKind = "step",
        waits: Wait | None = None,
    ) -> None:
        self.workflow = workflow
        self.name = name
        self.handler = handler
        self.options: dict[str, Any] = dict(options)
        self.kind = kind
        self.waits = waits

    def __call__(self, ctx: Any) -> Any:
        return self.handler(ctx)

    def __repr__(self) -> str:
        return f"<Step {self.name!r} of {self.workflow.name!r}>"

    @overload
    def compensate(self, function: HandlerT, /) -> HandlerT: ...
    @overload
    def compensate(
        self, /, *, retries: int | Retry = ..., timeout: Duration | None = ...
    ) -> Callable[[HandlerT], HandlerT]: ...
    def compensate(
        self,
        function: Any = None,
        /,
        *,
        retries: Any = None,
        timeout: Any = None,
    ) -> Any:
        """Declare what undoes the step; the decorated function stays a plain function."""
        if function is None:
            return lambda decorated: self._compensate(decorated, retries, timeout)
        return self._compensate(function, retries, timeout)

    def verify(self, function: HandlerT, /) -> HandlerT:
        """Declare what tells, after an interruption, whether this at-most-once step has acted."""
        self._declare("verify", function)
        return function

    def _compensate(self, function: HandlerT, retries: Any, timeout: Any) -> HandlerT:
        self._declare("compensate", function)
        limits = {"compensate_retries": retries, "compensate_timeout": timeout}
        self.options |= {name: limit for name, limit in limits.items() if limit is not None}
        return function

    def _declare(self, option: str, function: Handler) -> None:
        self.workflow.refuse_changes()
        if self.options.get(option) is not None:
            problem = f"step {self.name!r} has a {option} function already"
            raise DefinitionError(self.workflow.name, [problem])
        self.options[option] = function


class Workflow:
    """Builds a workflow, step by step.

    `input` and `data` may be attrs classes; `data` must be constructible without arguments.
    `validate` gets the (typed) input and refuses it by raising or by returning False.
    `correlate_by` names keys of the input by which `deliver` finds an instance; with `unique` only
    one live instance may have the same values. An instance that has not ended `deadline` (seconds
    or a `timedelta`) after its start fails. An engine builds the workflow when it is registered;
    after that it takes no more steps.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "1",
        input: type | None = None,
        data: type | None = None,
        validate: InputValidator | None = None,
        correlate_by: str | Iterable[str] = (),
        unique: bool = True,
        deadline: Duration | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self._input = input
        self._data = data
        self._validate = validate
        self._correlate_by = correlate_by
        self._unique = unique
        self._deadline = deadline
        self._steps: list[Step] = []
        self._built: WorkflowDefinition | None = None

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} version {self.version!r}, {self.step_count} steps>"

    @property
    def step_count(self) -> int:
        return len(self._steps)

    def input(self, cls: type) -> Self:
        """Type the input with an attrs class."""
        self.refuse_changes()
        self._input = cls
        return self

    def data(self, cls: type) -> Self:
        """Type the data with an attrs class."""
        self.refuse_changes()
        self._data = cls
        return self

    def validate(self, function: InputValidator) -> Self:
        """Check each input with `function`."""
        self.refuse_changes()
        self._validate = function
        return self

    def correlate_by(self, *keys: str, unique: bool = True) -> Self:
        """Let instances be found by these keys of their input."""
        self.refuse_changes()
        self._correlate_by, self._unique = keys, unique
        return self

    def deadline(self, duration: Duration) -> Self:
        """Let instances fail that have not ended so long, seconds or a `timedelta`, after start."""
        self.refuse_changes()
        self._deadline = duration
        return self

    @overload
    def step(self, name: str, handler: Handler, /, **options: Unpack[StepOptions]) -> Self: ...
    @overload
    def step(self, handler: Handler, /) -> Step: ...
    @overload
    def step(
        self, name: str | None = ..., /, **options: Unpack[StepOptions]
    ) -> Callable[[Handler], Step]: ...
    def step(self, first: Any = None, handler: Any = None, /, **options: Any) -> Any:
        """Add a step: `@workflow.step`, `@workflow.step(retries=3)` or `.step("name", handler)`.

        Options: `retries` (a number or a `Retry`), `timeout` (seconds an attempt), `when` (a
        predicate), `commit`, `at_most_once`, `verify`, `compensate`, `compensate_retries`,
        `compensate_timeout`, `unknown_on` (error types that leave the outcome unknown), `after`
        (names; by default the step before), `description`.
        """
        _refuse_unknown(options, StepOptions.__annotations__, "step")
        if handler is not None:
            self._add(first, handler, options)
            return self
        if callable(first):
            return self._add(_name_of(first), first, options)
        return lambda decorated: self._add(first or _name_of(decorated), decorated, options)

    @overload
    def commit(self, name: str, handler: Handler, /, **options: Unpack[StepOptions]) -> Self: ...
    @overload
    def commit(self, handler: Handler, /) -> Step: ...
    @overload
    def commit(
        self, name: str | None = ..., /, **options: Unpack[StepOptions]
    ) -> Callable[[Handler], Step]: ...
    def commit(self, first: Any = None, handler: Any = None, /, **options: Any) -> Any:
        """Add a step that never runs again once it has succeeded; else as `step`."""
        return self.step(first, handler, **{**options, "commit": True})

    def wait(
        self,
        name: str,
        signal: str | None = None,
        timeout: Duration | None = None,
        on_timeout: OnTimeout = "fail",
        default: Any = None,
        **options: Unpack[WaitOptions],
    ) -> Self:
        """Add a step that only waits for `signal`, by default of the step's own name.

        As with `flux.wait`; options: `when`, `after`, `description`.
        """
        _refuse_unknown(options, WaitOptions.__annotations__, "wait")
        waits = declared_wait(name if signal is None else signal, timeout, on_timeout, default)
        return self._add_wait(name, "wait", waits, options)

    def sleep(self, name: str, duration: Duration, **options: Unpack[WaitOptions]) -> Self:
        """Add a step that only sleeps, seconds or a `timedelta`; options as for `wait`."""
        _refuse_unknown(options, WaitOptions.__annotations__, "sleep")
        return self._add_wait(name, "sleep", declared_sleep(duration), options)

    def build(self) -> WorkflowDefinition:
        """The finished workflow; `DefinitionError` with all its problems if it makes no sense."""
        if self._built is None:
            self._built = self._build()
        return self._built

    def describe(self) -> WorkflowDescriptor:
        """Name, version and steps as plain values."""
        return self.build().describe()

    def refuse_changes(self) -> None:
        """Raise if the workflow was built already."""
        if self._built is not None:
            raise DefinitionError(self.name, ["it was built already; declare all steps before"])

    def _add(self, name: str, handler: Handler, options: dict[str, Any]) -> Step:
        self.refuse_changes()
        plain = handler.handler if isinstance(handler, Step) else handler
        step = Step(self, name, plain, options)
        self._steps.append(step)
        return step

    def _add_wait(self, name: str, kind: StepKind, waits: Wait, options: Any) -> Self:
        async def waiting(ctx: Any) -> Wait:
            return waits

        self.refuse_changes()
        self._steps.append(Step(self, name, waiting, options, kind=kind, waits=waits))
        return self

    def _build(self) -> WorkflowDefinition:
        edges = [(str(step.name), after) for step, after in self._with_sources()]
        problems = [*self._own_problems(), *self._step_problems(), *graph_problems(edges)]
        if problems:
            raise DefinitionError(str(self.name), problems)
        definition = self._defined()
        problems = list(wait_problems(definition))
        if problems:
            raise DefinitionError(self.name, problems)
        return definition

    def _defined(self) -> WorkflowDefinition:
        return WorkflowDefinition(
            name=self.name,
            version=self.version,
            steps=tuple(_definition(step, after=after) for step, after in self._with_sources()),
            input_type=self._input,
            data_type=self._data,
            validate=self._validate,
            correlate_by=_names(self._correlate_by),
            unique=self._unique,
            deadline=_limit(self._deadline),
        )

    def _own_problems(self) -> list[str]:
        texts = {"name": self.name, "version": self.version}
        problems: list[str | None] = [
            f"its {what} {text!r} is no printable text"
            for what, text in texts.items()
            if not isinstance(text, str) or not text.strip() or not text.isprintable()
        ]
        if self._input is not None:
            problems.append(input_type_problem(self._input))
        if self._data is not None:
            problems.append(data_type_problem(self._data))
        if self._validate is not None and (why := function_problem(self._validate, "the input")):
            problems.append(f"validate: {why}")
        if self._validate is not None and is_async(self._validate):
            problems.append("validate: it is async; it must be a plain function")
        problems += correlation_problems(
            self._correlate_by, self._input, unique=self._unique, deadline=self._deadline
        )
        return [problem for problem in problems if problem]

    def _step_problems(self) -> list[str]:
        return [
            problem
            for step in self._steps
            for problem in option_problems(step.name, {**step.options, "handler": step.handler})
        ]

    def _with_sources(self) -> Iterator[tuple[Step, tuple[str, ...]]]:
        before: tuple[str, ...] = ()
        for step in self._steps:
            yield step, _names(step.options.get("after", before))
            before = (step.name,)


def create_workflow(name: str) -> Workflow:
    """A new, empty `Workflow`, for people who come from the original."""
    return Workflow(name)


def _definition(step: Step, *, after: tuple[str, ...]) -> StepDefinition:
    options = step.options
    return StepDefinition(
        name=step.name,
        handler=step.handler,
        after=after,
        retries=_policy(options.get("retries")),
        timeout=_limit(options.get("timeout")),
        when=options.get("when"),
        commit=options.get("commit", False),
        at_most_once=options.get("at_most_once", False),
        verify=options.get("verify"),
        compensate=options.get("compensate"),
        compensate_retries=_policy(options.get("compensate_retries")),
        compensate_timeout=_limit(options.get("compensate_timeout")),
        unknown_on=_tuple(options.get("unknown_on", ())),
        description=options.get("description", ""),
        kind=step.kind,
        waits=step.waits,
    )


def _policy(given: int | Retry | None) -> Retry | None:
    return None if given is None else retry_policy(given)


def _limit(given: Duration | None) -> float | None:
    return None if given is None else seconds(given)


def _names(given: Any) -> tuple[str, ...]:
    """The names given; what is no name is left out, as one of the options' problems tells of it."""
    several = given if isinstance(given, tuple | list) else (given,)
    return tuple(dict.fromkeys(name for name in several if isinstance(name, str)))


def _tuple(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)


def _name_of(handler: Any) -> str:
    name = getattr(handler, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise TypeError(f"{handler!r} has no name of its own; write step('name', handler)")
    return name


def _refuse_unknown(options: Mapping[str, Any], known: Any, verb: str) -> None:
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
            raise TypeError(f"{verb}() has no option {name!r}{hint}")
