"""The `flux` command itself: what it says of itself, and what it says when it cannot start."""

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from .conftest import RunFlux


def test_version_is_the_distribution_s(run_flux: RunFlux) -> None:
    """`flux --version` names the installed distribution and its version."""
    ran = run_flux("--version")
    assert (ran.returncode, ran.stdout) == (0, f"flux-saga {version('flux-saga')}\n")


def test_help_lists_the_commands(run_flux: RunFlux) -> None:
    """`flux -h` shows each command with a line of help."""
    ran = run_flux("-h")
    assert ran.returncode == 0
    assert re.search(r"^  demo +\w", ran.stdout, re.MULTILINE)


def test_unknown_command_is_named(run_flux: RunFlux) -> None:
    """A command that does not exist is a usage error that repeats its name."""
    ran = run_flux("dmeo")
    assert ran.returncode == 2
    assert "'dmeo'" in ran.stderr


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_missing_extra_is_told(missing: str) -> None:
    """Without the packages of the extra, the command says how to install them."""
    program = f"import sys; sys.modules[{missing!r}] = None; from flux.cli import main; main()"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    said = f"flux: its commands need {missing}; run: pip install 'flux-saga[cli]'\n"
    assert (ran.returncode, ran.stderr) == (1, said)
