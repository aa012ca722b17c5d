"""Typed input and data: between the user's attrs classes and plain JSON values, by cattrs."""

import functools
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, get_args
from uuid import UUID

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import is_any_set, is_sequence, iterable_unstructure_factory
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from flux.errors import InputError, NotJSONError

Hook = Callable[..., Any]


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


def plain_input(workflow: str, cls: type | None, given: Any) -> dict[str, Any]:
    """The input as plain JSON values; `InputError` naming the field if it does not fit."""
    if cls is None:
        return _mapping(workflow, given)
    typed = given if isinstance(given, cls) else _structured(workflow, cls, given)
    # There and back: an object that was made by hand may hold anything in its fields.
    _structured(workflow, cls, plain := _unstructured(workflow, typed))
    return plain


def plain_data(cls: type | None, given: Any) -> dict[str, Any]:
    """The data as plain JSON values; `NotJSONError` naming the field if it does not fit."""
    if cls is None and isinstance(given, dict):
        return dict(given)
    if cls is None or not isinstance(given, cls):
        wanted = "a dict" if cls is None else f"a {cls.__name__}"
        raise NotJSONError(
            "data", f"it was replaced by {type(given).__name__}, it must be {wanted}"
        )
    try:
        plain = unstructure_fields(given)
    except Exception as error:
        path = f"data.{_without_plain_form(given)}"
        raise NotJSONError(path, f"no plain form: {error}") from error
    try:
        structure(plain, cls)
    except Exception as error:
        what, _, path = transform_error(error, format_exception=_told)[0].rpartition(" @ ")
        raise NotJSONError(f"data{path.removeprefix('$')}", what) from error
    return plain


def structure(plain: Mapping[str, Any], cls: type) -> Any:
    """An object of `cls` from plain values; unknown keys raise, missing ones take defaults."""
    return converter().structure(plain, cls)


def unstructure_fields(typed: Any) -> dict[str, Any]:
    """The plain value of each field of a typed object."""
    plain: dict[str, Any] = converter().unstructure(typed)
    return plain


def lost_fields(cls: Any) -> str | None:
    """What is said of a field that would not be kept, in the class or one nested in it."""
    waiting, seen = [cls], set()
    while waiting:
        asked = waiting.pop()
        if not is_typed(asked):
            waiting.extend(get_args(asked))
        elif asked not in seen:
            seen.add(asked)
            for field in attrs.fields(attrs.resolve_types(asked)):
                if not field.init:
                    return f"{asked.__name__}.{field.name} has init=False, so it cannot be kept"
                waiting.append(field.type)
    return None


def is_typed(cls: object) -> bool:
    """Whether `cls` is an attrs class."""
    return isinstance(cls, type) and attrs.has(cls)


def _mapping(workflow: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InputError(workflow, f"it must be a dict, not {kind}; give {{}} for none")
    return dict(given)


def _structured(workflow: str, cls: type, given: Any) -> Any:
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InputError(workflow, f"it must be a {cls.__name__} or a dict, not {kind}")
    try:
        return structure(given, cls)
    except (BaseValidationError, ValueError, TypeError) as error:
        # cattrs writes "what went wrong @ $.path"; a path of "$" is the input itself.
        what, _, path = transform_error(error, format_exception=_told)[0].rpartition(" @ ")
        field = path.removeprefix("$").removeprefix(".") or None
        where = f"{field}: " if field else ""
        raise InputError(workflow, f"{where}{what}", field=field or _extra(error)) from error


def _unstructured(workflow: str, typed: Any) -> dict[str, Any]:
    try:
        return unstructure_fields(typed)
    except Exception as error:
        field = _without_plain_form(typed)
        raise InputError(workflow, f"{field}: no plain form: {error}", field=field) from error


def _without_plain_form(typed: Any) -> str | None:
    for name, cls in ((field.name, field.type) for field in attrs.fields(type(typed))):
        try:
            converter().unstructure(getattr(typed, name), unstructure_as=cls)
        except Exception:
            return str(name)
    return None


def _told(error: BaseException, cls: type | None) -> str:
    plain = type(error) is ValueError
    return str(error) if plain else format_exception(error, cls)


def _extra(error: BaseException) -> str | None:
    unknown = [part for part in getattr(error, "exceptions", ()) if hasattr(part, "extra_fields")]
    return min(unknown[0].extra_fields) if unknown else None


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
