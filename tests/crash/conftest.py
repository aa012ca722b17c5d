"""The stage on which the crash tests play, with either storage that outlives a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from children import Stage


def sqlite(request: pytest.FixtureRequest) -> str:
    folder: Path = request.getfixturevalue("tmp_path")
    return f"sqlite:///{folder / 'flux.db'}"


def redis(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture(params=[sqlite, redis], ids=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A new folder, with `child.py` to be started in it; no process outlives the test."""
    stage = Stage(Path(__file__).with_name("child.py"), tmp_path, request.param(request))
    yield stage
    stage.kill_all()
