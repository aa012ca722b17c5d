"""The README's commands and code: what people copy works."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from checkout import ROOT, code_blocks


def run_ci(folder: Path, *blocks: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/run in a folder whose README has these sh blocks."""
    fenced = "".join(f"Some words.\n\n```sh\n{block}\n```\n\n" for block in blocks)
    (folder / "README.md").write_text(f"# Title\n\n```python\npass\n```\n\n{fenced}")
    (folder / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    return subprocess.run([script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("position", [0, 1])
def test_first_commands_are_single_lines(position: int) -> None:
    """The demo and the checks are one line each, to be copied at once."""
    command = code_blocks("sh")[position]
    assert command.strip()
    assert command.count("\n") == 1


def test_first_command_runs_the_demo() -> None:
    """The first thing that people see is the demo."""
    assert code_blocks("sh")[0].endswith("flux demo\n")


def test_second_command_runs_the_checks() -> None:
    """Lint, types, tests and coverage are one call."""
    assert code_blocks("sh")[1].endswith("tox run -e lint,types,py,coverage\n")


def test_ci_runs_the_second_command(tmp_path: Path) -> None:
    """What CI runs is what the README says, in the root of the clone."""
    run = run_ci(tmp_path, "echo first", "pwd && echo second", "echo third")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1:] == [str(tmp_path), "second"]


def test_ci_fails_with_the_command(tmp_path: Path) -> None:
    """A failing check is a failing run."""
    run = run_ci(tmp_path, "true", "(exit 3) && true", "true")
    assert run.returncode == 3


def test_ci_fails_without_a_command(tmp_path: Path) -> None:
    """A README without a second command is no success."""
    run = run_ci(tmp_path, "true")
    assert run.returncode == 1
    assert run.stderr == "README.md has no second sh block\n"


def test_runnable_code_compiles() -> None:
    """Code that the README fences as `python runnable` is a whole program."""
    for number, block in enumerate(code_blocks("python runnable"), start=1):
        compile(block, f"README.md, runnable block {number}", "exec")


def test_runnable_code_prints_what_readme_says(tmp_path: Path) -> None:
    """The program prints what stands below it, the first time and the second."""
    [program], [printed] = code_blocks("python runnable"), code_blocks("text")
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    assert ran.stdout.replace("{} {}", printed.splitlines()[-1]) == printed


def test_sql_reads_the_stored_text(tmp_path: Path) -> None:
    """The query finds the steps of the program above it."""
    [program], [query] = code_blocks("python runnable"), code_blocks("sql")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as database:
        rows = database.execute(query).fetchall()
    assert ("order-8", "ship", "failed", 1) in rows
