"""What a benchmark asks of whoever takes part, and how one is described.

Each contender runs in a process of its own (`worker.py`), with a place to itself. Its description
is looked at in the process that prints the table, where nothing of it is imported.
"""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from attrs import Factory, frozen


@frozen(kw_only=True)
class Place:
    """Where a contender keeps what it saves."""

    folder: Path
    redis: str | None = None
    """The URL of a Redis that is empty at first; None where none could be started."""


class Contender(Protocol):
    """Runs instances whose steps do next to nothing, and saves after each step."""

    async def open(self, place: Place) -> None:
        """Open the storage, made if need be."""
        ...

    async def close(self) -> None:
        """End orderly."""
        ...

    async def sequence(self, steps: int) -> None:
        """Run one new instance of so many steps to its end; each step is `work.count`."""
        ...

    async def saga(self) -> None:
        """Run one new instance of five steps: four are done, the fifth fails, four are undone."""
        ...


class Waiter(Contender, Protocol):
    """One whose instances can wait for a signal."""

    async def suspend(self, number: int) -> None:
        """Start the instance of this number; return when its wait is saved."""
        ...

    async def wake(self, number: int) -> None:
        """Send it the signal; return when it has ended."""
        ...


class Survivor(Contender, Protocol):
    """One that goes on with instances whose process was killed."""

    async def abandon(self, number: int) -> None:
        """Start an instance of five steps; return when two are saved and the third runs on."""
        ...

    async def recover(self, count: int) -> None:
        """Return when so many abandoned instances have ended."""
        ...


class Documents(Contender, Protocol):
    """One that can keep data of some size in an instance."""

    async def document(self, steps: int, key_bytes: int) -> None:
        """Run an instance: the first step sets ten keys of this size, each other replaces one."""
        ...


@frozen(kw_only=True)
class Entry:
    """A contender as it is announced."""

    key: str
    """Its name on the command line."""
    name: str
    durability: str
    """What it asks of the disk."""
    group: str
    """Who is compared with whom: those of one group promise the same, or it is said."""
    made_by: str
    """Module and class."""
    settings: Mapping[str, object] = Factory(dict)
    needs: tuple[str, ...] = ()
    """Modules of packages that are no dependencies of Flux."""
    answers: frozenset[str]
    """The questions that it can be asked."""
    at_most: Mapping[str, int] = Factory(dict)
    """For questions of many instances: how many it can do in the time that there is."""
    when_killed: Mapping[str, object] = Factory(dict)
    """Other settings of a process that will be killed."""
    is_baseline: bool = False
    """Whether the ratios of its group are ratios to it."""
    is_fresh_each_time: bool = False
    """Whether it is opened anew for each round, as what lies in memory weighs on the next one."""

    def count(self, question: str, count: int) -> int:
        """So many instances, or as many as it can do."""
        return min(count, self.at_most.get(question, count))

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and is not installed."""
        return tuple(name for name in self.needs if not _is_installed(name))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def made(made_by: str, settings: Mapping[str, object]) -> Contender:
    """Import and make a contender."""
    module, _, name = made_by.partition(":")
    return cast(Contender, getattr(importlib.import_module(module), name)(**settings))
