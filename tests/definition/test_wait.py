"""Waits as they are made, and as they are declared."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flux import DefinitionError, Wait, Workflow, sleep, sleep_until, wait
from handlers import nothing

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def problems(workflow: Workflow) -> tuple[str, ...]:
    """What is wrong with it."""
    with pytest.raises(DefinitionError) as refused:
        workflow.build()
    return refused.value.problems


# Made


@pytest.mark.parametrize("name", ["", "  ", "a\nb", None, 7, b"approved"])
def test_signal_needs_a_name(name: Any) -> None:
    """What names no signal is refused where the wait is made."""
    with pytest.raises(ValueError, match="names no signal; a name is printable text"):
        wait(name)


@pytest.mark.parametrize("name", ["flux:", "flux:cancel", "flux:approved"])
def test_reserved_names_are_refused(name: str) -> None:
    """Names that begin like the engine's own belong to nobody else."""
    with pytest.raises(ValueError, match="'flux:' is reserved for the engine"):
        wait(name)


def test_names_that_only_look_reserved() -> None:
    """The reserved beginning ends with its colon."""
    assert (wait("flux").signal, wait("a flux:b").signal) == ("flux", "a flux:b")


@pytest.mark.parametrize("timeout", [90, 90.0, timedelta(seconds=90)])
def test_timeout_is_a_duration(timeout: Any) -> None:
    """Seconds and a `timedelta` mean the same, for waits and sleeps alike."""
    assert wait("approved", timeout).seconds == sleep(timeout).seconds == 90


def test_wait_without_a_timeout() -> None:
    """It has neither a duration nor a time, and fails after a timeout if it gets one."""
    made = wait("approved")
    assert (made.seconds, made.until, made.on_timeout) == (None, None, "fail")


@pytest.mark.parametrize("duration", [-1, math.nan, "90", True, NOON])
def test_no_duration_is_refused(duration: Any) -> None:
    """What is no duration is refused by waits and sleeps alike."""
    with pytest.raises(ValueError, match="is no duration"):
        wait("approved", duration)
    with pytest.raises(ValueError, match="is no duration"):
        sleep(duration)


def test_sleep_needs_a_duration() -> None:
    """Nobody sleeps for ever."""
    with pytest.raises(ValueError, match="None is no duration"):
        sleep(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("duration", [math.inf, 1e300, timedelta(days=36526)])
def test_centuries_are_refused(duration: Any) -> None:
    """A time that no calendar holds is refused, and the message says what to write instead."""
    with pytest.raises(ValueError, match="is more than a century; a timeout of None waits"):
        wait("approved", duration)


def test_on_timeout_is_fail_or_continue() -> None:
    """No other word is taken."""
    with pytest.raises(ValueError, match="on_timeout is 'fail' or 'continue', not 'raise'"):
        wait("approved", 60, "raise")  # type: ignore[arg-type]


def test_default_needs_continue() -> None:
    """A default that could never be used is refused."""
    with pytest.raises(ValueError, match="with on_timeout='continue'"):
        wait("approved", 60, default="nobody")


@pytest.mark.parametrize("time", [datetime(2026, 1, 1), NOON.date(), 60, "noon", None])  # noqa: DTZ001
def test_sleep_until_needs_an_aware_time(time: Any) -> None:
    """A time without a zone, or none at all, is refused."""
    with pytest.raises(ValueError, match="give an aware datetime"):
        sleep_until(time)


def test_sleep_until_is_kept_in_utc() -> None:
    """The same moment, whatever the zone it was given in."""
    oslo = NOON.astimezone(timezone(timedelta(hours=1)))
    assert sleep_until(oslo).until == NOON
    assert sleep_until(oslo).until.tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize("made", [wait("approved"), sleep(1), sleep_until(NOON)], ids=repr)
async def test_wait_is_not_awaited(made: Any) -> None:
    """The error says what to write."""
    with pytest.raises(TypeError, match=r"not awaited; write `return wait\(\.\.\.\)`"):
        await made


@pytest.mark.parametrize("made", [wait("approved"), sleep(1), sleep_until(NOON)], ids=repr)
def test_wait_has_no_truth(made: Wait) -> None:
    """Whoever asks whether the signal came is told how to wait for it."""
    with pytest.raises(TypeError, match=r"has no answer yet; write `return wait\(\.\.\.\)`"):
        bool(made)


# Declared


def test_declared_waits_chain() -> None:
    """`wait` and `sleep` return the workflow, and come one after the other."""
    order = Workflow("order").wait("approval").sleep("cool-down", 60).step("ship", nothing)
    assert [step.after for step in order.build().steps] == [(), ("approval",), ("cool-down",)]


def test_declared_wait_has_its_own_signal() -> None:
    """Without a signal it waits for one of its own name."""
    order = Workflow("order").wait("approved").wait("paid", "payment.settled")
    assert [step.signal for step in order.describe().steps] == ["approved", "payment.settled"]


def test_declared_waits_take_options() -> None:
    """A predicate, sources and a description, as steps do."""
    order = Workflow("order").step("a", nothing)
    order.wait("approval", when=nothing, after=(), description="by a person")
    told = order.describe().steps[1]
    assert (told.has_condition, told.after, told.description) == (True, (), "by a person")


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda w: w.wait("a", retries=3), r"wait\(\) has no option 'retries'; there are: when"),
        (lambda w: w.wait("a", wen=nothing), r"wait\(\) has no option 'wen'.*mean 'when'"),
        (lambda w: w.sleep("a", 1, timeout=2), r"sleep\(\) has no option 'timeout'"),
        (lambda w: w.wait("a", compensate=nothing), r"wait\(\) has no option 'compensate'"),
    ],
)
def test_options_of_steps_are_refused(declare: Any, message: str) -> None:
    """What a step without a handler cannot have is named at once."""
    with pytest.raises(TypeError, match=message):
        declare(Workflow("order"))


@pytest.mark.parametrize(
    "declare",
    [
        lambda w: w.wait("a", "flux:cancel"),
        lambda w: w.wait("flux:cancel"),
        lambda w: w.wait("a", ""),
        lambda w: w.wait("a", timeout=-1),
        lambda w: w.wait("a", default="nobody"),
        lambda w: w.sleep("a", math.inf),
    ],
)
def test_declared_waits_are_checked(declare: Any) -> None:
    """A wait that could not be made is refused where it is declared."""
    with pytest.raises(ValueError, match=r"."):
        declare(Workflow("order"))


def test_step_names_are_checked() -> None:
    """A declared wait is a step: it needs a name of its own."""
    order = Workflow("order").step("a", nothing).wait("a", "b")
    assert problems(order) == ("step 'a' is declared 2 times; names are unique",)
    order = Workflow("order").wait("a:b")
    assert "a name holds no colon" in problems(order)[0]


def test_built_workflows_take_no_waits() -> None:
    """After it was built, neither a wait nor a sleep can be added."""
    order = Workflow("order").wait("approval")
    order.build()
    with pytest.raises(DefinitionError, match="it was built already"):
        order.wait("b")
    with pytest.raises(DefinitionError, match="it was built already"):
        order.sleep("b", 1)


# Two that wait for one signal


def test_one_signal_for_two_at_once() -> None:
    """Two branches that wait for one signal are refused, and both are named."""
    order = Workflow("order").wait("a", "approved", after=()).wait("b", "approved", after=())
    (problem,) = problems(order)
    assert problem.startswith("steps 'a' and 'b' may wait for the signal 'approved' at the same")
    assert problem.endswith("let one come after the other")


def test_every_pair_is_told() -> None:
    """Three at once are three problems."""
    order = Workflow("order")
    for name in "abc":
        order.wait(name, "approved", after=())
    assert len(problems(order)) == 3


def test_one_signal_after_the_other() -> None:
    """The same signal may be waited for again later, also with steps in between."""
    order = Workflow("order").wait("a", "approved").step("b", nothing).wait("c", "approved")
    assert len(order.build().steps) == 3


def test_the_later_may_be_declared_first() -> None:
    """What counts is the graph, not the order of the declarations."""
    order = Workflow("order").wait("later", "approved", after="first")
    assert order.wait("first", "approved", after=()).build().order[0].name == "first"


def test_other_signals_at_once() -> None:
    """Two branches may wait at the same time for signals of two names."""
    order = Workflow("order").wait("crm", after=()).wait("billing", after=())
    assert len(order.build().steps) == 2


def test_sleeps_at_once() -> None:
    """Sleeps wait for no signal."""
    order = Workflow("order").sleep("a", 1, after=()).sleep("b", 1, after=())
    assert len(order.build().steps) == 2


# The deadline of a workflow


@pytest.mark.parametrize("deadline", [60, 60.0, timedelta(minutes=1)])
def test_deadline_is_a_duration(deadline: Any) -> None:
    """Seconds or a `timedelta`; without one there is none."""
    assert Workflow("order", deadline=deadline).step("a", nothing).build().deadline == 60
    assert Workflow("order").step("a", nothing).build().deadline is None


@pytest.mark.parametrize(
    ("deadline", "problem"),
    [
        (0, "deadline: it must be more than 0 seconds"),
        (-1, "deadline: -1 is no duration"),
        ("soon", "deadline: 'soon' is no duration"),
        (True, "deadline: True is no duration"),
        (math.inf, "deadline: "),
        (timedelta.max, "deadline: "),
    ],
)
def test_bad_deadlines_are_told(deadline: Any, problem: str) -> None:
    """A deadline that cannot be kept is a problem of the workflow."""
    order = Workflow("order", deadline=deadline).step("a", nothing)
    assert problems(order)[0].startswith(problem)
