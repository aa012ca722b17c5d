"""What a handler returns to let its instance wait: for a signal, or for a time."""

from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, get_args

from attrs import field

from flux.definition.policy import Duration, seconds
from flux.errors import WaitNotReturnedError
from flux.frozen import frozen

OnTimeout = Literal["fail", "continue"]

RESERVED = "flux:"
"""Names of signals and labels that begin like this are the engine's own."""

_LONGEST = timedelta(days=36525).total_seconds()

_made: ContextVar[list["Wait"] | None] = ContextVar("flux_waits_made", default=None)


@frozen(eq=False)
class Wait:
    """A wait for `signal`, or a sleep if that is None.

    It is over `seconds` after the handler returned it, or at the time `until`, whichever is set.
    Made by `wait`, `sleep` and `sleep_until`; it does nothing until a handler returns it.
    """

    signal: str | None
    seconds: float | None = None
    until: datetime | None = None
    on_timeout: OnTimeout = "fail"
    default: Any = field(default=None, repr=False)

    def __await__(self) -> NoReturn:
        raise TypeError("a wait is not awaited; write `return wait(...)`")

    def __bool__(self) -> NoReturn:
        raise TypeError("a wait has no answer yet; write `return wait(...)`")


def wait(
    signal: str,
    timeout: Duration | None = None,
    on_timeout: OnTimeout = "fail",
    default: Any = None,
) -> Wait:
    """Let the step wait for a signal of this name; its payload is the step's output.

    After `timeout` (seconds or a `timedelta`; None waits for ever) the step fails with a
    `WaitTimeoutError`, or with `on_timeout="continue"` goes on with `default` as its output.
    """
    return _noted(declared_wait(signal, timeout, on_timeout, default))


def sleep(duration: Duration) -> Wait:
    """Let the step sleep for so many seconds, or a `timedelta`; its output is None."""
    return _noted(declared_sleep(duration))


def sleep_until(time: datetime) -> Wait:
    """Let the step sleep until this time, an aware `datetime`; its output is None."""
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ValueError(f"sleep_until({time!r}): give an aware datetime, such as one in UTC")
    return _noted(Wait(None, until=time.astimezone(UTC), on_timeout="continue"))


def declared_wait(
    signal: str, timeout: Duration | None, on_timeout: OnTimeout, default: Any
) -> Wait:
    """A wait that no handler has made."""
    if on_timeout not in get_args(OnTimeout):
        raise ValueError(f"on_timeout is 'fail' or 'continue', not {on_timeout!r}")
    if default is not None and on_timeout == "fail":
        raise ValueError("a default is the output after a timeout with on_timeout='continue'")
    limit = None if timeout is None else bounded(timeout)
    return Wait(signal_name(signal), seconds=limit, on_timeout=on_timeout, default=default)


def declared_sleep(duration: Duration) -> Wait:
    """A sleep that no handler has made."""
    return Wait(None, seconds=bounded(duration), on_timeout="continue")


def _noted(wait: Wait) -> Wait:
    made = _made.get()
    if made is not None:
        made.append(wait)
    return wait


def signal_name(name: object) -> str:
    """The name if it can be that of a signal, else `ValueError`."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} names no signal; a name is printable text that is not empty")
    if name.startswith(RESERVED):
        raise ValueError(f"{name!r} names no signal; {RESERVED!r} is reserved for the engine")
    return name


def bounded(duration: Duration) -> float:
    """A duration in seconds that a date can be put off by; `ValueError` for more than a century."""
    limit = seconds(duration)
    if limit > _LONGEST:
        raise ValueError(f"{duration!r} is more than a century; a timeout of None waits for ever")
    return limit


def begin_waits() -> list[Wait]:
    """Take note, from here on in this context, of the waits that are made: in this list."""
    made: list[Wait] = []
    _made.set(made)
    return made


def returned_wait(value: object, made: Sequence[Wait], what: str) -> Wait | None:
    """The wait that a function returned, None for another value.

    `WaitNotReturnedError` if it `made` a wait that it did not return.
    """
    for one in made:
        if one is not value:
            raise WaitNotReturnedError(what, one.signal)
    return value if isinstance(value, Wait) else None
