"""What has happened in a run, in order: the saves that were written, the functions called."""

from collections.abc import Iterator
from typing import Literal

from attrs import Factory, define, frozen

from flux.state.codec import decode_execution, decode_head
from flux.state.execution import Execution, idempotency_key
from flux.state.status import CompensationStatus, Direction, StepStatus, WorkflowStatus
from flux.storage import Checkpoint, Entry, Record

Kind = Literal["run", "verify", "undo"]

_RESULTS = {
    StepStatus.COMPLETED: "the result of {}",
    StepStatus.FAILED: "the failure of {}",
    StepStatus.SUSPENDED: "the wait of {}",
    StepStatus.RUNNING: "a failed attempt of {}",
}


@frozen(kw_only=True)
class Saved:
    """A save that was written, or was to be."""

    number: int
    id: str
    is_first: bool
    status: WorkflowStatus
    direction: Direction
    intent: tuple[str, ...]
    executions: tuple[Execution, ...]

    @classmethod
    def of(cls, number: int, save: Record | Checkpoint, entries: tuple[Entry, ...]) -> "Saved":
        head = decode_head(
            save.payload, status=save.status, updated_at=save.updated_at, ended_at=save.ended_at
        )
        return cls(
            number=number,
            id=save.id,
            is_first=isinstance(save, Record),
            status=head.status,
            direction=head.direction,
            intent=save.intent,
            executions=tuple(decode_execution(e.number, e.body) for e in entries),
        )

    def __str__(self) -> str:
        back = self.status is WorkflowStatus.ROLLING_BACK
        parts = ["the start"] if self.is_first else []
        parts += [_told(execution) for execution in self.executions]
        if self.status.is_rest:
            parts.append(f"the status {self.status}")
        what = " and ".join(parts) or f"the status {self.status}"
        then = " and ".join(map(repr, self.intent))
        following = f"; then {'undo ' if back else ''}{then}" if then else ""
        return f"save {self.number} of {self.id}: {what}{following}"

    def key(self, execution: Execution) -> str:
        """The idempotency key with which the execution ran."""
        return idempotency_key(self.id, execution.step, execution.generation)


@define(kw_only=True)
class Made:
    """A call of a handler, a verifier or a compensator; `key` is that of the step."""

    kind: Kind
    id: str
    step: str
    attempt: int
    key: str


@define
class Again:
    """A function that was called more than once with the same key, in these attempts."""

    kind: Kind
    step: str
    attempts: list[int] = Factory(list)

    def __str__(self) -> str:
        return f"{_VERBS[self.kind]}{self.step!r} (attempts {', '.join(map(str, self.attempts))})"


_VERBS = {"run": "", "verify": "the verifier of ", "undo": "the undoing of "}


@define
class Story:
    """One run: what happened in it, and the save at which it was struck."""

    told: list[Saved | Made] = Factory(list)
    struck: Saved | None = None
    tried: int = 0
    """How many saves were begun."""

    @property
    def saves(self) -> Iterator[Saved]:
        """The saves that were written."""
        return (one for one in self.told if isinstance(one, Saved))

    @property
    def calls(self) -> Iterator[Made]:
        """The calls that were begun."""
        return (one for one in self.told if isinstance(one, Made))

    @property
    def ids(self) -> list[str]:
        """The instances that were stored."""
        return list(dict.fromkeys(saved.id for saved in self.saves))

    def again(self) -> "list[Again]":
        """What was called more than once with one key."""
        found: dict[tuple[str, Kind], Again] = {}
        for made in self.calls:
            one = found.setdefault((made.key, made.kind), Again(made.kind, made.step))
            one.attempts.append(made.attempt)
        return [one for one in found.values() if len(one.attempts) > 1]


def _told(execution: Execution) -> str:
    name, undone = repr(execution.step), execution.compensation
    if undone is not None:
        failed = undone.status is not CompensationStatus.COMPLETED
        return f"{'a failed' if failed else 'the'} undoing of {name}"
    return _RESULTS.get(execution.status, f"{{}} {execution.status}").format(name)
