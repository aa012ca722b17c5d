"""The checkout that these tests belong to: its files, its modules, its README's code.

The folder of this file is on the tests' path (`pythonpath` in pyproject.toml), so each module in it
is imported by its bare name, from any test: `from checkout import ROOT`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "flux", ROOT / "storages" / "flux_storages")


def modules() -> dict[str, Path]:
    """Every module of both packages: its dotted name and its file."""
    return {
        ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): file
        for package in PACKAGES
        for file in sorted(package.rglob("*.py"))
    }


def imports(module: str, file: Path) -> Iterator[str]:
    """What a module imports, anywhere in it, as dotted names: `from a import b` gives `a.b`."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _source(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    stem = parents[: len(parents) - node.level + 1]
    return ".".join([*stem, node.module] if node.module else stem)


def code_blocks(info: str) -> list[str]:
    """The code of README's blocks that are fenced as this info string says, in their order."""
    readme = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
