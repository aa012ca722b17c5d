"""The loop that drives one instance to its rest: decide, save, act, and again."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from flux import events
from flux.definition.policy import Retry
from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine import outcome, plan, steering, waiting
from flux.engine.attempt import Attempted, goes_through
from flux.engine.context import CompensationContext, WorkflowContext
from flux.engine.journal import Journal, Terms
from flux.engine.lease import HeldLease
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import (
    CorrelationTakenError,
    DeadlineExceededError,
    EngineClosedError,
    OutcomeUnknownError,
    StaleInstanceError,
    StoredError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.events import AttemptEnd, Event
from flux.state.execution import Execution, idempotency_key
from flux.state.instance import Head, Instance
from flux.state.status import Outcome, StepStatus, WorkflowStatus

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
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the driver counts no more, although its handler may go on."""
        self._has_deadline = instance.deadline is not None
        self._before_end: Head | None = None
        self._services = services
        self._plan = plan.Plan(definition, services.config.lease)
        self._journal = Journal(
            services,
            definition,
            instance,
            owner=owner,
            revision=revision,
            held=held,
        )
        self.watcher = Watcher(services, self._journal)
        for event in happened:
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

    async def give_back(self) -> None:
        """After the driver was cancelled: let others have the instance at once."""
        if not self.is_at_rest:
            await self._journal.give_back()

    def drop_lease(self) -> None:
        """After the driver was left behind: what takes its place may claim the instance."""
        self._journal.drop_lease()

    async def _drive(self) -> None:
        while True:
            action = await self._next()
            terms = self._terms(action)
            try:
                saved = await self._journal.save(terms)
            except UnseenSignalsError:
                # It would have ended; but the signal may be a cancel, which was in time.
                if self._before_end is not None:
                    self._journal.take_back(self._before_end)
                continue
            if not self.first_save.done():
                self.first_save.set_result(saved)
            if not saved or not terms.goes_on:
                # A signal that came meanwhile has made it due.
                rests = saved and not self._journal.unread
                self.is_at_rest = rests and isinstance(action, plan.Finish)
                self.due_in = 0.0 if self._journal.is_stale else terms.wake
                return
            await self._act(action)

    # Deciding

    async def _next(self) -> plan.Action:
        """The next action that needs a save; what needs none happens on the way to it."""
        while True:
            if self._journal.is_stale:
                await self._journal.read_inbox()
            action: plan.Action | None = self._plan.decide(self.instance, self._time_to_decide())
            if isinstance(action, plan.Ask):
                action = await self._ask(action.step)
            if isinstance(action, plan.Reopen):
                action = self._reopen(action.step, action.execution)
            if action is None:
                continue
            if isinstance(action, plan.ACTS):
                return action
            if isinstance(action, plan.Finish):
                self._end(action.status)
                return action
            for event in list(self._at_once(action)):
                self._apply(event)

    def _at_once(self, action: plan.Action) -> Iterator[Event]:
        """What an action comes to that nobody has to be called for."""
        at = self._now()
        match action:
            case plan.Replay(step, past):
                yield events.StepReplayed(at=at, step=step.name, number=past.number)
            case plan.Take(step, execution, received):
                yield from self._woken(at)
                yield from outcome.after_wait(step, execution, received, at=at)
            case plan.TimeOut(step, execution):
                yield from self._woken(at)
                yield from outcome.after_wait(step, execution, None, at=at)
            case plan.Heed(request):
                yield steering.heeded(self.instance, request, at)
            case plan.MissDeadline():
                late = DeadlineExceededError(self.instance.id, self.instance.deadline)
                yield events.DeadlineExceeded(at=at, error=StoredError.of(late))
            case plan.BeginRollback():
                yield events.RollbackStarted(at=at, error=self.instance.head.error)

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
        ctx = self._context(step, self.instance.current.get(step.name))
        timeout = self._services.config.when_timeout
        try:
            if await self._services.attempts.ask(step, ctx, timeout):
                return self._plan.reached(self.instance, step)
        except BaseException as error:
            if goes_through(error):
                raise
            self._refuse_if_cancelled(error)
            stored = StoredError.of(error)
            self._apply(events.StepFailed(at=self._now(), step=step.name, error=stored))
            return None
        self._apply(events.StepSkipped(at=self._now(), step=step.name))
        return None

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
        if isinstance(action, plan.Finish):
            until = action.until
            return Terms((), None, None if until is None else self._seconds_until(until))
        if self._services.stopping.is_set():
            return Terms((), None, min(self._pause_before(action), self._seconds_to_deadline()))
        if isinstance(action, plan.Pause):
            pause = min(self._seconds_until(action.until), self._seconds_to_deadline())
            return Terms((), None, pause) if pause > lease else Terms((), lease, None)
        assert isinstance(action, plan.Run | plan.Verify | plan.Undo)
        return Terms((action.step.name,), lease, None)

    # Acting

    async def _act(self, action: plan.Action) -> None:
        if await self._is_called_off(action):
            self._keep_answer(action)
            return
        match action:
            case plan.Run(step, execution):
                await self._run(step, execution)
            case plan.Verify(step, execution):
                await self._verify(step, execution)
            case plan.Undo(step, execution):
                await self._undo(step, execution)

    async def _is_called_off(self, action: plan.Action) -> bool:
        """Wait out the back-off, if there is one; whether something else is to be done instead.

        Nothing is awaited between the last look, at the inbox and at the lease, and the call.
        """
        while not self._services.stopping.is_set():
            if self._journal.is_stale:
                self.watcher.told.clear()
                await self._journal.read_inbox()
            if self.instance.inbox and waiting.first_request(self.instance) is not None:
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

    def _keep_answer(self, action: plan.Action) -> None:
        """Keep a predicate's yes that was saved with an intent which will be taken back."""
        match action:
            case plan.Run(step, None) if step.when is not None:
                self._apply(events.StepReached(at=self._now(), step=step.name))

    async def _run(self, step: StepDefinition, execution: Execution | None) -> None:
        ctx = self._context(step, execution)
        self.watcher.runs(ctx)
        self._journal.before_call(
            events.StepStarted(at=self._now(), step=step.name, attempt=ctx.attempt)
        )
        attempted = await self._call(step, step.handler, ctx, step.timeout)
        policy = self._policy(step.retries)
        self._apply(
            outcome.after_attempt(
                step,
                execution,
                attempted,
                policy=policy,
                at=self._now(),
                called_off=ctx.was_interrupted,
            )
        )

    async def _verify(self, step: StepDefinition, execution: Execution) -> None:
        assert step.verify is not None
        ctx = self._context(step, execution, attempt=execution.attempts)
        self.watcher.runs(ctx)
        attempted = await self._call(step, step.verify, ctx, step.timeout)
        policy = self._policy(step.retries)
        if ctx.was_interrupted and attempted.ended is AttemptEnd.CANCELLED:
            return
        for event in outcome.after_verification(
            step, execution, attempted, policy=policy, at=self._now()
        ):
            self._apply(event)

    async def _undo(self, step: StepDefinition, execution: Execution) -> None:
        assert step.compensate is not None
        attempt = outcome.next_compensation(execution)
        ctx = CompensationContext(
            self.definition,
            self.instance,
            execution,
            clock=self._services.clock,
            shared=self._services.shared,
            attempt=attempt,
        )
        self._journal.before_call(
            events.CompensationStarted(
                at=self._now(), step=step.name, number=execution.number, attempt=attempt
            )
        )
        attempted = await self._call(step, step.compensate, ctx, step.compensate_timeout)
        policy = self._policy(step.compensate_retries)
        self._apply(
            outcome.after_compensation(step, execution, attempted, policy=policy, at=self._now())
        )

    async def _call(
        self,
        step: StepDefinition,
        function: Callable[[Any], Any],
        ctx: WorkflowContext,
        timeout: float | None,
    ) -> Attempted:
        attempted = await self._services.attempts.run(step, function, ctx, self._timeout(timeout))
        self.watcher.runs(None)
        if isinstance(attempted.error, EngineClosedError) and self._services.stopping.is_set():
            # The handler was waiting for this very engine: that is no failure of its own.
            raise _StoppedError
        if attempted.ended is AttemptEnd.CANCELLED or ctx.was_interrupted:
            self._refuse_if_cancelled(attempted.error)
        return attempted

    def _refuse_if_cancelled(self, error: BaseException | None) -> None:
        """Go no further if the driver itself was cancelled; else forget the cancellation."""
        if self.is_cancelled:
            raise asyncio.CancelledError from error
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()

    def _context(
        self, step: StepDefinition, execution: Execution | None, attempt: int | None = None
    ) -> WorkflowContext:
        instance = self.instance
        generation = execution.generation if execution else instance.generation(step.name)
        if self.definition.sees_all(step.name):
            data = instance.data
        else:
            data = instance.data_of(self.definition.before_step(step.name))
        return WorkflowContext(
            self.definition,
            instance,
            clock=self._services.clock,
            shared=self._services.shared,
            step=step.name,
            attempt=attempt or outcome.next_attempt(execution),
            key=idempotency_key(instance.id, step.name, generation),
            data=data,
        )

    # Small things

    def _apply(self, event: Event) -> None:
        self._journal.apply(event)

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
            case plan.Pause(_, until):
                retry_at = until
            case plan.Run(_, execution) | plan.Verify(_, execution) if execution is not None:
                retry_at = execution.retry_at
            case plan.Undo(_, execution) if execution.compensation is not None:
                retry_at = execution.compensation.retry_at
        return 0.0 if retry_at is None else self._seconds_until(retry_at)

    def _policy(self, own: Retry | None) -> Retry:
        return own or self._services.config.default_retries

    def _timeout(self, own: float | None) -> float | None:
        return own or self._services.config.default_timeout
