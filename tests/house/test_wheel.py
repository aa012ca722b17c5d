"""The wheel: what people install is whole, and no more than that."""

import os
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

import flux
from checkout import PACKAGES, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel that was just built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    [built] = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with ZipFile(built) as archive:
        return set(archive.namelist())


def test_wheel_holds_both_packages(wheel: set[str]) -> None:
    """Every file of the packages is in it: modules, statements, the demo's data.

    Pytest's way in lies beside them.
    """
    files = {
        file.relative_to(package.parent).as_posix()
        for package in PACKAGES
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files - wheel == {"flux/testing/entry/flux_pytest.py"}


@pytest.mark.parametrize("package", ["flux", "flux_storages"])
def test_wheel_is_typed(wheel: set[str], package: str) -> None:
    """Type checkers are told that each package has types."""
    assert f"{package}/py.typed" in wheel


def test_wheel_holds_the_sql(wheel: set[str]) -> None:
    """The statements of the SQLite storage come along."""
    assert "flux_storages/sqlite.sql" in wheel


def test_wheel_holds_the_scripts(wheel: set[str]) -> None:
    """So do the scripts of the Redis storage, a verb each."""
    scripts = {Path(name).stem for name in wheel if name.endswith(".lua")}
    assert {"prelude", "create", "save", "claim_due", "list", "send_signal"} <= scripts


def test_wheel_holds_the_license(wheel: set[str]) -> None:
    """The license comes along."""
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


def test_wheel_holds_nothing_else(wheel: set[str]) -> None:
    """No tests, no examples: two packages, pytest's way in, and what is known about them."""
    top = {Path(name).parts[0] for name in wheel if ".dist-info/" not in name}
    assert top == {"flux", "flux_pytest.py", "flux_storages"}


def test_wheel_is_what_tox_tests() -> None:
    """Under tox the checkout does not shadow the installed package."""
    from_checkout = Path(flux.__file__).parent == ROOT / "flux"
    assert not (from_checkout and "TOX_ENV_NAME" in os.environ)
