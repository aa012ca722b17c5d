"""S10: what is saved is what comes back; what would change is refused at once, with its path."""

import asyncio
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from attrs import define

from flux import FluxEngine, InputError, NotJSONError, Retry, Workflow, WorkflowContext
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


@define
class Plain:
    """An attrs class where none was declared."""

    number: int = 1


class Sub(dict[str, Any]):
    """A dict that would come back as another type."""


def itself() -> list[Any]:
    """A list that contains itself."""
    found: list[Any] = []
    found.append(found)
    return found


REFUSED = {
    "nan": (math.nan, "x", "nan is not JSON"),
    "infinity": (-math.inf, "x", "-inf is not JSON"),
    "too big": (2**64, "x", "beyond 64 bits"),
    "too small": (-(2**63) - 1, "x", "beyond 64 bits"),
    "key": ({1: "one"}, "x", "the key 1 is int, keys must be str"),
    "nested key": ({"a": [{None: 1}]}, "x.a[0]", "the key None is NoneType"),
    "datetime": ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, "x.when", "datetime is not JSON"),
    "date": (date(2026, 1, 1), "x", "date is not JSON"),
    "timedelta": (timedelta(1), "x", "timedelta is not JSON"),
    "decimal": ([0, Decimal("1.0")], "x[1]", "Decimal is not JSON"),
    "uuid": (UUID(int=1), "x", "UUID is not JSON"),
    "bytes": (b"x", "x", "bytes is not JSON"),
    "set": ({1}, "x", "set is not JSON"),
    "object": (object(), "x", "object is not JSON"),
    "attrs": (Plain(), "x", "Plain is not JSON"),
    "str enum": (Colour.RED, "x", "Colour would come back as str"),
    "str enum key": ({Colour.RED: 1}, "x", "keys must be str"),
    "int enum": (Size.BIG, "x", "Size would come back as int"),
    "dict subclass": (Sub(a=1), "x", "Sub would come back as dict"),
    "surrogate": ({"a": ["\ud800"]}, "x.a[0]", "surrogate"),
}

KEPT: list[Any] = [
    *(None, True, False, 0, -1, 2**64 - 1, -(2**63)),
    *(0.0, 1.0, -1.5, 0.1, 1e308, 5e-324, 1e16),
    *("", "text", "ünï\u2028 \u0000 \U0001f600", "\\ud800", "null"),
    *([], {}, [[], {}], {"": {"": None}}, {"a": [1, {"b": "c"}]}),
    {"key with . and [0]": 1, "b": 2, "a": 1},
]


# What is refused


@pytest.mark.parametrize("name", REFUSED)
async def test_s10_an_output_that_would_change_fails_the_step(
    engine: FluxEngine, name: str
) -> None:
    """The step fails at once, naming path and reason; its retries do not cover it."""
    value, path, why = REFUSED[name]
    calls: list[int] = []

    async def give(ctx: WorkflowContext) -> Any:
        calls.append(ctx.attempt)
        return value

    order = Workflow("order").step("give", give, retries=Retry(3, initial=0))
    result = await engine.execute(order)
    assert (result.status, calls) == ("failed", [1])
    assert result.error is not None
    assert result.error.type == "NotJSONError"
    assert result.error.message.startswith(path.replace("x", "output", 1))
    assert why in result.error.message


@pytest.mark.parametrize("name", REFUSED)
async def test_s10_data_that_would_change_fails_the_step(engine: FluxEngine, name: str) -> None:
    """So does a value in `data`, with the path from `data` on."""
    value, path, why = REFUSED[name]

    async def keep(ctx: WorkflowContext) -> None:
        ctx.data["fine"] = 1
        ctx.data["order"] = value

    result = await engine.execute(Workflow("order").step("keep", keep))
    assert (result.status, result.data) == ("failed", {})
    assert result.error is not None
    assert result.error.message.startswith(path.replace("x", "data.order", 1))
    assert why in result.error.message


@pytest.mark.parametrize("name", REFUSED)
async def test_s10_an_input_that_would_change_is_refused(engine: FluxEngine, name: str) -> None:
    """`execute` raises for such an input, and nothing is saved."""
    value, path, why = REFUSED[name]
    with pytest.raises(NotJSONError) as caught:
        await engine.execute(sequence("pay"), {"order": value}, id="order-1")
    assert caught.value.path == path.replace("x", "input.order", 1)
    assert why in str(caught.value)
    assert await engine.count() == 0


async def test_s10_the_message_gives_advice(engine: FluxEngine) -> None:
    """The message of S10 itself: where, what, and what to do instead."""

    async def keep(ctx: WorkflowContext) -> None:
        ctx.data["order"] = {"when": ctx.now()}

    result = await engine.execute(Workflow("order").step("keep", keep))
    assert str(result.error) == (
        "NotJSONError: data.order.when: datetime is not JSON; "
        "use .isoformat(), or a typed data class"
    )


async def test_s10_what_contains_itself_is_refused(engine: FluxEngine) -> None:
    """A value without an end fails the step like any other that JSON cannot hold."""
    result = await engine.execute(Workflow("order").step("give", lambda ctx: itself()))
    assert str(result.error) == (
        "NotJSONError: output: it contains itself, or is nested too deeply"
    )


async def test_s10_a_key_of_data_is_text(engine: FluxEngine) -> None:
    """A top-level key of `data` that is no `str` fails the step."""

    async def keep(ctx: WorkflowContext) -> None:
        ctx.data[7] = "x"

    result = await engine.execute(Workflow("order").step("keep", keep))
    assert str(result.error) == "NotJSONError: data: the key 7 is int, keys must be str"


@pytest.mark.parametrize("replacement", [None, [], "text", Plain()], ids=repr)
async def test_s10_data_stays_a_dict(engine: FluxEngine, replacement: Any) -> None:
    """A step that puts something else in the place of `data` fails."""

    async def replace(ctx: WorkflowContext) -> None:
        ctx.data = replacement

    result = await engine.execute(Workflow("order").step("replace", replace))
    name = type(replacement).__name__
    assert str(result.error) == (
        f"NotJSONError: data: it was replaced by {name}, it must be a dict"
    )


async def test_s10_a_refused_result_has_acted(engine: FluxEngine) -> None:
    """The handler returned, so what it did may have to be undone: its outcome is unknown."""
    undone: list[str] = []
    order = Workflow("order").step("give", lambda ctx: {1}, compensate=noting("-", undone))
    result = await engine.execute(order)
    assert (result.status, undone) == ("rolled_back", ["-"])
    assert step_of(result, "give").outcome == "unknown"
    assert [attempt.ended for attempt in step_of(result, "give").attempts] == ["refused"]


async def test_s10_a_compensator_s_data_is_checked_too(engine: FluxEngine) -> None:
    """A compensator that leaves such a value in `data` has failed, whatever its retries."""
    calls: list[int] = []

    async def undo(ctx: WorkflowContext) -> None:
        calls.append(ctx.attempt)
        ctx.data["order"] = {1, 2}

    order = sequence("pay", compensate=undo, compensate_retries=Retry(3, initial=0))
    result = await engine.execute(order.step("ship", Flaky(None)))
    assert (result.status, result.data, calls) == ("rollback_failed", {}, [1])


# What is kept


@pytest.mark.parametrize("value", KEPT, ids=repr)
async def test_s10_what_is_saved_comes_back(open_engine: OpenEngine, value: Any) -> None:
    """Input, output and data come back as they were, of the same types, in any engine."""
    order = Workflow("order").step("keep", lambda ctx: ctx.data.update(kept=ctx.input["given"]))
    order.step("give", lambda ctx: ctx.data["kept"])
    engine, other = await open_engine(), await open_engine(workflows=[order])
    await engine.execute(order, {"given": value}, id="order-1")
    state = await other.get("order-1")
    for seen in (state.input["given"], state.data["kept"], step_of(state, "give").output):
        assert repr(seen) == repr(value)


async def test_s10_a_tuple_becomes_a_list(engine: FluxEngine) -> None:
    """Only a tuple changes: it comes back as a list, at any depth."""
    order = Workflow("order").step("give", lambda ctx: {"pair": (1, (2, ()))})
    result = await engine.execute(order, {"pair": (1, 2)})
    assert step_of(result, "give").output == {"pair": [1, [2, []]]}
    assert result.state.input == {"pair": [1, 2]}


async def test_s10_the_next_step_sees_the_value_read_back(engine: FluxEngine) -> None:
    """The next step gets what was saved, not the object that the step before had made."""
    made: dict[str, Any] = {"pair": (1, 2)}
    order = Workflow("order")

    @order.step
    async def give(ctx: WorkflowContext) -> Any:
        ctx.data["made"] = made
        return made

    @order.step
    async def look(ctx: WorkflowContext) -> list[bool]:
        seen = [ctx.data["made"], ctx.output("give")]
        return [value == {"pair": [1, 2]} and value is not made for value in seen]

    assert step_of(await engine.execute(order), "look").output == [True, True]


async def test_s10_an_output_is_read_anew_each_time(engine: FluxEngine) -> None:
    """A step that changes what `ctx.output` gave it changes nothing for others."""
    order = Workflow("order").step("give", lambda ctx: [1])
    order.step("change", lambda ctx: ctx.output("give").append(2))
    order.step("look", lambda ctx: ctx.output("give"))
    assert step_of(await engine.execute(order), "look").output == [1]


async def test_s10_data_may_be_an_output(engine: FluxEngine) -> None:
    """`return ctx.data` gives a copy of what it is then."""
    order = Workflow("order").step("make", lambda ctx: ctx.data.update(a=[1]))
    order.step("give", lambda ctx: ctx.data)
    assert step_of(await engine.execute(order), "give").output == {"a": [1]}


async def test_s10_no_result_is_none(engine: FluxEngine) -> None:
    """A handler that returns nothing has the output None, and so has it for later steps."""
    order = Workflow("order").step("give", lambda ctx: None)
    order.step("look", lambda ctx: ctx.output("give") is None)
    assert step_of(await engine.execute(order), "look").output is True


# Typed fields


@define
class Invoice:
    """What a typed input or `data` may hold."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    total: Decimal = Decimal("9.90")
    key: UUID | None = None
    lines: tuple[str, ...] = ()
    colour: Colour = Colour.RED


async def test_s10_typed_fields_come_back_as_their_types(open_engine: OpenEngine) -> None:
    """With attrs classes, datetime, Decimal, UUID and enums work, in any engine."""
    order = Workflow("order", input=Invoice, data=Invoice)
    seen: list[Invoice] = []

    async def change(ctx: WorkflowContext) -> None:
        ctx.data.total += ctx.input.total
        ctx.data.lines = (*ctx.data.lines, "A1")
        seen.append(ctx.input)

    order.step("change", change).step("again", change)
    given = Invoice(total=Decimal("0.10"), key=UUID(int=7), lines=("B2",))
    engine, other = await open_engine(), await open_engine(workflows=[order])
    result = await engine.execute(order, given, id="order-1")
    assert str(result.error) == "None"
    state = await other.get("order-1")
    assert state.data == result.data == Invoice(total=Decimal("10.10"), lines=("A1", "A1"))
    assert seen == [given, given]
    assert state.input == given


async def test_s10_typed_input_may_be_plain(engine: FluxEngine) -> None:
    """A typed input may be given as a dict; it is structured for the handlers."""
    order = Workflow("order", input=Invoice).step("look", lambda ctx: str(ctx.input.total))
    result = await engine.execute(order, {"total": "1.50", "at": "2026-02-01T00:00:00+00:00"})
    assert step_of(result, "look").output == "1.50"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"total": "ten"}, "total"),
        ({"at": "soon"}, "at"),
        ({"lines": [1]}, "lines[0]"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=["total", "at", "lines", "unknown"],
)
async def test_s10_a_bad_typed_input_names_its_field(
    engine: FluxEngine, given: dict[str, Any], field: str
) -> None:
    """An input that does not fit is refused before anything is saved."""
    with pytest.raises(InputError) as caught:
        await engine.execute(Workflow("order", input=Invoice).step("a", noting("a", [])), given)
    assert caught.value.field == field
    assert field in str(caught.value)
    assert await engine.count() == 0


async def test_s10_bad_typed_data_fails_the_step(engine: FluxEngine) -> None:
    """A typed field that holds something else fails the step, naming the field."""

    async def spoil(ctx: WorkflowContext) -> None:
        ctx.data.total = "much"

    result = await engine.execute(Workflow("order", data=Invoice).step("spoil", spoil))
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.type == "NotJSONError"
    assert result.error.message.startswith("data.total")


async def test_s10_many_instances_do_not_mix(engine: FluxEngine) -> None:
    """Instances that run at the same time see their own values alone."""
    order = Workflow("order").step("keep", lambda ctx: ctx.data.update(kept=ctx.input["n"]))
    order.step("give", lambda ctx: [ctx.data["kept"], ctx.id])
    results = await asyncio.gather(
        *(engine.execute(order, {"n": n}, id=f"order-{n}") for n in range(20))
    )
    assert [step_of(result, "give").output for result in results] == [
        [n, f"order-{n}"] for n in range(20)
    ]
