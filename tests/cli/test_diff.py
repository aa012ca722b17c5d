"""`flux diff`: which live instances could go on under the code at hand."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from flux import (
    FluxEngine,
    Record,
    SystemClock,
    Workflow,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
    open_storage,
)
from flux.blocking import BlockingEngine
from flux.cli.diff import PAGE, diff
from flux_storages import MemoryStorage

from .conftest import Ran, RunFlux

HEAD = "from flux import Workflow\n"
OLD = """
order = Workflow("order", version="1").step("pick", print).wait("paid", signal="paid")
workflows = [order.step("ship", print)]
"""
CHANGED_LATER = OLD + 'order.step("thank", print)\n'
CHANGED_BEFORE = OLD.replace('.wait("paid"', '.step("weigh", print).wait("paid"')
BOTH_VERSIONS = (
    OLD
    + """
newer = Workflow("order", version="2").step("weigh", print).wait("paid", signal="paid")
workflows = [order, newer]
"""
)
OTHER = OLD.replace('"order"', '"other"')

WHY = "step 'weigh' is new before step 'paid', which was begun"


class Shop:
    """Instances that wait for their payment, started with the code as it was."""

    def __init__(self, url: str, folder: Path, run_flux: RunFlux) -> None:
        self.url = url
        self._folder = folder
        self._run_flux = run_flux
        self.workflow = Workflow("order", version="1")
        self.workflow.step("pick", lambda ctx: None).wait("paid", signal="paid")
        self.workflow.step("ship", lambda ctx: None)

    def order(self, *ids: str) -> None:
        with BlockingEngine(self.url, workflows=[self.workflow]) as flux:
            for id in ids:
                assert flux.execute("order", id=id).status == "suspended"

    def diff(self, code: str, *options: str) -> Ran:
        """Run `flux diff` with this code in the working directory."""
        (self._folder / "app.py").write_text(HEAD + code)
        return self._run_flux("diff", "--storage", self.url, "--app", "app:workflows", *options)

    def records(self) -> Sequence[Record]:
        """The heads of all instances, as they are stored."""

        async def load_all() -> Sequence[Record]:
            storage = open_storage(self.url)
            await storage.init(SystemClock())
            stored = [await storage.load(s.id) for s in await storage.list(WorkflowFilter())]
            await storage.close()
            return [record for record, _ in filter(None, stored)]

        return asyncio.run(load_all())


@pytest.fixture(params=["sqlite", "redis"])
def shop(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_flux: RunFlux,
) -> Shop:
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        return Shop("sqlite:///flux.db", tmp_path, run_flux)
    return Shop(request.getfixturevalue("redis_url"), tmp_path, run_flux)


def test_s28_unchanged_code_fits_all(shop: Shop) -> None:
    """Every live instance is listed, newest first; that all could go on is exit code 0."""
    shop.order("order-1", "order-2")
    ran = shop.diff(OLD)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "order-2 (order 1, suspended) could go on",
        "order-1 (order 1, suspended) could go on",
        "live instances: 2; cannot go on: 0",
    ]


def test_s28_later_changes_fit(shop: Shop) -> None:
    """A step added after the current point is no difference."""
    shop.order("order-1")
    assert shop.diff(CHANGED_LATER).returncode == 0


def test_s28_changes_before_do_not_fit(shop: Shop) -> None:
    """What does not fit is told, with the difference; that is exit code 1."""
    shop.order("order-1")
    ran = shop.diff(CHANGED_BEFORE)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.splitlines() == [
        f"order-1 (order 1, suspended) cannot go on: {WHY}",
        "live instances: 1; cannot go on: 1",
    ]


def test_s28_own_version_is_preferred(shop: Shop) -> None:
    """Where the old version stands beside the new one, its instances go on with it."""
    shop.order("order-1")
    assert shop.diff(BOTH_VERSIONS).returncode == 0


def test_unknown_workflow_does_not_fit(shop: Shop) -> None:
    """An instance whose workflow the app does not have cannot go on with it."""
    shop.order("order-1")
    ran = shop.diff(OTHER)
    assert ran.returncode == 1
    assert (
        "order-1 (order 1, suspended) cannot go on: the app has no workflow 'order'" in ran.stdout
    )


def test_ended_instances_are_left_out(shop: Shop) -> None:
    """What has ended need not go on."""
    shop.order("order-1", "order-2")
    with BlockingEngine(shop.url, workflows=[shop.workflow]) as flux:
        flux.cancel("order-1")
        flux.result("order-1", timeout=10)
    lines = shop.diff(OLD).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["order-2", "live"]


def test_json_is_a_line_an_instance(shop: Shop) -> None:
    """With --json a program can read it."""
    shop.order("order-1")
    ran = shop.diff(CHANGED_BEFORE, "--json")
    assert ran.returncode == 1
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [
        {
            "id": "order-1",
            "workflow": "order",
            "version": "1",
            "status": "suspended",
            "fits": False,
            "why_not": [WHY],
        }
    ]


def test_nothing_is_changed(shop: Shop) -> None:
    """Not even an instance that is due is claimed, nor is any driven."""
    shop.order("order-1", "order-2")
    with BlockingEngine(shop.url) as flux:
        flux.signal("order-1", "paid", wait=False)
    before = shop.records()
    assert shop.diff(OLD).returncode == 0
    assert shop.records() == before
    assert any(record.wake_at is not None for record in before)


def test_unreadable_instance_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_flux: RunFlux
) -> None:
    """One that a newer Flux has written is told as such; the others are looked at all the same."""
    monkeypatch.chdir(tmp_path)
    shop = Shop("sqlite:///flux.db", tmp_path, run_flux)
    shop.order("order-1", "order-2")
    with closing(sqlite3.connect("flux.db")) as db, db:
        db.execute("UPDATE instances SET payload = '{\"format\": 99}' WHERE id = 'order-2'")
    ran = shop.diff(OLD)
    assert ran.returncode == 1
    assert "order-2 (order 1, suspended) cannot go on: " in ran.stdout
    assert "order-1 (order 1, suspended) could go on" in ran.stdout


@pytest.mark.parametrize(
    ("storage", "said"),
    [("memory:", "seen by no other process"), ("sqlite:///missing/flux.db", "is missing")],
)
def test_it_says_when_it_cannot_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_flux: RunFlux, storage: str, said: str
) -> None:
    """That is exit code 2, and no verdict."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(HEAD + OLD)
    ran = run_flux("diff", "--storage", storage, "--app", "app:workflows")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


# Many instances


def filled(count: int, storage: WorkflowStorage) -> None:
    """Store so many instances that differ in their ids only."""
    order = Workflow("order").wait("paid", signal="paid")
    with BlockingEngine(storage, workflows=[order]) as flux:
        flux.execute("order", id="order-00000")

    async def multiply() -> None:
        await storage.init(SystemClock())
        stored = await storage.load("order-00000")
        assert stored is not None
        record, entries = stored
        for number in range(1, count):
            await storage.create(evolve(record, id=f"order-{number:05}"), entries=entries)
        await storage.close()

    asyncio.run(multiply())


def ids_told(storage: WorkflowStorage, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The ids of which `diff` tells, in order."""
    app = [Workflow("order").wait("paid", signal="paid").build()]
    assert diff.callback is not None
    diff.callback(storage=storage, workflows=app, as_json=True)
    return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]


def test_every_page_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of many instances is told of once."""
    storage, count = MemoryStorage(), 2 * PAGE + 1
    filled(count, storage)
    assert ids_told(storage, capsys) == [f"order-{n:05}" for n in reversed(range(count))]


class Vanishing(MemoryStorage):
    """A storage in which the last instance of each full page is deleted once it was listed."""

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        page = await super().list(filter)
        if len(page) == PAGE:
            stored = await self.load(page[-1].id)
            assert stored is not None
            await self.delete(page[-1].id, revision=stored[0].revision)
        return page


def test_deleted_instances_hide_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that come after the last of a page are looked at, even if that is deleted meanwhile."""
    storage, count = Vanishing(), 2 * PAGE + 1
    filled(count, storage)
    ids = ids_told(storage, capsys)
    assert len(ids) == len(set(ids)) == count - 2
    assert ids[-1] == "order-00000"


class Ending(MemoryStorage):
    """A storage in which all instances end once they were listed."""

    async def list(self, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
        page = await super().list(filter)
        async with FluxEngine(self, workflows=[Workflow("order").wait("paid", signal="paid")]) as e:
            for summary in page:
                await e.signal(summary.id, "paid")
        return page


def test_what_ends_meanwhile_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """An instance that has ended when it is looked at need not go on."""
    storage = Ending()
    filled(1, storage)
    assert ids_told(storage, capsys) == []
