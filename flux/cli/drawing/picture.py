"""What is drawn of a workflow or an instance, in whatever format."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import orjson

from flux.cli.drawing.marks import group_title, marks_of
from flux.definition.nodes import Rescue
from flux.definition.step import StepDefinition, StepKind
from flux.definition.workflow import WorkflowDefinition
from flux.frozen import frozen

EdgeKind = Literal["plain", "case", "failure"]


@frozen(kw_only=True)
class Node:
    """A step: `marks` are the lines below its name, `status` is None where nothing has happened."""

    name: str
    kind: StepKind = "step"
    commit: bool = False
    marks: tuple[str, ...] = ()
    status: str | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.name, *self.marks)


@frozen(kw_only=True)
class Edge:
    """What comes after what: always, in a case of a branch, or when a step fails."""

    source: str
    target: str
    kind: EdgeKind = "plain"
    label: str = ""


@frozen(kw_only=True)
class Cluster:
    """Steps that are bounded together."""

    title: str
    names: tuple[str, ...]


@frozen(kw_only=True)
class Picture:
    """Nodes in the order of running, the edges between them, and the groups that they are in.

    Where it shows an instance, each node has a status.
    """

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...] = ()


def picture_of(definition: WorkflowDefinition) -> Picture:
    """The picture of a workflow."""
    return Picture(
        title=f"{definition.name} {definition.version}",
        nodes=tuple(
            Node(name=step.name, kind=step.kind, commit=step.commit, marks=tuple(marks_of(step)))
            for step in definition.order
        ),
        edges=tuple(edge for step in definition.order for edge in _edges_to(definition, step)),
        clusters=tuple(_clusters(definition.order)),
    )


def picture_of_shape(title: str, shape: bytes) -> Picture:
    """The picture of what an instance remembers of its workflow: no cases, failures or groups."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    for name, kind, commit, after, *_ in orjson.loads(shape):
        marks = ("commit",) if commit else ()
        nodes.append(Node(name=name, kind=kind, commit=commit, marks=marks))
        edges += (Edge(source=source, target=name) for source in after)
    return Picture(title=title, nodes=tuple(nodes), edges=tuple(edges))


def _edges_to(definition: WorkflowDefinition, step: StepDefinition) -> Iterator[Edge]:
    stand_ins = (name for name in definition.sources[step.name] if name not in step.after)
    for name in step.after:
        yield from _declared(definition.step(name), step)
    for name in stand_ins:
        if not _rescues(definition.step(name), step):
            yield Edge(source=name, target=step.name)
    for name in definition.rescued.get(step.name, ()):
        for rescue in _rescues(definition.step(name), step):
            yield Edge(source=name, target=step.name, kind="failure", label=_failing(rescue))


def _declared(source: StepDefinition, step: StepDefinition) -> Iterator[Edge]:
    """The edge to a step from one that it is declared after, if it can ever be taken."""
    if source.branch is None:
        yield Edge(source=source.name, target=step.name)
        return
    branch = source.branch
    cases = [(_case(key), firsts) for key, firsts in branch.cases.items()]
    if branch.default is not None:
        cases.append(("otherwise", branch.default))
    is_first = step.name in branch.firsts
    keys = [key for key, firsts in cases if (step.name in firsts if is_first else not firsts)]
    if keys:
        yield Edge(source=source.name, target=step.name, kind="case", label=", ".join(keys))


def _case(key: object) -> str:
    return key if isinstance(key, str) and key.strip() and key.isprintable() else repr(key)


def _rescues(source: StepDefinition, step: StepDefinition) -> Sequence[Rescue]:
    return [rescue for rescue in source.rescues if rescue.step == step.name]


def _failing(rescue: Rescue) -> str:
    if rescue.stands_in:
        return "fallback"
    return f"on {', '.join(error.__name__ for error in rescue.errors) or 'error'}"


def _clusters(steps: Iterable[StepDefinition]) -> Iterator[Cluster]:
    names: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    for step in steps:
        if step.group is not None:
            names.setdefault(step.group.name, []).append(step.name)
            titles[step.group.name] = group_title(step.group)
    for name, members in names.items():
        yield Cluster(title=titles[name], names=tuple(members))
