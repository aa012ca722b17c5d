"""The calls of the users' functions that one driver makes, and what happened by each."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import orjson

from flux import events
from flux.definition.nodes import Cache
from flux.definition.step import StepDefinition, step_of
from flux.engine import caching, outcome, plan
from flux.engine.attempt import Attempted, NotBegunError, goes_through
from flux.engine.children import Children
from flux.engine.context import Around, CompensationContext, WorkflowContext
from flux.engine.items import ItemList
from flux.engine.merging import data_before
from flux.engine.outcome import Answer, NotDone
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import BatchResultError, DataConflictError, HandlerCancelledError
from flux.events import AttemptEnd, Event
from flux.state.execution import Execution
from flux.state.instance import Instance


class Called(NamedTuple):
    """A call that has ended, and how."""

    action: plan.Run | plan.Verify | plan.Undo
    ctx: WorkflowContext
    attempted: Attempted

    @property
    def has_begun(self) -> bool:
        """Whether it was made; else it is to be decided anew."""
        return not isinstance(self.attempted.error, NotBegunError)


class Calls:
    """Makes the contexts, calls, and says what happened."""

    def __init__(
        self,
        services: Services,
        decided: plan.Plan,
        instance: Instance,
        *,
        watcher: Watcher,
        may_begin: Callable[[], bool],
        tell: Callable[[Event], None] | None,
        children: Children,
    ) -> None:
        self.task: asyncio.Task[Any] | None = None
        """The task in which all handlers are called; None if each has one of its own."""
        self._services = services
        self._now = services.clock.now
        self._default_retries = services.config.default_retries
        self._plan = decided
        self._sees_all = decided.definition.is_sequence
        self._instance = instance
        self._around = Around(decided.definition, instance, services.clock, services.shared)
        self._running = watcher.running
        self._may_begin = may_begin
        self._tell = tell
        self._children = children
        self._lists: dict[tuple[str, int], ItemList] = {}
        self._data_of_map: dict[str, dict[str, orjson.Fragment]] = {}

    async def make(self, action: plan.Run | plan.Verify | plan.Undo) -> Called:
        """Call the handler, the verifier or the compensator; nothing that it raises gets out."""
        step = action.step
        if step.child is not None:
            step = self._children.as_step(step, self._instance, action.execution)
        if type(action) is plan.Run:
            try:
                ctx = self.context(step, action.execution)
            except DataConflictError as conflict:
                return self._refused(action, conflict)
            if self._tell is not None:
                self._tell(events.StepStarted(at=self._now(), step=step.name, attempt=ctx.attempt))
            function = step.handler
        elif isinstance(action, plan.Undo):
            ctx = self._undo_context(step, action.execution)
            return Called(action, ctx, await self._undone(step, ctx, action.execution))
        else:
            assert step.verify is not None
            assert action.execution is not None
            ctx = self.context(step, action.execution, attempt=action.execution.attempts)
            function = step.verify
        self._running[ctx] = None
        try:
            if step.cache is None:
                attempted = await self._call(step, function, ctx, step.timeout)
            else:
                attempted = await self._call_unless_kept(step, step.cache, ctx)
        finally:
            del self._running[ctx]
        return Called(action, ctx, attempted)

    def _refused(self, action: plan.Run, conflict: DataConflictError) -> Called:
        """A call that was not made, since what came before the step cannot be merged for it."""
        ctx = self.context(action.step, action.execution, data={})
        failed = Attempted(started_at=self._now(), ended=AttemptEnd.FAILED, error=conflict)
        return Called(action, ctx, failed)

    async def _undone(
        self, step: StepDefinition, ctx: WorkflowContext, execution: Execution
    ) -> Attempted:
        assert step.compensate is not None
        if self._tell is not None:
            at, number = self._now(), execution.number
            self._tell(
                events.CompensationStarted(
                    at=at, step=execution.step, number=number, attempt=ctx.attempt
                )
            )
        return await self._call(step, step.compensate, ctx, step.compensate_timeout)

    async def ask(self, step: StepDefinition, function: Callable[[Any], Any], what: str) -> Any:
        """What a function without effects answers; raises what it raises."""
        ctx = self.context(step, self._instance.current.get(step.name))
        timeout = self._services.config.when_timeout
        return await self._services.attempts.ask(function, ctx, f"{what} {step.name!r}", timeout)

    def after(self, called: Called) -> Sequence[Event]:
        """What happened by the call."""
        action, attempted, at = called.action, called.attempted, self._now()
        step, execution = action.step, action.execution
        if step.kind == "item" and not isinstance(action, plan.Undo):
            attempted = self._checked(step, attempted)
        if type(action) is plan.Run:
            ended = outcome.after_attempt(
                step,
                execution,
                attempted,
                policy=step.retries or self._default_retries,
                at=at,
                called_off=called.ctx.was_interrupted,
            )
            return (ended,)
        assert execution is not None
        if isinstance(action, plan.Undo):
            policy = step.compensate_retries or self._default_retries
            return (outcome.after_compensation(step, execution, attempted, policy=policy, at=at),)
        if called.ctx.was_interrupted and attempted.ended is AttemptEnd.CANCELLED:
            return ()
        policy = step.retries or self._default_retries
        return outcome.after_verification(step, execution, attempted, policy=policy, at=at)

    def context(
        self,
        step: StepDefinition,
        execution: Execution | None,
        attempt: int | None = None,
        data: dict[str, orjson.Fragment] | None = None,
    ) -> WorkflowContext:
        """What the step's handler sees; `DataConflictError` if its data cannot be merged."""
        instance = self._instance
        if data is None:
            data = instance.data if self._sees_all else self._data_before(step)
        generation = execution.generation if execution else instance.generation(step.name)
        number = attempt or outcome.next_attempt(execution)
        items = None if step.kind != "item" else self._items(step)
        return WorkflowContext(self._around, step.name, number, generation, data, items)

    def _data_before(self, step: StepDefinition) -> dict[str, orjson.Fragment]:
        if step.kind != "item":
            return data_before(self._plan.definition, self._instance, step.name)
        name = step_of(step.name)
        # The items of a map all see the same.
        if name not in self._data_of_map:
            data = data_before(self._plan.definition, self._instance, name)
            self._data_of_map[name] = data
        return self._data_of_map[name]

    def _undo_context(self, step: StepDefinition, execution: Execution) -> WorkflowContext:
        attempt = outcome.next_compensation(execution)
        return CompensationContext(self._around, execution, attempt, self._items_then(execution))

    def _items(self, step: StepDefinition) -> ItemList | None:
        if step.kind != "item":
            return None
        return self._plan.items(step_of(step.name), self._instance).list

    def _items_then(self, execution: Execution) -> ItemList | None:
        """What the map ran over when it made this execution, which a restart may have replaced."""
        name = step_of(execution.step)
        if name == execution.step:
            return None
        if (name, execution.run) not in self._lists:
            expanded = (e for e in self._instance.executions.values() if e.step == name and e.items)
            then = max(expanded, key=lambda one: (one.run == execution.run, not one.replaced))
            self._lists[name, execution.run] = ItemList(then)
        return self._lists[name, execution.run]

    def _call(
        self,
        step: StepDefinition,
        function: Callable[[Any], Any],
        ctx: WorkflowContext,
        timeout: float | None,
    ) -> Coroutine[Any, Any, Attempted]:
        limit = timeout or self._services.config.default_timeout
        if step.child is not None:
            limit = None  # it has the limits of its own steps
        attempts = self._services.attempts
        return attempts.run(step, function, ctx, limit, self._may_begin, self.task)

    async def _call_unless_kept(
        self, step: StepDefinition, cache: Cache, ctx: WorkflowContext
    ) -> Attempted:
        started_at = self._now()
        try:
            made_of = self._instance.origin.input
            if cache.key is not None:
                answer = await self.ask(step, cache.key, "the key of the cache of step")
                made_of = caching.key_text(answer, "cache.key")
            key = caching.key_of(self._plan.definition, step, made_of)
        except BaseException as error:
            if goes_through(error):
                raise
            was_cancelled = isinstance(error, HandlerCancelledError)
            ended = AttemptEnd.CANCELLED if was_cancelled else AttemptEnd.FAILED
            return Attempted(started_at=started_at, ended=ended, error=error)
        kept = await caching.kept(self._services, key, started_at=started_at)
        if kept is not None:
            return kept
        if not self._may_begin():
            not_begun = NotBegunError()
            return Attempted(started_at=started_at, ended=AttemptEnd.FAILED, error=not_begun)
        attempted = await self._call(step, step.handler, ctx, step.timeout)
        await caching.keep(self._services, key, attempted, ttl=cache.ttl)
        return attempted

    def _checked(self, step: StepDefinition, attempted: Attempted) -> Attempted:
        """How the call went; that of a batch has to return one result for each item."""
        items = self._items(step)
        if items is None or not items.is_batched or attempted.ended is not None:
            return attempted
        size, found = len(items.of(step.name)[1]), attempted.value
        if isinstance(found, Answer):
            found = found.output
        is_list = isinstance(found, list | tuple) and len(found) == size
        if found is None or is_list or isinstance(found, NotDone):
            return attempted
        error = BatchResultError(step.name, size, found)
        refused = AttemptEnd.REFUSED
        return Attempted(started_at=attempted.started_at, ended=refused, error=error)
