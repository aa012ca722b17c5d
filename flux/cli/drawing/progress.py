"""How far an instance has come, drawn into the picture of its workflow."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve

from flux.cli.drawing.picture import Edge, Node, Picture
from flux.definition.step import step_of
from flux.events import CONTINUED
from flux.state.status import StepStatus
from flux.state.workflow_state import StepExecution, WorkflowState

NOT_REACHED = "not reached"
LEFT_OUT = "left out"
STATUSES = (*(str(status) for status in StepStatus), LEFT_OUT, NOT_REACHED)
"""All that a node may have as its status."""


def with_progress(picture: Picture, state: WorkflowState) -> Picture:
    """The picture with the status of each step; of the items of a map, how many have which."""
    entries = {entry.name: entry for entry in state.history}
    id = state.id if state.id.isprintable() else repr(state.id)
    items = _items_by_map(entry for entry in state.history if step_of(entry.name) != entry.name)
    return evolve(
        picture,
        title=f"{id} ({picture.title}, {state.status})",
        nodes=tuple(_reached(node, entries.get(node.name), items) for node in picture.nodes),
        edges=(*picture.edges, *_handled(picture, state)),
    )


def _handled(picture: Picture, state: WorkflowState) -> Iterator[Edge]:
    """An edge from each failed step to what ran since, where the picture has none."""
    known = {node.name for node in picture.nodes}
    drawn = {(edge.source, edge.target) for edge in picture.edges if edge.kind == "failure"}
    for entry in state.history:
        by = entry.handled_by
        if by in known and entry.name in known and (entry.name, by) not in drawn:
            yield Edge(source=entry.name, target=str(by), kind="failure", label="failed")


def _items_by_map(entries: Iterable[StepExecution]) -> Mapping[str, "Counter[str]"]:
    found: dict[str, Counter[str]] = {}
    for entry in entries:
        found.setdefault(step_of(entry.name), Counter())[status_of(entry)] += 1
    return found


def _reached(node: Node, entry: StepExecution | None, items: Mapping[str, "Counter[str]"]) -> Node:
    status = NOT_REACHED if entry is None else status_of(entry)
    marks = (*node.marks, status, *_told(entry), *_counts(items.get(node.name)))
    return evolve(node, status=status, marks=marks)


def status_of(entry: StepExecution) -> str:
    """The status of a step, with those that a branch left out told apart."""
    return LEFT_OUT if entry.left_out else str(entry.status)


def _told(entry: StepExecution | None) -> Iterator[str]:
    if entry is None:
        return
    if entry.waiting_for is not None:
        yield f"for {entry.waiting_for}"
    if entry.attempt_count > 1:
        yield f"{entry.attempt_count:,} attempts"
    if entry.handled_by is not None:
        by = entry.handled_by
        yield "and went on" if by == CONTINUED else f"handled by {by}"


def _counts(counted: "Counter[str] | None") -> Iterator[str]:
    if counted is not None:
        in_order = sorted(counted.items(), key=lambda counts: STATUSES.index(counts[0]))
        yield ", ".join(f"{count:,} {status}" for status, count in in_order)
