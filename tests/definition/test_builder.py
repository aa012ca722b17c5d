"""The builder: fluent or with decorators, one class, one result."""

from datetime import timedelta
from typing import Any

import pytest

from flux import DefinitionError, Retry, Step, Workflow, create_workflow
from handlers import nothing, nothing_async


def test_decorated_step_is_named_by_its_function() -> None:
    """Without a name of its own a step is called as its handler is."""
    order = Workflow("order")

    @order.step
    def reserve(ctx: Any) -> None: ...

    assert [step.name for step in order.build().steps] == ["reserve"]


def test_decorated_step_takes_a_name() -> None:
    """A name before the options replaces the function's."""
    order = Workflow("order")

    @order.step("take it", retries=2)
    def reserve(ctx: Any) -> None: ...

    assert order.build().step("take it").retries == Retry(2)


def test_decorated_step_stays_callable() -> None:
    """What `step` returns is called as the handler was."""
    order = Workflow("order")

    @order.step
    def double(number: int) -> int:
        return number * 2

    assert isinstance(double, Step)
    assert double(21) == 42


def test_decorated_compensator_stays_a_function() -> None:
    """`compensate` gives the plain function back, with options and without."""
    order = Workflow("order")
    reserve, ship = (order.step(name)(nothing) for name in ("reserve", "ship"))
    assert reserve.compensate(nothing) is nothing
    assert ship.compensate(retries=5, timeout=2)(nothing_async) is nothing_async
    built = order.build().step("ship")
    assert built.compensate is nothing_async
    assert built.compensate_retries == Retry(5)
    assert built.compensate_timeout == 2.0


def test_decorated_verifier_stays_a_function() -> None:
    """`verify` gives the plain function back."""
    order = Workflow("order")
    charge = order.step("charge", at_most_once=True)(nothing)
    assert charge.verify(nothing_async) is nothing_async
    assert order.build().step("charge").verify is nothing_async


def test_decorated_commit_is_a_step_with_the_flag() -> None:
    """`commit` is `step` with `commit=True`, with options and without."""
    order = Workflow("order")
    order.commit(nothing)
    order.commit("ship", timeout=3)(nothing)
    assert [step.commit for step in order.build().steps] == [True, True]
    assert order.build().step("ship").timeout == 3.0


def test_fluent_steps_chain() -> None:
    """With a name and a handler both verbs return the workflow."""
    order = (
        create_workflow("order")
        .step("reserve", nothing, compensate=nothing_async, retries=3)
        .commit("charge", nothing)
        .build()
    )
    assert [(step.name, step.commit) for step in order.steps] == [
        ("reserve", False),
        ("charge", True),
    ]
    assert order.step("reserve").compensate is nothing_async


def test_fluent_and_decorated_build_the_same() -> None:
    """Both ways lead to equal definitions."""
    fluent = create_workflow("order").step("nothing", nothing, retries=1, compensate=nothing_async)
    decorated = Workflow("order")
    decorated.step(retries=1)(nothing).compensate(nothing_async)
    assert fluent.build() == decorated.build()


def test_create_workflow_makes_the_one_builder() -> None:
    """There is one builder class."""
    assert type(create_workflow("order")) is Workflow


def test_every_option_reaches_the_step() -> None:
    """What was declared is what the built step holds, durations in seconds."""
    options: dict[str, Any] = {
        "retries": Retry(3, initial=0.1),
        "timeout": timedelta(minutes=1),
        "when": lambda ctx: True,
        "commit": True,
        "at_most_once": True,
        "verify": nothing,
        "compensate": nothing_async,
        "compensate_retries": Retry(2),
        "compensate_timeout": 7,
        "unknown_on": (ConnectionError, TimeoutError),
        "after": (),
        "description": "takes the money",
    }
    built = create_workflow("order").step("charge", nothing, **options).build().step("charge")
    expected = options | {"timeout": 60.0, "compensate_timeout": 7.0}
    assert {name: getattr(built, name) for name in options} == expected


def test_options_have_quiet_defaults() -> None:
    """A plain step retries and times out as the engine says, and asks for nothing else."""
    built = create_workflow("order").step("pack", nothing).build().step("pack")
    assert (built.retries, built.timeout, built.compensate_retries) == (None, None, None)
    assert (built.commit, built.at_most_once, built.unknown_on) == (False, False, ())
    assert (built.when, built.verify, built.compensate) == (None, None, None)


def test_single_error_type_is_enough() -> None:
    """`unknown_on` takes one type as well as a tuple."""
    order = create_workflow("order").step("charge", nothing, unknown_on=TimeoutError)
    assert order.build().step("charge").unknown_on == (TimeoutError,)


def test_async_handlers_are_told_apart() -> None:
    """A callable object with an async `__call__` is awaited, too."""

    class Charge:
        async def __call__(self, ctx: Any) -> None: ...

    order = Workflow("order").step("a", nothing).step("b", nothing_async).step("c", Charge())
    assert [step.is_async for step in order.build().steps] == [False, True, True]


def test_unknown_option_is_refused_at_once() -> None:
    """A misspelt option raises where it stands, and names the right one."""
    with pytest.raises(TypeError, match="no option 'retry'; did you mean 'retries'"):
        Workflow("order").step("reserve", nothing, retry=3)  # type: ignore[call-overload]


def test_handler_without_a_name_is_refused() -> None:
    """A lambda has none; the message shows how to give one."""
    with pytest.raises(TypeError, match=r"write step\('name', handler\)"):
        Workflow("order").step(lambda ctx: None)


def test_second_compensator_is_refused() -> None:
    """A step has one compensator: another one does not silently replace it."""
    reserve = Workflow("order").step("reserve")(nothing)
    reserve.compensate(nothing)
    with pytest.raises(DefinitionError, match="'reserve' has a compensate function already"):
        reserve.compensate(nothing_async)


@pytest.mark.parametrize("change", ["step", "compensate", "input", "data", "validate"])
def test_built_workflow_takes_no_changes(change: str) -> None:
    """After `build` a declaration raises instead of being ignored."""
    order = Workflow("order")
    reserve = order.step("reserve")(nothing)
    order.build()
    target: Any = reserve if change == "compensate" else order
    with pytest.raises(DefinitionError, match="built already; declare all steps before"):
        getattr(target, change)(nothing)


def test_building_again_gives_the_same() -> None:
    """A workflow is built once."""
    order = create_workflow("order").step("reserve", nothing)
    assert order.build() is order.build()
