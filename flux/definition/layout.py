"""Where declared steps stand in the graph: what each comes after if it does not say so itself."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from attrs import Factory

from flux.errors import listing
from flux.frozen import frozen


@frozen
class Gathering:
    """Chains of steps that begin together: those of a group, or of the cases of a branch.

    `name` stands for all their ends where others come after it. `begins_at` is the branch, which is
    an end itself if nothing may run after it.
    """

    name: str
    chains: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] | None = None
    begins_at: str | None = None
    may_be_skipped: bool = False

    @property
    def members(self) -> Iterator[str]:
        return (name for chain in self.chains for name in chain)

    @property
    def ends(self) -> tuple[str, ...]:
        """What comes last in it; a branch may choose a case without steps."""
        ends = tuple(chain[-1] for chain in self.chains if chain)
        if self.begins_at is None or (all(self.chains) and not self.may_be_skipped):
            return ends
        return *ends, self.begins_at


@frozen
class Layout:
    """The steps in the order of declaration, and the gatherings at their places among them.

    `placed` has the `after` that steps were given, `apart` the names of those that only run when
    others fail.
    """

    declared: Sequence[str | Gathering]
    placed: Mapping[str, tuple[str, ...]] = Factory(dict)
    apart: Collection[str] = ()

    def sources(self) -> dict[str, tuple[str, ...]]:
        """By step, what it is declared to come after; names of gatherings are resolved."""
        gatherings = {one.name: one for one in self._gatherings()}
        members = {name for one in gatherings.values() for name in one.members}
        found: dict[str, tuple[str, ...]] = {}
        before: tuple[str, ...] = ()
        for one in self.declared:
            if isinstance(one, Gathering):
                self._gathered(one, before, found)
                # One that begins within another ends where that one ends.
                if one.begins_at not in members:
                    before = (one.name,)
            elif one in members:
                found.setdefault(one, self.placed.get(one, ()))
            elif one in self.apart:
                found[one] = self.placed.get(one, ())
            else:
                found[one] = self.placed.get(one, before)
                before = (one,)
        return {name: _resolved(after, name, gatherings) for name, after in found.items()}

    def within(self, names: Iterable[str]) -> Iterator[str]:
        """The names, and for branches among them those of the steps in their cases."""
        branches = {one.name: one for one in self._gatherings() if one.begins_at is not None}
        for name in names:
            yield name
            if name in branches:
                yield from self.within(branches[name].members)

    def problems(self) -> Iterator[str]:
        """What is wrong with the groups and branches."""
        names = {one for one in self.declared if isinstance(one, str)}
        for gathering in self._gatherings():
            told = f"{'group' if gathering.begins_at is None else 'branch'} {gathering.name!r}"
            if gathering.begins_at is None and gathering.name in names:
                yield f"{told}: there is a step of that name"
            if not any(gathering.chains) and gathering.begins_at is None:
                yield f"{told} has no steps"
            for name in gathering.members:
                if name not in names:
                    yield f"{told}: {name!r} is no step; there are: {listing(names)}"
                if name in self.placed:
                    yield f"{told}: step {name!r} has its place there, and an after= of its own"
        yield from self._doubles()

    def _doubles(self) -> Iterator[str]:
        names_of = Counter(one.name for one in self._gatherings())
        for name, count in names_of.items():
            if count > 1:
                yield f"there are {count} groups and branches named {name!r}"
        claimed = Counter(name for one in self._gatherings() for name in one.members)
        for name, count in claimed.items():
            if count > 1:
                yield f"step {name!r} stands at {count} places of groups and branches"

    def _gatherings(self) -> Iterator[Gathering]:
        return (one for one in self.declared if isinstance(one, Gathering))

    def _gathered(
        self, gathering: Gathering, before: tuple[str, ...], found: dict[str, tuple[str, ...]]
    ) -> None:
        start = before if gathering.after is None else gathering.after
        if gathering.begins_at is not None:
            start = (gathering.begins_at,)
        for chain in gathering.chains:
            source = start
            for name in chain:
                found[name] = source
                source = (name,)


def _resolved(
    after: tuple[str, ...], name: str, gatherings: Mapping[str, Gathering]
) -> tuple[str, ...]:
    """What `name` comes after: where a gathering is named, the ends of it and of those within."""
    resolved: dict[str, None] = {}
    opened: set[str] = set()
    waiting = list(reversed(after))
    while waiting:
        source = waiting.pop()
        gathering = gatherings.get(source)
        if gathering is None or source in opened or name in gathering.members:
            resolved[source] = None
            continue
        opened.add(source)
        for end in reversed(gathering.ends):
            if end == source:
                resolved[source] = None
            else:
                waiting.append(end)
    return tuple(resolved)
