"""Up to where an instance has come in the graph of its workflow. Pure."""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Literal

import orjson

from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.events import CONTINUED
from flux.frozen import frozen
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import StepStatus


class _Edge(Enum):
    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    OPEN = "open"


@frozen
class _Settled:
    """A step that the way forward is past; `execution` is None if it never ran."""

    execution: Execution | None = None
    by_choice: bool = False
    """Whether it never ran since a branch chose another case."""


class Frontier:
    """The steps that are ready and not settled: what runs, waits, or is to begin.

    One rule serves sequences, joins, branches, fallbacks and handlers: an edge is taken or not once
    its source is settled; a step is ready when all its edges are settled and at least one is taken
    (or as many as its `join` says); a step none of whose edges was taken never runs.

    It is asked again and again while its instance goes forward, and only looks at what has changed:
    the ten thousandth step costs what the first did.
    """

    def __init__(self, definition: WorkflowDefinition) -> None:
        self._definition = definition
        self._settled: dict[str, _Settled] = {}
        self._open: dict[str, StepDefinition] = {}
        self._unmet: dict[str, tuple[str, ...]] = {}
        self._left_out: deque[StepDefinition] = deque()
        self._begun = False

    def advance(self, instance: Instance) -> Sequence[StepDefinition]:
        """The steps that are open now, in the order of the graph."""
        if not self._begun:
            self._begun = True
            entries = (s for s in self._definition.order if not self._definition.sources[s.name])
            self._open = {step.name: step for step in entries}
        current = instance.current
        looked_at = list(self._open)
        while looked_at:
            found = ((name, current.get(name)) for name in looked_at)
            settled = [(name, one) for name, one in found if one is not None and one.is_settled]
            looked_at = []
            for name, execution in settled:
                del self._open[name]
                looked_at += self._settle(name, execution)
        if len(self._open) < 2:
            return tuple(self._open.values())
        return sorted(self._open.values(), key=lambda step: self._definition.place(step.name))

    def to_record(self, instance: Instance) -> StepDefinition | None:
        """A step that a branch left out, and that is not in the history yet."""
        while self._left_out:
            if self._left_out[0].name not in instance.current:
                return self._left_out[0]
            self._left_out.popleft()
        return None

    def unmet(self, name: str) -> tuple[str, ...] | None:
        """The steps whose edges an open step misses for its join; None if it is met."""
        return self._unmet.get(name)

    def is_settled(self, name: str) -> bool:
        """Whether the way forward is past the step, or will never come to it."""
        return name in self._settled

    def _settle(self, name: str, execution: Execution) -> list[str]:
        """Take note that a step is settled; the steps that are open by that."""
        self._settled[name] = _Settled(execution)
        opened: list[str] = []
        waiting = deque((name,))
        while waiting:
            for follower in self._definition.followers[waiting.popleft()]:
                if follower in self._settled or follower in self._open:
                    continue
                step = self._definition.step(follower)
                verdict = self._verdict(step)
                if verdict is True:
                    self._open[follower] = step
                    opened.append(follower)
                elif verdict is not None:
                    self._settled[follower] = verdict
                    waiting.append(follower)
                    if verdict.by_choice:
                        self._left_out.append(step)
        return opened

    def _verdict(self, step: StepDefinition) -> "_Settled | Literal[True] | None":
        """True if the step is open, if only to fail for its join; None if that is not known."""
        edges = {source: self._edge(source, step.name) for source in step.after}
        for source in self._definition.rescued.get(step.name, ()):
            edge = self._failure_edge(source, step.name)
            if source not in edges or edge is _Edge.TAKEN:
                edges[source] = edge
        taken = sum(edge is _Edge.TAKEN for edge in edges.values())
        is_open = any(edge is _Edge.OPEN for edge in edges.values())
        if step.join is None:
            needed = 1
        else:
            needed = len(edges) if step.join == "all" else 1 if step.join == "any" else step.join
        if taken >= needed and (step.join is not None or not is_open):
            return True
        if is_open:
            return None
        if taken == 0:
            return _Settled(by_choice=self._is_left_out(step))
        missing = (source for source, edge in edges.items() if edge is _Edge.NOT_TAKEN)
        self._unmet[step.name] = tuple(missing)
        return True

    def _edge(self, source: str, target: str) -> _Edge:
        """The edge to a step that is declared to come after `source`."""
        settled = self._settled.get(source)
        if settled is None:
            return _Edge.OPEN
        execution = settled.execution
        if execution is None or execution.left_out:
            return _Edge.NOT_TAKEN
        if execution.status is StepStatus.FAILED:
            return self._edge_after_failure(source, execution, target)
        branch = self._definition.step(source).branch
        if branch is None:
            return _Edge.TAKEN
        chosen = branch.begun_by(_choice(execution)) if execution.output is not None else ()
        goes_on = target in chosen if target in branch.firsts else not chosen
        return _Edge.TAKEN if goes_on else _Edge.NOT_TAKEN

    def _edge_after_failure(self, source: str, failed: Execution, target: str) -> _Edge:
        if failed.handled_by == CONTINUED:
            return _Edge.TAKEN
        rescues = self._definition.step(source).rescues
        for rescue in rescues:
            if rescue.step == failed.handled_by and rescue.stands_in:
                return self._edge(rescue.step, target)
        return _Edge.NOT_TAKEN

    def _failure_edge(self, source: str, target: str) -> _Edge:
        """The edge to a step that runs if `source` fails."""
        settled = self._settled.get(source)
        if settled is None:
            return _Edge.OPEN
        failed = settled.execution
        handled = failed is not None and failed.status is StepStatus.FAILED
        is_taken = handled and failed is not None and failed.handled_by == target
        return _Edge.TAKEN if is_taken else _Edge.NOT_TAKEN

    def _is_left_out(self, step: StepDefinition) -> bool:
        """Whether the step never runs since a branch chose another case."""
        rescued = self._definition.rescued.get(step.name, ())
        if not step.after:
            return all(self._never_ran_by_choice(source) for source in rescued)
        return any(self._is_choice(source, step.name) for source in step.after)

    def _is_choice(self, source: str, target: str) -> bool:
        """Whether the edge was not taken since a branch chose another case."""
        if self._never_ran_by_choice(source):
            return True
        chosen = self._settled[source].execution
        has_chosen = chosen is not None and chosen.status is StepStatus.COMPLETED
        return has_chosen and target in self._firsts(source)

    def _never_ran_by_choice(self, source: str) -> bool:
        settled = self._settled[source]
        left_out = settled.execution is not None and settled.execution.left_out
        return settled.by_choice or left_out

    def _firsts(self, branch: str) -> frozenset[str]:
        found = self._definition.step(branch).branch
        return frozenset() if found is None else found.firsts


def _choice(execution: Execution) -> object:
    assert execution.output is not None
    return orjson.loads(execution.output)
