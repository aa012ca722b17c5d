"""The storage conformance kit: it passes what is right, and names the rule that is broken."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest
from uuid import uuid4

import pytest

from broken_claims import BROKEN_CLAIMS, EverybodyIsDue, GivenBackRenewed
from broken_edges import BROKEN_EDGES, OldWakeStays
from broken_places import BROKEN_PLACES
from broken_reads import BROKEN_READS, FalseIsNull
from broken_saves import BROKEN_SAVES, KeyNeverTaken
from flux.testing import RuleBrokenError, StorageConformance, check_storage
from flux.testing.conformance import RULES, Rule
from flux_storages import MemoryStorage, SQLiteStorage

BROKEN = (*BROKEN_SAVES, *BROKEN_CLAIMS, *BROKEN_READS, *BROKEN_EDGES)
THE_MACHINE = "machine.agrees_with_the_model"


def named(*names: str) -> list[Rule]:
    return [rule for rule in RULES if str(rule) in names or rule.area in names]


class TestBroken:
    @pytest.mark.parametrize("storage", BROKEN, ids=lambda one: str(one.__name__))
    async def test_by_rule(self, storage: Any) -> None:
        """A storage with one fault breaks the rule that forbids it, by name."""
        report = await check_storage(storage, rules=named(storage.breaks))
        assert [str(one.rule) for one in report.broken] == [storage.breaks]

    @pytest.mark.parametrize("storage", BROKEN_PLACES, ids=lambda one: str(one.__name__))
    async def test_by_a_second_opener(self, storage: Any, tmp_path: Path) -> None:
        """What is wrong between openers is found where an address is given."""
        make = partial(storage, tmp_path / "flux.db")
        report = await check_storage(make, address=lambda _: make, rules=named(storage.breaks))
        assert [str(one.rule) for one in report.broken] == [storage.breaks]

    async def test_nothing_shared(self) -> None:
        """A storage that others find empty breaks what is asked of several openers."""
        names = {"reopening.everything_is_there", "processes.one_creator"}
        report = await check_storage(
            MemoryStorage, address=lambda _: MemoryStorage, rules=named(*names)
        )
        assert {str(one.rule) for one in report.broken} == names

    async def test_time_of_the_caller(self, tmp_path: Path) -> None:
        """A storage that counts by the caller's time, not by one of its own, is found."""
        make = partial(SQLiteStorage, tmp_path / "flux.db")
        name = "time.not_that_of_the_caller"
        report = await check_storage(
            make, address=lambda _: make, real_time=True, rules=named(name)
        )
        assert [str(one.rule) for one in report.broken] == [name]

    async def test_by_the_machine(self) -> None:
        """Random acts find the fault as well, and tell the shortest way to it that was found."""
        report = await check_storage(KeyNeverTaken, examples=300, rules=named("machine"))
        (broken,) = report.broken
        assert str(broken.rule) == THE_MACHINE
        assert "where (<class 'flux.errors.UniqueKeyTakenError'>, 'k'" in broken.why
        assert 2 <= broken.why.partition("in answer to")[2].count("\n") <= 40

    @pytest.mark.parametrize("storage", [OldWakeStays])
    async def test_by_an_ordinary_run(self, storage: Any) -> None:
        """As many lives as are played by default find a fault in what every driver does."""
        report = await check_storage(storage, rules=named("machine"))
        assert [str(one.rule) for one in report.broken] == [THE_MACHINE]


class TestReport:
    async def test_all_kept(self) -> None:
        """A storage that is right breaks nothing; what it does not offer was not tried."""
        report = await check_storage(MemoryStorage, examples=1)
        assert report.ok
        report.raise_if_broken()
        assert len(report.kept) + len(report.skipped) == len(RULES)
        assert {rule.area for rule, _ in report.skipped} == {
            "time", "reopening", "processes", "notices",
        }  # fmt: skip

    async def test_says_what_was_seen(self) -> None:
        """A broken rule is told with its sentence and with what was seen instead."""
        report = await check_storage(FalseIsNull, rules=named("json_values.entries"))
        assert str(report) == (
            "0 rules kept, 1 broken, 0 not tried\n"
            "the storage breaks the rule json_values.entries\n"
            "  rule: Entries come back as a create or a save gave them.\n"
            f"  seen: {report.broken[0].why}"
        )
        with pytest.raises(ExceptionGroup, match="breaks rules of the contract"):
            report.raise_if_broken()

    async def test_fields_that_differ(self) -> None:
        """Of two records only the fields are told that differ."""
        report = await check_storage(EverybodyIsDue, rules=named("notices.signal_to_a_driver"))
        assert report.broken[0].why == "got True, where False was due"
        report = await check_storage(GivenBackRenewed, rules=named("renewing.given_back"))
        assert "got {'order-7': 0}, where {} was due" in report.broken[0].why

    async def test_disposed_of(self) -> None:
        """Each storage is disposed of after it was closed."""
        gone: list[Any] = []

        async def made() -> MemoryStorage:
            return MemoryStorage()

        async def dispose(storage: Any) -> None:
            with pytest.raises(RuntimeError, match="is not open"):
                await storage.load("order-7")
            gone.append(storage)

        await check_storage(made, dispose=dispose, examples=2, rules=named("loading", "machine"))
        assert len(gone) >= 3 + 2


class TestMisuse:
    """What is wrong with the call is not told as a fault of the storage."""

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"make": MemoryStorage()}, r"make=MemoryStorage\(\): give a function, make\(\)"),
            ({"make": lambda: None}, "None is no WorkflowStorage: it lacks init, close, create"),
            ({"make": MemoryStorage, "address": "memory:"}, r"give a function, address\(storage\)"),
            ({"make": MemoryStorage, "address": lambda _: 3}, "3 is no address; give a URL"),
            (
                {"make": MemoryStorage, "address": lambda _: lambda: None},
                "cannot be carried to another process",
            ),
            ({"make": MemoryStorage, "examples": 0}, "examples=0: the state machine plays one"),
            ({"make": MemoryStorage, "rules": ["loading.unknown"]}, "is no rule; choose from"),
        ],
    )
    async def test_by_argument(self, given: dict[str, Any], told: str) -> None:
        """Each argument that makes no sense is named, before or instead of a verdict."""
        rules = named("loading.unknown", "processes.one_creator")
        with pytest.raises((TypeError, ValueError), match=told):
            await check_storage(**({"rules": rules} | given))

    async def test_not_empty(self) -> None:
        """A storage that another rule has used is refused, instead of being found broken."""
        used = MemoryStorage()
        with pytest.raises(TypeError, match="was new and is not empty; each rule needs a storage"):
            await check_storage(lambda: used, rules=named("loading"))

    async def test_plain_dispose(self) -> None:
        """A plain function may dispose of a storage."""
        gone: list[Any] = []
        await check_storage(MemoryStorage, dispose=gone.append, rules=named("loading.unknown"))
        assert len(gone) == 1


class TestCase:
    def test_a_test_each(self) -> None:
        """Every rule is a method, under its name and with its sentence."""
        for rule in RULES:
            method = getattr(StorageConformance, f"test_{rule.area}_{rule.name}")
            assert method.__doc__ == rule.text

    def test_without_pytest(self) -> None:
        """The methods can be called by anybody: they pass, raise what is broken, or skip."""

        class Mine(StorageConformance):
            def storage(self) -> MemoryStorage:
                return FalseIsNull()

        mine: Any = Mine()
        mine.test_loading_unknown()
        with pytest.raises(RuleBrokenError, match=r"json_values\.entries"):
            mine.test_json_values_entries()
        with pytest.raises(SkipTest, match="no address was given"):
            mine.test_processes_one_creator()

    def test_nothing_made(self) -> None:
        """Who does not say how to make a storage is told to."""
        bare: Any = StorageConformance()
        with pytest.raises(TypeError, match="say how to make an empty storage"):
            bare.test_loading_unknown()


class TestRules:
    def test_names(self) -> None:
        """Names are unique, and every rule says what it asks."""
        names = [str(rule) for rule in RULES]
        assert len(set(names)) == len(names)
        assert all(rule.text.endswith(".") for rule in RULES)

    async def test_model_is_no_storage(self, tmp_path: Path) -> None:
        """The machine agrees with a storage that was made apart from the model."""
        report = await check_storage(
            lambda: SQLiteStorage(tmp_path / f"{uuid4()}.db", synchronous="normal"),
            examples=5,
            rules=named("machine"),
        )
        assert [str(rule) for rule in report.kept] == [THE_MACHINE]

    def test_without_hypothesis(self) -> None:
        """Where Hypothesis is missing, the machine is not tried, and its extra is named."""
        program = (
            "import asyncio, sys; sys.modules['hypothesis'] = None\n"
            "from flux.testing.conformance import RULES, check_storage\n"
            "from flux_storages import MemoryStorage\n"
            "print(asyncio.run(check_storage(MemoryStorage, rules=RULES[-1:])))"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "0 rules kept, 0 broken, 1 not tried" in run.stdout, run.stderr
        assert "pip install 'flux-saga[testing]'" in run.stdout
