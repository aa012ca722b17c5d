"""Gates by themselves: who is let in, in which order, and who is called."""

from hypothesis import given
from hypothesis import strategies as st

from flux.definition.nodes import Limit
from flux.engine.gates import Bound, Gate, Place, bounds_of

LEASE = 30.0
PLACES = Bound(key="gate", size=2, window=None, told="limit concurrency=2")
RATE = Bound(key="gate", size=2, window=60.0, told="limit rate=2 in 60 s")


def ids(places: tuple[Place, ...]) -> list[str]:
    return [place.id for place in places]


def gate_of(*names: str, bound: Bound = PLACES, now: float = 1000.0) -> Gate:
    """A gate at which these have asked, one after the other."""
    gate = Gate()
    for name in names:
        gate.ask(Place(name, 1), bound, now, lease=LEASE)
    return gate


def test_first_come_first_served() -> None:
    """So many are in, the others wait in the order in which they came."""
    gate = gate_of("a", "b", "c", "d")
    assert (ids(tuple(gate.inside)), ids(tuple(gate.waiting))) == (["a", "b"], ["c", "d"])


def test_who_leaves_makes_room_for_one() -> None:
    """The first that waits is called, once; a newcomer does not overtake it."""
    gate = gate_of("a", "b", "c", "d")
    gate.leave(Place("a", 1))
    assert ids(gate.to_call(1001, lease=LEASE)) == ["c"]
    assert ids(gate.to_call(1002, lease=LEASE)) == []
    assert not gate.ask(Place("e", 1), PLACES, 1002, lease=LEASE).is_in
    assert gate.ask(Place("c", 1), PLACES, 1003, lease=LEASE).is_in


def test_asking_again_changes_nothing() -> None:
    """Who is in is in, and who waits keeps its place, however often it asks."""
    gate = gate_of("a", "b", "c", "d")
    before = gate.text()
    assert gate.ask(Place("a", 1), PLACES, 1001, lease=LEASE).is_in
    assert not gate.ask(Place("c", 1), PLACES, 1001, lease=LEASE).is_in
    assert gate.text() == before


def test_who_does_not_come_is_passed_by() -> None:
    """One that was called and does not come holds the others up for two leases, no more."""
    gate = gate_of("a", "b", "c", "d")
    gate.leave(Place("a", 1))
    gate.to_call(1000, lease=LEASE)
    assert not gate.ask(Place("d", 1), PLACES, 1059, lease=LEASE).is_in
    assert gate.ask(Place("d", 1), PLACES, 1060, lease=LEASE).is_in
    gate.leave(Place("b", 1))
    assert gate.ask(Place("c", 1), PLACES, 1061, lease=LEASE).is_in


def test_another_turn_takes_the_place_of_the_one_before() -> None:
    """An instance that ended and asks again does not count twice, and waits behind the others."""
    gate = gate_of("a", "b", "c")
    assert not gate.ask(Place("a", 2), PLACES, 1001, lease=LEASE).is_in
    assert ids(tuple(gate.inside)) == ["b"]
    assert [(place.id, place.turn) for place in gate.waiting] == [("c", 1), ("a", 2)]
    gate.leave(Place("a", 1))
    assert ids(tuple(gate.waiting)) == ["c", "a"]


def test_who_asks_next_looks_for_the_dead() -> None:
    """Those inside are looked for by one that waits, at most once in half a lease."""
    gate = gate_of("a", "b", "c")
    checks = [
        gate.ask(Place("c", 1), PLACES, 1000 + after, lease=LEASE).to_check
        for after in (14, 15, 29, 30)
    ]
    assert [ids(check) for check in checks] == [[], ["a", "b"], [], ["a", "b"]]


def test_rest_before_asking_again() -> None:
    """Who comes next asks again after a lease, the others ever later, at most in an hour."""
    gate = gate_of(*(f"o-{number}" for number in range(1000)))
    rests = [
        gate.ask(Place(f"o-{number}", 1), PLACES, 1000, lease=LEASE).rest
        for number in (2, 3, 4, 5, 999)
    ]
    assert rests == [30, 30, 60, 60, 3600]


def test_rest_until_it_may_begin() -> None:
    """Where beginnings count, who waits rests until the time when its turn will be."""
    gate = gate_of("a", bound=RATE, now=1000)
    gate.ask(Place("b", 1), RATE, 1010, lease=LEASE)
    asked = [gate.ask(Place(name, 1), RATE, 1020, lease=1000) for name in "cdefg"]
    assert [answer.rest for answer in asked] == [40, 50, 100, 110, 160]


def test_time_at_the_gate_is_not_counted_twice() -> None:
    """One that was let in, and asks again as after a crash, begins then, and once."""
    gate = gate_of("a", bound=RATE, now=1000)
    assert gate.ask(Place("a", 1), RATE, 1030, lease=LEASE).is_in
    assert [place.at for place in gate.inside] == [1030]


def test_stepping_back() -> None:
    """One that cannot begin yet for another limit does not count, and is the first to wait."""
    gate = gate_of("a", "b", "c", bound=RATE)
    gate.step_back(Place("b", 1), 1000)
    assert (ids(tuple(gate.inside)), ids(tuple(gate.waiting))) == (["a"], ["b", "c"])
    assert not gate.ask(Place("c", 1), RATE, 1001, lease=LEASE).is_in
    assert gate.ask(Place("b", 1), RATE, 1001, lease=LEASE).is_in


def test_order_of_bounds() -> None:
    """Places are taken before beginnings are counted, and what few share before what all do."""
    limits = [
        Limit(concurrency=9, rate=(9, 60.0)),
        Limit(key=len, concurrency=1, rate=(1, 60.0)),
    ]
    bounds = bounds_of("order", limits, [None, b'"kim"'])
    assert [bound.told for bound in bounds] == [
        'limit concurrency=1 for key "kim"',
        "limit concurrency=9",
        'limit rate=1 in 60 s for key "kim"',
        "limit rate=9 in 60 s",
    ]
    assert len({bound.key for bound in bounds}) == 4


def test_keys_of_equal_values() -> None:
    """Equal keys are one gate, whatever the order of what is in them; others are not."""
    limits = [Limit(key=len, concurrency=1)]
    texts = (b'{"a":1,"b":2}', b'{"b":2,"a":1}', b'{"a":2,"b":1}')
    one, same, other = (bounds_of("order", limits, [text])[0].key for text in texts)
    assert one == same != other


moves = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.integers(0, 25)))


@given(moves)
def test_places_are_never_exceeded(made: list[tuple[str, bool, int]]) -> None:
    """Whoever asks and leaves when, no more than so many are inside, and nobody twice."""
    gate, now = Gate(), 1000.0
    for name, leaves, pause in made:
        now += pause
        if leaves:
            gate.leave(Place(name, 1))
        else:
            gate.ask(Place(name, 1), PLACES, now, lease=LEASE)
        everybody = [*gate.inside, *gate.waiting]
        assert len(gate.inside) <= 2
        assert len({place.id for place in everybody}) == len(everybody)
        assert Gate.read(gate.text()) == gate


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=40))
def test_rate_is_never_exceeded(made: list[tuple[int, int]]) -> None:
    """Whoever asks when, no more than so many begin within the window, wherever it is laid."""
    gate, now, begun = Gate(), 1000.0, list[float]()
    for number, pause in made:
        now += pause
        who = Place(f"o-{number}", len(begun))
        if gate.ask(who, RATE, now, lease=LEASE).is_in:
            begun.append(now)
    assert all(sum(0 <= at - first < 60 for at in begun) <= 2 for first in begun)


def test_how_long_it_is_kept() -> None:
    """As long as somebody is there; a rate until the last beginning no longer counts."""
    gate, rated = gate_of("a"), gate_of("a", bound=RATE, now=1000)
    assert (gate.lasts(1000), rated.lasts(1020)) == (None, 41)
    gate.leave(Place("a", 1))
    assert gate.lasts(1000) == 1
    rated.ask(Place("b", 1), RATE, 1020, lease=LEASE)
    rated.ask(Place("c", 1), RATE, 1020, lease=LEASE)
    assert rated.lasts(1020) is None
