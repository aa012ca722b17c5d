"""Steps as they were declared, before the workflow is built."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

from flux.definition.checks import option_problems
from flux.definition.graph import descendants, followers_of
from flux.definition.nodes import Branch, Child, Each, Group, Rescue
from flux.definition.policy import Duration, Retry, retry_policy, seconds
from flux.definition.step import Handler, StepDefinition, StepKind
from flux.definition.wait import Wait
from flux.errors import DefinitionError
from flux.frozen import frozen

HandlerT = TypeVar("HandlerT", bound=Handler)


class Declaring(Protocol):
    """The workflow that a step was declared in."""

    @property
    def name(self) -> str: ...
    def refuse_changes(self) -> None: ...


class Step:
    """A declared step: callable as its handler was; takes a compensator and a verifier."""

    def __init__(
        self,
        workflow: Declaring,
        name: str,
        handler: Handler,
        options: Any,
        *,
        kind: StepKind = "step",
        waits: Wait | None = None,
        branch: Branch | None = None,
        each: Each | None = None,
        child: Child | None = None,
    ) -> None:
        self.workflow = workflow
        self.name = name
        self.handler = handler
        self.options: dict[str, Any] = dict(options)
        self.kind = kind
        self.waits = waits
        self.branch = branch
        self.each = each
        self.child = child

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

    def definition(
        self, *, after: tuple[str, ...], rescues: tuple[Rescue, ...], group: Group | None
    ) -> StepDefinition:
        """The step as it is built, at this place in the graph."""
        options = self.options
        return StepDefinition(
            name=self.name,
            handler=self.handler,
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
            kind=self.kind,
            waits=self.waits,
            join=options.get("join"),
            continues=options.get("on_error") == "continue",
            rescues=rescues,
            group=group,
            branch=self.branch,
            each=self.each,
            child=self.child,
            cache=options.get("cache"),
        )

    def problems(self) -> Iterator[str]:
        """What is wrong with its options."""
        nodes = {"branch": self.branch, "each": self.each, "child": self.child}
        return option_problems(
            self.name, {**self.options, **nodes, "kind": self.kind, "handler": self.handler}
        )

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


@frozen
class ErrorHandler:
    """A step that runs when one of `steps` (None for any) fails with one of `errors`."""

    step: str
    steps: tuple[str, ...] | None
    errors: tuple[type[BaseException], ...]


def rescues_of(
    steps: Sequence[Step], sources: Mapping[str, tuple[str, ...]], handlers: Sequence[ErrorHandler]
) -> dict[str, tuple[Rescue, ...]]:
    """By step, what runs when it fails: its fallback, then the handlers as they were declared.

    A handler for any step is not for the handlers, nor for what comes after it.
    """
    followers = followers_of(
        {name: [s for s in after if s in sources] for name, after in sources.items()}
    )
    apart = {handler.step for handler in handlers}
    found: dict[str, list[Rescue]] = {step.name: [] for step in steps}
    for step in steps:
        if isinstance(fallback := step.options.get("fallback"), str):
            found[step.name].append(Rescue(fallback, stands_in=True))
    for handler in handlers:
        later = descendants(handler.step, followers)
        for name in found if handler.steps is None else handler.steps:
            if handler.steps is not None or (name not in apart and name not in later):
                found[name].append(Rescue(handler.step, handler.errors))
    return {name: tuple(rescues) for name, rescues in found.items()}


def _policy(given: int | Retry | None) -> Retry | None:
    return None if given is None else retry_policy(given)


def _limit(given: Duration | None) -> float | None:
    return None if given is None else seconds(given)


def names_in(given: Any) -> tuple[str, ...]:
    """The names given; what is no name is left out, as one of the options' problems tells of it."""
    several = given if isinstance(given, tuple | list) else (given,)
    return tuple(dict.fromkeys(name for name in several if isinstance(name, str)))


def _tuple(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
