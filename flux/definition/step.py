"""One step of a workflow: a handler with its policies and its compensator."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from attrs import field

from flux.definition.nodes import Branch, Cache, Child, Each, Group, OnItemFailure, Rescue
from flux.definition.policy import Duration, Retry
from flux.definition.wait import Wait
from flux.frozen import frozen

Handler = Callable[[Any], Any]
"""A plain or async function of one argument, the `WorkflowContext`."""


StepKind = Literal["step", "wait", "sleep", "branch", "map", "child", "item"]
"""A step calls its handler once, a map once for each item; an item is what it makes of one. The
others are declared without a handler."""

After = str | tuple[str, ...] | list[str]
Join = Literal["all", "any"] | int
"""How many of the edges to a step must be taken; by default one, once all are settled."""


class PlaceOptions(TypedDict, total=False):
    """Where a step stands in the graph: what all steps may say, whatever they do."""

    when: Callable[[Any], Any] | None
    after: After
    join: Join
    description: str


class WaitOptions(PlaceOptions, total=False):
    """The options of a declared wait or sleep, besides those of the wait itself."""

    on_error: Literal["fail", "continue"]
    fallback: str


class CallOptions(WaitOptions, total=False):
    """The options of what calls a handler."""

    retries: int | Retry
    timeout: Duration | None
    commit: bool
    at_most_once: bool
    verify: Handler | None
    compensate: Handler | None
    compensate_retries: int | Retry
    compensate_timeout: Duration | None
    unknown_on: type[BaseException] | tuple[type[BaseException], ...]


class MapOptions(CallOptions, total=False):
    """The options of a map, besides what it runs over."""

    concurrency: int | None
    batch_size: int | None
    on_item_failure: OnItemFailure


class StepOptions(CallOptions, total=False):
    """The options of a step."""

    pure: bool
    cache: Cache | None


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
    join: Join | None = None
    continues: bool = False
    """Whether what comes after it runs although it failed."""
    rescues: tuple[Rescue, ...] = ()
    """What runs when it fails: of those that fit the error, the first."""
    group: Group | None = None
    branch: Branch | None = None
    each: Each | None = None
    child: Child | None = None
    cache: Cache | None = None
    is_async: bool = field(init=False)
    """Whether the handler is awaited in the loop; a plain one runs in a thread."""
    is_plain: bool = field(init=False)
    """Whether its handler is called as soon as the step is reached, with nothing asked before."""

    @is_async.default
    def _handler_is_async(self) -> bool:
        return is_async(self.handler)

    @is_plain.default
    def _nothing_is_asked(self) -> bool:
        return not (self.when or self.branch or self.each or self.join)


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


def item_name(step: str, index: int) -> str:
    """The name under which an item of a map, or a batch of items, has its execution."""
    return f"{step}[{index}]"


def step_of(name: str) -> str:
    """The step that has executions of this name: the map, if it is the name of an item."""
    return name.partition("[")[0] if name.endswith("]") else name
