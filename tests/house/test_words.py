"""The project's texts: at home on any machine."""

import re
import subprocess

import pytest

from checkout import ROOT


def project_files() -> list[str]:
    """The files that git tracks, or would track."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"(?<![\w.*/-])/(work|root|home|Users)/", id="absolute path"),
        pytest.param(r"(?<![\w.*/-])/tmp/[w]", id="temporary path"),
        pytest.param(r"\bindex[-]url\b|--find[-]links\b", id="package index"),
    ],
)
def test_texts_name_no_machine(pattern: str) -> None:
    """No file tells where, or with which package index, somebody worked on it."""
    telling = [
        name
        for name in project_files()
        if re.search(pattern, (ROOT / name).read_text(errors="ignore"))
    ]
    assert telling == []
