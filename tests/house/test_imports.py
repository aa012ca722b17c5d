"""Who may import whom: a way through the house, and no way back."""

from collections.abc import Iterator

import pytest

from checkout import imports, modules

LEAVES = {"errors", "clock"}
VALUES = LEAVES | {"events", "definition", "storage", "state", "observe", "config", "result"}
# `flux` is its `__init__`, the names that users see; it alone may import anything.
MAY_IMPORT = {
    "errors": set[str](),
    "clock": set[str](),
    "frozen": set[str](),
    "events": LEAVES,
    "definition": LEAVES,
    "storage": LEAVES,
    "state": {"errors", "events"},
    "observe": {"errors", "clock", "events"},
    "config": {"errors", "clock", "definition", "observe"},
    "result": {"errors", "events", "state"},
    "engine": VALUES,
    "blocking": VALUES | {"engine"},
    "testing": VALUES | {"engine", "flux"},
    "cli": VALUES | {"engine", "flux", "testing"},
    "flux_storages": LEAVES | {"storage"},
}
MAY_BE_IMPORTED_BY = {
    "aiosqlite": "flux_storages.sqlite",
    "redis": "flux_storages.redis_link",
    "click": "flux.cli",
    "rich": "flux.cli",
    "hypothesis": "flux.testing.conformance",
    "pytest": "flux.testing",
}


def part_of(name: str) -> str | None:
    """The part of the house that a dotted name belongs to, None outside."""
    package, _, rest = name.partition(".")
    if package != "flux":
        return package if package in MAY_IMPORT else None
    part = rest.partition(".")[0]
    return part if part in MAY_IMPORT else "flux"


def within(name: str, scope: str) -> bool:
    return name == scope or name.startswith(f"{scope}.")


def all_imports() -> Iterator[tuple[str, str]]:
    """Pairs of a module and what it imports."""
    for module, file in modules().items():
        for imported in imports(module, file):
            yield module, imported


def test_every_module_has_its_part() -> None:
    """A module that the table does not know has no place in the house."""
    homeless = [name for name in modules() if part_of(name) == "flux" and name != "flux"]
    assert homeless == []


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_go_one_way(part: str) -> None:
    """A part imports itself and what the table gives it, nothing else of ours."""
    allowed = {part, None, "frozen"} | MAY_IMPORT[part]
    strays = [
        f"{module} imports {imported}"
        for module, imported in all_imports()
        if part_of(module) == part and part_of(imported) not in allowed
    ]
    assert strays == []


@pytest.mark.parametrize(("guest", "host"), MAY_BE_IMPORTED_BY.items())
def test_guests_have_one_host(guest: str, host: str) -> None:
    """A driver stays in its adapter, the terminal in the cli, the test tools outside of Flux."""
    strays = [
        module
        for module, imported in all_imports()
        if within(imported, guest) and not within(module, host)
    ]
    assert strays == []
