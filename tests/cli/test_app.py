"""What `--app module:attribute` may name, and what is said of what it may not."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flux.cli.app import AppError, load_app

HEAD = """
from flux import Workflow
order = Workflow("order").step("ship", print)
refund = Workflow("refund").step("pay", print)
"""

WriteApp = Callable[[str], None]


@pytest.fixture
def write_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteApp]:
    """Writes the module `some_app` into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write_app(text: str) -> None:
        (tmp_path / "some_app.py").write_text(HEAD + text)

    yield write_app
    sys.modules.pop("some_app", None)


@pytest.mark.parametrize(
    ("text", "attribute", "names"),
    [
        ("", "order", ["order"]),
        ("all = [order, refund.build()]", "all", ["order", "refund"]),
        ("all = (order, refund)", "all", ["order", "refund"]),
        ("def all(): return [refund]", "all", ["refund"]),
        ("class Shop: flows = [order]", "Shop.flows", ["order"]),
    ],
    ids=["workflow", "list", "tuple", "function", "dotted"],
)
def test_workflows_are_found(
    write_app: WriteApp, text: str, attribute: str, names: list[str]
) -> None:
    """A workflow, several of them, or a function that returns them."""
    write_app(text)
    assert [workflow.name for workflow in load_app(f"some_app:{attribute}")] == names


@pytest.mark.parametrize(
    "name", ["some_app", "some_app:", ":order", "some-app:order", "some_app:a b", "", "a:b:c"]
)
def test_other_names_are_refused(write_app: WriteApp, name: str) -> None:
    """The message shows how it is written."""
    write_app("")
    with pytest.raises(AppError, match="write module:attribute, as in shop:workflows"):
        load_app(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody:order", "there is no module 'nobody' in the working directory"),
        ("some_app.inner:order", "there is no module 'some_app.inner'"),
        ("some_app:nothing", "'nothing' is not there: some_app has no 'nothing'"),
        ("some_app:order.nothing", "'order.nothing' is not there"),
        ("some_app:HEAD", "some_app:HEAD holds 7; give a Workflow"),
        ("some_app:mixed", "some_app:mixed holds 'refund'; give a Workflow"),
        ("some_app:empty", "some_app:empty is empty"),
        ("some_app:same", "another workflow 'order' of version '1' is registered already"),
        ("some_app:unbuilt", "workflow 'unbuilt' cannot be built"),
        ("some_app:fails", r"the call of some_app:fails failed: KeyError: 'key' \(.*some_app.py, "),
        ("some_app:wants", "the call of some_app:wants failed: TypeError"),
    ],
)
def test_what_is_wrong_is_told(write_app: WriteApp, name: str, said: str) -> None:
    """The message names what was looked for, and why it will not do."""
    write_app(
        "HEAD, mixed, empty, unbuilt = 7, [order, 'refund'], [], Workflow('unbuilt')\n"
        "same = [order, Workflow('order').step('other', print)]\n"
        "def fails(): return {}['key']\n"
        "def wants(more): return order\n"
    )
    with pytest.raises(AppError, match=said):
        load_app(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", r"failed: ZeroDivisionError: division by zero \(.*some_app.py, line 6\)"),
        ("import nobody", r"failed: ModuleNotFoundError: No module named 'nobody' \(.*line 6\)"),
        ("1 +", r"failed: SyntaxError: invalid syntax \(some_app.py, line 6\)"),
    ],
)
def test_failing_import_is_told(write_app: WriteApp, text: str, said: str) -> None:
    """A module that fails is shown with error, file and line, not as one that is not there."""
    write_app("\n" + text)
    with pytest.raises(AppError, match=f"^the import of some_app {said}$"):
        load_app("some_app:order")
