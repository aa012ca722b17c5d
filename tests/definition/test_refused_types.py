"""Functions and types that look right and would not do: refused before anything runs."""

from typing import Any

import attrs
import pytest

from flux import DefinitionError, FluxEngine, InputError, Retry, Workflow
from handlers import nothing, nothing_async


def problems_of(workflow: Workflow) -> tuple[str, ...]:
    """What `build` finds wrong."""
    with pytest.raises(DefinitionError) as refused:
        workflow.build()
    return refused.value.problems


class AsyncCallable:
    """An object that is called like an async function."""

    async def __call__(self, *given: Any) -> None:
        """Do nothing."""


# Async where a plain function is wanted


@pytest.mark.parametrize("validate", [nothing_async, AsyncCallable()], ids=["function", "object"])
def test_an_async_validator_is_refused(validate: Any) -> None:
    """Its coroutine would be no refusal of anything."""
    workflow = Workflow("order", validate=validate).step("pay", nothing)
    assert problems_of(workflow) == ("validate: it is async; it must be a plain function",)


def test_an_async_validator_is_refused_as_a_decorator() -> None:
    """`@workflow.validate` takes no other functions than the argument."""
    workflow = Workflow("order").step("pay", nothing)
    workflow.validate(nothing_async)
    assert problems_of(workflow) == ("validate: it is async; it must be a plain function",)


@pytest.mark.parametrize("delay", [nothing_async, AsyncCallable()], ids=["function", "object"])
def test_an_async_delay_is_refused(delay: Any) -> None:
    """The pause after an error is decided at once."""
    with pytest.raises(ValueError, match="delay must be a plain function"):
        Retry(3, delay=delay)


def test_a_plain_delay_is_taken() -> None:
    """A delay may be any plain callable."""
    policy = Retry(3, delay=lambda error, failed: 2.0 * failed)
    assert policy.pause(RuntimeError(), 2) == 4.0


async def test_a_validator_changes_nothing() -> None:
    """What a validator does to the input reaches neither the caller nor the handlers."""

    def spoil(given: dict[str, Any]) -> None:
        given["lines"].append("B2")
        given["added"] = True

    order = Workflow("order", validate=spoil).step("pay", lambda ctx: dict(ctx.input))
    mine = {"lines": ["A1"]}
    async with FluxEngine() as engine:
        result = await engine.execute(order, mine)
    assert mine == {"lines": ["A1"]}
    assert result.history[0].output == mine


async def test_a_validator_that_refuses_is_heard() -> None:
    """A plain validator that raises refuses the input, and nothing is saved."""

    def refuse(given: Any) -> None:
        raise ValueError("no lines")

    order = Workflow("order", validate=refuse).step("pay", nothing)
    async with FluxEngine() as engine:
        with pytest.raises(InputError, match="no lines"):
            await engine.execute(order, {})
        assert await engine.count() == 0


# Fields that would not be kept


@attrs.define
class Computed:
    """A class with a field that cattrs leaves out."""

    lines: int = 0
    total: int = attrs.field(init=False, default=0)


@attrs.define
class Nested:
    """A class in which the other one hides."""

    parts: dict[str, list[Computed]] = attrs.Factory(dict)


@attrs.define
class Tree:
    """A class that holds itself."""

    branches: "list[Tree]" = attrs.Factory(list)
    _hidden: int = 0


LOST = "Computed.total has init=False, so it cannot be kept"


@pytest.mark.parametrize("cls", [Computed, Nested])
@pytest.mark.parametrize("option", ["input", "data"])
def test_a_field_without_init_is_refused(option: str, cls: type) -> None:
    """It would come back with its default, so the class is refused, even nested in another."""
    options: dict[str, Any] = {option: cls}
    (problem,) = problems_of(Workflow("order", **options).step("pay", nothing))
    assert problem.startswith(f"{option}")
    assert LOST in problem


@pytest.mark.parametrize("option", ["input", "data"])
def test_other_attrs_classes_are_taken(option: str) -> None:
    """A class may hold itself, and have private fields."""
    options: dict[str, Any] = {option: Tree}
    Workflow("order", **options).step("pay", nothing).build()


# Names


@pytest.mark.parametrize("name", ["7:pay", ":", "pay:"])
def test_a_colon_in_a_step_name_is_refused(name: str) -> None:
    """It divides the parts of keys: with it two effects could have one key."""
    (problem,) = problems_of(Workflow("order").step(name, nothing))
    assert problem == (
        f"step {name!r}: a name holds no colon and no bracket, "
        "which divide the parts of idempotency keys"
    )


async def test_s03_ids_with_colons_keep_their_keys_apart() -> None:
    """An id may hold colons: the key of a step of one instance is no key of another one."""
    keys: list[str] = []
    order = Workflow("order").step("pay", lambda ctx: keys.append(ctx.idempotency_key))
    async with FluxEngine() as engine:
        for id in ("order", "order:pay", "order:pay:1", "order:1"):
            await engine.execute(order, id=id)
    assert len(set(keys)) == 4
