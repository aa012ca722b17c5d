"""By which values of its input an instance is found: labels that a storage indexes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from flux.definition.wait import RESERVED
from flux.errors import CorrelationError

WHOLE = f"{RESERVED}correlation"
"""The label with all keys in one, so that a whole key of several parts is found at once."""


def correlation_labels(correlation: Mapping[str, Any]) -> dict[str, str]:
    """The labels under which an instance with this full correlation is stored."""
    return by_parts(correlation) | by_whole(correlation)


def by_whole(correlation: Mapping[str, Any]) -> dict[str, str]:
    """The labels of the instances whose keys are these, and no more."""
    return {WHOLE: whole_text(correlation)} if len(correlation) > 1 else by_parts(correlation)


def by_parts(correlation: Mapping[str, Any]) -> dict[str, str]:
    """The labels of the instances that have these keys among theirs."""
    return {_label(key): _text(key, value) for key, value in correlation.items()}


def correlation_of(labels: Mapping[str, str]) -> dict[str, Any]:
    """The correlation that these labels of an instance tell of."""
    return {
        name.removeprefix(_label("")): orjson.loads(text)
        for name, text in labels.items()
        if name.startswith(_label(""))
    }


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels without those of the engine."""
    return {name: text for name, text in labels.items() if not name.startswith(RESERVED)}


def whole_text(correlation: Mapping[str, Any]) -> str:
    """All keys and values as one text, whatever their order."""
    texts = {key: orjson.Fragment(_text(key, value)) for key, value in correlation.items()}
    return orjson.dumps(texts, option=orjson.OPT_SORT_KEYS).decode()


def chosen(correlate_by: Sequence[str], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The correlation in an input, or `CorrelationError`."""
    missing = [key for key in correlate_by if key not in plain]
    if missing:
        raise CorrelationError(missing[0], "it is missing in the input")
    return {key: plain[key] for key in correlate_by}


def _label(key: str) -> str:
    return f"{RESERVED}by:{key}"


def _text(key: str, value: object) -> str:
    if not isinstance(key, str):
        raise CorrelationError(str(key), f"a key is a str, not {type(key).__name__}")
    if not isinstance(value, str | int):
        raise CorrelationError(
            key, f"its value is a str, an int or a bool, not {type(value).__name__}"
        )
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:  # a surrogate, an int beyond 64 bits
        raise CorrelationError(key, str(error)) from error
