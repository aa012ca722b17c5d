"""The loop that drives one instance to its rest: decide, save, act, and again."""

import asyncio
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Protocol

from flux import events
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine import plan, settled
from flux.engine.asking import Asking
from flux.engine.attempt import goes_through
from flux.engine.beside import Beside
from flux.engine.calls import Called, Calls
from flux.engine.children import Children
from flux.engine.gates import Bound
from flux.engine.happening import Happening
from flux.engine.journal import Journal, Terms
from flux.engine.lease import HeldLease
from flux.engine.limiting import Turns, Waits
from flux.engine.lookout import Lookout, StoppedError
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import (
    CorrelationTakenError,
    EngineClosedError,
    StaleInstanceError,
    StoredError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.events import AttemptEnd, Event, Received
from flux.state.execution import Execution
from flux.state.instance import Head, Instance
from flux.state.status import Cancelling, StepStatus, WorkflowStatus

# Tuples: a union costs more to ask, on the way of every step.
_WAITS = (plan.Together, plan.Pause)
_CALLS = (plan.Run, plan.Verify, plan.Undo)
_BEGINNINGS = (plan.Run, plan.Verify)
_PLAIN = (plan.Run, plan.Undo)

_driven: ContextVar[str | None] = ContextVar("flux_driven", default=None)


def driven_here() -> str | None:
    """The id of the instance for which the code that asks is running; None outside of handlers."""
    return _driven.get()


class Keeper(Protocol):
    """Who keeps the drivers of an engine at work."""

    def replace(self, watcher: Watcher) -> None:
        """A handler that this one watches was cancelled and has not ended in its grace."""
        ...

    def call(self, id: str) -> None:
        """An instance that waits for its turn was told to look whether it has come."""
        ...

    def ended(self, driver: "Driver") -> None:
        """The driver has ended: the last that it does."""
        ...


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
        keeper: Keeper,
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
        self.has_begun = False
        """Whether its task has had its first turn."""
        self.left = asyncio.Event()
        """Set when the driver counts no more, although its handler may go on."""
        self._is_new = revision == 0
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
        self._keeper = keeper
        self.watcher = Watcher(services, self._journal, keeper.replace)
        self._lookout = Lookout(services, self._journal, self.watcher)
        self._calls = Calls(
            services,
            self._plan,
            instance,
            watcher=self.watcher,
            may_begin=self._lookout.may_still_begin,
            tell=self._journal.before_call,
            children=children,
        )
        self._children = children
        self._beside: Beside | None = None
        if not definition.is_sequence:
            self._beside = Beside(
                services,
                definition,
                self._journal,
                watcher=self.watcher,
                lookout=self._lookout,
                calls=self._calls,
            )
        self._now = self._lookout.now
        self._apply = Happening(definition, self._journal, self._beside).apply
        self._turns: Turns | None = None
        if definition.limits or instance.head.turn is not None:
            self._turns = Turns(
                services, definition, instance, ask=self._calls.ask, call=keeper.call
            )
        for event in happened:
            # Where there are limits, the instance starts when its turn has come.
            if not definition.limits or not isinstance(event, events.InstanceStarted):
                self._apply(event)

    @cached_property
    def _asking(self) -> Asking:
        # Made when it is needed: most instances need none.
        return Asking(
            self._plan,
            self.instance,
            calls=self._calls,
            now=self._now,
            apply=self._apply,
            refuse_if_cancelled=self._refuse_if_cancelled,
        )

    @property
    def intent(self) -> tuple[str, ...]:
        """The intent that was saved last."""
        return self._journal.intent

    async def drive(self) -> None:
        """Go on until the instance rests, is lost, or is given back; raises nothing of its own."""
        self.has_begun = True
        try:
            _driven.set(self.instance.id)
            self.watcher.start()
            if self._beside is None:
                self._calls.task = asyncio.current_task()
            await self._drive()
        except StoppedError:
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
            try:
                if self._beside is not None:
                    await self._beside.cancel()
            finally:
                self._keeper.ended(self)

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
            straight = None if self._journal.is_stale else self._plan.straight_on(self.instance)
            action = await self._next() if straight is None else straight
            terms = self._terms(action)
            if isinstance(action, _WAITS) and self._is_saved(terms):
                await self._act(action)
                continue
            try:
                saved = self._noted(await self._journal.save(terms))
            except UnseenSignalsError:
                # It would have ended; but the signal may be a cancel, which was in time.
                if self._before_end is not None:
                    self._journal.take_back(self._before_end)
                continue
            if saved and isinstance(action, plan.Finish):
                if self._turns is not None:
                    await self._turns.leave()
                if terms.goes_on:
                    self.is_at_rest = True
                    await self._children.tell_parent(self.instance)
                    await self._journal.give_back(wake=None)
                    return
            if not saved or not terms.goes_on:
                # A signal that came meanwhile has made it due. What comes to one at rest is sure to
                # have; a hint may be no more than the news of this very rest.
                is_rest = isinstance(action, plan.Finish)
                self.is_at_rest = saved and is_rest and not self._journal.unread
                is_due = self._journal.unread if is_rest else self._journal.is_stale
                self.due_in = 0.0 if is_due else terms.wake
                return
            await self._act(action)

    def _is_saved(self, terms: Terms) -> bool:
        """Whether the storage has it all already: it only goes on to wait."""
        return terms.goes_on and self._journal.is_clean and terms.intent == self._journal.intent

    async def _has_turn(self, turns: Turns) -> bool:
        """Whether the limits let the instance go on; else it was saved, to wait for its turn."""
        # It takes a place once others can see that it is there.
        terms = Terms((), self._services.config.lease, None)
        if self._is_new and not self._noted(await self._journal.save(terms)):
            return False
        if self._journal.is_stale:
            await self._journal.read_inbox()
        if not turns.is_wanted or self._lookout.is_turning:
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
        wake = min(waits.rest, self._lookout.seconds_to_deadline())
        self._noted(await self._journal.save(Terms((), None, wake)))
        self.due_in = 0.0 if self._journal.is_stale else wake
        return False

    def _noted(self, saved: bool) -> bool:
        """Whether it was saved; whoever waits for the first save knows then."""
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
            busy = () if self._beside is None else self._beside.busy(begin)
            action = self._plan.decide(self.instance, self._lookout.time_to_decide(), busy)
            if type(action) in _PLAIN and self._plan.is_alone:
                return action
            decided = await self._settled(action)
            if decided is None:
                continue
            if isinstance(decided, _BEGINNINGS) and not self._plan.is_alone:
                begin = (*begin, decided)
            elif isinstance(decided, plan.Together) and begin and self._lookout.is_turning:
                for one in begin:
                    self._asking.keep(one)
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
            action = await self._asking.predicate(action.step)
        if isinstance(action, plan.Reopen):
            action = self._reopen(action.step, action.execution)
        if action is None or isinstance(action, plan.ACTS):
            return action
        if isinstance(action, plan.Finish):
            await self._end(action.status)
            return action
        match action:
            case plan.Choose(step):
                await self._asking.choice(step)
            case plan.Expand(step):
                await self._asking.items(step)
            case plan.Collect(step, execution, received):
                await self._collect(step, execution, received)
            case _:
                for event in settled.at_once(action, self.instance, self._now()):
                    self._apply(event)
        return None

    async def _end(self, status: WorkflowStatus) -> None:
        if self.instance.head.cancelling is Cancelling.KEEP:
            await self._children.leave_as_they_are(self.definition, self.instance)
        self._before_end = None
        for event in settled.ended(self.instance, status, self._now()):
            self._before_end = self.instance.head
            self._apply(event)

    def _reopen(self, step: StepDefinition, past: Execution) -> plan.Action | None:
        for event in settled.reopened(step, past, self._now()):
            self._apply(event)
        execution = self.instance.current[step.name]
        if execution.status is StepStatus.FAILED:
            return None
        return plan.again(step, execution)

    def _busy(self, begin: Sequence[plan.Run | plan.Verify] = ()) -> Collection[str]:
        return () if self._beside is None else self._beside.busy(begin)

    async def _collect(
        self, step: StepDefinition, execution: Execution, received: Received
    ) -> None:
        """Take in what the step's child has come to."""
        collected = await self._children.collected(step, self.instance, execution)
        at = self._now()
        for event in settled.woken(self.instance, at):
            self._apply(event)
        self._apply(events.SignalTaken(at=at, step=step.name, received=received))
        if collected is not None:
            self._apply(collected(at=at))

    def _terms(self, action: plan.Action) -> Terms:
        lease = self._services.config.lease
        if isinstance(action, _PLAIN) and not self._services.stopping.is_set():
            return Terms((action.step.name,), lease, None)
        if isinstance(action, plan.Finish):
            until = action.until
            if action.status.is_ended and self.instance.origin.parent is not None:
                # The lease is kept until the parent was told, so that a crash before is noticed.
                return Terms((), lease, None)
            return Terms((), None, None if until is None else self._lookout.seconds_until(until))
        if isinstance(action, plan.Together) and self._busy():
            return Terms(tuple(self._busy(self._to_begin(action))), lease, None)
        if self._services.stopping.is_set():
            return Terms(
                (),
                None,
                min(self._lookout.pause_before(action), self._lookout.seconds_to_deadline()),
            )
        if isinstance(action, plan.Together):
            return Terms(tuple(self._busy(action.begin)), lease, None)
        if isinstance(action, plan.Pause):
            pause = min(
                self._lookout.seconds_until(action.until), self._lookout.seconds_to_deadline()
            )
            return Terms((), None, pause) if pause > lease else Terms((), lease, None)
        assert isinstance(action, _CALLS)
        return Terms((action.step.name,), lease, None)

    # Acting

    async def _act(self, action: plan.Action) -> None:
        if type(action) is plan.Together:
            await self._act_together(action)
        elif not self._lookout.is_clear(action) and await self._lookout.is_called_off(action):
            self._asking.keep(action)
        elif isinstance(action, _CALLS):
            called = await self._calls.make(action)
            attempted = called.attempted
            if attempted.ended is not None:
                if not called.has_begun:
                    self._asking.keep(action)
                    return
                self._refuse_if_stopped(called)
            elif called.ctx.was_interrupted:
                self._refuse_if_cancelled(attempted.error)
            for event in self._calls.after(called):
                self._apply(event)

    def _refuse_if_stopped(self, called: Called) -> None:
        attempted = called.attempted
        if isinstance(attempted.error, EngineClosedError) and self._services.stopping.is_set():
            # The handler was waiting for this very engine: that is no failure of its own.
            raise StoppedError
        if attempted.ended is AttemptEnd.CANCELLED or called.ctx.was_interrupted:
            self._refuse_if_cancelled(attempted.error)

    async def _act_together(self, action: plan.Together) -> None:
        assert self._beside is not None
        begin = self._to_begin(action)
        if begin and not await self._lookout.may_begin():
            for one in begin:
                self._asking.keep(one)
            begin = ()
        for event in await self._beside.go_on(begin, action.until):
            self._apply(event)

    def _to_begin(self, action: plan.Together) -> tuple[plan.Run | plan.Verify, ...]:
        return () if self._services.stopping.is_set() else action.begin

    def _refuse_if_cancelled(self, error: BaseException | None) -> None:
        """Go no further if the driver itself was cancelled; else forget the cancellation."""
        if self.is_cancelled:
            raise asyncio.CancelledError from error
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
