"""A run: one instance in a `TestEngine`, what a test does with it and what it says of it."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

from flux.definition.workflow import WorkflowDefinition
from flux.engine.engine import FluxEngine
from flux.errors import StoredError
from flux.state.workflow_state import StepExecution, WorkflowState
from flux.testing import checks
from flux.testing.cast import named_step
from flux.testing.checks import Problem
from flux.testing.history_table import history_table


class Stage(Protocol):
    """What a run needs of its `TestEngine`."""

    @property
    def engine(self) -> FluxEngine: ...
    async def drive(self, awaitable: Any) -> Any: ...
    async def settle(self) -> None: ...
    def let_go(self, id: str) -> None: ...
    def undone(self, id: str) -> Sequence[str]:
        """The steps that were undone, in order, as far as was heard."""
        ...


class RunStatus(str):
    """The status of a run: compare it as text, or call it with the status that is expected."""

    run: "Run"

    def __call__(self, expected: str) -> "Run":
        """The run; `AssertionError`, with the history, if it has another status."""
        __tracebackhide__ = True
        return self.run.check(checks.status(self.run.state, expected))


class Run:
    """One instance, as it stood when the test last awaited something of its `TestEngine`.

    Checks such as `ran` return the run, so that they can be chained, or raise `AssertionError` with
    what was expected, what was found, and the history. A step that the workflow does not have is an
    `UnknownStepError`, also in `did_not_run`. Verbs such as `signal` are awaited, and come back
    once nothing more can happen, as `TestEngine.run` does.
    """

    def __init__(self, stage: Stage, definition: WorkflowDefinition, state: WorkflowState) -> None:
        self._stage = stage
        self._definition = definition
        self.state = state
        """The instance as it stood then."""

    # What it is

    @property
    def id(self) -> str:
        """The id of the instance."""
        return self.state.id

    @property
    def data(self) -> Any:
        """The data; typed if the workflow's data is."""
        return self.state.data

    @property
    def error(self) -> StoredError | None:
        """Why it failed, if it did."""
        return self.state.error

    @property
    def history(self) -> tuple[StepExecution, ...]:
        """One entry a step, in the order in which they were reached."""
        return self.state.history

    @property
    def status(self) -> RunStatus:
        """`run.status == "failed"`, or the check `run.status("failed")`."""
        status = RunStatus(self.state.status)
        status.run = self
        return status

    def step(self, name: str) -> StepExecution:
        """The entry of a step; `AssertionError` if it was not reached."""
        __tracebackhide__ = True
        self._known(name)
        found = self.state.step(name)
        if found is None:
            self.check(Problem(expected=f"{name!r} was reached", found="it was not"))
        assert found is not None
        return found

    def __str__(self) -> str:
        """What happened, as a table."""
        return history_table(self.state)

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.state.name} is {self.state.status}>"

    # What is said of it

    def ran(self, *steps: str) -> Self:
        """Each of these ran, whatever became of it; others may have run as well."""
        __tracebackhide__ = True
        return self.check(checks.ran(self.state, self._named(*steps)))

    def did_not_run(self, *steps: str) -> Self:
        """None of these ran: not reached, skipped, or left out by a branch."""
        __tracebackhide__ = True
        return self.check(checks.did_not_run(self.state, self._named(*steps)))

    def order(self, *steps: str) -> Self:
        """Each of these ran, and was reached in this order; others may have come between."""
        __tracebackhide__ = True
        return self.check(checks.order(self.state, self._named(*steps)))

    def output(self, step: str, expected: Any) -> Self:
        """The step came to this output, as it was saved: JSON, so a tuple is a list."""
        __tracebackhide__ = True
        self._known(step)
        return self.check(checks.output(self.state, step, expected))

    def retried(self, step: str, times: int | None = None) -> Self:
        """So many attempts failed and were followed by another; without `times`, at least one."""
        __tracebackhide__ = True
        self._known(step)
        return self.check(checks.retried(self.state, step, times))

    def compensated(self, *steps: str) -> Self:
        """These were undone, in this order, and nothing else was; no name says that nothing was."""
        __tracebackhide__ = True
        undone = checks.undone(self.state, self._stage.undone(self.id))
        return self.check(checks.compensated(self.state, self._known(*steps), undone))

    def waits_for(self, *signals: str) -> Self:
        """It waits for each of these signals."""
        __tracebackhide__ = True
        if not signals:
            raise ValueError("name a signal at least; that it waits for none is status(...)")
        return self.check(checks.waits_for(self.state, signals))

    def failed_with(self, error: type[BaseException], match: str | None = None) -> Self:
        """Its error is of this class; `match` is a pattern found in the message."""
        __tracebackhide__ = True
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise TypeError(f"{error!r} is no class of errors; the message is match=")
        return self.check(checks.failed_with(self.state, error, match))

    def check(self, problem: Problem | None) -> Self:
        """The run if there is no problem, else `AssertionError` with it and the history."""
        __tracebackhide__ = True
        if problem is None:
            return self
        raise AssertionError(f"expected: {problem.expected}\n   found: {problem.found}\n\n{self}")

    # What is done with it

    async def settle(self) -> Self:
        """Let everything happen that can, as `TestEngine.run` does."""
        self._stage.let_go(self.id)
        await self._stage.settle()
        return self

    async def signal(self, name: str, payload: Any = None, *, signal_id: str | None = None) -> Self:
        """Send it a signal."""
        sent = self._stage.engine.signal(self.id, name, payload, signal_id=signal_id, wait=False)
        await self._stage.drive(sent)
        return await self._settled()

    async def cancel(self, *, rollback: bool = True, reason: str | None = None) -> Self:
        """Let it end as cancelled."""
        verb = self._stage.engine.cancel(self.id, rollback=rollback, reason=reason)
        return await self._done(verb)

    async def pause(self, *, reason: str | None = None) -> Self:
        """Let it stop before its next step."""
        return await self._done(self._stage.engine.pause(self.id, reason=reason))

    async def resume(self) -> Self:
        """Let it go on: paused, parked or failed."""
        return await self._done(self._stage.engine.resume(self.id))

    async def retry_step(self, step: str) -> Self:
        """Run this failed step again, and go on."""
        return await self._done(self._stage.engine.retry_step(self.id, step))

    async def restart(self, from_step: str) -> Self:
        """Run it again, from this step on."""
        return await self._done(self._stage.engine.restart(self.id, from_step))

    async def retry_rollback(self) -> Self:
        """Try failed compensations again."""
        return await self._done(self._stage.engine.retry_rollback(self.id))

    async def skip_compensation(self, step: str, *, reason: str) -> Self:
        """Settle a failed compensation by hand."""
        verb = self._stage.engine.skip_compensation(self.id, step, reason=reason)
        return await self._done(verb)

    async def _done(self, verb: Any) -> Self:
        await self._stage.drive(verb)
        return await self._settled()

    async def _settled(self) -> Self:
        await self._stage.settle()
        return self

    def _known(self, *steps: str) -> Sequence[str]:
        for step in steps:
            named_step(self._definition, step)
        return steps

    def _named(self, *steps: str) -> Sequence[str]:
        """The same, where none would say nothing."""
        if not steps:
            raise ValueError("name a step at least: without one this check says nothing")
        return self._known(*steps)
