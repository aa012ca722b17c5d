"""Sub-workflows: a step that starts an instance of its own, and waits for the end of that.

Everything that goes from one to the other may be repeated after a crash: the child has the step's
idempotency key as its id, and its end is told with a signal id.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import orjson
from attrs import evolve

from flux import events
from flux.definition.registry import Registry
from flux.definition.step import StepDefinition
from flux.definition.wait import RESERVED, Wait
from flux.definition.workflow import WorkflowDefinition
from flux.engine import steering, waiting
from flux.engine.context import CompensationContext, WorkflowContext
from flux.engine.journal import first_record
from flux.engine.loading import Loaded, load, new_instance, shown
from flux.engine.services import PASSING, Services
from flux.errors import (
    ChildFailedError,
    ChildNotUndoneError,
    InstanceCancelledError,
    InstanceConflictError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    OutcomeUnknownError,
    StepTimeoutError,
    StoredError,
    TooDeepError,
)
from flux.events import DataChanges, Event
from flux.result import FluxResult
from flux.state.execution import Execution, idempotency_key
from flux.state.instance import Instance, Parent
from flux.state.status import ENDED, Direction, Outcome, WorkflowStatus
from flux.state.strict_json import json_text
from flux.storage import Signal

_ENDED = f"{RESERVED}ended:"
"""A child tells its parent of its end under this name and its own id."""

_TAKES_NO_NEWS = (*ENDED, WorkflowStatus.ROLLING_BACK, WorkflowStatus.ROLLBACK_FAILED)

_UNDONE = (WorkflowStatus.ROLLED_BACK, WorkflowStatus.CANCELLED, WorkflowStatus.FAILED)


class Host(Protocol):
    """What children need of the engine that they run in."""

    async def begin(
        self, definition: WorkflowDefinition, instance: Instance, *, is_own_id: bool
    ) -> Any: ...
    async def let_happen(
        self, verb: str, id: str, decision: steering.Decision, *, back: bool = False
    ) -> None: ...
    async def send(self, id: str, signal: Signal, *, verb: str, idle: Any = ()) -> Any: ...
    async def until_ended(self, id: str) -> FluxResult: ...


class Children:
    """Starts the children of instances, asks what became of them, and rolls them back."""

    def __init__(self, services: Services, registry: Registry, host: Host) -> None:
        self.waiting = 0
        """So many drivers only wait for children, and need no room of their own."""
        self._services = services
        self._registry = registry
        self._host = host

    def as_step(
        self, step: StepDefinition, instance: Instance, execution: Execution | None
    ) -> StepDefinition:
        """The step with what starts its child, and what undoes that."""
        start = partial(self._start, step, instance, execution)
        undo = partial(self._undo, step, instance)
        return evolve(step, handler=_Function(start), compensate=_Function(undo))

    async def collected(
        self, step: StepDefinition, instance: Instance, execution: Execution
    ) -> Callable[..., Event] | None:
        """What the step comes to by the end of its child; None if that is not its end.

        What is returned makes the event of it, once it is given the time.
        """
        id = child_id(execution)
        failed = partial(events.StepFailed, step=step.name)
        loaded = await self._child(id, instance.id)
        if loaded is None:
            return partial(failed, error=StoredError.of(InstanceNotFoundError(id)))
        if not loaded.status.is_ended:
            return None
        if loaded.status is not WorkflowStatus.COMPLETED:
            why = loaded.instance.head.error
            error = StoredError.of(ChildFailedError(step.name, id, loaded.status, why))
            return partial(failed, error=evolve(error, cause=why), is_undone=True)
        try:
            output = json_text(await self._output(step, loaded), "output")
        except Exception as refused:
            return partial(failed, error=StoredError.of(refused))
        assert execution.started_at is not None
        return partial(
            events.StepCompleted,
            step=step.name,
            started_at=execution.started_at,
            attempt=execution.attempts,
            output=output,
            changes=DataChanges(),
        )

    async def tell_parent(self, instance: Instance, again: int = 0) -> None:
        """Tell the parent of an instance that has ended, if it has one; may be repeated.

        `again` is the number of the parent's attempt that has asked, if one has.
        """
        parent = instance.origin.parent
        if parent is None:
            return
        head = instance.head
        end = f"{_ENDED}{instance.id}:{head.run}:{head.ticks}:{head.status}"
        signal = Signal(
            name=f"{_ENDED}{instance.id}",
            payload=orjson.dumps({"status": head.status}),
            sent_at=self._services.clock.now(),
            signal_id=f"{end}:{again}" if again else end,
        )
        await self._send(parent.id, signal, verb="hear", idle=_TAKES_NO_NEWS)

    async def leave_as_they_are(self, definition: WorkflowDefinition, instance: Instance) -> None:
        """Cancel what runs of the children of an instance that is cancelled without a rollback."""
        for execution in instance.executions.values():
            if execution.step not in definition or not execution.is_owed:
                continue
            step = definition.step(execution.step)
            if step.child is None or execution.outcome is Outcome.COMPLETED:
                continue
            id = idempotency_key(instance.id, execution.step, execution.generation)
            if await self._child_or_grave(id, step, instance) is not None:
                await self._cancel(id, rollback=False)

    async def _start(
        self,
        step: StepDefinition,
        parent: Instance,
        execution: Execution | None,
        ctx: WorkflowContext,
    ) -> Wait:
        assert step.child is not None
        family = self._family(step, parent)
        if family.depth > self._services.config.max_depth:
            raise TooDeepError(step.name, family.depth)
        definition = self._registry.named(step.child.workflow, step.child.version)
        given = orjson.loads(parent.origin.input)
        if step.child.input is not None:
            given = await self._answer(step.child.input, ctx, f"the input of child {step.name!r}")
        plain = definition.plain_input({} if given is None else given)
        text = json_text(plain, "input")

        async def begin() -> bool:
            child = self._new(definition, ctx.idempotency_key, text, family)
            begun = await self._host.begin(definition, child, is_own_id=False)
            return bool(begun.is_new)

        try:
            is_new = await self._services.patiently(begin, instance=parent.id)
        except PASSING as error:
            # It may have been written although nobody heard of that.
            raise OutcomeUnknownError(f"whether the child has begun is unknown: {error}") from error
        if not is_new:
            await self._go_on(definition, ctx, execution, family)
        return Wait(f"{_ENDED}{ctx.idempotency_key}")

    async def _go_on(
        self,
        definition: WorkflowDefinition,
        ctx: WorkflowContext,
        execution: Execution | None,
        family: Parent,
    ) -> None:
        """See that an existing child is this one; if a person asked for it, let it run again."""
        id = ctx.idempotency_key
        loaded = await self._load(id)
        if loaded is None or loaded.instance.origin.parent != family:
            raise InstanceConflictError(id, "is no child of this step")
        if not loaded.status.is_ended:
            return
        again = execution is not None and execution.again
        if not again or loaded.status is WorkflowStatus.COMPLETED:
            # The step may have taken the news of this end before.
            await self.tell_parent(loaded.instance, again=ctx.attempt)
        elif loaded.status is WorkflowStatus.FAILED:
            await self._host.let_happen("resume", id, steering.resumed)
        else:
            await self._host.let_happen("restart", id, steering.begun_anew)

    async def _undo(self, step: StepDefinition, parent: Instance, ctx: CompensationContext) -> None:
        """Roll the child of a step back, whatever its status, and wait for the end of that."""
        id = ctx.step_key
        with self._waits():
            while True:
                loaded = await self._child_or_grave(id, step, parent)
                if loaded is None or loaded.status in _UNDONE:
                    return
                await self._turn_back(id, loaded, ctx)
                result = await self._host.until_ended(id)
                if not result.status.is_ended:
                    raise ChildNotUndoneError(ctx.step, id, result.status)

    async def _turn_back(self, id: str, loaded: Loaded, ctx: CompensationContext) -> None:
        back = loaded.instance.head.direction is Direction.BACK
        if loaded.status is WorkflowStatus.COMPLETED:
            assert ctx.failure is not None
            wanted = steering.rolled_back(ctx.failure)
            try:
                await self._host.let_happen("roll back", id, wanted, back=True)
            except InvalidTransitionError:
                return  # somebody else turned it: look again
        elif loaded.status is WorkflowStatus.ROLLBACK_FAILED or (
            back and loaded.status is WorkflowStatus.PARKED
        ):
            raise ChildNotUndoneError(ctx.step, id, loaded.status)
        else:
            await self._cancel(id, rollback=True)

    async def _cancel(self, id: str, *, rollback: bool) -> None:
        reason = "its parent goes no further"
        request = Signal(
            name=waiting.CANCEL,
            payload=waiting.cancel_payload(rollback=rollback, reason=reason),
            sent_at=self._services.clock.now(),
        )
        await self._send(id, request, verb="be cancelled", idle=_TAKES_NO_NEWS)

    async def _send(self, id: str, signal: Signal, *, verb: str, idle: Any) -> None:
        async def send() -> None:
            with suppress(InstanceNotFoundError, InstanceEndedError):
                await self._host.send(id, signal, verb=verb, idle=idle)

        await self._services.patiently(send, instance=id)

    async def _child_or_grave(
        self, id: str, step: StepDefinition, parent: Instance
    ) -> Loaded | None:
        """The child of a step; None if there is none, and none can come any more.

        Somebody may be about to create it: a process that is cut off, or a call whose answer was
        lost. An ended instance in its place makes that come too late.
        """
        assert step.child is not None
        while True:
            found = await self._child(id, parent.id)
            if found is not None or await self._load(id) is not None:
                return found
            definition = self._registry.named(step.child.workflow, step.child.version)
            child = self._new(definition, id, b"{}", self._family(step, parent), is_real=False)
            at = self._services.clock.now()
            error = StoredError.of(InstanceCancelledError(id, "its parent went no further"))
            child.head = evolve(
                child.head, status=WorkflowStatus.CANCELLED, error=error, ended_at=at
            )
            grave = first_record(child, owner=self._services.leases.new_owner())
            create = partial(self._services.storage.create, grave)
            if await self._services.patiently(create, instance=id):
                return None

    async def _child(self, id: str, parent: str) -> Loaded | None:
        """The instance of this id if it is a child of that one."""
        loaded = await self._load(id)
        above = None if loaded is None else loaded.instance.origin.parent
        return loaded if above is not None and above.id == parent else None

    async def _load(self, id: str) -> Loaded | None:
        async def look() -> Loaded | None:
            try:
                return await load(self._services.storage, id)
            except InstanceNotFoundError:
                return None

        return await self._services.patiently(look, instance=id)

    def _new(
        self,
        definition: WorkflowDefinition,
        id: str,
        input: bytes,
        family: Parent,
        *,
        is_real: bool = True,
    ) -> Instance:
        at = self._services.clock.now()
        if is_real:
            return new_instance(definition, id=id, input=input, labels={}, at=at, parent=family)
        bare = evolve(definition, correlate_by=(), deadline=None)
        return new_instance(bare, id=id, input=input, labels={}, at=at, parent=family)

    def _family(self, step: StepDefinition, parent: Instance) -> Parent:
        above = parent.origin.parent
        return Parent(id=parent.id, step=step.name, depth=1 if above is None else above.depth + 1)

    async def _output(self, step: StepDefinition, loaded: Loaded) -> Any:
        assert step.child is not None
        known = self._registry.known(loaded.record.workflow, loaded.record.version)
        if step.child.output is not None:
            state = shown(known, loaded.instance, ())
            return await self._answer(
                step.child.output, state, f"the output of child {step.name!r}"
            )
        return orjson.loads(orjson.dumps(loaded.instance.data))

    async def _answer(self, function: Callable[[Any], Any], argument: Any, what: str) -> Any:
        """What a function without effects says, in the time of a predicate."""
        limit = self._services.config.when_timeout
        answer = function(argument)
        if not inspect.isawaitable(answer):
            return answer
        try:
            async with asyncio.timeout(limit) as within:
                return await answer
        except TimeoutError:
            if not within.expired():
                raise
            raise StepTimeoutError(what, limit) from None

    @contextmanager
    def _waits(self) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


class _Function:
    """An async function that hides what it was made of."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    async def __call__(self, ctx: Any) -> Any:
        return await self._function(ctx)


def child_id(execution: Execution) -> str:
    """The id of the child that a suspended step waits for."""
    assert execution.waiting is not None
    assert execution.waiting.signal is not None
    return execution.waiting.signal.removeprefix(_ENDED)
