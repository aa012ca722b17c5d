"""The engine: its verbs, and what it keeps running behind them."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import uuid_utils
from attrs import evolve

from flux.clock import Clock, SystemClock
from flux.config import FluxConfig
from flux.definition.builder import Workflow
from flux.definition.correlation import own_labels
from flux.definition.policy import Duration, seconds
from flux.definition.registry import Registry
from flux.definition.wait import signal_name
from flux.definition.workflow import WorkflowDefinition
from flux.engine import steering, waiting
from flux.engine.addressing import Address
from flux.engine.arguments import checked_id, checked_labels, checked_reason, checked_storage
from flux.engine.attempt import Attempts
from flux.engine.diagnosis import Diagnosis
from flux.engine.heartbeat import Heartbeat
from flux.engine.lease import Leases
from flux.engine.loading import PARENT, load, new_instance, shown
from flux.engine.loop import Driver, driven_here
from flux.engine.running import Running
from flux.engine.services import Services
from flux.engine.shared import SharedStorage, check_values
from flux.engine.shared_time import SharedTime
from flux.engine.threads import Threads
from flux.errors import (
    EngineClosedError,
    InstanceConflictError,
    ResultTimeoutError,
)
from flux.observe.callbacks import Callbacks
from flux.observe.observers import Observer, Observers
from flux.result import FluxResult
from flux.state.instance import Instance
from flux.state.status import ENDED, WorkflowStatus
from flux.state.strict_json import json_text, same_json
from flux.state.workflow_state import WorkflowState
from flux.storage import (
    Signal,
    SignalReceipt,
    TimeKeeper,
    WorkflowFilter,
    WorkflowStorage,
    WorkflowSummary,
)

AnyWorkflow = Workflow | WorkflowDefinition | str

_IS_NOT_CANCELLED = (*ENDED, WorkflowStatus.ROLLING_BACK, WorkflowStatus.ROLLBACK_FAILED)
_TAKES_NO_SIGNAL = _IS_NOT_CANCELLED
_IS_NOT_PAUSED = (*_IS_NOT_CANCELLED, WorkflowStatus.PARKED, WorkflowStatus.PAUSED)


class FluxEngine:
    """Runs workflows on a storage, inside this process.

    `storage` is a URL (`memory:`, `sqlite:///path`) or a `WorkflowStorage`. Use the engine with
    `async with`, or call `init` and `close`. While it is open it drives what it was given, and
    finds what is due or was left behind by other engines on the same storage.

    Verbs only wait: cancelling a task that awaits one leaves the instance as it is.
    """

    def __init__(
        self,
        storage: str | WorkflowStorage = "memory:",
        *,
        workflows: Iterable[Workflow | WorkflowDefinition] = (),
        config: FluxConfig | None = None,
        clock: Clock | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._storage = checked_storage(storage)
        self._config = config or FluxConfig()
        self._host_clock = self._clock = clock or SystemClock()
        self._logger = self._config.logger or logging.getLogger("flux")
        self._registry = Registry(partial(check_values, self._storage))
        for workflow in workflows:
            self._registry.register(workflow)
        outlets: list[Observer] = [Callbacks(self._config.on)] if self._config.on else []
        outlets += observers
        if self._config.trace is not None:
            outlets.append(self._config.trace)
        self._observers = Observers(outlets, logger=self._logger, clock=self._clock)
        self._open: Running | None = None
        self._closing: Running | None = None
        self._changing = asyncio.Lock()

    # Opening and closing

    async def __aenter__(self) -> Self:
        await self.init()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def init(self) -> None:
        """Open the storage and begin to look for what is due. An open engine stays as it is."""
        async with self._changing:
            if self._open is None:
                await self._storage.init(self._host_clock)
                try:
                    await self._set_clock()
                    await self._observers.start()
                except BaseException:
                    await self._storage.close()
                    raise
                self._open = Running(self._services(), self._registry)

    async def close(self) -> None:
        """Stop gracefully: running steps get the grace to end, leases are given back.

        It is finished even if the task that awaits it is cancelled.
        """
        closing = asyncio.create_task(self._close())
        await asyncio.shield(closing)

    # Running

    async def execute(
        self,
        workflow: AnyWorkflow,
        input: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> FluxResult:
        """Start an instance and drive it to its rest.

        With the `id` of an instance that exists, of the same workflow and input, that one is
        awaited; `InstanceConflictError` if either differs. `InputError` for an input that the
        workflow refuses: nothing was saved.
        """
        running = self._opened("execute")
        started, driver = await self._start(
            "execute", workflow, input, id, labels, until_saved=False
        )
        return await running.until_rest(started, verb="execute", driver=driver)

    async def start(
        self,
        workflow: AnyWorkflow,
        input: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> WorkflowState:
        """Start an instance and return after its first save; it is driven in the background."""
        started, _ = await self._start("start", workflow, input, id, labels)
        return await self.get(started)

    async def result(self, id: str, *, timeout: Duration | None = None) -> FluxResult:
        """Wait until the instance has ended or needs a person (`rollback_failed`, `parked`).

        `ResultTimeoutError` after `timeout`, which changes nothing.
        """
        opened = self._opened("result")
        limit = None if timeout is None else seconds(timeout)
        try:
            async with asyncio.timeout(limit) as within:
                return await opened.until_ended(id)
        except TimeoutError:
            if not within.expired():
                raise  # the storage's own
            loaded = await load(self._storage, id, history=False)
            raise ResultTimeoutError(id, loaded.status, limit or 0.0) from None

    # Signals

    async def signal(
        self,
        id: str,
        name: str,
        payload: Any = None,
        *,
        signal_id: str | None = None,
        wait: bool = True,
    ) -> FluxResult | None:
        """Send the instance a signal and wait for its next rest.

        The signal is saved when this returns, whatever becomes of this process; with `wait=False`
        it returns None right then. One that comes before the step that waits for it is kept. A
        `signal_id` that the instance knows is acknowledged and not delivered again.

        `InstanceNotFoundError`; `InstanceEndedError`; `InvalidTransitionError` in a rollback;
        `SignalConflictError` for a known `signal_id` with another payload; `NotJSONError`.
        """
        opened = self._opened("signal")
        signal = self._signal(name, payload, signal_id)
        receipt = await opened.send(id, signal, verb="take a signal", idle=_TAKES_NO_SIGNAL)
        if receipt.number is None:
            raise steering.refused(id, WorkflowStatus(receipt.status), "take a signal")
        if not wait:
            return None
        return await opened.until_rest(id, verb="signal", is_due=receipt.earlier is None)

    async def deliver(
        self,
        name: str,
        payload: Any = None,
        *,
        correlation: Mapping[str, Any],
        workflow: AnyWorkflow | None = None,
        signal_id: str | None = None,
        wait: bool = True,
    ) -> FluxResult | None:
        """Send a signal to the live instance with this correlation, and wait as `signal` does.

        `correlation` holds all keys of the workflow's `correlate_by`, or so many that only one
        live instance fits; of any workflow, or of the one given. `InstanceNotFoundError` if none
        fits, `AmbiguousCorrelationError` if several do, `CorrelationError` for a key that the
        workflow does not have. When none is live, a `signal_id` that the newest ended one knows is
        acknowledged.
        """
        self._opened("deliver")
        signal = self._signal(name, payload, signal_id)
        address = Address.of(self._registry, correlation, workflow)
        id = await address.live_instance(self._storage)
        if id is None:
            id = await address.ended_instance(self._storage, signal)
        return await self.signal(id, name, payload, signal_id=signal_id, wait=wait)

    # Steering

    async def pause(self, id: str, *, reason: str | None = None) -> WorkflowState:
        """Let the instance stop before its next step; returns when the request is saved.

        Its deadlines run on; `resume` lets it go on. `InstanceEndedError` if it has ended,
        `InvalidTransitionError` in a rollback or when it is parked.
        """
        payload = waiting.pause_payload(reason=checked_reason(reason))
        receipt = await self._request(id, waiting.PAUSE, payload, "pause", _IS_NOT_PAUSED)
        if receipt.number is None and receipt.status != WorkflowStatus.PAUSED:
            raise steering.refused(id, WorkflowStatus(receipt.status), "pause")
        return await self.get(id)

    async def cancel(
        self, id: str, *, rollback: bool = True, reason: str | None = None
    ) -> WorkflowState:
        """Let the instance end as `cancelled`; returns when the request is saved.

        By default what was done is undone first. A handler that runs is cancelled and has the
        grace to end. `InstanceEndedError` if it has ended; one that is rolled back already stays
        as it is.
        """
        payload = waiting.cancel_payload(rollback=rollback, reason=checked_reason(reason))
        if await self._opened("be cancelled").is_parked_in_rollback(id):
            return await self.get(id)
        await self._request(id, waiting.CANCEL, payload, "be cancelled", _IS_NOT_CANCELLED)
        return await self.get(id)

    async def resume(self, id: str) -> FluxResult:
        """Let the instance go on, and wait for its rest.

        A failed one runs its failed steps anew with fresh retries; a paused or parked one goes on
        in the direction it had; one that was abandoned or is due is driven; else this only waits.
        """
        return await self._opened("resume").resume(id)

    async def retry_step(self, id: str, step: str) -> FluxResult:
        """Run this failed step of a failed instance again, and go on."""
        return await self._steer("retry_step", id, steering.step_retried(step))

    async def restart(self, id: str, from_step: str) -> FluxResult:
        """Run an instance at rest again, from this step on; committed steps are replayed."""
        return await self._steer("restart", id, steering.restarted(from_step))

    async def retry_rollback(self, id: str) -> FluxResult:
        """Try failed compensations again, with fresh retries, and go on with the rollback."""
        return await self._steer("retry_rollback", id, steering.rollback_retried)

    async def skip_compensation(self, id: str, step: str, *, reason: str) -> FluxResult:
        """Settle a failed compensation by hand, and go on with the rollback."""
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError("skip_compensation needs a reason: it is kept in the history")
        return await self._steer(
            "skip_compensation", id, steering.compensation_skipped(step, reason)
        )

    # Looking

    async def get(self, id: str, *, replaced: bool = False) -> WorkflowState:
        """The instance as last saved; with `replaced`, also what restarts set aside."""
        self._opened("get")
        loaded = await load(self._storage, id)
        definition = self._registry.known(loaded.record.workflow, loaded.record.version)
        return shown(definition, loaded.instance, loaded.record.intent, replaced=replaced)

    async def list(self, filter: WorkflowFilter | None = None) -> Sequence[WorkflowSummary]:
        """The heads of the instances that fit, newest first."""
        self._opened("list")
        found = await self._storage.list(filter or WorkflowFilter())
        return [evolve(summary, labels=own_labels(summary.labels)) for summary in found]

    async def children(self, id: str) -> Sequence[WorkflowSummary]:
        """The heads of the sub-workflows that the instance has started, newest first."""
        found: list[WorkflowSummary] = []
        after: str | None = None
        while page := await self.list(WorkflowFilter(labels={PARENT: id}, after=after)):
            found += page
            after = page[-1].id
        return found

    async def count(self, filter: WorkflowFilter | None = None) -> int:
        """How many instances fit."""
        self._opened("count")
        return await self._storage.count(filter or WorkflowFilter())

    async def diagnose(self, id: str) -> Diagnosis:
        """Why the instance is where it is, and what comes next."""
        return await self._opened("diagnose").diagnose(id)

    async def delete(self, id: str) -> None:
        """Remove an ended instance with its history, inbox and keys, and its children.

        Refused while a child or its parent lives (`InvalidTransitionError`).
        """
        await self._opened("delete").delete(id)

    async def purge(
        self,
        before: datetime,
        *,
        status: str | Sequence[str] | None = None,
        limit: int = 1000,
    ) -> int:
        """Delete instances that ended before this time, at most `limit`; how many were deleted.

        `status` names one or several of the statuses in which an instance has ended; by default
        all of them.
        """
        if not isinstance(before, datetime) or before.tzinfo is None:
            raise ValueError(f"purge(before={before!r}): give an aware datetime")
        ended = WorkflowFilter(status=tuple(ENDED) if status is None else status).statuses
        if not ended:
            return 0
        for name in ended:
            if not WorkflowStatus(name).is_ended:
                raise ValueError(f"purge(status={name!r}): only ended instances are deleted")
        return await self._opened("purge").purge(
            WorkflowFilter(status=ended, ended_before=before, limit=limit)
        )

    # Behind the verbs

    def _signal(self, name: str, payload: Any, signal_id: str | None) -> Signal:
        if signal_id is not None and (not isinstance(signal_id, str) or not signal_id):
            raise ValueError(f"{signal_id!r} is no signal id; it is text that is not empty")
        return Signal(
            name=signal_name(name),
            payload=json_text(payload, "payload"),
            sent_at=self._clock.now(),
            signal_id=signal_id,
        )

    async def _request(
        self, id: str, name: str, payload: bytes, verb: str, idle: Sequence[WorkflowStatus]
    ) -> SignalReceipt:
        request = Signal(name=name, payload=payload, sent_at=self._clock.now())
        return await self._opened(verb).send(id, request, verb=verb, idle=idle)

    async def _set_clock(self) -> None:
        if isinstance(self._storage, TimeKeeper):
            shared = SharedTime(self._host_clock, self._storage)
            await shared.set()
            self._clock = shared

    async def _close(self) -> None:
        async with self._changing:
            opened, self._open = self._open, None
            if opened is None:
                return
            self._closing = opened
            try:
                await opened.close()
                await self._observers.close(self._config.grace)
            finally:
                self._closing = None
                await self._storage.close()

    def _services(self) -> Services:
        engine_id = str(uuid_utils.uuid7())
        threads = Threads(self._config.max_threads, self._logger)
        # A loop that is blocked for a third of the lease misses a renewal.
        heartbeat = Heartbeat(self._config.lease / 3, self._clock, self._logger)
        return Services(
            storage=self._storage,
            clock=self._clock,
            config=self._config,
            threads=threads,
            heartbeat=heartbeat,
            attempts=Attempts(
                clock=self._clock,
                threads=threads,
                heartbeat=heartbeat,
                grace=self._config.grace,
                logger=self._logger,
            ),
            leases=Leases(
                self._storage,
                clock=self._clock,
                lease=self._config.lease,
                engine_id=engine_id,
                logger=self._logger,
            ),
            shared=SharedStorage(self._storage),
            observers=self._observers,
            logger=self._logger,
            stopping=asyncio.Event(),
        )

    def _opened(self, verb: str) -> Running:
        # A handler that is in its grace may still use the engine.
        opened = self._closing if self._open is None and driven_here() else self._open
        if opened is None:
            raise EngineClosedError(verb)
        return opened

    async def _start(
        self,
        verb: str,
        workflow: AnyWorkflow,
        input: Any,
        id: str | None,
        labels: Mapping[str, str] | None,
        *,
        until_saved: bool = True,
    ) -> tuple[str, Driver | None]:
        opened = self._opened(verb)
        definition = self._registry.find(workflow)
        text = json_text(definition.plain_input({} if input is None else input), "input")
        instance = new_instance(
            definition,
            id=checked_id(id),
            input=text,
            labels=checked_labels(labels),
            at=self._clock.now(),
        )
        begun = await opened.begin(
            definition, instance, is_own_id=id is None, until_saved=until_saved
        )
        if not begun.is_new:
            await self._check_same(definition, instance)
        return instance.id, begun.driver

    async def _check_same(self, definition: WorkflowDefinition, meant: Instance) -> None:
        loaded = await load(self._storage, meant.id, history=False)
        if loaded.record.workflow != definition.name:
            why = f"runs workflow {loaded.record.workflow!r}, not {definition.name!r}"
            raise InstanceConflictError(meant.id, why)
        if not same_json(loaded.instance.origin.input, meant.origin.input):
            raise InstanceConflictError(meant.id, "was started with another input")

    async def _steer(self, verb: str, id: str, decision: steering.Decision) -> FluxResult:
        return await self._opened(verb).steer(verb, id, decision)
