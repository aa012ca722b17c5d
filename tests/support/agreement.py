"""Whether worlds do what the model predicts, command by command."""

import asyncio
from collections.abc import Callable
from typing import Any

from attrs import evolve

from flow_plans import Call, Command, Entry, FlowPlan, Seen
from flux import WorkflowStorage
from quiet_model import QuietLoop
from reference import Reference
from worlds import World

Fresh = Callable[[str], WorkflowStorage]
"""Makes an empty storage of a kind."""


class Agreement:
    """A model and a world on each storage, which get the same commands and must agree."""

    def __init__(self, plan: FlowPlan, storages: list[WorkflowStorage]) -> None:
        self.model = Reference(plan)
        self._runner = asyncio.Runner(loop_factory=QuietLoop)
        self._run: Callable[[Any], Any] = self._runner.run
        self._worlds = [_Compared(World(plan, storage), self.model) for storage in storages]
        for compared in self._worlds:
            self._run(compared.world.open())

    def do(self, command: Command) -> None:
        """Let the command happen everywhere, and compare all that can be seen."""
        refusal = self.model.do(command)
        for compared in self._worlds:
            self._run(compared.do(command, refusal))

    def close(self) -> None:
        for compared in self._worlds:
            self._run(compared.world.close())
        self._runner.close()


class _Compared:
    """One world, beside the model; their keys have to name the same effects."""

    def __init__(self, world: World, model: Reference) -> None:
        self.world = world
        self._model = model
        self._compared_calls = 0
        self._keys: dict[object, object] = {}

    async def do(self, command: Command, refusal: str | None) -> None:
        got = await self.world.do(command)
        self._same("calls", self._calls(self.world.calls), self._calls(self._model.calls))
        self._compared_calls = len(self._model.calls)
        self._same("refusal", got, refusal)
        self._same("answers", tuple(self.world.answers), tuple(self._model.answers))
        self._same("number of saves", self.world.saves, self._model.saves)
        self._same("hours", self.world.hours, self._model.hours)
        self._same("status", await self.world.status(), self._model.status)
        if self._model.status is not None:
            self._same_seen(await self.world.seen(), self._model.seen())

    def _calls(self, calls: list[Call]) -> list[Call]:
        return calls[self._compared_calls :]

    def _same(self, what: str, got: Any, expected: Any) -> None:
        if isinstance(expected, list):
            bare = [keyless(one) for one in got], [keyless(one) for one in expected]
            self._same(f"{what} without keys", *map(tuple, bare))
            self._same_keys(what, keys_of(got), keys_of(expected))
        else:
            assert got == expected, f"{self.world}: {what}\n got      {got}\n expected {expected}"

    def _same_seen(self, got: Seen, expected: Seen) -> None:
        self._same("history", list(got.history), list(expected.history))
        # In which order replaced entries come is open.
        self._same("replaced", by_key(got.replaced), by_key(expected.replaced))
        self._same("state", *(evolve(one, history=(), replaced=()) for one in (got, expected)))

    def _same_keys(self, what: str, got: list[object], expected: list[object]) -> None:
        for real, meant in zip(got, expected, strict=False):
            known = self._keys.setdefault(meant, real)
            distinct = len(set(self._keys.values())) == len(self._keys)
            assert known == real, f"{self.world}: {what}: key {real} for {meant}, not {known}"
            assert distinct, f"{self.world}: {what}: key {real} names two effects"


def keys_of(compared: list[Any]) -> list[object]:
    """The keys in calls or entries, those of the effects undone included."""
    keys: list[object] = []
    for one in compared:
        if one.key is not None:
            keys.append(one.key)
        if isinstance(one, Call) and one.what == "undo" and isinstance(one.seen, dict):
            keys.append(one.seen["key"])
    return keys


def keyless(one: Any) -> Any:
    """The same without its keys, which each side makes in its own way."""
    if isinstance(one, Call) and one.what == "undo" and isinstance(one.seen, dict):
        return evolve(one, key=None, seen={**one.seen, "key": None})
    return evolve(one, key=one.key is not None)


def by_key(entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries in an order that depends on nothing but themselves."""
    return sorted(entries, key=lambda entry: (entry.name, entry.run, str(entry.key or "")))
