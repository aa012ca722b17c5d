"""Typed input and data: between the user's attrs classes and plain JSON values."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, get_args

import attrs

from flux.errors import InputError, NotJSONError


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
        what, path = _conversion().went_wrong(error)
        raise NotJSONError(f"data{path}", what) from error
    return plain


def structure(plain: Mapping[str, Any], cls: type) -> Any:
    """An object of `cls` from plain values; unknown keys raise, missing ones take defaults."""
    return _conversion().converter().structure(plain, cls)


def unstructure_fields(typed: Any) -> dict[str, Any]:
    """The plain value of each field of a typed object."""
    plain: dict[str, Any] = _conversion().converter().unstructure(typed)
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
    except _conversion().REFUSALS as error:
        what, path = _conversion().went_wrong(error)
        field = path.removeprefix(".") or None
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
            _conversion().converter().unstructure(getattr(typed, name), unstructure_as=cls)
        except Exception:
            return str(name)
    return None


def _extra(error: BaseException) -> str | None:
    unknown = [part for part in getattr(error, "exceptions", ()) if hasattr(part, "extra_fields")]
    return min(unknown[0].extra_fields) if unknown else None


def _conversion() -> Any:
    # Imported late: cattrs costs as much as half of Flux, and most workflows are untyped.
    return import_module("flux.definition.conversion")
