"""The stage on which the crash tests play."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from children import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A new folder, with `child.py` to be started in it; no process outlives the test."""
    stage = Stage(Path(__file__).with_name("child.py"), tmp_path)
    yield stage
    stage.kill_all()
