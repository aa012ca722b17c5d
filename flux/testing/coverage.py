"""Which steps, compensators and cases of branches ran while somebody collected that."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from attrs import Factory, define

from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.observe.trace import FluxTraceEvent
from flux.testing.mocks import Script

KINDS = ("step", "compensator", "case")

DEFAULT = "default"


@define
class WorkflowCoverage:
    """The parts of one workflow: by kind, their names, and those that ran.

    `stood_in` are those for which something stood in: they count as run, and are told apart.
    """

    name: str
    parts: dict[str, list[str]] = Factory(lambda: {kind: [] for kind in KINDS})
    ran: dict[str, set[str]] = Factory(lambda: {kind: set() for kind in KINDS})
    stood_in: dict[str, set[str]] = Factory(lambda: {kind: set() for kind in KINDS})

    def missing(self, kind: str) -> Sequence[str]:
        """Those that no test ran."""
        seen = self.ran[kind] | self.stood_in[kind]
        return [part for part in self.parts[kind] if part not in seen]

    def only_stood_in(self, kind: str) -> Sequence[str]:
        """Those that no test ran but with something else in their place."""
        return [
            part
            for part in self.parts[kind]
            if part in self.stood_in[kind] and part not in self.ran[kind]
        ]

    @property
    def count(self) -> int:
        return sum(map(len, self.parts.values()))

    @property
    def covered(self) -> int:
        return self.count - sum(len(self.missing(kind)) for kind in KINDS)

    @property
    def percent(self) -> float:
        return 100.0 * self.covered / self.count

    def add(self, kind: str, part: str) -> None:
        """Know a part."""
        if part not in self.parts[kind]:
            self.parts[kind].append(part)


class Coverage:
    """What ran of the workflows that were noted; of one name, their versions count as one."""

    def __init__(self) -> None:
        self._workflows: dict[str, WorkflowCoverage] = {}

    @property
    def workflows(self) -> Sequence[WorkflowCoverage]:
        """By name."""
        return [self._workflows[name] for name in sorted(self._workflows)]

    @property
    def percent(self) -> float:
        """Of all parts of all workflows; 100 if there are none."""
        count = sum(one.count for one in self._workflows.values())
        covered = sum(one.covered for one in self._workflows.values())
        return 100.0 * covered / count if count else 100.0

    def note(self, definition: WorkflowDefinition) -> None:
        """Know a workflow, and those of its children."""
        one = self._of(definition.name)
        for step in definition.steps:
            one.add("step", step.name)
            if step.compensate is not None:
                one.add("compensator", step.name)
            if step.branch is not None:
                for case in step.branch.cases:
                    one.add("case", _case(step.name, case))
                if step.branch.default is not None:
                    one.add("case", f"{step.name}: {DEFAULT}")
        for child in definition.children:
            self.note(child)

    def heard(self, event: FluxTraceEvent, script: Script) -> None:
        """Take note of what a trace event says that ran."""
        one = self._workflows.get(event.workflow_name)
        if one is None or event.step_name is None:
            return
        step, attempt = event.step_name, (event.retries or 0) + 1
        undoes = event.type == "step:compensate_start"
        if undoes or event.type == "step:start":
            is_real = script.is_real(one.name, step, attempt, undoes=undoes)
            kind = "compensator" if undoes else "step"
            (one.ran if is_real else one.stood_in)[kind].add(step_of(step))
        elif event.type == "step:complete" and any(
            case.startswith(f"{step}: ") for case in one.parts["case"]
        ):
            ran = one.stood_in if script.is_mocked(one.name, step) else one.ran
            ran["step"].add(step)
            ran["case"].add(_chosen(one, step, event.meta.get("output")))

    def plain(self) -> dict[str, Any]:
        """All of it as values of JSON, for another process to `take`."""
        return {
            one.name: {
                "parts": one.parts,
                "ran": {kind: sorted(ran) for kind, ran in one.ran.items()},
                "stood_in": {kind: sorted(ran) for kind, ran in one.stood_in.items()},
            }
            for one in self.workflows
        }

    def take(self, plain: Mapping[str, Any]) -> None:
        """Add what another process has collected."""
        for name, told in plain.items():
            one = self._of(name)
            for kind in KINDS:
                for part in told["parts"][kind]:
                    one.add(kind, part)
                one.ran[kind].update(told["ran"][kind])
                one.stood_in[kind].update(told["stood_in"][kind])

    def _of(self, name: str) -> WorkflowCoverage:
        return self._workflows.setdefault(name, WorkflowCoverage(name))


_collecting: list[Coverage] = []


def start() -> Coverage:
    """Collect from here on what runs in every `TestEngine` of this process."""
    begun = Coverage()
    _collecting.append(begun)
    return begun


def stop(coverage: Coverage) -> None:
    """Collect that no more."""
    _collecting.remove(coverage)


def note(definition: WorkflowDefinition) -> None:
    """A test runs this workflow."""
    for coverage in _collecting:
        coverage.note(definition)


def heard(event: FluxTraceEvent, script: Script) -> None:
    """Something has happened in a `TestEngine`."""
    for coverage in _collecting:
        coverage.heard(event, script)


def _case(branch: str, case: Any) -> str:
    return f"{branch}: {orjson.dumps(case, default=str).decode()}"


def _chosen(one: WorkflowCoverage, branch: str, output: Any) -> str:
    case = _case(branch, output)
    return case if case in one.parts["case"] else f"{branch}: {DEFAULT}"
