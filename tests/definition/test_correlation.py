"""By which values of its input an instance is found, and which of them make sense."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux import CorrelationError, DefinitionError, InputError, Workflow
from flux.definition.correlation import (
    by_parts,
    by_whole,
    correlation_labels,
    correlation_of,
    own_labels,
    whole_text,
)
from handlers import nothing

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = texts | st.booleans() | st.integers(-(2**63), 2**64 - 1)
correlations = st.dictionaries(texts, values, min_size=1, max_size=3)


def workflow(correlate_by: Any = (), **options: Any) -> Workflow:
    """A workflow with one step."""
    return Workflow("order", correlate_by=correlate_by, **options).step("a", nothing)


def problems(correlate_by: Any = (), **options: Any) -> tuple[str, ...]:
    """What is wrong with it."""
    with pytest.raises(DefinitionError) as raised:
        workflow(correlate_by, **options).build()
    return raised.value.problems


# What is declared


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((), ()),
        ("sku", ("sku",)),
        (("sku",), ("sku",)),
        (["sku", "city"], ("sku", "city")),
        (("sku", "city", "sku"), ("sku", "city")),
    ],
    ids=["none", "a text", "a tuple", "a list", "twice"],
)
def test_keys(given: Any, kept: tuple[str, ...]) -> None:
    """One key or several, each once, in the order in which they were declared."""
    assert workflow(given).build().correlate_by == kept


@pytest.mark.parametrize("wrong", [{"sku"}, 7, None, {"sku": 1}])
def test_no_keys(wrong: object) -> None:
    """What has no order, or is no text, is no list of keys."""
    assert problems(wrong) == (
        f"correlate_by: {wrong!r} is neither a key of the input nor a tuple of keys",
    )


def test_keys_that_are_no_text() -> None:
    """Each of them is told."""
    assert problems(("sku", 7, None)) == (
        "correlate_by: 7 is no key",
        "correlate_by: None is no key",
    )


@attrs.frozen
class Lead:
    request_id: str
    company_id: int = 0


def test_keys_of_a_typed_input() -> None:
    """They are fields of its class."""
    assert workflow(("company_id", "request_id"), input=Lead).build().correlate_by == (
        "company_id",
        "request_id",
    )
    assert problems(("request_id", "sku"), input=Lead) == (
        "correlate_by: 'sku' is no field of the input; there are: request_id, company_id",
    )


def test_unique_is_a_flag() -> None:
    """It is True or False; True where nothing is said."""
    assert (workflow().build().unique, workflow(unique=False).build().unique) == (True, False)
    assert problems("sku", unique="sku") == ("unique is True or False, not 'sku'",)


# What is found in an input


def test_values_of_an_input() -> None:
    """The keys are taken from the plain input, in their order."""
    definition = workflow(("b", "a")).build()
    assert list(definition.correlation({"a": 1, "b": "x", "c": None}).items()) == [
        ("b", "x"),
        ("a", 1),
    ]


def test_values_of_a_typed_input() -> None:
    """A default of the class counts."""
    definition = workflow(("request_id", "company_id"), input=Lead).build()
    plain = definition.plain_input({"request_id": "r-1"})
    assert definition.correlation(plain) == {"request_id": "r-1", "company_id": 0}


@pytest.mark.parametrize(
    ("input", "why"),
    [
        ({}, "it is missing in the input"),
        ({"sku": None}, "its value is a str, an int or a bool, not NoneType"),
        ({"sku": 1.0}, "its value is a str, an int or a bool, not float"),
        ({"sku": ["A"]}, "its value is a str, an int or a bool, not list"),
    ],
)
def test_an_input_without_a_value(input: dict[str, Any], why: str) -> None:
    """An input that could not be found is refused, naming the key."""
    with pytest.raises(InputError) as raised:
        workflow("sku").build().correlation(input)
    assert raised.value.field == "sku"
    assert str(raised.value) == f"workflow 'order' refuses the input: correlation 'sku': {why}"


# Keys of live instances


def test_a_unique_key() -> None:
    """It names the workflow and all values; another order of the same is the same."""
    definition = workflow(("a", "b")).build()
    keys = {definition.unique_key(found) for found in ({"a": 1, "b": 2}, {"b": 2, "a": 1})}
    assert keys == {'order:{"a":1,"b":2}'}


@pytest.mark.parametrize("definition", [workflow().build(), workflow("a", unique=False).build()])
def test_no_unique_key(definition: Any) -> None:
    """Without a correlation, or where several may live, there is none."""
    assert definition.unique_key(definition.correlation({"a": 1})) is None


# Labels


@given(correlations)
def test_labels_tell_the_correlation(correlation: dict[str, Any]) -> None:
    """The labels of an instance give back the values as they were, types included."""
    back = correlation_of(correlation_labels(correlation) | {"city": "Oslo"})
    assert back == correlation
    assert [type(back[key]) for key in correlation] == [type(v) for v in correlation.values()]


@given(correlations, correlations)
def test_different_values_have_different_labels(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Labels and whole texts are equal if and only if keys, values and types are."""
    typed_one, typed_other = ({k: (type(v), v) for k, v in c.items()} for c in (one, other))
    same = typed_one == typed_other
    assert (correlation_labels(one) == correlation_labels(other)) == same
    assert (whole_text(one) == whole_text(other)) == same


@given(correlations)
def test_labels_are_found_by_any_part(correlation: dict[str, Any]) -> None:
    """The labels asked for by the whole key, or by a part of it, are among those stored."""
    stored = correlation_labels(correlation).items()
    assert by_whole(correlation).items() <= stored
    for key, value in correlation.items():
        assert by_parts({key: value}).items() <= stored


def test_the_order_of_the_keys_does_not_matter() -> None:
    """The whole key is one text, however it was written."""
    assert by_whole({"a": 1, "b": 2}) == by_whole({"b": 2, "a": 1})


def test_one_key_is_one_label() -> None:
    """A second label, for the whole, is stored for several keys only."""
    assert (len(correlation_labels({"a": 1})), len(correlation_labels({"a": 1, "b": 2}))) == (1, 3)


@given(correlations)
def test_a_users_labels_are_told_apart(correlation: dict[str, Any]) -> None:
    """The labels of the engine are not those that a user sees."""
    assert own_labels(correlation_labels(correlation) | {"city": "Oslo"}) == {"city": "Oslo"}


@pytest.mark.parametrize(
    "wrong", [None, 1.0, [], {}, b"x", object(), 2**64, -(2**63) - 1, "\ud800"]
)
def test_a_value_that_cannot_be_looked_up(wrong: object) -> None:
    """What is no text, whole number or bool, or does not fit in JSON, is refused by its key."""
    with pytest.raises(CorrelationError, match="correlation 'sku'") as raised:
        by_parts({"sku": wrong})
    assert raised.value.key == "sku"
