"""Values to JSON text, refusing all that would come back as something else."""

from collections.abc import Mapping
from typing import Any

import orjson

from flux.errors import NotJSONError

_OPTIONS = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


def json_text(value: Any, path: str) -> bytes:
    """The JSON text of `value`, or `NotJSONError` with the path of what does not fit.

    Fit are None, bool, int of 64 bits, finite float, str, and list, tuple and dict of these with
    str keys, each exactly of that type. A tuple comes back as a list, all else as it was.
    """
    try:
        _check(value, path)
        return orjson.dumps(value, option=_OPTIONS)
    except NotJSONError:  # a TypeError, as orjson's own error is
        raise
    except RecursionError:
        raise NotJSONError(path, "it contains itself, or is nested too deeply") from None
    except orjson.JSONEncodeError as error:
        raise NotJSONError(_refused_part(value, path), str(error)) from None


def _refused_part(value: Any, path: str) -> str:
    """Where in `value` the text stands that orjson refuses."""
    parts: Mapping[str, Any] = {}
    if isinstance(value, dict):
        parts = {f"{path}.{key}": part for key, part in value.items()}
    elif isinstance(value, list | tuple):
        parts = {f"{path}[{index}]": part for index, part in enumerate(value)}
    for inner, part in parts.items():
        try:
            orjson.dumps(part, option=_OPTIONS)
        except orjson.JSONEncodeError:
            return _refused_part(part, inner)
    return path


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts mean the same value; the order of keys does not matter."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(text: bytes) -> bytes:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


def _check(value: Any, path: str) -> None:
    kind = type(value)
    if kind is int:
        if not _LOWEST <= value <= _HIGHEST:
            raise NotJSONError(path, "an int beyond 64 bits is not JSON here; keep it as str")
    elif kind is dict:
        _check_dict(value, path)
    elif kind is list or kind is tuple:
        _check_list(value, path)
    elif kind is float:
        if value - value != 0:  # NaN and both infinities
            raise NotJSONError(path, f"{value} is not JSON; keep None or a str")
    elif kind not in _FIT:
        raise NotJSONError(path, _advice(value))


def _check_list(values: list[Any] | tuple[Any, ...], path: str) -> None:
    for index, value in enumerate(values):
        if type(value) not in _FIT:
            _check(value, f"{path}[{index}]")


def _check_dict(values: dict[Any, Any], path: str) -> None:
    for key, value in values.items():
        if type(key) is not str:
            raise NotJSONError(path, f"the key {key!r} is {type(key).__name__}, keys must be str")
        if type(value) not in _FIT:
            _check(value, f"{path}.{key}")


_FIT = frozenset({str, bool, type(None)})
"""Every value of these types is JSON."""

_ADVICE = {
    "datetime": "use .isoformat(), or a typed data class",
    "date": "use .isoformat(), or a typed data class",
    "time": "use .isoformat(), or a typed data class",
    "timedelta": "use .total_seconds(), or a typed data class",
    "Decimal": "use str(), or a typed data class",
    "UUID": "use str(), or a typed data class",
    "bytes": "use .hex() or base64",
    "set": "use sorted()",
    "frozenset": "use sorted()",
}


def _advice(value: Any) -> str:
    name = type(value).__name__
    for plain in (str, int, float, dict, list, tuple):
        if isinstance(value, plain):
            return f"{name} would come back as {plain.__name__}; use {plain.__name__}()"
    advice = _ADVICE.get(name, "keep what JSON has: None, bool, int, float, str, list, dict")
    return f"{name} is not JSON; {advice}"
