"""Processes are killed while their instances have a place, or wait for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from children import Stage


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage for the program that serves one order at a time."""
    url = f"sqlite:///{tmp_path / 'flux.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    stage = Stage(Path(__file__).with_name("limited_child.py"), tmp_path, url)
    yield stage
    stage.kill_all()


def served(stage: Stage) -> list[str]:
    """Who was served, in order; nobody came while another was there and had not been served."""
    present: str | None = None
    done: list[str] = []
    for effect in stage.effects("in", "out"):
        assert present in (None, effect["id"]), stage.effects()
        present = effect["id"]
        if effect["what"] == "out":
            done.append(effect["id"])
            present = None
    return done


def all_completed(stage: Stage, count: int) -> bool:
    statuses = list(stage.statuses().values())
    return statuses == ["completed"] * count


def test_killed_at_its_place(stage: Stage) -> None:
    """Whoever takes over what a dead process began has its place; the others wait for its end."""
    stage.kill_when_holding("start", "o-1", hold="o-1")
    stage.start("start", "o-2", "o-3")
    stage.wait_until(lambda: all_completed(stage, 3))
    assert served(stage)[0] == "o-1"
    assert sorted(served(stage)) == ["o-1", "o-2", "o-3"]


def test_killed_while_it_waits(stage: Stage) -> None:
    """What waited in a process that is killed has its turn in another, in the order of arrival."""
    holder = stage.start("start", "o-1", hold="o-1")
    stage.wait_until(lambda: stage.effects("holding"))
    waiter = stage.start("start", "o-2")
    stage.wait_until(lambda: stage.statuses().get("o-2") == "pending")
    stage.wait_until(lambda: stage.state("o-2").reason)
    waiter.kill()
    stage.start("start", "o-3")
    stage.wait_until(lambda: "o-3" in stage.statuses() and stage.state("o-3").reason)
    holder.kill()
    stage.wait_until(lambda: all_completed(stage, 3))
    assert served(stage) == ["o-1", "o-2", "o-3"]


def test_killed_among_many(stage: Stage) -> None:
    """Processes that come and go serve forty, one at a time, and each of them once or again."""
    ids = [f"o-{number}" for number in range(40)]
    children = [stage.start("start", *ids[first::4]) for first in range(4)]
    for child, count in zip(children[:3], (4, 10, 16), strict=True):
        stage.wait_until(lambda count=count: len(stage.effects("out")) >= count)  # type: ignore[misc]
        child.kill()
    stage.start("start", *ids)
    stage.wait_until(lambda: all_completed(stage, 40))
    assert sorted(set(served(stage))) == sorted(ids)
