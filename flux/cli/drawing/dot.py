"""A picture as text in DOT, the language of Graphviz."""

from collections.abc import Iterator, Mapping

from flux.cli.drawing.colours import COLOURS, PLAIN
from flux.cli.drawing.picture import Edge, Node, Picture

_SHAPES: Mapping[str, str] = {
    "step": "box",
    "wait": "hexagon",
    "sleep": "hexagon",
    "branch": "diamond",
    "map": "box3d",
    "child": "component",
}
_FONT = 'fontname="Arial"'


def dot(picture: Picture) -> str:
    """The text of the picture, line by line."""
    return "".join(f"{line}\n" for line in _lines(picture))


def _lines(picture: Picture) -> Iterator[str]:
    title = quoted(picture.title)
    yield f"digraph {title} {{"
    yield f"    graph [label={title}, labelloc=t, {_FONT}, fontsize=16]"
    yield f"    node [{_FONT}, fontsize=12, margin=0.15]"
    yield f"    edge [{_FONT}, fontsize=10]"
    for node in picture.nodes:
        yield f"    {quoted(node.name)} [{_looks(node)}]"
    for edge in picture.edges:
        yield f"    {quoted(edge.source)} -> {quoted(edge.target)}{_line(edge)}"
    for number, cluster in enumerate(picture.clusters, start=1):
        yield f"    subgraph cluster_{number} {{"
        yield f"        graph [label={quoted(cluster.title)}, style=rounded, fontsize=12]"
        yield from (f"        {quoted(name)}" for name in cluster.names)
        yield "    }"
    yield "}"


def _looks(node: Node) -> str:
    colour = PLAIN if node.status is None else COLOURS[node.status]
    style = "rounded,filled" if node.kind == "step" else "filled"
    looks = {
        "label": quoted(*node.lines),
        "shape": _SHAPES[node.kind],
        "style": f'"{style}"',
        "fillcolor": f'"{colour.fill}"',
        "color": f'"{colour.border}"',
    }
    if node.commit:
        looks["peripheries"] = "2"
    return ", ".join(f"{name}={value}" for name, value in looks.items())


def _line(edge: Edge) -> str:
    looks = [f"label={quoted(edge.label)}"] if edge.label else []
    if edge.kind == "failure":
        looks.append('style=dashed, color="#b91c1c"')
    return f" [{', '.join(looks)}]" if looks else ""


def quoted(*lines: str) -> str:
    """Lines as one quoted text, in which nothing is an escape or an entity but what is meant so."""
    return '"' + "\\n".join(map(_escaped, lines)) + '"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
