"""The decorator of values that are made at every step."""

from functools import partial
from typing import TYPE_CHECKING

from attrs import define, setters

__all__ = ["frozen"]

if TYPE_CHECKING:
    from attrs import frozen
else:
    frozen = partial(define, unsafe_hash=True, on_setattr=setters.NO_OP)
    """`attrs.frozen` for whoever checks types; at run time nothing is enforced.

    Making a value then costs a third. Hynek Schlawack describes it in the manual of attrs.
    """
