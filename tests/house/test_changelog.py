"""The changelog and the version: they tell the same story."""

import re
import tomllib
from importlib.metadata import version

from checkout import ROOT


def newest_section() -> tuple[str, str]:
    """The title of the changelog's first section and the text below it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    section = re.search(r"^## \[(.+?)\].*?\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    assert section, "CHANGELOG.md has no section"
    return section[1], section[2]


def project_version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def test_newest_section_is_the_current_one() -> None:
    """The first section is what comes next, or the version that the project has."""
    title, _ = newest_section()
    assert title in {"Unreleased", project_version()}


def test_newest_section_says_something() -> None:
    """The first section lists at least one change."""
    _, text = newest_section()
    assert re.search(r"^- \S", text, re.MULTILINE)


def test_installed_version_is_the_projects() -> None:
    """What runs here was built from this version."""
    assert version("flux-saga") == project_version()
