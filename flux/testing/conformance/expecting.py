"""How a rule says what it expects; what was seen instead is told in a sentence.

These are no `assert` statements, so that they count under `python -O` and speak without pytest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from attrs import fields_dict, has

from flux.errors import FluxError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

LONGEST = 300
"""Characters of a value that are shown."""


class Caught(Generic[E]):
    """The error that a refused call raised, once its block has ended."""

    error: E


def same(got: object, wanted: object) -> None:
    """The value is the one that was wanted; a list may stand for a tuple."""
    found = list(_differences("", _plain(got), _plain(wanted)))
    if found:
        raise AssertionError("; ".join(found))


def holds(condition: object, what: str) -> None:
    """The condition, told in `what`, is true."""
    if not condition:
        raise AssertionError(f"it is not true that {what}")


def there(found: T | None) -> T:
    """What was found, if anything was."""
    if found is None:
        raise AssertionError("got None, where there should be something")
    return found


@contextmanager
def refused(error: type[E]) -> Iterator[Caught[E]]:
    """The block raises this error."""
    caught = Caught[E]()
    try:
        yield caught
    except error as raised:
        caught.error = raised
    except FluxError as other:
        raise AssertionError(f"raised {other!r}, where {error.__name__} was due") from other
    else:
        raise AssertionError(f"nothing was raised, where {error.__name__} was due")


def _differences(place: str, got: object, wanted: object) -> Iterator[str]:
    """What differs, a sentence each; of two records only the fields that do."""
    if got == wanted:
        return
    kind = type(got)
    if isinstance(got, tuple) and isinstance(wanted, tuple) and len(got) == len(wanted):
        for number, (one, other) in enumerate(zip(got, wanted, strict=True)):
            yield from _differences(f"{place}[{number}]", one, other)
    elif kind is type(wanted) and has(kind):
        for name in fields_dict(kind):
            yield from _differences(f"{place}.{name}", getattr(got, name), getattr(wanted, name))
    else:
        at = f"at {place}: " if place else ""
        yield f"{at}got {_shown(got)}, where {_shown(wanted)} was due"


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
