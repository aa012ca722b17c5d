"""Steps beside each other: several attempts of one instance at the same time, and their ends."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial

from flux import events
from flux.definition.step import step_of
from flux.definition.workflow import WorkflowDefinition
from flux.engine import plan, waiting
from flux.engine.calls import Called, Calls
from flux.engine.crew import Crew
from flux.engine.journal import Journal
from flux.engine.lookout import Lookout, StoppedError
from flux.engine.services import Services
from flux.engine.watching import Watcher
from flux.errors import EngineClosedError
from flux.events import Event

Begun = plan.Run | plan.Verify


class Beside:
    """Makes the attempts of one driver beside each other, and says what happened by them."""

    def __init__(
        self,
        services: Services,
        definition: WorkflowDefinition,
        journal: Journal,
        *,
        watcher: Watcher,
        lookout: Lookout,
        calls: Calls,
    ) -> None:
        self._services = services
        self._definition = definition
        self._journal = journal
        self._watcher = watcher
        self._lookout = lookout
        self._calls = calls
        self._crew: Crew[Called | None] = Crew(watcher.told)
        self._stalled: dict[str, None] = {}

    def busy(self, begin: Sequence[Begun] = ()) -> Collection[str]:
        """The names of the steps that run, or can go no further, or are to `begin`."""
        if not begin and not self._stalled:
            return self._crew.names
        begun = (action.step.name for action in begin)
        return dict.fromkeys((*self._crew.names, *self._stalled, *begun)).keys()

    async def go_on(self, begin: Sequence[Begun], until: datetime | None) -> Iterable[Event]:
        """Begin some, and wait until one of all that run has ended, or something else happens.

        What happened by those that have ended. `StoppedError` if all that is left stands still.
        """
        for one in begin:
            self._crew.begin(one.step.name, partial(self._attempt, one))
        if self._lookout.is_turning:
            self._crew.call_off()
        if self._crew.names and waiting.cancel_asked_for(self._journal.instance) is not None:
            self._watcher.hear()
        if not self._crew.names:
            if self._stalled:
                raise StoppedError
            return ()
        await self._wait(until)
        return (
            event
            for name, called in self._crew.take_ended()
            if called is not None and not self._has_stalled(name, called)
            for event in self._calls.after(called)
        )

    def stop_after(self, failed: events.StepFailed | events.DataConflictFound) -> None:
        """Cancel those that run beside what has failed for good, where that was asked for."""
        if self._definition.fail_fast:
            self._stop(lambda name: True)
        elif isinstance(failed, events.StepFailed) and failed.step in self._definition:
            group = self._definition.step(failed.step).group
            if group is not None and group.fail_fast:
                self._stop(lambda name: self._definition.step(name).group is group)

    def stop_items(self, failed: events.StepFailed) -> None:
        """Begin no more of a map one of whose items has failed; cancel what runs, if asked to."""
        name = step_of(failed.step)
        each = self._definition.step(name).each if failed.handled_by == name else None
        if each is not None:
            self._crew.call_off(lambda other: step_of(other) == name)
        if each is not None and each.on_item_failure == "cancel":
            self._watcher.stop(lambda other: step_of(other) == name)

    async def cancel(self) -> None:
        """Cancel all and wait for their ends, however long that takes."""
        await self._crew.cancel()

    async def _wait(self, until: datetime | None) -> None:
        if until is None or self._services.stopping.is_set():
            await self._watcher.told.wait()
        else:
            pause = self._lookout.seconds_until(until)
            await self._services.sleep(pause, or_until=self._watcher.told)
        self._watcher.told.clear()

    async def _attempt(self, action: Begun, called_off: asyncio.Event) -> Called | None:
        """One of several calls that are made beside each other; None if it was called off.

        Nothing is awaited between the last look, at the inbox and at the lease, and the call.
        """
        while True:
            pause = self._lookout.pause_before(action)
            if pause > 0:
                await self._services.sleep(pause, or_until=called_off)
                if self._services.stopping.is_set():
                    return None
            if called_off.is_set() or self._journal.is_stale or self._lookout.is_turning:
                return None  # the driver reads the inbox, and begins it again if it still may
            if pause <= 0 and await self._journal.ensure_lease():
                called = await self._calls.make(action)
                return called if called.has_begun else None

    def _has_stalled(self, name: str, called: Called) -> bool:
        """Whether the handler was waiting for this very engine, which stops."""
        is_closed = isinstance(called.attempted.error, EngineClosedError)
        if is_closed and self._services.stopping.is_set():
            self._stalled[name] = None
            return True
        return False

    def _stop(self, is_meant: Callable[[str], bool]) -> None:
        self._crew.call_off(is_meant)
        self._watcher.stop(is_meant)
