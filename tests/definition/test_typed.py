"""Typed input and data: attrs classes outside, plain JSON values inside."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux import InputError, NotJSONError, Workflow, WorkflowDefinition
from handlers import nothing


class Speed(StrEnum):
    SLOW = "slow"
    FAST = "fast"


@attrs.define(kw_only=True)
class Line:
    sku: str
    quantity: int = attrs.field(validator=attrs.validators.gt(0))
    price: Decimal = Decimal("0.00")


@attrs.define(kw_only=True)
class Order:
    """One field of each kind that people use."""

    placed_at: datetime
    reference: UUID
    lines: list[Line]
    weight: float = 0.0
    gift: bool = False
    speed: Speed = Speed.SLOW
    note: str | None = None
    tags: dict[str, int] = attrs.field(factory=dict)
    codes: tuple[str, ...] = ()
    wished: date | None = None
    opens: time = time(8)
    patience: timedelta = timedelta(days=2)


@attrs.define(kw_only=True)
class Basket:
    total: Decimal = Decimal(0)
    codes: list[str] = attrs.field(factory=list)
    seen_at: datetime | None = None


ID = UUID("12345678-1234-5678-1234-567812345678")
PLAIN: dict[str, Any] = {
    "placed_at": "2026-01-02T03:04:05+00:00",
    "reference": str(ID),
    "lines": [{"sku": "A1", "quantity": 2, "price": "1.20"}],
}
TYPED = Order(
    placed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    reference=ID,
    lines=[Line(sku="A1", quantity=2, price=Decimal("1.20"))],
)


def workflow(**types: Any) -> WorkflowDefinition:
    return Workflow("order", **types).step("pack", nothing).build()


ORDER = workflow(input=Order, data=Basket)


def test_plain_input_becomes_typed() -> None:
    """A dict of plain values is what its fields say."""
    assert ORDER.typed_input(ORDER.plain_input(PLAIN)) == TYPED


def test_typed_input_is_taken_as_it_is() -> None:
    """An object of the class is as good as a dict."""
    assert ORDER.typed_input(ORDER.plain_input(TYPED)) == TYPED


orders = st.builds(
    Order,
    placed_at=st.datetimes(timezones=st.just(UTC)),
    reference=st.uuids(),
    lines=st.lists(
        st.builds(
            Line,
            sku=st.text(),
            quantity=st.integers(1, 2**63),
            price=st.decimals(allow_nan=False, allow_infinity=False),
        ),
        max_size=3,
    ),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    gift=st.booleans(),
    speed=st.sampled_from(Speed),
    note=st.none() | st.text(),
    tags=st.dictionaries(st.text(), st.integers(), max_size=3),
    codes=st.lists(st.text(), max_size=3).map(tuple),
    wished=st.none() | st.dates(),
    opens=st.times(),
    patience=st.timedeltas(timedelta(), timedelta(days=9000)),
)


@given(orders)
def test_typed_values_come_back(order: Order) -> None:
    """What goes into plain values comes out again, whatever its fields hold."""
    assert ORDER.typed_input(ORDER.plain_input(order)) == order


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"placed_at": "yesterday"}, "placed_at"),
        ({"placed_at": 3}, "placed_at"),
        ({"reference": "none"}, "reference"),
        ({"reference": 5}, "reference"),
        ({"lines": 3}, "lines"),
        ({"lines": [{"sku": "A1", "quantity": "2"}]}, "lines[0].quantity"),
        ({"lines": [{"sku": "A1", "quantity": True}]}, "lines[0].quantity"),
        ({"lines": [{"sku": "A1", "quantity": 1, "price": 1.5}]}, "lines[0].price"),
        ({"lines": [{"sku": "A1", "quantity": 1, "price": "x"}]}, "lines[0].price"),
        ({"lines": [{"quantity": 1}]}, "lines[0].sku"),
        ({"lines": [{"sku": "A1", "quantity": 0}]}, "lines[0]"),
        ({"weight": "heavy"}, "weight"),
        ({"gift": 1}, "gift"),
        ({"speed": "warp"}, "speed"),
        ({"note": 5}, "note"),
        ({"tags": {"a": "b"}}, "tags['a']"),
        ({"wished": "soon"}, "wished"),
        ({"patience": "long"}, "patience"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_refusal_names_the_field(changes: dict[str, Any], field: str) -> None:
    """A value that does not fit is refused by name, in the error and in its message."""
    with pytest.raises(InputError, match="workflow 'order' refuses the input") as refused:
        ORDER.plain_input(PLAIN | changes)
    assert refused.value.field == field
    assert field in str(refused.value)


def test_missing_field_is_named() -> None:
    """A field without a default has to be there."""
    with pytest.raises(InputError, match="reference: required field missing"):
        ORDER.plain_input({"placed_at": PLAIN["placed_at"], "lines": []})


@pytest.mark.parametrize(
    ("wrong", "field"), [({"placed_at": 3}, "placed_at"), ({"note": 3}, "note")]
)
def test_object_with_wrong_fields_is_refused(wrong: dict[str, Any], field: str) -> None:
    """An object made by hand is looked at as a dict is."""
    with pytest.raises(InputError) as refused:
        ORDER.plain_input(attrs.evolve(TYPED, **wrong))
    assert refused.value.field == field


@pytest.mark.parametrize("given", [5, "text", [1], None])
def test_input_of_another_type_is_refused(given: object) -> None:
    """What is neither an object of the class nor a dict, typed or not, is refused."""
    with pytest.raises(InputError, match="it must be a Order or a dict, not "):
        ORDER.plain_input(given)
    with pytest.raises(InputError, match="it must be a dict, not "):
        workflow().plain_input(given)


@pytest.mark.parametrize("text", ["abc", {"a": 1}])
def test_text_is_no_list(text: object) -> None:
    """A text, or a dict, is not taken apart into a list."""
    with pytest.raises(InputError, match="codes"):
        ORDER.plain_input(PLAIN | {"codes": text})


def test_data_text_is_no_list() -> None:
    """Nor is one that a handler left in a field of `data`."""
    with pytest.raises(NotJSONError, match=r"data\.codes"):
        ORDER.plain_data(Basket(codes="abc"))  # type: ignore[arg-type]


def test_first_data_is_made_without_arguments() -> None:
    """Typed data begins with the defaults of its class, plain data empty."""
    assert ORDER.typed_data(ORDER.first_data()) == Basket()
    assert workflow().first_data() == {}


def test_data_comes_back_typed() -> None:
    """What a handler left in typed data is what the next one sees."""
    left = Basket(total=Decimal("9.90"), codes=["x"], seen_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert ORDER.typed_data(ORDER.plain_data(left)) == left


@pytest.mark.parametrize(
    ("left", "path"),
    [
        (Basket(total="much"), "data.total"),  # type: ignore[arg-type]
        (Basket(codes=["a", 3]), "data.codes[1]"),  # type: ignore[list-item]
        (Basket(codes=None), "data.codes"),  # type: ignore[arg-type]
        (Basket(seen_at="now"), "data.seen_at"),  # type: ignore[arg-type]
    ],
)
def test_data_that_does_not_fit_is_named(left: Basket, path: str) -> None:
    """A field that could not be read back is refused with its path."""
    with pytest.raises(NotJSONError) as refused:
        ORDER.plain_data(left)
    assert refused.value.path == path


def test_data_cannot_be_replaced_by_another_type() -> None:
    """Typed data stays of its class, plain data a dict."""
    with pytest.raises(NotJSONError, match="replaced by dict, it must be a Basket"):
        ORDER.plain_data({"total": "1"})
    with pytest.raises(NotJSONError, match="replaced by list, it must be a dict"):
        workflow().plain_data([1])


def only_gifts(order: Order) -> bool:
    return order.gift


def no_gifts(order: Order) -> None:
    if order.gift:
        raise ValueError("no gifts today")


def test_validator_sees_the_typed_input() -> None:
    """It refuses by returning False, and accepts by anything else."""
    checked = workflow(input=Order, validate=only_gifts)
    assert checked.plain_input(PLAIN | {"gift": True})["gift"] is True
    with pytest.raises(InputError, match="its validator returned False"):
        checked.plain_input(PLAIN)


def test_validator_refuses_by_raising() -> None:
    """What it raises is what the error says; returning None accepts."""
    checked = workflow(input=Order, validate=no_gifts)
    assert checked.plain_input(PLAIN)["gift"] is False
    with pytest.raises(InputError, match="refuses the input: no gifts today"):
        checked.plain_input(PLAIN | {"gift": True})
