"""A gate: what one limit says of the instances with one key. Pure.

One shared value of the storage holds who is inside and who waits, in the order of arrival. Whoever
asks, or leaves, changes it by compare and set; so all processes see the same gate.
"""

from collections.abc import Collection, Sequence
from typing import Any

import orjson
from attrs import Factory, define, evolve, field

from flux.definition.nodes import Limit
from flux.engine.caching import digest
from flux.frozen import frozen

_PREFIX = "limit:"
_LONGEST_REST = 3600.0


@frozen(kw_only=True)
class Bound:
    """So many may be inside the gate of this key at once; with a `window`, may enter within it.

    The window is in seconds. `told` is the bound in words.
    """

    key: str
    size: int
    window: float | None
    told: str


def bounds_of(workflow: str, limits: Sequence[Limit], keys: Sequence[bytes | None]) -> list[Bound]:
    """The bounds of an instance, in the order in which it passes them.

    `keys` are the JSON texts of the limits' keys for it, None for a limit without. Whoever waits at
    a bound has passed those before: so places come first, then what counts beginnings; and within
    these, what few share comes before what all share.
    """
    found: list[tuple[tuple[bool, bool], Bound]] = []
    for number, (limit, key) in enumerate(zip(limits, keys, strict=True)):
        named = "all" if key is None else digest(orjson.loads(key))
        of_key = "" if key is None else f" for key {_shortened(key)}"
        if limit.concurrency is not None:
            bound = Bound(
                key=f"{_PREFIX}{workflow}:{number}:places:{named}",
                size=limit.concurrency,
                window=None,
                told=f"limit concurrency={limit.concurrency}{of_key}",
            )
            found.append(((False, key is None), bound))
        if limit.rate is not None:
            size, window = limit.rate
            bound = Bound(
                key=f"{_PREFIX}{workflow}:{number}:rate:{named}",
                size=size,
                window=window,
                told=f"limit rate={size} in {window:g} s{of_key}",
            )
            found.append(((True, key is None), bound))
    return [bound for _, bound in sorted(found, key=lambda one: one[0])]


def _shortened(key: bytes) -> str:
    text = key.decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


@frozen
class Place:
    """One turn of one instance, inside since or called at that time."""

    id: str
    turn: int
    at: float = field(default=0.0, eq=False)


@frozen(kw_only=True)
class Answer:
    """What a gate says to one that asks.

    It is in, or it waits and asks again after `rest` seconds. Those of `to_call` can enter now and
    are to be told so; those of `to_check` may be gone without having left.
    """

    is_in: bool
    rest: float = 0.0
    to_call: tuple[Place, ...] = ()
    to_check: tuple[Place, ...] = ()


@define
class Gate:
    """Who is inside, and who waits. Times are seconds since 1970."""

    size: int = 1
    window: float | None = None
    inside: list[Place] = Factory(list)
    waiting: list[Place] = Factory(list)
    checked_at: float = 0.0

    @classmethod
    def read(cls, text: bytes | None) -> "Gate":
        """The gate that this text tells of; None is one that nobody has used."""
        if text is None:
            return cls()
        document = orjson.loads(text)
        return cls(
            size=document["size"],
            window=document["window"],
            inside=[Place(*place) for place in document["inside"]],
            waiting=[Place(*place) for place in document["waiting"]],
            checked_at=document["checked_at"],
        )

    def text(self) -> bytes:
        document: dict[str, Any] = {
            "size": self.size,
            "window": self.window,
            "inside": [(place.id, place.turn, place.at) for place in self.inside],
            "waiting": [(place.id, place.turn, place.at) for place in self.waiting],
            "checked_at": self.checked_at,
        }
        return orjson.dumps(document)

    def lasts(self, now: float) -> float | None:
        """For how many seconds it has to be kept; None for as long as somebody is there."""
        if self.waiting or (self.inside and self.window is None):
            return None
        ends = (place.at + (self.window or 0.0) - now for place in self.inside)
        return max(ends, default=0.0) + 1.0

    def ask(self, who: Place, bound: Bound, now: float, *, lease: float) -> Answer:
        """Let somebody in whose turn it is, else let it wait behind those who came before."""
        if not self.inside and not self.waiting:
            self.checked_at = now
        self.size, self.window = bound.size, bound.window
        self._forget_old(who, now)
        was_in = who in self.inside
        if was_in and self.window is not None:
            self.inside.remove(who)  # one that begins anew, as after a crash, begins now
        ahead = self._ahead_of(who, now, lease)
        if was_in or ahead < self._free:
            self._let_in(who, now)
            return Answer(is_in=True, to_call=self.to_call(now, lease=lease))
        self._let_wait(who)
        return Answer(
            is_in=False,
            rest=self._rest(ahead, now, lease),
            to_call=self.to_call(now, lease=lease),
            to_check=self._to_check(now, lease),
        )

    def leave(self, who: Place) -> None:
        """Somebody has ended, or waits no more. Who has begun in a time has, whatever comes."""
        self.waiting = [place for place in self.waiting if place != who]
        if self.window is None:
            self.inside = [place for place in self.inside if place != who]

    def step_back(self, who: Place, now: float) -> None:
        """Somebody who was let in, in a time, cannot begin yet: it is the first to wait again.

        It comes by itself once it can, and need not be called.
        """
        if who in self.inside:
            self.inside.remove(who)
            self.waiting.insert(0, evolve(who, at=now))

    def drop(self, gone: Collection[Place]) -> None:
        """These are no longer there."""
        self.inside = [place for place in self.inside if place not in gone]
        self.waiting = [place for place in self.waiting if place not in gone]

    def to_call(self, now: float, *, lease: float) -> tuple[Place, ...]:
        """Those who wait, can enter now, and were not called before."""
        self._forget_begun(now)
        can_enter = [p for p in self.waiting if not _is_overdue(p, now, lease)]
        to_call = [place for place in can_enter[: max(self._free, 0)] if not place.at]
        self.waiting = [evolve(p, at=now) if p in to_call else p for p in self.waiting]
        return tuple(to_call)

    @property
    def _free(self) -> int:
        return self.size - len(self.inside)

    def _let_in(self, who: Place, now: float) -> None:
        self.waiting = [place for place in self.waiting if place != who]
        if who not in self.inside:
            self.inside.append(evolve(who, at=now))

    def _let_wait(self, who: Place) -> None:
        """Keep its place in the line; it may be called again."""
        waits = evolve(who, at=0.0)
        if who in self.waiting:
            self.waiting[self.waiting.index(who)] = waits
        else:
            self.waiting.append(waits)

    def _ahead_of(self, who: Place, now: float, lease: float) -> int:
        before = self.waiting[: self.waiting.index(who)] if who in self.waiting else self.waiting
        return sum(not _is_overdue(place, now, lease) for place in before)

    def _forget_old(self, who: Place, now: float) -> None:
        """Forget earlier turns of the one who asks, and who has begun too long ago to count."""
        self._forget_begun(now)
        self.waiting = [p for p in self.waiting if p.id != who.id or p == who]
        if self.window is None:
            self.inside = [p for p in self.inside if p.id != who.id or p == who]

    def _forget_begun(self, now: float) -> None:
        if self.window is not None:
            window = self.window
            self.inside = [place for place in self.inside if place.at + window > now]

    def _rest(self, ahead: int, now: float, lease: float) -> float:
        """Seconds after which the one with so many ahead of it asks again by itself.

        It is called when somebody leaves. But whoever should call may die, so those who come next
        ask after a lease, the others ever later.
        """
        if self.window is None:
            return min(lease * (1 + ahead // self.size), max(lease, _LONGEST_REST))
        left = self._opens_at(ahead, now) - now
        # Somebody ahead may leave meanwhile, and then it is sooner.
        return max(min(left, max(lease, left / 4)), 0.001)

    def _opens_at(self, ahead: int, now: float) -> float:
        """When the one with so many ahead of it can begin, if all those do as soon as they can."""
        assert self.window is not None
        rounds, place = divmod(ahead - self._free, self.size)
        begun = sorted(one.at for one in self.inside)
        base = begun[place] if 0 <= place < len(begun) else now
        return base + self.window * (1 + rounds)

    def _to_check(self, now: float, lease: float) -> tuple[Place, ...]:
        """Those inside who were not looked for of late; only who asks next to them looks."""
        if self.window is not None or now - self.checked_at < lease / 2:
            return ()
        self.checked_at = now
        return tuple(self.inside)


def _is_overdue(place: Place, now: float, lease: float) -> bool:
    """Whether it was called and did not come, as if nobody could drive it; others pass it by."""
    return place.at > 0 and now - place.at >= 2 * lease
