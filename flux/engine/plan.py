"""What should happen and what has happened, to what happens next. Pure.

This is where `definition` and `state` meet. The actions are values: `loop` alone acts on them.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import cached_property

import orjson

from flux.definition.step import StepDefinition, step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine import waiting
from flux.engine.compensation import compensator_of, owed
from flux.engine.frontier import Frontier
from flux.engine.items import ItemList, Items, first_failed, open_items
from flux.events import Received
from flux.frozen import frozen, unguarded
from flux.state.execution import Execution
from flux.state.instance import Instance
from flux.state.status import (
    UNSETTLED,
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
)


@frozen
class Ask:
    """Ask the predicate of the step just reached."""

    step: StepDefinition


@unguarded
class Run:
    """Run the handler; `execution` is what its earlier attempts left, if there were any."""

    step: StepDefinition
    execution: Execution | None = None


@frozen
class Verify:
    """Ask the verifier whether the interrupted step has acted."""

    step: StepDefinition
    execution: Execution


@frozen
class Choose:
    """Ask a branch which of its cases is to run."""

    step: StepDefinition


@frozen
class Expand:
    """Ask a map for the list that it runs over."""

    step: StepDefinition


@frozen
class Gather:
    """All items of a map have ended: it has its result."""

    step: StepDefinition
    execution: Execution
    output: bytes


@frozen
class FailMap:
    """An item of a map has failed, and with it the map; `open_items` go no further."""

    step: StepDefinition
    failed: Execution
    open_items: tuple[str, ...]


@frozen
class FailJoin:
    """So many of the steps before it never ran that its join can never be met."""

    step: StepDefinition
    missing: tuple[str, ...]


@frozen
class FailAgain:
    """A step that failed stands in the way, though others were tried again."""

    step: StepDefinition
    execution: Execution


@frozen
class LeaveOut:
    """A branch chose another case than the one with this step."""

    step: StepDefinition


@frozen
class Close:
    """Something failed for good: what waits goes no further."""


@frozen
class Pause:
    """Wait for the next attempt, or for what else comes first, without an intent."""

    until: datetime


@frozen
class Together:
    """Begin these, beside those that run; without any, wait for what runs, or until that time."""

    begin: "tuple[Run | Verify, ...]"
    until: datetime | None = None


@frozen
class Replay:
    """Let a committed execution from before a restart stand."""

    step: StepDefinition
    execution: Execution


@frozen
class Reopen:
    """Go on with an unfinished execution from before a restart."""

    step: StepDefinition
    execution: Execution


@frozen
class Take:
    """The signal that the step waits for is there."""

    step: StepDefinition
    execution: Execution
    received: Received


@frozen
class Collect:
    """The child of the step has told of its end."""

    step: StepDefinition
    execution: Execution
    received: Received


@frozen
class TimeOut:
    """The time that the step waits for, or may wait, is over."""

    step: StepDefinition
    execution: Execution


@frozen
class Heed:
    """Somebody asked for the instance to be paused or cancelled."""

    request: Received


@frozen
class MissDeadline:
    """The instance should have ended by now."""


@unguarded
class Undo:
    """Run the compensator of this execution."""

    step: StepDefinition
    execution: Execution


@frozen
class BeginRollback:
    """Turn back: there is something to undo."""


@unguarded
class Finish:
    """Nothing is left to do for now: the instance rests like this, at the longest `until`."""

    status: WorkflowStatus
    until: datetime | None = None


Action = (
    Ask
    | Run
    | Verify
    | Choose
    | Expand
    | Gather
    | FailMap
    | FailJoin
    | FailAgain
    | LeaveOut
    | Close
    | Pause
    | Together
    | Collect
    | Replay
    | Reopen
    | Take
    | TimeOut
    | Heed
    | MissDeadline
    | Undo
    | BeginRollback
    | Finish
)


class Plan:
    """Decides for one driver of one instance.

    It remembers up to where the steps are settled, and what is still to be undone, so that deciding
    costs the same at the ten thousandth step as at the first.
    """

    def __init__(
        self, definition: WorkflowDefinition, *, longest_pause: float, max_parallel: int
    ) -> None:
        self.definition = definition
        self.is_alone = True
        """Whether what was decided last is all that can happen until it has happened."""
        self._longest_pause = longest_pause
        self._max_parallel = max_parallel
        self._is_sequence = definition.is_sequence
        self._place = 0
        self._maps: dict[str, Items] = {}
        self._before: dict[str, dict[int, ItemList]] = {}
        self._owed: list[int] | None = None

    @cached_property
    def _frontier(self) -> Frontier:
        # Made when it is needed: a sequence needs none.
        return Frontier(self.definition)

    def decide(
        self, instance: Instance, now: datetime, busy: Collection[str] = frozenset()
    ) -> Action:
        """What happens next, beside the handlers of `busy` that run, or are about to."""
        status = instance.head.status
        stands = status is not WorkflowStatus.RUNNING and status.is_rest
        if stands and (status.is_ended or status is WorkflowStatus.ROLLBACK_FAILED):
            return Finish(status)
        if instance.inbox and (request := waiting.first_request(instance)) is not None:
            return Together(()) if busy else Heed(request)
        if is_late(instance, now):
            return Together(()) if busy else MissDeadline()
        if stands and status is not WorkflowStatus.SUSPENDED:
            return Finish(status, deadline_of(instance))
        if instance.head.direction is Direction.BACK:
            return Together(()) if busy else self._back(instance, now)
        if self._is_sequence:
            return self._next_of_sequence(instance, now)
        steps = self._frontier.advance(instance)
        left_out = self._frontier.to_record(instance)
        if left_out is not None:
            return LeaveOut(left_out)
        if not steps:
            return Finish(WorkflowStatus.COMPLETED)
        step = steps[0]
        self.is_alone = len(steps) == 1 and step.each is None
        if self.is_alone:
            # A step that ran beside others may be the last one left.
            return Together(()) if step.name in busy else self._forward(instance, step, now)
        return self._several(instance, steps, now, busy)

    def straight_on(self, instance: Instance) -> Run | None:
        """The next step of a sequence, if nothing else can come first and nothing is to be asked.

        So go most steps. Where it says None, `decide` says what happens; else it would say this.
        """
        head = instance.head
        if head.status is not WorkflowStatus.RUNNING or head.direction is not Direction.FORWARD:
            return None
        if not self._is_sequence or instance.inbox or instance.past or instance.origin.deadline:
            return None
        step = self._reached_in_sequence(instance)
        if step is None or not step.is_plain or step.name in instance.current:
            return None
        return Run(step)

    def _next_of_sequence(self, instance: Instance, now: datetime) -> Action:
        """What the frontier would say, at less cost: a step follows on the one before it."""
        step = self._reached_in_sequence(instance)
        if step is None:
            return Finish(WorkflowStatus.COMPLETED)
        return self._forward(instance, step, now)

    def _reached_in_sequence(self, instance: Instance) -> StepDefinition | None:
        """The first step that is not settled; None if all are."""
        order, current = self.definition.order, instance.current
        while self._place < len(order):
            step = order[self._place]
            execution = current.get(step.name)
            if execution is None or not execution.is_settled:
                return step
            self._place += 1
        return None

    def items(self, step: str, instance: Instance) -> Items:
        """The items of the map of this name, which were expanded."""
        known = self._maps.get(step)
        if known is None:
            known = Items(self.definition.step(step), instance, self._max_parallel)
            self._maps[step] = known
        return known

    def reached(self, instance: Instance, step: StepDefinition) -> Action:
        """What happens to a step that is reached and whose predicate, if any, said yes."""
        if step.branch is not None:
            return Choose(step)
        if step.each is not None:
            return Expand(step)
        past = self._past(instance, step)
        if past is None or past.is_compensated:
            return Run(step)
        if past.outcome is not Outcome.COMPLETED:
            return Reopen(step, past)
        return Replay(step, past) if step.commit else Run(step)

    def _past(self, instance: Instance, step: StepDefinition) -> Execution | None:
        """What a restart set aside of the step; of an item, if it is still the same item."""
        past = instance.past.get(step.name)
        name = step_of(step.name)
        if past is None or name == step.name:
            return past
        then, now = self._list_of_then(instance, past), self._maps[name].list
        same = orjson.dumps(then.of(step.name)[1]) == orjson.dumps(now.of(step.name)[1])
        return past if same else None

    def _list_of_then(self, instance: Instance, item: Execution) -> ItemList:
        """What its map ran over when this item ran: what it was expanded to last before it."""
        name = step_of(item.step)
        if name not in self._before:
            expanded = (
                execution
                for execution in instance.executions.values()
                if execution.step == name and execution.items is not None
            )
            self._before[name] = {execution.number: ItemList(execution) for execution in expanded}
        lists = self._before[name]
        return lists[max(number for number in lists if number < item.number)]

    def _forward(self, instance: Instance, step: StepDefinition, now: datetime) -> Action:
        execution = instance.current.get(step.name)
        if step.join is not None and (missing := self._frontier.unmet(step.name)) is not None:
            return FailJoin(step, missing)
        if execution is None or execution.attempts == 0:
            unasked = execution is None or not execution.asked
            return Ask(step) if unasked and step.when else self.reached(instance, step)
        if execution.status is StepStatus.SUSPENDED:
            return self._wait(instance, step, execution, now)
        if execution.status is StepStatus.FAILED:
            return FailAgain(step, execution)
        retry_at = execution.tries.retry_at
        if self._waits(retry_at, now, at_once=step.at_most_once):
            assert retry_at is not None
            return Pause(retry_at)
        return again(step, execution)

    def _several(
        self,
        instance: Instance,
        steps: Sequence[StepDefinition],
        now: datetime,
        busy: Collection[str],
    ) -> Action:
        """What happens next where several steps are open: the first that need not wait."""
        until: datetime | None = None
        stands: list[Action] = []
        for step in self._open(instance, steps, now, busy):
            if not isinstance(step, StepDefinition):
                action = step
            elif step.name in busy:
                continue
            else:
                action = self._forward(instance, step, now)
            if isinstance(action, Pause | Finish | FailAgain):
                stands.append(action)
                until = until if isinstance(action, FailAgain) else _earlier(until, action.until)
            elif not isinstance(action, _BEGIN) or self._has_room(
                instance, action.step, steps, busy
            ):
                return action
        if busy:
            return Together((), until)
        if until is not None and any(isinstance(action, Pause) for action in stands):
            return Pause(until)
        again = (action for action in stands if isinstance(action, FailAgain))
        rest = Finish(WorkflowStatus.SUSPENDED, _earlier(until, deadline_of(instance)))
        return next(again, rest)

    def _open(
        self,
        instance: Instance,
        steps: Sequence[StepDefinition],
        now: datetime,
        busy: Collection[str],
    ) -> Iterator[StepDefinition | Action]:
        """The steps, with the items of a map in its place; or what happens to a map at once."""
        for step in steps:
            execution = instance.current.get(step.name)
            if step.each is None or execution is None or execution.items is None:
                yield step
                continue
            if execution.status is StepStatus.FAILED:
                yield step
                continue
            items = self.items(step.name, instance)
            under_way = items.under_way(instance, now)
            if items.has_failed:
                again = [name for name in under_way if _is_again(instance, name)]
                yield from (items.step_of_item(name) for name in again if name not in busy)
                if not again and not any(name in busy for name in under_way):
                    failed = first_failed(step, instance)
                    assert failed is not None
                    yield FailMap(step, failed, tuple(open_items(step, instance)))
            elif items.is_over:
                yield Gather(step, execution, items.list.output(instance))
            else:
                yield from (items.step_of_item(name) for name in under_way if name not in busy)
                if items.waiting:
                    yield Finish(WorkflowStatus.SUSPENDED, items.until)

    def _has_room(
        self,
        instance: Instance,
        step: StepDefinition,
        steps: Sequence[StepDefinition],
        busy: Collection[str],
    ) -> bool:
        """Whether one more may run: of the instance, and of the step's group, waits included."""
        if len(busy) >= self._max_parallel:
            return False
        group = step.group
        if group is None or group.concurrency is None or step.branch is not None:
            return True
        execution = instance.current.get(step.name)
        if execution is not None and execution.attempts:
            return True
        others = (one for one in steps if one.group is group and one is not step)
        under_way = sum(
            one.name in busy or (known is not None and known.attempts > 0)
            for one in others
            for known in (instance.current.get(one.name),)
        )
        return under_way < group.concurrency

    def _wait(
        self, instance: Instance, step: StepDefinition, execution: Execution, now: datetime
    ) -> Action:
        assert execution.waiting is not None
        received = waiting.arrived(instance, execution.waiting)
        if received is not None and step.child is not None:
            return Collect(step, execution, received)
        if received is not None:
            return Take(step, execution, received)
        until = execution.waiting.until
        if until is not None and until <= now:
            return TimeOut(step, execution)
        return Finish(WorkflowStatus.SUSPENDED, _earlier(until, deadline_of(instance)))

    def _back(self, instance: Instance, now: datetime) -> Action:
        if instance.head.cancelling is Cancelling.KEEP:
            return Finish(WorkflowStatus.CANCELLED)
        if self._owed is None and any(e.status in UNSETTLED for e in instance.current.values()):
            return Close()
        execution = self._first_owed(instance)
        turned = instance.head.status is WorkflowStatus.ROLLING_BACK
        if execution is None and instance.head.cancelling is not None:
            return Finish(WorkflowStatus.CANCELLED)
        if execution is None:
            return Finish(WorkflowStatus.ROLLED_BACK if turned else WorkflowStatus.FAILED)
        if not turned:
            return BeginRollback()
        step = compensator_of(self.definition, execution)
        assert step is not None
        undone = execution.compensation
        if undone is not None and undone.status is CompensationStatus.FAILED:
            return Finish(WorkflowStatus.ROLLBACK_FAILED)
        if undone is not None and self._waits(undone.retry_at, now, at_once=False):
            assert undone.retry_at is not None
            return Pause(undone.retry_at)
        return Undo(step, execution)

    def _first_owed(self, instance: Instance) -> Execution | None:
        if self._owed is None:
            self._owed = owed(self.definition, instance)
        while self._owed:
            execution = instance.executions[self._owed[-1]]
            if execution.is_owed:
                return execution
            self._owed.pop()
        return None

    def _waits(self, retry_at: datetime | None, now: datetime, *, at_once: bool) -> bool:
        """Whether the next attempt waits without an intent.

        A short back-off is waited out with the intent already saved. That of an at-most-once step
        is not, so that a crash in it is no interruption.
        """
        if retry_at is None or retry_at <= now:
            return False
        return at_once or (retry_at - now).total_seconds() > self._longest_pause


def _is_again(instance: Instance, item: str) -> bool:
    """Whether a person let the item run again, although others of its map have failed."""
    execution = instance.current.get(item)
    return execution is not None and execution.again


def again(step: StepDefinition, execution: Execution) -> Run | Verify:
    """What the next attempt of a step is."""
    return Verify(step, execution) if execution.tries.verifying else Run(step, execution)


def is_late(instance: Instance, now: datetime) -> bool:
    """Whether the instance goes forward past its deadline."""
    if instance.origin.deadline is None:
        return False
    deadline = deadline_of(instance)
    return deadline is not None and deadline <= now


def deadline_of(instance: Instance) -> datetime | None:
    """By when the instance has to end; None for never, and on the way back."""
    return instance.deadline if instance.head.direction is Direction.FORWARD else None


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    return min((time for time in (first, second) if time is not None), default=None)


_BEGIN = (Ask, Run, Verify, Reopen, Expand)
"""What takes a place beside others, or leads to it."""

ACTS = (Run, Verify, Undo, Pause, Together)
"""What the driver saves, and then does."""
