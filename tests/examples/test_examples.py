"""The examples that newcomers copy: each runs alone and prints what it is known to print."""

import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
EXPECTED = Path(__file__).with_name("expected")


def test_examples_are_there() -> None:
    """There is an expected output for every example, and an example for every output."""
    assert EXAMPLES == sorted(f"{path.stem}.py" for path in EXPECTED.glob("*.txt")) != []


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_what_it_should(name: str, tmp_path: Path) -> None:
    """The example ends well, says nothing on the error stream, and leaves no file behind."""
    command = [sys.executable, str(ROOT / "examples" / name)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (EXPECTED / f"{name.removesuffix('.py')}.txt").read_text()
    assert list(tmp_path.iterdir()) == []
