"""`flux draw`: workflows and instances as pictures."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from flux import Cache, Retry, Workflow, WorkflowDefinition
from flux.blocking import BlockingEngine
from flux.cli.drawing.dot import dot
from flux.cli.drawing.mermaid import mermaid
from flux.cli.drawing.picture import picture_of
from flux.cli.drawing.rendering import RenderingError, rendered
from handlers import nothing

from .conftest import Ran, RunFlux

ODD = 'pay "now" & <b>then</b> \\ 100% #1; end'
APP = """
from flux import Workflow
order = Workflow("order").commit("pay", print).wait("approval", signal="approved")
refund = Workflow("refund").step("pay back", print)
both = [order, refund]
"""

Draw = Callable[..., Ran]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_flux: RunFlux) -> Draw:
    """Runs `flux draw` in a folder where `app` has two workflows."""
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text(APP)
    return lambda *arguments: run_flux("draw", *arguments)


def full() -> WorkflowDefinition:
    """A workflow with everything that is drawn in its own way."""
    flow = Workflow("order")
    flow.commit("pay", nothing, fallback="invoice", at_most_once=True).step("invoice", nothing)
    flow.branch("route", on=nothing, cases={"eu": ("vat", nothing), "us": None})
    flow.parallel("checks", [("fraud", nothing), ("stock", nothing)], concurrency=2)
    flow.map("deploy", over=nothing, handler=nothing, concurrency=3)
    flow.child("provision", Workflow("stack").step("make", nothing))
    flow.on_error(nothing, steps="deploy", errors=(KeyError, OSError), name="tell")
    return flow.build()


def names_in(text: str) -> dict[str, str]:
    """By its id in a Mermaid text, the name of each step."""
    return dict(re.findall(r'^    (s\d+)[(\[{/]+"(.*?)[<"]', text, re.MULTILINE))


def edges_in(text: str) -> set[str]:
    """The edges of a Mermaid text with the names of the steps: `pay --> ship`."""
    names = names_in(text)
    edges = re.findall(r"^    (s\d+) (\S+>)(?:\|\"(.*)\"\|)? (s\d+)$", text, re.MULTILINE)
    return {
        " ".join(filter(None, (names[source], arrow, label, names[target])))
        for source, arrow, label, target in edges
    }


def texts_in(svg: str) -> str:
    """All that is written in an SVG, a line a text."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return "\n".join("".join(text.itertext()) for text in texts)


# Workflows


def test_edges_are_drawn_by_kind() -> None:
    """Cases have their labels, failures are dashed, what follows a step follows its fallback."""
    assert edges_in(mermaid(picture_of(full()))) == {
        "pay -.-> fallback invoice",
        "pay --> route",
        "invoice --> route",
        "route --> eu vat",
        "route --> us fraud",
        "route --> us stock",
        "vat --> fraud",
        "vat --> stock",
        "fraud --> deploy",
        "stock --> deploy",
        "deploy --> provision",
        "deploy -.-> on KeyError, OSError tell",
    }


def test_default_case_is_named() -> None:
    """The edge to the default's steps says so; a key that is no printable text is quoted."""
    flow = Workflow("order")
    flow.branch("route", on=nothing, cases={"a\nb": "x", True: None, 7: None}, default="y")
    flow.step("x", nothing).step("y", nothing).step("z", nothing)
    lines = dot(picture_of(flow.build()))
    assert '"route" -> "x" [label="\'a\\\\nb\'"]' in lines
    assert '"route" -> "y" [label="otherwise"]' in lines
    assert '"route" -> "z" [label="True, 7"]' in lines


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        (mermaid, '("pay<br/>commit<br/>at most once")'),
        (mermaid, '{"route"}'),
        (mermaid, '[/"deploy<br/>for each item, 3 at once"/]'),
        (mermaid, '[["provision<br/>workflow stack"]]'),
        (mermaid, 'subgraph g1["checks (2 at once)"]\n        s5\n        s6\n    end'),
        (dot, '"pay" [label="pay\\ncommit\\nat most once", shape=box,'),
        (dot, '"route" [label="route", shape=diamond,'),
        (dot, '"deploy" [label="deploy\\nfor each item, 3 at once", shape=box3d,'),
        (dot, '"provision" [label="provision\\nworkflow stack", shape=component,'),
        (dot, "subgraph cluster_1 {"),
        (dot, 'color="#444444", peripheries=2]'),
        (dot, '"pay" -> "invoice" [label="fallback", style=dashed,'),
    ],
)
def test_steps_are_drawn_by_kind(drawn: Callable[..., str], shown: str) -> None:
    """A shape for each kind, what is special about a step below its name, a frame for a group."""
    assert shown in drawn(picture_of(full()))


@pytest.mark.parametrize(
    ("flow", "shown"),
    [
        (
            Workflow("o").wait("a", signal="paid", timeout=172_800),
            "a<br/>waits for paid, at most 2 d",
        ),
        (Workflow("o").sleep("a", 90), "a<br/>sleeps 90 s"),
        (Workflow("o").sleep("a", 0.25), "a<br/>sleeps 0.25 s"),
        (Workflow("o").step("a", nothing, when=nothing), "a<br/>if its condition holds"),
        (Workflow("o").step("a", nothing, on_error="continue"), "a<br/>goes on if it fails"),
        (Workflow("o").map("a", nothing, nothing, batch_size=50), "a<br/>for each 50 items"),
        (
            Workflow("o").step("a", nothing, pure=True, cache=Cache()),
            "a<br/>cached",
        ),
        (
            Workflow("o").step("b", nothing).step("a", nothing, after="b", join="all"),
            "a<br/>join#58; all",
        ),
        (
            Workflow("o").step("b", nothing).step("a", nothing, after="b", join=1),
            "a<br/>join#58; 1 of 1",
        ),
    ],
)
def test_marks_tell_what_is_special(flow: Workflow, shown: str) -> None:
    """A line each below the name of the step."""
    assert f'"{shown}"' in mermaid(picture_of(flow.build()))


def test_edge_that_is_never_taken_is_not_drawn() -> None:
    """Where each case has steps, nothing comes right after the branch."""
    flow = Workflow("order").branch("route", on=nothing, cases={"eu": ("vat", nothing)})
    text = mermaid(picture_of(flow.step("ship", nothing).build()))
    assert edges_in(text) == {"route --> eu vat", "vat --> ship"}


def test_group_tells_that_it_fails_fast() -> None:
    """In the title of its frame, as the bound does."""
    flow = Workflow("order").parallel("checks", [("a", nothing)], concurrency=2, fail_fast=True)
    assert '"checks (2 at once, fail fast)"' in mermaid(picture_of(flow.build()))


def test_title_is_quoted() -> None:
    """Mermaid's title stands in YAML, whose quotes and escapes it must not end."""
    text = mermaid(picture_of(Workflow('a "b" \\n').step("x", nothing).build()))
    assert text.splitlines()[1] == r'title: "a \"b\" \\n 1"'


def test_mermaid_text_is_code_free() -> None:
    """What Mermaid or HTML could take for code of theirs is written in Mermaid's own codes."""
    text = mermaid(picture_of(Workflow("order").step(ODD, nothing).build()))
    [label] = re.findall(r's1\("(.*)"\)', text)
    assert not set(label) & set('"&<>\\%`')
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) == ODD


def test_svg_shows_names_as_they_are() -> None:
    """Quotes, brackets, backslashes and what looks like an entity or an escape stay as they are."""
    names = [ODD, "a&lt;b", "\\N\\n", "tail\\", "Ärger ✓", "node"]
    flow = Workflow("order 'x' \"y\" <z>")
    for name in names:
        flow.step(name, nothing)
    drawn = texts_in(rendered(dot(picture_of(flow.build())), "svg").decode())
    assert drawn.splitlines() == ["order 'x' \"y\" <z> 1", *names]


# The command


def test_mermaid_is_printed(draw: Draw) -> None:
    """Without options the picture is Mermaid, on the standard output."""
    ran = draw("app:order")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith('---\ntitle: "order 1"\n---\nflowchart TD\n')
    assert edges_in(ran.stdout) == {"pay --> approval"}


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--output", "order.png"], b"\x89PNG\r\n"),
        (["--output", "order.SVG"], b"<?xml"),
        (["--output", "order.gv"], b'digraph "order 1" {'),
        (["--output", "order.txt"], b"---\ntitle"),
        (["--output", "order.txt", "--format", "png"], b"\x89PNG\r\n"),
    ],
)
def test_file_has_its_format(draw: Draw, options: Sequence[str], begins: bytes) -> None:
    """The format is the one given, else that of the file's name, else Mermaid."""
    ran = draw("app:order", *options)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert Path(options[1]).read_bytes().startswith(begins)


def test_one_of_several_is_chosen(draw: Draw) -> None:
    """Of several workflows one is drawn, by its name."""
    assert "pay back" in draw("app:both", "--workflow", "refund").stdout
    unsaid, unknown = draw("app:both"), draw("app:order", "app:refund", "--workflow", "x")
    assert unsaid.returncode == unknown.returncode == 2
    assert "say with --workflow which one to draw: order, refund" in unsaid.stderr
    assert "there is no workflow 'x'; there are: order, refund" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give MODULE:NAME, or --storage and --instance"),
        (
            ["--storage", "sqlite:///f.db", "--instance", "x", "--workflow", "order"],
            "--workflow is that of the instance",
        ),
        (["app"], "write module:attribute"),
        (["app:order", "--format", "gif"], "'gif'"),
        (["--instance", "order-1"], "needs both --storage and --instance"),
        (["--storage", "sqlite:///flux.db", "--instance", "x"], "'x'"),
        (["app:order", "--output", "missing/order.dot"], "No such file or directory"),
    ],
)
def test_it_says_why_it_cannot_draw(draw: Draw, arguments: Sequence[str], said: str) -> None:
    """That is exit code 2, and no picture."""
    ran = draw(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_missing_program_names_the_extra(tmp_path: Path) -> None:
    """Without a program for images, the message says how to install one."""
    with pytest.raises(RenderingError, match=re.escape("pip install 'flux-saga[draw]'")):
        rendered("digraph {}", "svg", path=str(tmp_path))


def test_program_s_complaint_is_told() -> None:
    """What the program says when it fails is passed on."""
    with pytest.raises(RenderingError, match="syntax error"):
        rendered("digraph {", "svg")


# Instances


def rests(flow: Workflow, *, input: Any = None) -> str:
    """Run an instance to its rest; its status."""
    with BlockingEngine("sqlite:///flux.db", workflows=[flow]) as flux:
        return str(flux.execute(flow, input, id="order-1").status)


def instance(draw: Draw, *arguments: str) -> str:
    """The Mermaid text of the instance."""
    ran = draw("--storage", "sqlite:///flux.db", "--instance", "order-1", *arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def statuses_in(text: str) -> dict[str, str]:
    """By step the class, and with it the colour, that a Mermaid text gives it."""
    names = names_in(text)
    classes = re.findall(r"^    class (\S+) (\w+)$", text, re.MULTILINE)
    assert {name for _, name in classes} <= set(re.findall(r"classDef (\w+) ", text))
    return {names[id]: name for ids, name in classes if name != "commit" for id in ids.split(",")}


def test_instance_is_coloured_by_status(draw: Draw) -> None:
    """Each step has the colour of its status, and says it as well."""
    assert (
        rests(Workflow("order").commit("pay", nothing).wait("approval", "approved")) == "suspended"
    )
    for text in (instance(draw), instance(draw, "app:order")):
        assert 'title: "order-1 (order 1, suspended)"' in text
        assert statuses_in(text) == {"pay": "completed", "approval": "suspended"}
        assert '"pay<br/>commit<br/>completed"' in text
        assert "suspended<br/>for approved" in text


def test_unlike_ends_are_told_apart(draw: Draw) -> None:
    """Left out is not skipped, undone not completed, and what was never reached is neither."""
    flow = Workflow("order").step("pay", nothing, compensate=nothing)
    flow.step("gift", nothing, when=lambda ctx: False)
    flow.branch("route", on=lambda ctx: "eu", cases={"eu": ("vat", fail), "us": ("tax", nothing)})
    assert rests(flow.step("ship", nothing)) == "rolled_back"
    assert statuses_in(instance(draw)) == {
        "pay": "compensated",
        "gift": "skipped",
        "route": "completed",
        "vat": "failed",
        "tax": "left_out",
        "ship": "not_reached",
    }


def test_handled_failure_is_drawn(draw: Draw) -> None:
    """The edge to what ran since is there, even without the workflow at hand."""
    flow = Workflow("order").step("invoice", nothing)
    flow.step("card", fail, retries=Retry(1, initial=0), fallback="invoice", after=())
    assert rests(flow.step("ship", fail, on_error="continue")) == "completed"
    text = instance(draw)
    assert "card -.-> failed invoice" in edges_in(text)
    assert "card<br/>failed<br/>2 attempts<br/>handled by invoice" in text
    assert "ship<br/>failed<br/>and went on" in text


def test_items_are_counted(draw: Draw) -> None:
    """Thousands of items are one node, with how many have which status."""
    flow = Workflow("order")
    flow.map("deploy", lambda ctx: list(range(2000)), odd_ones_fail, on_item_failure="continue")
    assert rests(flow) == "completed"
    text = instance(draw)
    assert re.findall(r'\[/"(.*)"/\]', text) == [
        "deploy<br/>completed<br/>1,998 completed, 2 failed"
    ]
    assert len(text.splitlines()) < 10


def test_changed_workflow_is_refused(draw: Draw) -> None:
    """An instance that no longer fits the code is not drawn as if it did."""
    assert (
        rests(Workflow("order").step("weigh", nothing).wait("approval", "approved")) == "suspended"
    )
    ran = draw("app:order", "--storage", "sqlite:///flux.db", "--instance", "order-1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "'weigh' was begun and is no longer there" in ran.stderr
    assert "without MODULE:NAME it is drawn as it was begun" in ran.stderr


def test_running_instance_is_drawn(draw: Draw) -> None:
    """It may be drawn while it is driven: what runs is shown so."""

    def look(ctx: Any) -> str:
        return instance(draw)

    flow = Workflow("order").step("pay", nothing).step("look", look).step("ship", nothing)
    with BlockingEngine("sqlite:///flux.db", workflows=[flow]) as flux:
        seen = flux.execute(flow, id="order-1").state.step("look")
    assert seen is not None
    expected = {"pay": "completed", "look": "running", "ship": "not_reached"}
    assert statuses_in(seen.output) == expected


def fail(ctx: object) -> None:
    raise ValueError("no")


def odd_ones_fail(ctx: Any) -> None:
    if ctx.item in (7, 1999):
        fail(ctx)
