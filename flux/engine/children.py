"""Sub-workflows: a step that starts an instance of its own, and waits for the end of that.

Everything that goes from one to the other may be repeated after a crash: the child has the step's
idempotency key as its id, and its end is told with a signal id.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from flux.engine.loading import Loaded, load, new_instance, shown
from flux.engine.services import Services
from flux.errors import (
    ChildFailedError,
    ChildNotUndoneError,
    InstanceConflictError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidTransitionError,
    StoredError,
    TooDeepError,
)
from flux.events import DataChanges, Event
from flux.result import FluxResult
from flux.state.execution import Execution, idempotency_key
from flux.state.instance import Instance, Parent
from flux.state.status import ENDED, Direction, StepStatus, WorkflowStatus
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
    async def let_happen(self, verb: str, id: str, decision: steering.Decision) -> None: ...
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
        return evolve(step, handler=_Function(start), compensate=_Function(self._undo))

    async def collected(
        self, step: StepDefinition, execution: Execution
    ) -> Callable[..., Event] | None:
        """What the step comes to by the end of its child; None if that is not its end.

        What is returned makes the event of it, once it is given the time.
        """
        id = child_id(execution)
        failed = partial(events.StepFailed, step=step.name)
        try:
            loaded = await load(self._services.storage, id)
        except InstanceNotFoundError as gone:
            return partial(failed, error=StoredError.of(gone))
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

    async def tell_parent(self, instance: Instance) -> None:
        """Tell the parent of an instance that has ended, if it has one; may be repeated."""
        parent = instance.origin.parent
        if parent is None:
            return
        signal = Signal(
            name=f"{_ENDED}{instance.id}",
            payload=orjson.dumps({"status": instance.head.status}),
            sent_at=self._services.clock.now(),
            signal_id=f"{_ENDED}{instance.id}:{instance.head.run}:{instance.head.ticks}",
        )
        try:
            await self._host.send(parent.id, signal, verb="hear", idle=_TAKES_NO_NEWS)
        except (InstanceNotFoundError, InstanceEndedError):
            return

    async def leave_as_they_are(self, definition: WorkflowDefinition, instance: Instance) -> None:
        """Cancel what runs of the children of an instance that is cancelled without a rollback."""
        for execution in instance.current.values():
            if execution.step not in definition or definition.step(execution.step).child is None:
                continue
            if execution.status is not StepStatus.COMPLETED and execution.attempts:
                await self._cancel(_id_of(instance, execution), rollback=False)

    async def _start(
        self,
        step: StepDefinition,
        parent: Instance,
        execution: Execution | None,
        ctx: WorkflowContext,
    ) -> Wait:
        assert step.child is not None
        above = parent.origin.parent
        depth = 1 if above is None else above.depth + 1
        if depth > self._services.config.max_depth:
            raise TooDeepError(step.name, depth)
        definition = self._registry.find(step.child.workflow)
        given = orjson.loads(parent.origin.input)
        if step.child.input is not None:
            given = await _answer(step.child.input, ctx)
        plain = definition.plain_input({} if given is None else given)
        child = new_instance(
            definition,
            id=ctx.idempotency_key,
            input=json_text(plain, "input"),
            labels={},
            at=self._services.clock.now(),
            parent=Parent(id=parent.id, step=step.name, depth=depth),
        )
        begun = await self._host.begin(definition, child, is_own_id=False)
        if not begun.is_new:
            await self._go_on(definition, child, execution)
        return Wait(f"{_ENDED}{child.id}")

    async def _go_on(
        self, definition: WorkflowDefinition, child: Instance, execution: Execution | None
    ) -> None:
        """See that an existing child is this one; let one that failed run again, if asked to."""
        loaded = await load(self._services.storage, child.id, history=False)
        if loaded.instance.origin.parent != child.origin.parent:
            raise InstanceConflictError(child.id, "is no child of this step")
        failed = execution.error if execution is not None else None
        if failed is None or failed.type != ChildFailedError.__name__:
            await self._tell_again(loaded)
        elif loaded.status is WorkflowStatus.FAILED:
            await self._host.let_happen("resume", child.id, steering.resumed)
        elif loaded.status in _UNDONE:
            first = definition.order[0].name
            await self._host.let_happen("restart", child.id, steering.restarted(first))
        else:
            await self._tell_again(loaded)

    async def _tell_again(self, loaded: Loaded) -> None:
        # The step that waited for its end before may have taken the news of it.
        if loaded.status.is_ended:
            await self.tell_parent(loaded.instance)

    async def _undo(self, ctx: CompensationContext) -> None:
        """Roll the child of a step back, whatever its status, and wait for the end of that."""
        id = ctx.step_key
        with self._waits():
            while True:
                try:
                    loaded = await load(self._services.storage, id, history=False)
                except InstanceNotFoundError:
                    return
                if loaded.status in _UNDONE:
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
                await self._host.let_happen("roll back", id, wanted)
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
        idle = (*ENDED, WorkflowStatus.ROLLING_BACK, WorkflowStatus.ROLLBACK_FAILED)
        try:
            await self._host.send(id, request, verb="be cancelled", idle=idle)
        except (InstanceNotFoundError, InstanceEndedError):
            return

    async def _output(self, step: StepDefinition, loaded: Loaded) -> Any:
        assert step.child is not None
        known = self._registry.known(loaded.record.workflow, loaded.record.version)
        if step.child.output is not None:
            return await _answer(step.child.output, shown(known, loaded.instance, ()))
        return orjson.loads(orjson.dumps(loaded.instance.data))

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


def _id_of(instance: Instance, execution: Execution) -> str:
    return idempotency_key(instance.id, execution.step, execution.generation)


async def _answer(function: Callable[[Any], Any], argument: Any) -> Any:
    answer = function(argument)
    return await answer if inspect.isawaitable(answer) else answer
