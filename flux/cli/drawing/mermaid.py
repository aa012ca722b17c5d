"""A picture as the text of a Mermaid flowchart, as Markdown pages on many sites draw it."""

from collections.abc import Iterator, Mapping

from flux.cli.drawing.colours import COLOURS
from flux.cli.drawing.picture import Edge, Node, Picture

_SHAPES: Mapping[str, tuple[str, str]] = {
    "step": ("(", ")"),
    "wait": ("([", "])"),
    "sleep": ("([", "])"),
    "branch": ("{", "}"),
    "map": ("[/", "/]"),
    "child": ("[[", "]]"),
}
_KEPT = frozenset(" ,.-_/()")


def mermaid(picture: Picture) -> str:
    """The text of the picture, line by line."""
    ids = {node.name: f"s{number}" for number, node in enumerate(picture.nodes, start=1)}
    return "".join(f"{line}\n" for line in _lines(picture, ids))


def _lines(picture: Picture, ids: Mapping[str, str]) -> Iterator[str]:
    yield "---"
    yield f'title: "{_title(picture.title)}"'
    yield "---"
    yield "flowchart TD"
    for node in picture.nodes:
        yield f"    {ids[node.name]}{_box(node)}"
    for edge in picture.edges:
        yield f"    {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}"
    for number, cluster in enumerate(picture.clusters, start=1):
        yield f'    subgraph g{number}["{escaped(cluster.title)}"]'
        yield from (f"        {ids[name]}" for name in cluster.names)
        yield "    end"
    yield from _classes(picture, ids)


def _box(node: Node) -> str:
    opening, closing = _SHAPES[node.kind]
    return f'{opening}"{"<br/>".join(map(escaped, node.lines))}"{closing}'


def _arrow(edge: Edge) -> str:
    line = "-.->" if edge.kind == "failure" else "-->"
    return f'{line}|"{escaped(edge.label)}"|' if edge.label else line


def _classes(picture: Picture, ids: Mapping[str, str]) -> Iterator[str]:
    members: dict[str, list[str]] = {}
    for node in picture.nodes:
        if node.status is not None:
            members.setdefault(node.status, []).append(ids[node.name])
    for status, names in members.items():
        colour = COLOURS[status]
        name = status.replace(" ", "_")
        yield f"    classDef {name} fill:{colour.fill},stroke:{colour.border},color:#000"
        yield f"    class {','.join(names)} {name}"
    commits = [ids[node.name] for node in picture.nodes if node.commit]
    if commits:
        yield "    classDef commit stroke-width:3px"
        yield f"    class {','.join(commits)} commit"


def escaped(text: str) -> str:
    """Text within quotes: all that Mermaid, or HTML, could read as something else in its codes."""
    return "".join(sign if sign.isalnum() or sign in _KEPT else f"#{ord(sign)};" for sign in text)


def _title(text: str) -> str:
    """The title stands in YAML, where other rules hold."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
