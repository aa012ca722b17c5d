"""The decorators of values, whose classes attrs makes when the first of them is needed."""

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

from attrs import define, setters

__all__ = ["evolve", "frozen", "unguarded"]

_waiting: dict[type, Callable[[type], Any]] = {}
"""By class, how attrs is to make its methods."""

_guarded = partial(define, slots=False, init=True, frozen=True)
_trusting = partial(define, slots=False, init=True, unsafe_hash=True, on_setattr=setters.NO_OP)


def _frozen(cls: type | None = None, **options: Any) -> Any:
    """`attrs.frozen`, made at the first value of the class.

    To make a class costs attrs half a millisecond, and of two hundred a process uses some: this was
    the most of what `import flux` costs.
    """
    return partial(_frozen, **options) if cls is None else _later(cls, partial(_guarded, **options))


def _unguarded(cls: type | None = None, **options: Any) -> Any:
    """The same for what is made at every step: that it is frozen, the type checker alone enforces.

    With a guard at run time on these too, a step costs a quarter more. The way is that of Tin
    Tvrtković's "Zero-overhead Frozen attrs Classes".
    """
    if cls is None:
        return partial(_unguarded, **options)
    return _later(cls, partial(_trusting, **options))


def _later(cls: type, make: Callable[[type], Any]) -> type:
    _waiting[cls] = make
    cls.__init__ = _first  # type: ignore[misc]
    cls.__attrs_attrs__ = _Fields()  # type: ignore[attr-defined]
    cls.__signature__ = _Signature()  # type: ignore[attr-defined]
    return cls


def _first(self: Any, *args: Any, **kwargs: Any) -> None:
    """The `__init__` of a class until its first value is made."""
    _make(type(self))
    self.__init__(*args, **kwargs)


class _Fields:
    """What attrs knows a class of its own by, until the first value is made."""

    def __get__(self, value: object, cls: type) -> Any:
        _make(cls)
        return cls.__attrs_attrs__  # type: ignore[attr-defined]


class _Signature:
    """How a class is called, for `help` and editors that ask before the first value is made."""

    def __get__(self, value: object, cls: type) -> Any:
        import inspect  # late: it is dear, and whoever asks for this has it

        _make(cls)
        return inspect.signature(cls)


def _make(cls: type) -> None:
    """Let attrs make the class, and those that it is made of."""
    with _making:
        for each in reversed(cls.__mro__):
            if each in _waiting:
                del each.__signature__  # type: ignore[attr-defined]
                _waiting.pop(each)(each)


_making = RLock()


def _evolve(value: Any, **changes: Any) -> Any:
    """`attrs.evolve` of a value of these classes, at a tenth of the cost.

    It copies: nothing is computed or converted anew.
    """
    new = object.__new__(type(value))
    new.__dict__.update(value.__dict__, **changes)
    return new


if TYPE_CHECKING:
    from attrs import evolve, frozen
    from attrs import frozen as unguarded
else:
    evolve, frozen, unguarded = _evolve, _frozen, _unguarded
