"""`ctx.data` of an attempt: read lazily, compared with what it was."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import orjson

from flux.errors import NotJSONError
from flux.events import DataChanges
from flux.state.strict_json import json_text

NO_CHANGES = DataChanges()
_get, _set = dict.__getitem__, dict.__setitem__
# Through `super()` they cost more, on the way of every step.


class LazyData(dict[str, Any]):
    """`data` as a dict whose values are read from JSON when they are first looked at.

    What nobody looks at is neither parsed nor compared: its value is still the `orjson.Fragment` of
    its JSON text, so that `orjson.dumps(ctx.data)` is right as well.
    """

    __slots__ = ("_before", "_touched")

    def __init__(self, fragments: Mapping[str, orjson.Fragment]) -> None:
        super().__init__(fragments)
        self._before = fragments
        self._touched: dict[str, None] = {}

    def changes(self) -> DataChanges:
        """The keys set or changed, with their JSON texts, and those deleted."""
        if not self._touched:
            return NO_CHANGES
        before = self._before
        texts: dict[str, bytes] = {}
        gone: list[str] = []
        for key in self._touched:
            if key not in self:
                gone += [key] if key in before else []
                continue
            text = text_of(key, _get(self, key))
            if _differs(before.get(key), text):
                texts[key] = text
        return DataChanges(texts, tuple(gone))

    def __getitem__(self, key: str) -> Any:
        value = _get(self, key)
        if type(value) is orjson.Fragment:
            value = orjson.loads(orjson.dumps(value))
            _set(self, key, value)
            # What is in it may be changed from here on.
            if type(value) is dict or type(value) is list:
                self._touched[key] = None
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._touched[key] = None
        _set(self, key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._touched[key] = None

    def get(self, key: str, default: Any = None) -> Any:
        if key in self:
            return self[key]
        return default

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self:
            return super().pop(key, *default)
        value = self[key]
        del self[key]
        return value

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value

    def clear(self) -> None:
        self._touched.update(dict.fromkeys(self))
        super().clear()

    def popitem(self) -> tuple[str, Any]:
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): data is empty")

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def items(self) -> Any:
        return dict.items(self._read())

    def values(self) -> Any:
        return dict.values(self._read())

    # With an __iter__ of its own, dict(data) and {**data} ask this class for the values.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        return self.copy() == (other.copy() if isinstance(other, LazyData) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    def _read(self) -> "LazyData":
        for key in self:
            self[key]
        return self


def changed(before: Mapping[str, orjson.Fragment], after: Mapping[str, bytes]) -> dict[str, bytes]:
    """The top-level keys, with their texts, that are not what they were."""
    return {key: text for key, text in after.items() if _differs(before.get(key), text)}


def _differs(before: orjson.Fragment | None, text: bytes) -> bool:
    return before is None or orjson.dumps(before) != text


def text_of(key: Any, value: Any) -> bytes:
    """The JSON text of the value at a top-level key, or `NotJSONError`."""
    if type(key) is not str:
        raise NotJSONError("data", f"the key {key!r} is {type(key).__name__}, keys must be str")
    return json_text(value, f"data.{key}")
