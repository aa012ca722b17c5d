"""`flux demo`: the work is done, undone where it must be, and the books balance."""

import os
import pty
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import Ran, RunFlux

BALANCED = "The books balance."


@pytest.fixture(scope="module")
def full(run_flux: RunFlux, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo with all orders."""
    return run_flux("demo", "--folder", tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def killed(run_flux: RunFlux, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo with all orders, its workers killed."""
    return run_flux("demo", "--kill", "--folder", tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def small_folder(run_flux: RunFlux, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a demo with 40 orders left in its folder."""
    folder = tmp_path_factory.mktemp("small")
    assert run_flux("demo", "--orders", 40, "--folder", folder).returncode == 0
    return folder


def numbers(ran: Ran, start: str) -> list[int]:
    """The whole numbers of the line of output that starts so."""
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith(start)]
    return [int(number) for number in re.findall(r"(?<=\s)\d+(?=\s|$)", line)]


def ends(ran: Ran) -> dict[str, int]:
    """How many orders ended how."""
    found = re.findall(r"^(completed|failed|rolled back) +(\d+)", ran.stdout, re.MULTILINE)
    return {end: int(count) for end, count in found}


@pytest.mark.parametrize("run", ["full", "killed"])
def test_every_order_ends(run: str, request: pytest.FixtureRequest) -> None:
    """All orders of the file end, in each of the three ways, and the books balance."""
    ran: Ran = request.getfixturevalue(run)
    assert ran.returncode == 0, ran.stderr
    assert ends(ran).keys() == {"completed", "failed", "rolled back"}
    assert sum(ends(ran).values()) == 400
    assert BALANCED in ran.stdout


@pytest.mark.parametrize("run", ["full", "killed"])
def test_late_failures_are_undone(run: str, request: pytest.FixtureRequest) -> None:
    """Orders fail after the charge too; every order that was rolled back released its stock."""
    ran: Ran = request.getfixturevalue(run)
    *_, released = numbers(ran, "reserve")
    *_, refunded = numbers(ran, "charge")
    assert released == ends(ran)["rolled back"]
    assert 0 < refunded < released


@pytest.mark.parametrize("run", ["full", "killed"])
def test_steps_follow_each_other(run: str, request: pytest.FixtureRequest) -> None:
    """As many orders reach a step as have completed the one before, and the last one ends it."""
    ran: Ran = request.getfixturevalue(run)
    rows = [numbers(ran, step) for step in ("reserve", "charge", "ship", "notify")]
    assert [row[0] for row in rows] == [400, *(row[1] for row in rows[:-1])]
    assert rows[-1][1] == ends(ran)["completed"]


@pytest.mark.parametrize("run", ["full", "killed"])
def test_units_are_all_there(run: str, request: pytest.FixtureRequest) -> None:
    """The units shown add up."""
    opening, left, shipped = numbers(request.getfixturevalue(run), "units")
    assert opening == left + shipped


def test_output_to_a_pipe_is_plain(full: Ran) -> None:
    """Away from a terminal there are no colours, no frames and no trailing spaces."""
    assert full.stderr == ""
    assert full.stdout.isascii()
    assert "\x1b" not in full.stdout
    assert [line for line in full.stdout.splitlines() if line != line.rstrip()] == []


def test_workers_are_killed(killed: Ran) -> None:
    """Five workers die at different moments; what was in flight then comes to its end."""
    progress = re.findall(r"killed the worker after (\d+) orders, with (\d+) in", killed.stdout)
    assert len({ended for ended, _ in progress}) == 5
    assert all(int(in_flight) > 0 for _, in_flight in progress)
    found = re.search(r"kills: 5; .* at a kill: (\d+); ended since: (\d+)", killed.stdout)
    assert found
    assert found[1] == found[2]


def test_kills_interrupt_steps(killed: Ran) -> None:
    """Histories tell of attempts that ended with their process."""
    steps = ("reserve", "charge", "ship", "notify")
    assert sum(numbers(killed, step)[3] for step in steps) > 0


def test_second_run_does_nothing_twice(run_flux: RunFlux, small_folder: Path) -> None:
    """The same orders in the same folder are found as they ended."""
    first = run_flux("demo", "--orders", 40, "--folder", small_folder)
    again = run_flux("demo", "--orders", 40, "--folder", small_folder)
    assert again.returncode == 0
    assert again.stdout.partition("\nend ")[2] == first.stdout.partition("\nend ")[2] != ""


def test_run_can_be_extended(run_flux: RunFlux, small_folder: Path, tmp_path: Path) -> None:
    """More orders in the same folder are added to those that ended."""
    folder = shutil.copytree(small_folder, tmp_path / "copy")
    ran = run_flux("demo", "--orders", 50, "--folder", folder)
    assert ran.returncode == 0
    assert sum(ends(ran).values()) == 50


def test_falsified_shop_is_found(run_flux: RunFlux, small_folder: Path, tmp_path: Path) -> None:
    """A cent that is missing in the shop's database makes the demo fail, and is named."""
    folder = shutil.copytree(small_folder, tmp_path / "copy")
    with closing(sqlite3.connect(folder / "shop.db")) as db, db:
        db.execute("UPDATE payments SET cents = cents - 1 WHERE order_id = 'W-10231'")
    ran = run_flux("demo", "--orders", 40, "--folder", folder)
    assert ran.returncode == 1
    assert BALANCED not in ran.stdout
    assert "The books do not balance, differences: 1\n" in ran.stdout
    assert "  W-10231: 8969 cents kept, but 8970 due\n" in ran.stdout


def test_lost_shop_is_found(run_flux: RunFlux, small_folder: Path, tmp_path: Path) -> None:
    """Without the shop's database nothing balances; the first differences are shown."""
    folder = shutil.copytree(small_folder, tmp_path / "copy")
    (folder / "shop.db").unlink()
    ran = run_flux("demo", "--orders", 40, "--folder", folder)
    assert ran.returncode == 1
    assert "  ...\n" in ran.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--orders", "0"], "0 is not in the range x>=1"),
        (["--orders", "401"], "there are only 400 orders"),
        (["--orders", "many"], "'many' is not a valid integer"),
        (["--concurrency", "0"], "0 is not in the range 1<=x<=200"),
        (["--folder", __file__], "is a file"),
        (["--sead", "3"], "No such option"),
    ],
)
def test_bad_options_are_refused(run_flux: RunFlux, options: list[str], complaint: str) -> None:
    """A bad option is a usage error that says what would be right."""
    ran = run_flux("demo", *options)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert complaint in " ".join(ran.stderr.split())


@pytest.mark.parametrize("name", ["flux.db", "shop.db"])
@pytest.mark.parametrize("kill", [[], ["--kill"]])
def test_foreign_files_are_kept(
    run_flux: RunFlux, tmp_path: Path, name: str, kill: list[str]
) -> None:
    """A file that is no database is named, and stays as it is."""
    (tmp_path / name).write_text("my diary, " * 500)
    ran = run_flux("demo", "--orders", 4, "--folder", tmp_path, *kill)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: ")
    assert ran.stderr.count("\n") == 1
    assert "not a database" in ran.stderr
    assert (tmp_path / name).read_text() == "my diary, " * 500


def test_terminal_shows_a_bar(flux_command: str, plain_env: dict[str, str], tmp_path: Path) -> None:
    """On a terminal the progress is a bar that fills."""
    ours, its = pty.openpty()
    command = [flux_command, "demo", "--orders", "10", "--folder", str(tmp_path)]
    env = {**plain_env, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, env=env, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = read_all(ours)
    assert process.returncode == 0
    assert "\u2501" in shown
    assert "10/10" in shown


def read_all(terminal: int) -> str:
    """What is written to a terminal until its other end is closed."""
    chunks = []
    try:
        while chunk := os.read(terminal, 4096):
            chunks.append(chunk)
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(terminal)
    return b"".join(chunks).decode(errors="replace")
