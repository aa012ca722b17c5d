"""The loop that drives one instance to its rest: decide, save, act, and again."""

import asyncio
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any

from attrs import evolve

from flux import events
from flux.definition.step import StepDefinition, step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine import outcome, plan, steering, waiting
from flux.engine.attempt import goes_through
from flux.engine.calls import Called, Calls
from flux.engine.children import Children
from flux.engine.crew import Crew
from flux.engine.gates import Bound
from flux.engine.journal import Journal, Terms
from flux.engine.lease import HeldLease
from flux.engine.limiting import Turns, Waits
from flux.engine.merging import Writers
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import (
    CorrelationTakenError,
    DataConflictError,
    DeadlineExceededError,
    EngineClosedError,
    JoinNotMetError,
    OutcomeUnknownError,
    StaleInstanceError,
    StoredError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.events import AttemptEnd, DataChanges, Event, Received
from flux.state.execution import Execution
from flux.state.instance import Head, Instance
from flux.state.status import Cancelling, Direction, Outcome, StepStatus, WorkflowStatus

_ENDS: dict[WorkflowStatus, Callable[..., Event]] = {
    WorkflowStatus.COMPLETED: events.InstanceCompleted,
    WorkflowStatus.SUSPENDED: events.InstanceSuspended,
}
_BAD_ENDS: dict[WorkflowStatus, Callable[..., Event]] = {
    WorkflowStatus.CANCELLED: events.InstanceCancelled,
    WorkflowStatus.FAILED: events.InstanceFailed,
    WorkflowStatus.ROLLED_BACK: events.InstanceRolledBack,
    WorkflowStatus.ROLLBACK_FAILED: events.RollbackFailed,
}


_WRITES = (events.StepCompleted, events.StepSuspended, events.StepReplayed)

_WAITS = (plan.Together, plan.Pause)

_NONE: Any = object()


class _StoppedError(Exception):
    """A handler can go no further, since the engine that it used has stopped."""


_driven: ContextVar[str | None] = ContextVar("flux_driven", default=None)


def driven_here() -> str | None:
    """The id of the instance for which the code that asks is running; None outside of handlers."""
    return _driven.get()


class Driver:
    """Drives one instance under one lease.

    A new instance has revision 0 and is created by the first save; one that was claimed brings its
    lease and what has happened to it since. `first_save` tells whether that save was made: False
    says that the id exists or that `error` prevented it; it is cancelled if the instance was lost
    before. At the end, `is_at_rest` is False if the instance was lost or given back, and `error` is
    what kept the driver from going on.
    """

    def __init__(
        self,
        services: Services,
        definition: WorkflowDefinition,
        instance: Instance,
        *,
        owner: str,
        revision: int = 0,
        held: HeldLease | None = None,
        happened: Sequence[Event] = (),
        children: Children,
    ) -> None:
        self.definition = definition
        self.instance = instance
        self.is_at_rest = False
        self.has_ended = False
        """Whether it drives no more, although its task may not have been cleared away."""
        self.is_cancelled = False
        """Set by whoever cancels the driver's task; else a cancellation is the handler's own."""
        self.due_in: float | None = None
        """Seconds, from the last save on, after which the instance is due again."""
        self.error: Exception | None = None
        self.first_save: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.call: Callable[[str], None] = lambda called: None
        """Called with the id of an instance that was told that its turn may have come."""
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the driver counts no more, although its handler may go on."""
        self._is_new = revision == 0
        self._has_deadline = instance.deadline is not None
        self._before_end: Head | None = None
        self._services = services
        config = services.config
        self._plan = plan.Plan(
            definition, longest_pause=config.lease, max_parallel=config.max_parallel_steps
        )
        self._journal = Journal(
            services,
            definition,
            instance,
            owner=owner,
            revision=revision,
            held=held,
        )
        self.watcher = Watcher(services, self._journal)
        self._calls = Calls(
            services,
            self._plan,
            instance,
            watcher=self.watcher,
            tell=self._journal.before_call,
            children=children,
        )
        self._children = children
        self._crew: Crew[Called | None] = Crew(self.watcher.told)
        self._stalled: dict[str, None] = {}
        self._writers: Writers | None = None
        self._turns: Turns | None = None
        if definition.limits or instance.head.turn is not None:
            self._turns = Turns(
                services, definition, instance, ask=self._calls.ask, call=self._tell_called
            )
        for event in happened:
            # Where there are limits, the instance starts when its turn has come.
            if not definition.limits or not isinstance(event, events.InstanceStarted):
                self._apply(event)

    @property
    def intent(self) -> tuple[str, ...]:
        """The intent that was saved last."""
        return self._journal.intent

    async def drive(self) -> None:
        """Go on until the instance rests, is lost, or is given back; raises nothing of its own."""
        _driven.set(self.instance.id)
        self.watcher.start()
        try:
            await self._drive()
        except _StoppedError:
            await self._journal.give_back()
        except StaleInstanceError:
            self._services.logger.warning("instance.lost", extra={"instance": self.instance.id})
        except UniqueKeyTakenError as taken:
            self.error = CorrelationTakenError(self.instance.id, taken.holder)
            await self._journal.give_back(wake=None)
        except Exception as error:
            self.error = error
            self._services.logger.exception(
                "instance.stopped", extra={"instance": self.instance.id}
            )
        finally:
            self.has_ended = True
            self.watcher.close()
            self._journal.drop_lease()
            if self.error is not None and not self.first_save.done():
                self.first_save.set_result(False)
            self.first_save.cancel()
            await self._crew.cancel()

    async def give_back(self) -> None:
        """After the driver was cancelled: let others have the instance at once."""
        if not self.is_at_rest:
            await self._journal.give_back()

    def drop_lease(self) -> None:
        """After the driver was left behind: what takes its place may claim the instance."""
        self._journal.drop_lease()

    async def _drive(self) -> None:
        if self._turns is not None and not await self._has_turn(self._turns):
            return
        while True:
            action = await self._next()
            terms = self._terms(action)
            if isinstance(action, _WAITS) and self._is_saved(terms):
                await self._act(action)
                continue
            try:
                saved = await self._save(terms)
            except UnseenSignalsError:
                # It would have ended; but the signal may be a cancel, which was in time.
                if self._before_end is not None:
                    self._journal.take_back(self._before_end)
                continue
            if saved and self._turns is not None and isinstance(action, plan.Finish):
                await self._turns.leave()
            if saved and isinstance(action, plan.Finish) and terms.goes_on:
                self.is_at_rest = True
                await self._children.tell_parent(self.instance)
                await self._journal.give_back(wake=None)
                return
            if not saved or not terms.goes_on:
                # A signal that came meanwhile has made it due.
                rests = saved and not self._journal.unread
                self.is_at_rest = rests and isinstance(action, plan.Finish)
                self.due_in = 0.0 if self._journal.is_stale else terms.wake
                return
            await self._act(action)

    def _is_saved(self, terms: Terms) -> bool:
        """Whether the storage has it all already: it only goes on to wait."""
        return terms.goes_on and self._journal.is_clean and terms.intent == self._journal.intent

    async def _has_turn(self, turns: Turns) -> bool:
        """Whether the limits let the instance go on; else it was saved, to wait for its turn."""
        # It takes a place once others can see that it is there.
        if self._is_new and not await self._save(Terms((), self._services.config.lease, None)):
            return False
        if self._journal.is_stale:
            await self._journal.read_inbox()
        if not turns.is_wanted or self._is_turning:
            for number in turns.calls:
                self._apply(events.RequestDropped(at=self._now(), number=number))
            return True
        bounds = await self._bounds(turns)
        if bounds is None:
            return True
        waits = await turns.ask(bounds)
        if waits is not None:
            return await self._wait_for_turn(turns, waits)
        self._apply(turns.admitted(bounds, self._now()))
        if self.instance.head.status is WorkflowStatus.PENDING:
            self._apply(events.InstanceStarted(at=self._now()))
        return True

    async def _bounds(self, turns: Turns) -> Sequence[Bound] | None:
        """What holds the instance up; None, and it has failed, if that cannot be told."""
        try:
            return await turns.bounds()
        except BaseException as error:
            if goes_through(error):
                raise
            self._refuse_if_cancelled(error)
            stored = StoredError.of(error)
            self._apply(events.AdmissionFailed(at=self._now(), error=stored))
            return None

    async def _wait_for_turn(self, turns: Turns, waits: Waits) -> bool:
        queued = turns.queued(waits, self._now())
        if queued is not None:
            self._apply(queued)
        wake = min(waits.rest, self._seconds_to_deadline())
        await self._save(Terms((), None, wake))
        self.due_in = 0.0 if self._journal.is_stale else wake
        return False

    def _tell_called(self, called: str) -> None:
        self.call(called)

    async def _save(self, terms: Terms) -> bool:
        saved = await self._journal.save(terms)
        if not self.first_save.done():
            self.first_save.set_result(saved)
        return saved

    # Deciding

    async def _next(self) -> plan.Action:
        """The next action that needs a save; what needs none happens on the way to it."""
        begin: tuple[plan.Run | plan.Verify, ...] = ()
        while True:
            if self._journal.is_stale:
                await self._journal.read_inbox()
            action = self._plan.decide(self.instance, self._time_to_decide(), self._busy(begin))
            if type(action) is plan.Run and self._plan.is_alone:
                return action
            decided = await self._settled(action)
            if decided is None:
                continue
            if isinstance(decided, plan.Run | plan.Verify) and not self._plan.is_alone:
                begin = (*begin, decided)
            elif isinstance(decided, plan.Together) and begin and self._is_turning:
                for one in begin:
                    self._keep_answer(one)
                begin = ()
            elif isinstance(decided, plan.Together):
                for one in begin:
                    self.instance.reserve(one.step.name)
                return plan.Together(begin, decided.until)
            else:
                return decided

    async def _settled(self, action: plan.Action | None) -> plan.Action | None:
        """The action if it needs a save; else let it happen."""
        if isinstance(action, plan.Ask):
            action = await self._ask(action.step)
        if isinstance(action, plan.Reopen):
            action = self._reopen(action.step, action.execution)
        if action is None or isinstance(action, plan.ACTS):
            return action
        if isinstance(action, plan.Finish):
            if self.instance.head.cancelling is Cancelling.KEEP:
                await self._children.leave_as_they_are(self.definition, self.instance)
            self._end(action.status)
            return action
        match action:
            case plan.Choose(step):
                await self._choose(step)
            case plan.Expand(step):
                await self._expand(step)
            case plan.Collect(step, execution, received):
                await self._collect(step, execution, received)
            case _:
                for event in list(self._at_once(action)):
                    self._apply(event)
        return None

    def _busy(self, begin: Sequence[plan.Run | plan.Verify]) -> Collection[str]:
        if not begin and not self._stalled:
            return self._crew.names
        begun = (action.step.name for action in begin)
        return dict.fromkeys((*self._crew.names, *self._stalled, *begun)).keys()

    def _at_once(self, action: plan.Action) -> Iterator[Event]:
        """What an action comes to that nobody has to be called for."""
        at = self._now()
        match action:
            case plan.Take() | plan.TimeOut():
                received = action.received if isinstance(action, plan.Take) else None
                yield from self._woken(at)
                yield from outcome.after_wait(action.step, action.execution, received, at=at)
            case plan.Close():
                assert self.instance.head.error is not None
                yield events.StepsClosed(at=at, error=self.instance.head.error)
            case plan.Heed(request):
                yield steering.heeded(self.instance, request, at)
            case plan.MissDeadline():
                late = DeadlineExceededError(self.instance.id, self.instance.deadline)
                yield events.DeadlineExceeded(at=at, error=StoredError.of(late))
            case plan.BeginRollback():
                yield events.RollbackStarted(at=at, error=self.instance.head.error)
            case _:
                yield from _in_the_graph(action, at)

    def _woken(self, at: datetime) -> Iterator[Event]:
        if self.instance.head.status is WorkflowStatus.SUSPENDED:
            yield events.InstanceResumed(at=at)

    def _end(self, status: WorkflowStatus) -> None:
        self._before_end = None
        if status is self.instance.head.status:
            return
        self._before_end = self.instance.head
        if status in _ENDS:
            self._apply(_ENDS[status](at=self._now()))
        else:
            self._apply(_BAD_ENDS[status](at=self._now(), error=self.instance.head.error))

    async def _ask(self, step: StepDefinition) -> plan.Action | None:
        assert step.when is not None
        answer = await self._answer(step, step.when, "the predicate of step", bool)
        if answer is _NONE:
            return None
        if answer:
            return self._plan.reached(self.instance, step)
        self._apply(events.StepSkipped(at=self._now(), step=step.name))
        return None

    async def _choose(self, step: StepDefinition) -> None:
        assert step.branch is not None
        value = await self._answer(step, step.branch.on, "the selector of branch")
        if value is not _NONE:
            self._apply(outcome.after_choice(step, value, at=self._now()))

    async def _expand(self, step: StepDefinition) -> None:
        assert step.each is not None
        value = await self._answer(step, step.each.over, "the list of map")
        if value is not _NONE:
            self._apply(outcome.after_expansion(step, value, at=self._now()))

    async def _collect(
        self, step: StepDefinition, execution: Execution, received: Received
    ) -> None:
        """Take in what the step's child has come to."""
        collected = await self._children.collected(step, self.instance, execution)
        at = self._now()
        for event in self._woken(at):
            self._apply(event)
        self._apply(events.SignalTaken(at=at, step=step.name, received=received))
        if collected is not None:
            self._apply(collected(at=at))

    async def _answer(
        self,
        step: StepDefinition,
        function: Callable[[Any], Any],
        what: str,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        """What a function without effects says; `_NONE`, and the step has failed, if it raised."""
        try:
            return read(await self._calls.ask(step, function, what))
        except BaseException as error:
            if goes_through(error):
                raise
            self._refuse_if_cancelled(error)
            stored = StoredError.of(error)
            self._apply(events.StepFailed(at=self._now(), step=step.name, error=stored))
            return _NONE

    def _reopen(self, step: StepDefinition, past: Execution) -> plan.Action | None:
        # A step that waited was not interrupted: a restart runs it as it runs a completed one.
        waited = past.status is StepStatus.SUSPENDED
        doubtful = step.at_most_once and past.outcome is Outcome.UNKNOWN and not waited
        verify = doubtful and step.verify is not None
        self._apply(
            events.StepReopened(at=self._now(), step=step.name, number=past.number, verify=verify)
        )
        if doubtful and not verify:
            error = OutcomeUnknownError(
                f"whether at-most-once step {step.name!r} has acted is unknown; "
                "retry_step() runs it all the same"
            )
            stored = StoredError.of(error)
            self._apply(events.StepFailed(at=self._now(), step=step.name, error=stored))
            return None
        execution = self.instance.current[step.name]
        return plan.Verify(step, execution) if verify else plan.Run(step, execution)

    def _terms(self, action: plan.Action) -> Terms:
        lease = self._services.config.lease
        if type(action) is plan.Run and not self._services.stopping.is_set():
            return Terms((action.step.name,), lease, None)
        if isinstance(action, plan.Finish):
            until = action.until
            if action.status.is_ended and self.instance.origin.parent is not None:
                # The lease is kept until the parent was told, so that a crash before is noticed.
                return Terms((), lease, None)
            return Terms((), None, None if until is None else self._seconds_until(until))
        if isinstance(action, plan.Together) and (self._crew.names or self._stalled):
            return Terms(tuple(self._busy(self._to_begin(action))), lease, None)
        if self._services.stopping.is_set():
            return Terms((), None, min(self._pause_before(action), self._seconds_to_deadline()))
        if isinstance(action, plan.Together):
            return Terms(tuple(self._busy(action.begin)), lease, None)
        if isinstance(action, plan.Pause):
            pause = min(self._seconds_until(action.until), self._seconds_to_deadline())
            return Terms((), None, pause) if pause > lease else Terms((), lease, None)
        assert isinstance(action, plan.Run | plan.Verify | plan.Undo)
        return Terms((action.step.name,), lease, None)

    # Acting

    async def _act(self, action: plan.Action) -> None:
        if type(action) is plan.Together:
            await self._act_together(action)
        elif await self._is_called_off(action):
            self._keep_answer(action)
        elif isinstance(action, plan.Run | plan.Verify | plan.Undo):
            called = await self._calls.make(action)
            attempted = called.attempted
            if attempted.ended is not None:
                self._refuse_if_stopped(called)
            elif called.ctx.was_interrupted:
                self._refuse_if_cancelled(attempted.error)
            for event in self._calls.after(called):
                self._apply(event)

    def _refuse_if_stopped(self, called: Called) -> None:
        attempted = called.attempted
        if isinstance(attempted.error, EngineClosedError) and self._services.stopping.is_set():
            # The handler was waiting for this very engine: that is no failure of its own.
            raise _StoppedError
        if attempted.ended is AttemptEnd.CANCELLED or called.ctx.was_interrupted:
            self._refuse_if_cancelled(attempted.error)

    async def _act_together(self, action: plan.Together) -> None:
        """Begin some, and wait until one of all that run has ended, or something else happens."""
        begin = self._to_begin(action)
        if begin and not await self._may_begin():
            for one in begin:
                self._keep_answer(one)
            begin = ()
        for one in begin:
            self._crew.begin(one.step.name, partial(self._attempt, one))
        if self._is_turning:
            self._crew.call_off()
        if self._crew.names and waiting.cancel_asked_for(self.instance) is not None:
            self.watcher.hear()
        if not self._crew.names:
            if self._stalled:
                raise _StoppedError
            return
        if action.until is None or self._services.stopping.is_set():
            await self.watcher.told.wait()
        else:
            await self._services.sleep(
                self._seconds_until(action.until), or_until=self.watcher.told
            )
        self.watcher.told.clear()
        for name, called in self._crew.take_ended():
            self._take_in(name, called)

    def _to_begin(self, action: plan.Together) -> tuple[plan.Run | plan.Verify, ...]:
        return () if self._services.stopping.is_set() else action.begin

    async def _may_begin(self) -> bool:
        """Whether nothing has come, since it was decided, that lets nothing more begin."""
        if self._journal.is_stale:
            await self._journal.read_inbox()
        await self._journal.ensure_lease()
        return not self._is_turning

    @property
    def _is_turning(self) -> bool:
        """Whether nothing more is to begin."""
        instance = self.instance
        if instance.head.direction is Direction.BACK:
            return True
        if instance.inbox and waiting.first_request(instance) is not None:
            return True
        return self._has_deadline and plan.is_late(instance, self._time_to_decide())

    async def _attempt(
        self, action: plan.Run | plan.Verify, called_off: asyncio.Event
    ) -> Called | None:
        """One of several calls that are made beside each other; None if it was called off.

        Nothing is awaited between the last look, at the inbox and at the lease, and the call.
        """
        while True:
            pause = self._pause_before(action)
            if pause > 0:
                await self._services.sleep(pause, or_until=called_off)
                if self._services.stopping.is_set():
                    return None
            if called_off.is_set() or self._journal.is_stale or self._is_turning:
                return None  # the driver reads the inbox, and begins it again if it still may
            if pause <= 0 and await self._journal.ensure_lease():
                return await self._calls.make(action)

    def _take_in(self, name: str, called: Called | None) -> None:
        if called is None:
            return
        error = called.attempted.error
        if isinstance(error, EngineClosedError) and self._services.stopping.is_set():
            self._stalled[name] = None
            return
        for event in self._calls.after(called):
            self._apply(event)

    def _cancel_beside(self, failed: events.StepFailed | events.DataConflictFound) -> None:
        """Cancel those that run beside what has failed, where that was asked for."""
        if self.definition.fail_fast:
            self._stop(lambda name: True)
        elif isinstance(failed, events.StepFailed) and failed.step in self.definition:
            group = self.definition.step(failed.step).group
            if group is not None and group.fail_fast:
                self._stop(lambda name: self.definition.step(name).group is group)

    def _stop(self, is_meant: Callable[[str], bool]) -> None:
        self._crew.call_off(is_meant)
        self.watcher.stop(is_meant)

    def _cancel_items(self, failed: events.StepFailed) -> None:
        """Begin no more of a map one of whose items has failed; cancel what runs, if asked to."""
        name = step_of(failed.step)
        each = self.definition.step(name).each if failed.handled_by == name else None
        if each is not None:
            self._crew.call_off(lambda other: step_of(other) == name)
        if each is not None and each.on_item_failure == "cancel":
            self.watcher.stop(lambda other: step_of(other) == name)

    async def _is_called_off(self, action: plan.Action) -> bool:
        """Wait out the back-off, if there is one; whether something else is to be done instead.

        Nothing is awaited between the last look, at the inbox and at the lease, and the call.
        """
        while not self._services.stopping.is_set():
            if self._journal.is_stale:
                self.watcher.told.clear()
                await self._journal.read_inbox()
            if self.instance.inbox and self._is_answered(action):
                return True
            if self._has_deadline and plan.is_late(self.instance, self._time_to_decide()):
                return True
            pause = self._pause_before(action)
            if pause > 0:
                await self._services.sleep(pause, or_until=self.watcher.told)
                self.watcher.told.clear()
            elif await self._journal.ensure_lease():
                return False
        return True

    def _is_answered(self, action: plan.Action) -> bool:
        """Whether a signal asks for something else; in a pause, beside waits, it may be theirs."""
        if waiting.first_request(self.instance) is not None:
            return True
        open_waits = (e.waiting for e in self.instance.current.values() if e.waiting is not None)
        return isinstance(action, plan.Pause) and any(
            waiting.arrived(self.instance, wait) is not None for wait in open_waits
        )

    def _keep_answer(self, action: plan.Action) -> None:
        """Keep a predicate's yes that was saved with an intent which will be taken back."""
        match action:
            case plan.Run(step, None) if step.when is not None:
                self._apply(events.StepReached(at=self._now(), step=step.name))

    def _refuse_if_cancelled(self, error: BaseException | None) -> None:
        """Go no further if the driver itself was cancelled; else forget the cancellation."""
        if self.is_cancelled:
            raise asyncio.CancelledError from error
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()

    # Small things

    def _apply(self, event: Event) -> None:
        if type(event) is events.StepFailed:
            self._apply_failure(event)
        elif self.definition.is_sequence or not isinstance(event, _WRITES):
            self._journal.apply(event)
        else:
            self._apply_write(event)

    def _apply_failure(self, event: events.StepFailed) -> None:
        """Let a step fail, see what handles that, and stop what is not to go on beside it."""
        event = self._handled(event)
        went_back = self.instance.head.direction is Direction.BACK
        self._journal.apply(event)
        if event.handled_by is not None:
            self._cancel_items(event)
        elif not went_back:
            self._cancel_beside(event)

    def _handled(self, event: events.StepFailed) -> events.StepFailed:
        """The failure with what runs now instead; nothing does once the instance turns back."""
        if self.instance.head.direction is Direction.BACK or event.step not in self.definition:
            return event
        handler = outcome.handler_of(self.definition.step(event.step), event)
        return event if handler is None else evolve(event, handled_by=handler)

    def _apply_write(
        self, event: events.StepCompleted | events.StepSuspended | events.StepReplayed
    ) -> None:
        """Let a step beside others write, and see whether they wrote the same."""
        if self._writers is None:
            self._writers = Writers(self.definition, self.instance)
        changes = self._changes_of(event)
        try:
            merged = None if changes is None else self._writers.add(event.step, changes)
        except DataConflictError as conflict:
            self._journal.apply(event)
            found = events.DataConflictFound(at=event.at, error=StoredError.of(conflict))
            went_back = self.instance.head.direction is Direction.BACK
            self._journal.apply(found)
            if not went_back:
                self._cancel_beside(found)
            return
        self._journal.apply(event if merged is None else evolve(event, merged=merged))

    def _changes_of(
        self, event: events.StepCompleted | events.StepSuspended | events.StepReplayed
    ) -> DataChanges | None:
        if isinstance(event, events.StepReplayed):
            return self.instance.executions[event.number].changes
        return event.changes

    def _now(self) -> datetime:
        return self._services.clock.now()

    def _time_to_decide(self) -> datetime:
        now, deadline = self._now(), self.instance.deadline
        return max(now, deadline) if deadline is not None and self.watcher.is_late else now

    def _seconds_until(self, moment: datetime) -> float:
        return max(0.0, (moment - self._now()).total_seconds())

    def _seconds_to_deadline(self) -> float:
        deadline = plan.deadline_of(self.instance)
        return math.inf if deadline is None else self._seconds_until(deadline)

    def _pause_before(self, action: plan.Action) -> float:
        retry_at: datetime | None = None
        match action:
            case plan.Pause(until):
                retry_at = until
            case plan.Run(_, execution) | plan.Verify(_, execution) if execution is not None:
                retry_at = execution.retry_at
            case plan.Undo(_, execution) if execution.compensation is not None:
                retry_at = execution.compensation.retry_at
        return 0.0 if retry_at is None else self._seconds_until(retry_at)


def _in_the_graph(action: plan.Action, at: datetime) -> Iterator[Event]:
    match action:
        case plan.Replay(step, past):
            yield events.StepReplayed(at=at, step=step.name, number=past.number)
        case plan.LeaveOut(step):
            yield events.StepLeftOut(at=at, step=step.name)
        case plan.Gather(step, execution, output):
            yield outcome.after_items(step, execution, output, at=at)
        case plan.FailMap(step, failed, open_items):
            yield from outcome.after_failed_item(step, failed, open_items, at=at)
        case plan.FailJoin(step, missing):
            unmet = StoredError.of(JoinNotMetError(step.name, step.join, missing))
            yield events.StepFailed(at=at, step=step.name, error=unmet)
        case plan.FailAgain(step, execution):
            assert execution.error is not None
            yield events.StepFailed(at=at, step=step.name, error=execution.error)
