"""What an import costs: nobody pays for a storage or a terminal that is not used."""

import os
import subprocess
import sys

import pytest

DRIVERS = {"aiosqlite", "redis"}
HEAVY = {
    "flux": DRIVERS
    | {"click", "rich", "sqlite3", "cattrs", "importlib.metadata", "flux.testing", "flux.cli"},
    "flux_storages": DRIVERS,
}


def loaded_by(package: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after the import."""
    # Coverage itself loads sqlite3, so it does not follow into this process.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    program = f"import sys, {package}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("package", HEAVY)
def test_importing_is_lean(package: str) -> None:
    """An import loads the package, and neither drivers nor what only some users need."""
    loaded = loaded_by(package)
    assert package in loaded
    assert loaded & HEAVY[package] == set()
