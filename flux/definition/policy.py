"""How often, how long and after which pause a handler is tried."""

import inspect
import math
import random
from collections.abc import Callable
from datetime import timedelta
from numbers import Real
from typing import Any

from attrs import field

from flux.frozen import frozen

Duration = int | float | timedelta
"""Seconds, or a `timedelta`."""

DelayFunction = Callable[[Exception, int], Duration | None]
"""From the error and the number of failed attempts to the pause; None gives up."""


def seconds(duration: Duration) -> float:
    """A duration in seconds; `ValueError` for what is none, is negative or not a number."""
    if isinstance(duration, timedelta):
        return seconds(duration.total_seconds())
    if isinstance(duration, bool) or not isinstance(duration, Real):
        raise ValueError(f"{duration!r} is no duration; give seconds or a timedelta")
    if math.isnan(duration) or duration < 0:
        raise ValueError(f"{duration!r} is no duration; it must be 0 or more seconds")
    return float(duration)


def _error_types(
    types: type[BaseException] | tuple[type[BaseException], ...],
) -> tuple[type[BaseException], ...]:
    chosen = types if isinstance(types, tuple) else (types,)
    for error in chosen:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise ValueError(f"{error!r} is no error type")
    return chosen


def _at_least_one(_: object, attribute: object, factor: float) -> None:
    if not factor >= 1:
        raise ValueError(f"factor must be 1 or more, not {factor!r}")


def _count(_: object, attribute: object, retries: int) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a whole number, 0 or more, not {retries!r}")


def _plain(_: object, attribute: object, delay: Any) -> None:
    called = getattr(delay, "__call__", None)  # noqa: B004 - an object may be called as well
    if inspect.iscoroutinefunction(delay) or inspect.iscoroutinefunction(called):
        raise ValueError(f"delay must be a plain function, {delay!r} is async")


@frozen
class Retry:
    """When to try again after a failed attempt.

    `retries` is the number of extra attempts. The pause before the n-th of them is
    `initial * factor ** (n - 1)` seconds and at most `maximum`; with `jitter` it is drawn evenly
    from the upper half of that, so that many callers do not come back at once (the "equal jitter"
    of the AWS Builders' Library). Only errors of `retry_on`, and none of `give_up_on`, are tried
    again. `delay(error, failed)` replaces the formula: it returns the pause, or None to give up.
    """

    retries: int = field(default=0, validator=_count)
    initial: float = field(default=1.0, converter=seconds)
    factor: float = field(default=2.0, validator=_at_least_one)
    maximum: float = field(default=60.0, converter=seconds)
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = field(default=(Exception,), converter=_error_types)
    give_up_on: tuple[type[BaseException], ...] = field(default=(), converter=_error_types)
    delay: DelayFunction | None = field(default=None, validator=_plain)

    def pause(self, error: BaseException, failed: int) -> float | None:
        """Seconds until the next attempt after `failed` failed ones; None for no more."""
        if failed > self.retries or not self._tries_again(error):
            return None
        if self.delay is not None and isinstance(error, Exception):
            chosen = self.delay(error, failed)
            return None if chosen is None else seconds(chosen)
        return self.back_off(failed)

    def _tries_again(self, error: BaseException) -> bool:
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def back_off(self, failed: int) -> float:
        """The pause that the formula gives after `failed` failed attempts, in seconds."""
        try:
            pause = min(self.initial * self.factor ** (failed - 1), self.maximum)
        except OverflowError:
            pause = self.maximum
        return pause * random.uniform(0.5, 1.0) if self.jitter else pause


def retry_policy(retries: "int | Retry") -> Retry:
    """A number of retries as a policy; a policy as it is."""
    return retries if isinstance(retries, Retry) else Retry(retries)
