"""Between typed values and plain ones, by cattrs: imported when the first typed value is."""

import functools
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import is_any_set, is_sequence, iterable_unstructure_factory
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

Hook = Callable[..., Any]

REFUSALS = (BaseValidationError, ValueError, TypeError)
"""What the converter raises for a value that does not fit."""


@functools.cache
def converter() -> Converter:
    """The one converter: strict with plain values, at home with the usual richer ones."""
    made = make_converter(forbid_extra_keys=True)
    for plain in (str, int, bool, float):
        made.register_structure_hook(plain, _exactly)
        # cattrs finds these for enums of text and numbers too, and would let members through.
        made.register_unstructure_hook(plain, _value)
    made.register_unstructure_hook(Decimal, str)
    made.register_structure_hook(Decimal, _decimal)
    made.register_unstructure_hook(UUID, str)
    made.register_structure_hook(UUID, lambda text, _: UUID(_text(text, "UUID")))
    made.register_unstructure_hook(time, time.isoformat)
    made.register_structure_hook(time, lambda text, _: time.fromisoformat(_text(text, "time")))
    made.register_unstructure_hook(timedelta, timedelta.total_seconds)
    made.register_structure_hook(timedelta, lambda number, _: timedelta(seconds=number))
    made.register_structure_hook_factory(_is_list)(_no_text(made.get_structure_hook))
    # Not get_unstructure_hook: what it finds for a list, it keeps, and the next time without us.
    made.register_unstructure_hook_factory(_is_list)(_no_text(_list_of(made)))
    return made


def _is_list(cls: Any) -> bool:
    return cls not in _being_found and (is_sequence(cls) or is_any_set(cls))


_being_found: set[Any] = set()


def _list_of(made: Converter) -> Callable[..., Hook]:
    return lambda cls, **_: iterable_unstructure_factory(cls, made, unstructure_to=list)


def _no_text(find: Callable[..., Hook]) -> Callable[[Any, Converter], Hook]:
    """The hooks of lists and sets, refusing what can be iterated and yet is no list.

    cattrs iterates whatever it gets: of the text "abc" it would make ["a", "b", "c"].
    """

    def factory(cls: Any, _: Converter) -> Hook:
        _being_found.add(cls)
        try:
            hook = find(cls, cache_result=False)
        finally:
            _being_found.discard(cls)

        def checked(given: Any, *rest: Any) -> Any:
            if isinstance(given, str | bytes | Mapping):
                raise ValueError(f"{given!r} is no list")
            return hook(given, *rest)

        return checked

    return factory


def went_wrong(error: Exception) -> tuple[str, str]:
    """What the converter has to say against a value, and the path of the field, from a dot on."""
    # cattrs writes "what went wrong @ $.path"; a path of "$" is the input itself.
    what, _, path = transform_error(error, format_exception=_told)[0].rpartition(" @ ")
    return what, path.removeprefix("$")


def _told(error: BaseException, cls: type | None) -> str:
    plain = type(error) is ValueError
    return str(error) if plain else format_exception(error, cls)


def _value(given: Any) -> Any:
    return given.value if isinstance(given, Enum) else given


def _exactly(given: Any, cls: Any) -> Any:
    if issubclass(cls, Enum):
        return cls(given)
    fits = type(given) is cls or (cls is float and type(given) is int)
    if not fits:
        raise ValueError(f"{given!r} is no {cls.__name__}")
    return cls(given)


def _decimal(given: Any, _: type) -> Decimal:
    try:
        return Decimal(_text(given, "Decimal"))
    except InvalidOperation:
        raise ValueError(f"{given!r} is no Decimal") from None


def _text(given: Any, wanted: str) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is no {wanted}")
    return given
