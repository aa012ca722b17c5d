"""What a step may be besides a call of its handler, and what may become of its failure."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import field
from attrs.converters import optional

from flux.definition.policy import seconds
from flux.errors import StoredError
from flux.frozen import frozen

OnItemFailure = Literal["continue", "stop", "cancel"]
"""Whether the others go on, are not begun any more, or are cancelled as well."""


@frozen
class Rescue:
    """A step that runs when another fails for good, with one of these errors or with any.

    One that `stands_in` is a fallback: what comes after the failed step comes after this one. Else
    it is a handler: what comes after the failed step does not run.
    """

    step: str
    errors: tuple[type[BaseException], ...] = ()
    stands_in: bool = False

    def fits(self, error: StoredError) -> bool:
        return not self.errors or error.is_one_of(self.errors)


@frozen
class Group:
    """Steps that are bounded together: so many run at once, and one failure may cancel the rest."""

    name: str
    concurrency: int | None = None
    fail_fast: bool = False


@frozen(kw_only=True)
class Branch:
    """A choice between cases, each with the steps that begin it.

    `default` begins when no case fits; None says that there is none.
    """

    on: Callable[[Any], Any]
    cases: Mapping[Any, tuple[str, ...]]
    default: tuple[str, ...] | None = None

    def begun_by(self, choice: Any) -> tuple[str, ...]:
        """The first steps of the case that was chosen; None stands for the default."""
        return (self.default if choice is None else self.cases.get(choice)) or ()

    @property
    def firsts(self) -> frozenset[str]:
        """The first steps of all cases."""
        return frozenset().union(*self.cases.values(), self.default or ())


@frozen(kw_only=True)
class Each:
    """A handler that runs once for each item of a list, or for each batch of `batch_size`."""

    over: Callable[[Any], Any]
    concurrency: int | None = None
    batch_size: int | None = None
    on_item_failure: OnItemFailure = "stop"


@frozen(kw_only=True)
class Child:
    """A workflow of its own that runs as a step.

    `workflow` is its name, `version` None for the newest that the engine knows. `input` makes its
    input from the step's context, `output` the step's output from its `WorkflowState`.
    """

    workflow: str
    version: str | None = None
    input: Callable[[Any], Any] | None = None
    output: Callable[[Any], Any] | None = None


@frozen(kw_only=True)
class Cache:
    """Keeps a pure step's result for `ttl` seconds (or a `timedelta`; None for ever).

    It is shared by all instances of the workflow, in all processes on one storage, that have the
    same `key`: any JSON value, by default the input.
    """

    ttl: float | None = field(default=None, converter=optional(seconds))
    key: Callable[[Any], Any] | None = None


@frozen(kw_only=True)
class Limit:
    """How many instances with one key are at work, or begin in a time, on one storage.

    `rate` is a number of instances and the seconds in which no more than these begin.
    """

    key: Callable[[Any], Any] | None = None
    concurrency: int | None = None
    rate: tuple[int, float] | None = None


_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def rate(text: str) -> tuple[int, float]:
    """`"100/m"` as a number and seconds; `ValueError` for what is no rate."""
    count, slash, unit = text.partition("/") if isinstance(text, str) else ("", "", "")
    if not slash or not count.strip().isdecimal() or int(count) < 1 or unit.strip() not in _UNITS:
        raise ValueError(f"rate={text!r}: write a number and a unit of s, m, h or d: '100/m'")
    return int(count), _UNITS[unit.strip()]


def declared_limit(
    key: Callable[[Any], Any] | None, concurrency: int | None, rate_text: str | None
) -> Limit:
    """A limit as `Workflow.limit` takes it."""
    bounds = None if rate_text is None else rate(rate_text)
    return Limit(key=key, concurrency=concurrency, rate=bounds)
