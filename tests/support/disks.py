"""A disk so small that a test can fill it."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes; the test is skipped where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path, *, leave: int) -> Path:
    """Write a file that leaves so many bytes free on its disk; deleting it makes room again."""
    with file.open("wb", buffering=0) as full, suppress(OSError):
        while full.write(b"x" * 4096):
            pass
    with file.open("r+b") as full:
        full.truncate(file.stat().st_size - leave)
    return file
