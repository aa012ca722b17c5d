"""Values whose classes attrs makes when they are needed: as if it had made them at once."""

import inspect
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier

import attrs
import pytest
from attrs.exceptions import FrozenInstanceError

from flux.frozen import evolve, frozen, unguarded


def point() -> type:
    """A class of which there is no value."""

    @frozen
    class Point:
        x: int
        y: int = 0

    return Point


def test_values_are_like_those_of_attrs() -> None:
    """Equal if their fields are, hashable, with a text that shows them, copied whole."""
    made = point()
    assert made(1) == made(1, y=0) != made(2)
    assert {made(1): "found"}[made(1)] == "found"
    assert repr(made(1)).endswith("Point(x=1, y=0)")
    assert deepcopy(made(1)) == made(1)


def test_fields_are_known_before_a_value() -> None:
    """Whoever looks into the class finds an attrs class."""
    assert attrs.has(point())
    assert [field.name for field in attrs.fields(point())] == ["x", "y"]


def test_signature_is_known_before_a_value() -> None:
    """And a way to call it, for `help` and for editors."""
    assert list(inspect.signature(point()).parameters) == ["x", "y"]


def test_wrong_arguments_are_told() -> None:
    """Of the first value as of any other."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        point()(1, z=2)


def test_a_subclass_may_come_first() -> None:
    """A value of a class needs those that it is made of."""

    @frozen(kw_only=True)
    class Base:
        a: int

    @frozen(kw_only=True)
    class Derived(Base):
        b: int

    assert attrs.asdict(Derived(a=1, b=2)) == {"a": 1, "b": 2}
    assert Base(a=1) != Derived(a=1, b=2)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_may_make_the_first_value_together() -> None:
    """Each of them gets one."""
    for _ in range(20):
        made, ready = point(), Barrier(4)

        def value(number: int, made: type = made, ready: Barrier = ready) -> object:
            ready.wait()
            return made(number)

        with ThreadPoolExecutor(4) as threads:
            values = list(threads.map(value, range(4)))
        assert values == [made(number) for number in range(4)]


def test_values_cannot_be_changed() -> None:
    """Not the first one either."""
    with pytest.raises(FrozenInstanceError):
        point()(1).x = 2


def test_what_is_made_at_every_step_is_a_value_too() -> None:
    """Though the type checker alone guards it: equal by its fields, hashable, copied whole."""

    @unguarded(kw_only=True)
    class Tick:
        number: int

    assert Tick(number=1) == Tick(number=1) != Tick(number=2)
    assert hash(Tick(number=1)) == hash(Tick(number=1))
    assert evolve(Tick(number=1), number=3) == Tick(number=3)


def test_a_changed_copy() -> None:
    """It differs in what was given; the value itself stays as it is."""
    value = point()(1)
    assert evolve(value, y=5) == type(value)(1, 5)
    assert value == type(value)(1)
