"""The `flux` command as people call it: a process of its own, its output a pipe."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Ran = subprocess.CompletedProcess[str]
RunFlux = Callable[..., Ran]


@pytest.fixture(scope="session")
def flux_command() -> str:
    """The installed console script."""
    found = shutil.which("flux", path=str(Path(sys.executable).parent))
    assert found is not None, "the console script flux is not installed"
    return found


@pytest.fixture(scope="session")
def plain_env() -> dict[str, str]:
    """The environment without what makes a pipe look like a terminal."""
    terminal = ("FORCE_COLOR", "TTY_", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if not name.startswith(terminal)}


@pytest.fixture(scope="session")
def run_flux(flux_command: str, plain_env: dict[str, str]) -> RunFlux:
    """Runs `flux` with these arguments to its end."""

    def run(*arguments: object) -> Ran:
        command = [flux_command, *map(str, arguments)]
        return subprocess.run(command, env=plain_env, capture_output=True, text=True, check=False)

    return run
