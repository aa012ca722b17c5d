"""The code of docs/graph.md: what people copy can be built, and does what the page says."""

import builtins
import re
from typing import Any

import pytest

from checkout import ROOT
from families import waits_for
from flux import FluxEngine, Workflow

PAGE = (ROOT / "docs" / "graph.md").read_text()


class Names(dict[str, Any]):
    """The names of the page; those that it leaves to the reader are handlers that do nothing."""

    def __missing__(self, name: str) -> Any:
        if name.startswith("__") or hasattr(builtins, name):
            raise KeyError(name)

        def handler(ctx: Any) -> None: ...

        handler.__name__ = name
        return handler


@pytest.fixture
def names() -> Names:
    """What the page's definitions have made."""
    found = Names(Workflow=Workflow, ConnectionError=ConnectionError)
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        if "result.history" not in block:
            exec(compile(block, "docs/graph.md", "exec"), {}, found)
    return found


def test_page_s_workflows_are_built(names: Names) -> None:
    """Each workflow of the page makes sense."""
    flows = [flow for flow in names.values() if isinstance(flow, Workflow)]
    assert [flow.build().name for flow in flows] == [
        "build",
        "survey",
        "checks",
        "customs",
        "rollout",
        "pay",
        "stack",
        "setup",
    ]


def test_page_s_analysis_is_right(names: Names) -> None:
    """What the page says of its first workflow is so."""
    build = names["build"].build()
    for told in re.findall(r"^definition\.(\w+)\((.*?)\)(\.seconds)?  # (.*)$", PAGE, re.MULTILINE):
        verb, given, seconds, expected = told
        if given == "result.history":
            continue
        answer = getattr(build, verb)(*([eval(given)] if given else []))
        answer = answer.seconds if seconds else answer
        assert answer == eval(expected.split(": what")[0])


async def test_page_s_choice_is_taken(names: Names) -> None:
    """A case, no steps, and the default, as the page's cases say."""
    async with FluxEngine(workflows=[names["customs"]]) as flux:
        for country, ran in (("NL", []), ("US", ["declare", "pay_duty"]), ("JP", ["ask"])):
            result = await flux.execute("customs", {"country": country})
            done = [step.name for step in result.history if step.status == "completed"]
            assert done == ["route", *ran, "send"]


async def test_page_s_child_provisions(names: Names) -> None:
    """The child has the id that the page tells, waits by itself, and its parent goes on."""
    names["stack"].build()
    async with FluxEngine(workflows=[names["setup"]]) as flux:
        await flux.start("setup", {"customer": "kim"}, id="setup-7")
        await waits_for(flux, "approval", id="setup-7:provision:1")
        (child,) = await flux.children("setup-7")
        assert child.id == "setup-7:provision:1"
        assert (await flux.get(child.id)).parent_id == "setup-7"
        await flux.signal(child.id, "approved")
        assert (await flux.result("setup-7")).status == "completed"
