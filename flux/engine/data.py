"""`ctx.data` of an attempt: read lazily, compared with what it was."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from flux.errors import NotJSONError
from flux.events import DataChanges
from flux.state.strict_json import json_text


class LazyData(dict[str, Any]):
    """`data` as a dict whose values are read from JSON when they are first looked at.

    What nobody looks at is neither parsed nor copied nor compared. Until then the value is an
    `orjson.Fragment`, so that `orjson.dumps(ctx.data)` is right as well.
    """

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        super().__init__((key, orjson.Fragment(text)) for key, text in texts.items())
        self._texts = texts

    def changes(self) -> DataChanges:
        """The keys set or changed, with their JSON texts, and those deleted."""
        texts = {
            key: self._texts[key] if type(value) is orjson.Fragment else text_of(key, value)
            for key, value in dict.items(self)
        }
        return changed(self._texts, texts)

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if type(value) is orjson.Fragment:
            value = orjson.loads(self._texts[key])
            super().__setitem__(key, value)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def setdefault(self, key: str, default: Any = None) -> Any:
        super().setdefault(key, default)
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            self[key]
        return super().pop(key, *default)

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


def changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> DataChanges:
    """The top-level keys in which `after` differs from `before`."""
    return DataChanges(
        set={key: text for key, text in after.items() if before.get(key) != text},
        deleted=tuple(key for key in before if key not in after),
    )


def text_of(key: Any, value: Any) -> bytes:
    """The JSON text of the value at a top-level key, or `NotJSONError`."""
    if type(key) is not str:
        raise NotJSONError("data", f"the key {key!r} is {type(key).__name__}, keys must be str")
    return json_text(value, f"data.{key}")
