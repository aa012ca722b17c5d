"""Retry policies and durations."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux import Retry
from flux.definition.policy import retry_policy, seconds

ERROR = RuntimeError("out of luck")


def test_back_off_doubles_up_to_the_cap() -> None:
    """The n-th pause is initial * factor ** (n - 1), at most maximum."""
    policy = Retry(9, jitter=False)
    assert [policy.pause(ERROR, n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_back_off_follows_its_numbers() -> None:
    """Initial, factor and maximum are the caller's; durations may be timedeltas."""
    policy = Retry(4, initial=timedelta(seconds=3), factor=1.5, maximum=6, jitter=False)
    assert [policy.pause(ERROR, n) for n in range(1, 5)] == [3, 4.5, 6, 6]


def test_no_more_than_retries() -> None:
    """`retries` is the number of extra attempts, by default none."""
    assert Retry(2, jitter=False).pause(ERROR, 2) == 2
    assert Retry(2).pause(ERROR, 3) is None
    assert Retry().pause(ERROR, 1) is None


@given(st.integers(1, 100_000))
def test_jitter_stays_in_the_upper_half(failed: int) -> None:
    """A pause is between half of the formula and all of it, also where powers overflow."""
    whole = Retry(100_000, jitter=False).pause(ERROR, failed)
    drawn = Retry(100_000).pause(ERROR, failed)
    assert whole is not None
    assert drawn is not None
    assert whole / 2 <= drawn <= whole <= 60


def test_jitter_varies() -> None:
    """Many callers do not come back at once."""
    assert len({Retry(1).pause(ERROR, 1) for _ in range(20)}) > 1


def test_only_chosen_errors_are_tried_again() -> None:
    """`retry_on` and `give_up_on` are error types, subclasses included; giving up wins."""
    policy = Retry(1, retry_on=OSError, give_up_on=(FileNotFoundError,))
    assert policy.pause(ConnectionError(), 1) is not None
    assert policy.pause(ERROR, 1) is None
    assert policy.pause(FileNotFoundError(), 1) is None


def test_exits_are_not_tried_again() -> None:
    """By default only an `Exception` is."""
    assert Retry(1).pause(SystemExit(), 1) is None


def test_function_of_error_and_attempt_returns_the_delay() -> None:
    """`delay` replaces the formula; None gives up."""
    seen: list[tuple[Exception, int]] = []

    def delay(error: Exception, failed: int) -> timedelta | None:
        seen.append((error, failed))
        return timedelta(minutes=failed) if failed < 3 else None

    policy = Retry(5, delay=delay)
    assert [policy.pause(ERROR, n) for n in (1, 2, 3, 6)] == [60, 120, None, None]
    assert seen == [(ERROR, 1), (ERROR, 2), (ERROR, 3)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retries": -1}, "retries must be a whole number, 0 or more, not -1"),
        ({"retries": 1.5}, "retries must be a whole number"),
        ({"retries": None}, "retries must be a whole number"),
        ({"factor": 0.5}, "factor must be 1 or more, not 0.5"),
        ({"factor": float("nan")}, "factor must be 1 or more"),
        ({"initial": -1}, "-1 is no duration; it must be 0 or more seconds"),
        ({"maximum": "60"}, "'60' is no duration; give seconds or a timedelta"),
        ({"retry_on": "OSError"}, "'OSError' is no error type"),
        ({"give_up_on": (OSError, 5)}, "5 is no error type"),
    ],
)
def test_policy_that_makes_no_sense_is_refused(options: dict[str, object], told: str) -> None:
    """It raises where it is made, and says what is wrong with which value."""
    with pytest.raises(ValueError, match=told):
        Retry(**options)  # type: ignore[arg-type]


def test_number_of_retries_is_a_policy() -> None:
    """A number stands for the policy with the usual back-off."""
    own = Retry(3, initial=9)
    assert retry_policy(3) == Retry(3)
    assert retry_policy(own) is own


@pytest.mark.parametrize("given", [90, 90.0, timedelta(minutes=1.5)])
def test_durations_are_seconds(given: float | timedelta) -> None:
    """A duration is a number of seconds or a timedelta."""
    assert seconds(given) == 90.0


@pytest.mark.parametrize("given", [True, -1, "5", None, float("nan"), timedelta(seconds=-1)])
def test_what_is_no_duration_is_refused(given: object) -> None:
    """Negative ones, NaN, and what is no number."""
    with pytest.raises(ValueError, match="is no duration"):
        seconds(given)  # type: ignore[arg-type]
