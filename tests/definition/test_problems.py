"""A workflow that makes no sense is refused when it is built, with all its problems at once."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from flux import DefinitionError, Workflow
from handlers import nothing


def problems_of(workflow: Workflow) -> tuple[str, ...]:
    """What `build` finds wrong."""
    with pytest.raises(DefinitionError) as refused:
        workflow.build()
    return refused.value.problems


def no_argument() -> None:
    """A function that cannot be a handler."""


NO_ARGUMENT: Any = no_argument


def generator(ctx: Any) -> Any:
    yield ctx


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retries": -1}, "retries: retries must be a whole number"),
        ({"retries": "3"}, "retries: retries must be a whole number"),
        ({"retries": True}, "retries: retries must be a whole number"),
        ({"timeout": 0}, "timeout: it must be more than 0 seconds"),
        ({"timeout": -1}, "timeout: -1 is no duration"),
        ({"timeout": "5"}, "timeout: '5' is no duration"),
        ({"timeout": float("nan")}, "timeout: nan is no duration"),
        ({"when": 5}, "when: 5 is no function"),
        ({"when": no_argument}, "when: it must take one argument, ctx"),
        ({"commit": "yes"}, "commit is True or False, not 'yes'"),
        ({"at_most_once": 1}, "at_most_once is True or False, not 1"),
        ({"verify": nothing}, "verify is asked of steps with at_most_once=True alone"),
        ({"verify": 3, "at_most_once": True}, "verify: 3 is no function"),
        ({"compensate": no_argument}, "compensate: it must take one argument, ctx"),
        ({"compensate": nothing, "compensate_retries": -2}, "compensate_retries: retries must be"),
        ({"compensate": nothing, "compensate_timeout": 0}, "compensate_timeout: it must be more"),
        ({"compensate_retries": 2}, "compensate_retries without a compensator"),
        ({"compensate_timeout": 2}, "compensate_timeout without a compensator"),
        ({"unknown_on": "TimeoutError"}, "unknown_on: 'TimeoutError' is no error type"),
        ({"unknown_on": (OSError, 3)}, "unknown_on: 3 is no error type"),
        ({"after": 3}, "after: 3 is neither a name nor a tuple of names"),
        ({"after": (3,)}, "after: 3 is no name"),
        ({"after": {"pack"}}, "after: {'pack'} is neither a name nor a tuple of names"),
        ({"after": ("pakc",)}, "after='pakc' is no step; there are: pack, ship"),
    ],
)
def test_problem_names_step_and_option(options: dict[str, Any], told: str) -> None:
    """A wrong option is told with its step and what is wrong with it."""
    order = Workflow("order").step("pack", nothing).step("ship", nothing, **options)
    [problem] = problems_of(order)
    assert problem.startswith("step 'ship': ")
    assert told in problem


@pytest.mark.parametrize("handler", [no_argument, generator, 5])
def test_handler_that_cannot_be_called_is_refused(handler: Any) -> None:
    """A handler takes one argument and is no generator."""
    [problem] = problems_of(Workflow("order").step("ship", handler))
    assert problem.startswith("step 'ship': handler: ")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b"])
def test_names_are_printable(name: str) -> None:
    """A step without a readable name is refused."""
    [problem] = problems_of(Workflow("order").step(name, nothing))
    assert problem == f"step {name!r}: a name is printable text that is not empty"


def test_workflow_needs_steps() -> None:
    """An empty workflow says how to add one."""
    assert problems_of(Workflow("order")) == ("it has no steps; add one with @workflow.step",)


def test_names_are_unique() -> None:
    """Two steps of one name are told once."""
    order = Workflow("order").step("a", nothing).step("a", nothing).step("b", nothing)
    assert problems_of(order) == ("step 'a' is declared 2 times; names are unique",)


def test_cycle_members_are_named_in_order() -> None:
    """A cycle is told by its members, in the direction in which they wait."""
    order = (
        Workflow("order")
        .step("start", nothing)
        .step("a", nothing, after=("start", "c"))
        .step("b", nothing, after="a")
        .step("c", nothing, after="b")
    )
    [problem] = problems_of(order)
    said = problem.partition("waits for itself: ")[2].split(" -> ")
    assert said[0] == said[-1]
    assert "->".join(said[:-1]) in {"a->c->b", "c->b->a", "b->a->c"}


def test_every_cycle_is_told() -> None:
    """Two cycles are two problems."""
    order = (
        Workflow("order")
        .step("a", nothing, after="b")
        .step("b", nothing, after="a")
        .step("c", nothing, after="c")
    )
    told = problems_of(order)
    assert len(told) == 2
    assert "step 'c' waits for itself: c -> c" in told


@attrs.define
class NeedsArguments:
    sku: str


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Workflow(""), "its name '' is no printable text"),
        (lambda: Workflow("order", version="\n"), "its version '\\n' is no printable text"),
        (lambda: Workflow("order", version=2), "its version 2 is no printable text"),  # type: ignore[arg-type]
        (lambda: Workflow("order", input=dict), "input=<class 'dict'> is no attrs class"),
        (lambda: Workflow("order", data=int), "data=<class 'int'> is no attrs class"),
        (lambda: Workflow("order", data=NeedsArguments), "cannot be made without arguments"),
        (lambda: Workflow("order", validate=NO_ARGUMENT), "validate: it must take one argument"),
    ],
)
def test_problems_of_the_workflow_itself(make: Callable[[], Workflow], told: str) -> None:
    """Name, version, types and validator are looked at as well."""
    [problem] = problems_of(make().step("a", nothing))
    assert told in problem


def test_all_problems_come_at_once() -> None:
    """One error lists what is wrong with the workflow, its steps and its graph."""
    order = (
        Workflow("order", version="")
        .step("a", nothing, retries=-1, timeout=0)
        .step("b", nothing, after="nowhere")
        .step("c", nothing, after="d")
        .step("d", nothing, after="c")
        .step("a", nothing, after="d")
    )
    told = problems_of(order)
    for part in ["version", "'a': retries", "'a': timeout", "'nowhere'", "itself", "2 times"]:
        assert sum(part in problem for problem in told) == 1, part
    assert len(told) == 6


def test_error_lists_its_problems() -> None:
    """The message names the workflow and has a line for each problem."""
    with pytest.raises(DefinitionError) as refused:
        Workflow("order").step("a", nothing, retries=-1, timeout=0).build()
    assert isinstance(refused.value, ValueError)
    first, *rest = str(refused.value).splitlines()
    assert first == "workflow 'order' cannot be built:"
    assert [line[:13] for line in rest] == ["  - step 'a':"] * 2
