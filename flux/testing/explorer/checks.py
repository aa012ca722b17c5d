"""What must be true of every run, struck or not, by the saves and the calls in it."""

from collections.abc import Iterator

from attrs import Factory, define, frozen

from flux.state.execution import Execution
from flux.state.status import CompensationStatus, Direction, Outcome, StepStatus
from flux.testing.explorer.story import Made, Saved, Story


@frozen
class Broken:
    """A rule that a run has broken, at a step if one is to be named."""

    rule: str
    text: str
    step: str | None = None


def broken_rules(story: Story) -> list[Broken]:
    """What a run has broken, each rule once a step."""
    reading = _Reading()
    found = [broken for one in story.told for broken in reading.next(one)]
    return list(dict.fromkeys(found))


@define
class _Reading:
    """What was saved so far, as the story is read from its beginning."""

    results: dict[str, int] = Factory(dict)
    """By idempotency key, the save that holds the result of the step."""
    undone: dict[str, int] = Factory(dict)
    """By the same, the save that says that it was undone."""
    back: dict[str, int] = Factory(dict)
    """By instance, the save with which its rollback began."""
    latest: dict[str, Execution] = Factory(dict)
    """By idempotency key."""
    undoing: dict[str, tuple[str, tuple[bool, int]]] = Factory(dict)
    """By instance, what was undone last, and its place in the order of undoing."""

    def next(self, one: Saved | Made) -> Iterator[Broken]:
        if isinstance(one, Saved):
            self._saved(one)
        elif one.kind == "run":
            yield from self._run(one)
        elif one.kind == "undo":
            yield from self._undo(one)

    def _saved(self, saved: Saved) -> None:
        if saved.direction is Direction.BACK:
            self.back.setdefault(saved.id, saved.number)
        for execution in saved.executions:
            key = saved.key(execution)
            self.latest[key] = execution
            if execution.status is StepStatus.COMPLETED:
                self.results.setdefault(key, saved.number)
            undone = execution.compensation
            if undone is not None and undone.status is CompensationStatus.COMPLETED:
                self.undone.setdefault(key, saved.number)

    def _run(self, call: Made) -> Iterator[Broken]:
        if call.key in self.results:
            number = self.results[call.key]
            told = f"{call.step!r} ran again although its result was in save {number}"
            yield Broken("ran-again", told, call.step)
        if call.id in self.back:
            told = f"{call.step!r} ran after save {self.back[call.id]} had begun the rollback"
            yield Broken("forward-in-rollback", told, call.step)

    def _undo(self, call: Made) -> Iterator[Broken]:
        if call.key in self.undone:
            number = self.undone[call.key]
            told = f"{call.step!r} was undone again although save {number} said that it was undone"
            yield Broken("undone-again", told, call.step)
        execution = self.latest.get(call.key)
        if execution is None:
            return
        place = _place(execution)
        before = self.undoing.get(call.id)
        if before is not None and before[0] != call.key and before[1] < place:
            told = f"{call.step!r} was undone after {before[0].split(':')[-2]!r}, which it followed"
            yield Broken("undone-out-of-order", told, call.step)
        self.undoing[call.id] = (call.key, place)


def _place(execution: Execution) -> tuple[bool, int]:
    """What is undone first has the highest: what is unknown, then what completed last (S11)."""
    if execution.outcome is Outcome.UNKNOWN:
        return True, execution.number
    return False, execution.finished or 0
