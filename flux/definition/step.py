"""One step of a workflow: a handler with its policies and its compensator."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from attrs import field, frozen

from flux.definition.policy import Duration, Retry
from flux.definition.wait import Wait

Handler = Callable[[Any], Any]
"""A plain or async function of one argument, the `WorkflowContext`."""


StepKind = Literal["step", "wait", "sleep"]
"""A wait and a sleep are declared without a handler."""


class WaitOptions(TypedDict, total=False):
    """The options of a declared wait or sleep, besides those of the wait itself."""

    when: Callable[[Any], Any] | None
    after: str | tuple[str, ...] | list[str]
    description: str


class StepOptions(TypedDict, total=False):
    """The options of a step."""

    retries: int | Retry
    timeout: Duration | None
    when: Callable[[Any], Any] | None
    commit: bool
    at_most_once: bool
    verify: Handler | None
    compensate: Handler | None
    compensate_retries: int | Retry
    compensate_timeout: Duration | None
    unknown_on: type[BaseException] | tuple[type[BaseException], ...]
    after: str | tuple[str, ...] | list[str]
    description: str


@frozen(kw_only=True)
class StepDefinition:
    """A step as it was built; durations are seconds. A policy of None is the engine's default."""

    name: str
    handler: Handler
    after: tuple[str, ...] = ()
    retries: Retry | None = None
    timeout: float | None = None
    when: Callable[[Any], Any] | None = None
    commit: bool = False
    at_most_once: bool = False
    verify: Handler | None = None
    compensate: Handler | None = None
    compensate_retries: Retry | None = None
    compensate_timeout: float | None = None
    unknown_on: tuple[type[BaseException], ...] = ()
    description: str = ""
    kind: StepKind = "step"
    waits: Wait | None = None
    """What a declared wait or sleep waits for."""
    is_async: bool = field(init=False)
    """Whether the handler is awaited in the loop; a plain one runs in a thread."""

    @is_async.default
    def _handler_is_async(self) -> bool:
        return is_async(self.handler)


@frozen(kw_only=True)
class StepDescriptor:
    """What `describe()` tells of a step; plain values only."""

    name: str
    commit: bool
    retries: int | None
    timeout: float | None
    has_condition: bool
    has_compensation: bool
    at_most_once: bool
    after: tuple[str, ...]
    description: str
    kind: StepKind
    signal: str | None
    """The signal that a declared wait waits for."""

    @classmethod
    def of(cls, step: StepDefinition) -> "StepDescriptor":
        return cls(
            name=step.name,
            commit=step.commit,
            retries=None if step.retries is None else step.retries.retries,
            timeout=step.timeout,
            has_condition=step.when is not None,
            has_compensation=step.compensate is not None,
            at_most_once=step.at_most_once,
            after=step.after,
            description=step.description,
            kind=step.kind,
            signal=None if step.waits is None else step.waits.signal,
        )


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine; sees through partials and callable objects."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )
