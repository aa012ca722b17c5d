"""What older versions have stored is read, shown as they showed it, and goes on to its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flux import DefinitionChangedError, FluxEngine, Workflow
from kept_lives import LATER, Lives, clock_at
from kept_places import folder_of, formats, memory, read_json, redis, sqlite


@pytest.fixture(params=formats(), ids=lambda number: f"format_{number}")
def folder(request: pytest.FixtureRequest) -> Path:
    """Where the files of a format are."""
    number: int = request.param
    return folder_of(number)


@pytest.fixture(params=[memory, sqlite, redis], ids=["memory", "sqlite", "redis"])
async def lives(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Lives:
    """The instances of a format on a storage, at the time at which they were kept."""
    url = request.getfixturevalue("redis_url") if request.param is redis else ""
    clock = clock_at(read_json(folder / "instances.json")["at"])
    return Lives(await request.param(folder, tmp_path, url, clock), clock)


def fitted(value: Any, like: Any) -> Any:
    """The value without the fields that are younger than what is kept."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: fitted(inner, like[key]) for key, inner in value.items() if key in like}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [fitted(inner, one) for inner, one in zip(value, like, strict=True)]
    return value


async def test_shown_as_they_were(lives: Lives, folder: Path) -> None:
    """Every instance has the state that the version showed which has written it."""
    kept = read_json(folder / "states.json")
    assert fitted(await lives.shown(), like=kept) == kept


async def test_go_on_to_their_ends(lives: Lives, folder: Path) -> None:
    """Resumed, signalled, recovered and rolled back they end as they did when they were kept."""
    lives.clock.advance(LATER)
    kept: Mapping[str, Any] = read_json(folder / "ends.json")
    assert fitted(await lives.go_on(tuple(kept)), like=kept) == kept


async def test_compared_with_the_workflow(lives: Lives) -> None:
    """What they remember of their workflow is read: one that does not fit is refused."""
    other = Workflow("poison").step("new", lambda ctx: None).step("taste", lambda ctx: None)
    async with FluxEngine(lives.storage, workflows=[other], clock=lives.clock) as engine:
        with pytest.raises(DefinitionChangedError, match="'new' is new before step 'taste'"):
            await engine.resume("failed")
