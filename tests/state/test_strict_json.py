"""Strict JSON: what is written is what comes back, and what would change is refused by path."""

from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import pytest
from hypothesis import given

from flux import NotJSONError
from flux.state.strict_json import json_text, same_json
from instances import json_values


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Point(NamedTuple):
    x: int


@given(json_values)
def test_what_fits_comes_back(value: Any) -> None:
    """Plain values are read as they were written, numbers of their type."""
    back = orjson.loads(json_text(value, "data"))
    assert back == value
    assert repr(back) == repr(value)


def test_tuple_becomes_a_list() -> None:
    """It is the only change."""
    assert json_text({"pair": (1, (2,))}, "data") == b'{"pair":[1,[2]]}'


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "nan is not JSON; keep None or a str"),
        (float("-inf"), "-inf is not JSON"),
        (2**64, "an int beyond 64 bits is not JSON here; keep it as str"),
        (-(2**63) - 1, "an int beyond 64 bits"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime is not JSON; use .isoformat()"),
        (date(2026, 1, 1), "date is not JSON; use .isoformat()"),
        (timedelta(1), "timedelta is not JSON; use .total_seconds()"),
        (Decimal(1), "Decimal is not JSON; use str()"),
        (UUID(int=1), "UUID is not JSON; use str()"),
        (b"x", "bytes is not JSON; use .hex()"),
        ({1}, "set is not JSON; use sorted()"),
        (object(), "object is not JSON; keep what JSON has"),
        (Colour.RED, "Colour would come back as str; use str()"),
        (Size.SMALL, "Size would come back as int; use int()"),
        (OrderedDict(), "OrderedDict would come back as dict; use dict()"),
        (Point(1), "Point would come back as tuple; use tuple()"),
        ({1: "x"}, "the key 1 is int, keys must be str"),
        ("\ud800", "surrogates"),
    ],
)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda value: value, "data"),
        (lambda value: {"lines": [0, {"sku": value}]}, "data.lines[1].sku"),
    ],
)
def test_what_would_change_is_refused(value: Any, why: str, wrap: Any, path: str) -> None:
    """The error names the path, the type and what to keep instead."""
    with pytest.raises(NotJSONError) as refused:
        json_text(wrap(value), "data")
    assert why in refused.value.why
    # The encoder itself refuses a lone surrogate, and knows no path.
    if why != "surrogates":
        assert str(refused.value).startswith(f"{path}: ")


def test_value_within_itself_is_refused() -> None:
    """A list that holds itself has no text."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotJSONError, match="it contains itself"):
        json_text(endless, "data")


def test_order_of_keys_does_not_matter() -> None:
    """Two texts are the same if they mean the same value."""
    assert same_json(b'{"a":1,"b":[2]}', b'{"b": [2], "a": 1}')
    assert not same_json(b"[1,2]", b"[2,1]")
    assert not same_json(b"1", b'"1"')
