"""Functions that raise what no function should, and jobs that wait too long for a thread."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flux import FluxEngine, Workflow, WorkflowContext, WorkflowStatus
from opening import OpenEngine
from sagas import noting, sequence, step_of, until
from undoing import undoable


class OddError(BaseException):
    """What no `except Exception` catches."""


ODD: dict[str, Callable[[], BaseException]] = {
    "own": lambda: OddError("odd"),
    "group": lambda: BaseExceptionGroup("odd", [OddError("odd")]),
    "exit": lambda: SystemExit("odd"),
    "generator": lambda: GeneratorExit("odd"),
    "stop": lambda: StopIteration("odd"),
    "cancelled": lambda: asyncio.CancelledError("odd"),
}
odd = pytest.mark.parametrize("error", ODD)
KINDS = pytest.mark.parametrize("kind", ["async", "plain"])


def raising(error: str, kind: str, calls: list[str]) -> Callable[[Any], Any]:
    """A function that raises, and notes its calls."""

    async def raise_async(ctx: Any) -> None:
        calls.append(ctx.step)
        raised = ODD[error]()
        raise raised

    def raise_plain(ctx: Any) -> None:
        calls.append(ctx.step)
        raised = ODD[error]()
        raise raised

    return raise_async if kind == "async" else raise_plain


# Handlers


@odd
@KINDS
@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
async def test_s11_whatever_a_handler_raises_fails_its_step(
    engine: FluxEngine, error: str, kind: str, timeout: float | None
) -> None:
    """It is called once, its error is kept, and what was done before is undone."""
    did, calls = list[str](), list[str]()
    order = undoable("a", did=did).step("odd", raising(error, kind, calls), timeout=timeout)
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    assert (result.status, did, calls) == ("rolled_back", ["a", "undo a"], ["odd"])
    assert step_of(result, "odd").error is not None


@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
async def test_s11_a_handler_that_cancels_itself_fails(
    engine: FluxEngine, timeout: float | None
) -> None:
    """A cancellation that the engine did not ask for is an error of the handler."""
    did, calls = list[str](), list[str]()

    async def cancel(ctx: WorkflowContext) -> None:
        calls.append("odd")
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    order = undoable("a", did=did).step("odd", cancel, timeout=timeout)
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    assert (result.status, did, calls) == ("rolled_back", ["a", "undo a"], ["odd"])
    assert result.error is not None
    assert result.error.type == "HandlerCancelledError"


@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
async def test_an_exit_in_a_handler_ends_no_process(
    engine: FluxEngine, timeout: float | None
) -> None:
    """`sys.exit` in a handler fails its step; the message is kept."""

    async def leave(ctx: WorkflowContext) -> None:
        sys.exit("bye")

    async with asyncio.timeout(30):
        result = await engine.execute(Workflow("order").step("leave", leave, timeout=timeout))
    assert (result.status, str(result.error)) == (WorkflowStatus.FAILED, "SystemExit: bye")


# Compensators, verifiers and predicates


@odd
@KINDS
@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
async def test_s14_whatever_a_compensator_raises_is_kept(
    engine: FluxEngine, error: str, kind: str, timeout: float | None
) -> None:
    """It is called once, and the rollback waits for a person."""
    calls: list[str] = []
    undo = raising(error, kind, calls)
    order = sequence("a", compensate=undo, compensate_timeout=timeout)
    order.step("fail", raising("own", "async", []))
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    assert (result.status, calls) == (WorkflowStatus.ROLLBACK_FAILED, ["a"])


@odd
@KINDS
async def test_s05_whatever_a_verifier_raises_fails_its_step(
    engine: FluxEngine, error: str, kind: str
) -> None:
    """Then whether the step has acted stays unknown."""
    calls: list[str] = []

    async def hang(ctx: WorkflowContext) -> None:
        await asyncio.sleep(60)

    verify = raising(error, kind, calls)
    order = Workflow("order").step("a", hang, timeout=0.02, at_most_once=True, verify=verify)
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    assert (result.status, calls) == (WorkflowStatus.FAILED, ["a"])
    assert step_of(result, "a").outcome == "unknown"


@odd
@KINDS
async def test_s06_whatever_a_predicate_raises_fails_its_step(
    engine: FluxEngine, error: str, kind: str
) -> None:
    """The result before it is saved all the same, and its step does not run again."""
    ran, calls = list[str](), list[str]()
    order = sequence("a", ran=ran)
    order.step("b", noting("b", ran), when=raising(error, kind, calls))
    async with asyncio.timeout(30):
        result = await engine.execute(order)
    assert (result.status, ran, calls) == (WorkflowStatus.FAILED, ["a"], ["b"])
    assert step_of(result, "b").error is not None


async def test_a_stop_still_cancels(open_engine: OpenEngine) -> None:
    """The engine's own cancellation is no error of the handler: it is interrupted."""
    ran: list[str] = []

    async def act(ctx: WorkflowContext) -> str:
        ran.append(f"act {ctx.attempt}")
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return "acted"

    order = Workflow("order").step("act", act)
    first = await open_engine(grace=0.02)
    await first.start(order, id="order-1")
    await until(lambda: ran)
    async with asyncio.timeout(30):
        await first.close()
        result = await (await open_engine(workflows=[order])).resume("order-1")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["act 1", "act 2"])


# Jobs that wait for a thread


class Queue:
    """An order of one plain step; that of "first" holds its thread until `go_on`."""

    def __init__(self, **options: Any) -> None:
        self.go_on = threading.Event()
        self.thread: threading.Thread | None = None
        self.ran: list[str] = []
        self.order = Workflow("order").step("act", self._act, **options)

    def _act(self, ctx: WorkflowContext) -> None:
        if ctx.id == "first" and self.thread is None:
            self.thread = threading.current_thread()
            self.go_on.wait(10)
        else:
            self.ran.append(f"{ctx.id} {ctx.attempt}")

    async def closed_engine(self, open_engine: OpenEngine) -> None:
        """Start "first" and "second" in an engine with one thread, and close that."""
        engine = await open_engine(max_threads=1, grace=0.02, lease=3000)
        await engine.start(self.order, id="first")
        await until(lambda: self.thread)
        await engine.start(self.order, id="second")
        await asyncio.sleep(0.01)
        await engine.close()

    async def let_go(self) -> None:
        """Free the thread, and wait until it has done all that was left for it."""
        self.go_on.set()
        assert self.thread is not None
        await asyncio.to_thread(self.thread.join, 5)
        assert not self.thread.is_alive()


async def test_s05_a_withdrawn_job_never_runs(open_engine: OpenEngine) -> None:
    """A plain handler that waited for a thread when its engine closed is not called any more."""
    queue = Queue(at_most_once=True, timeout=5)
    async with asyncio.timeout(30):
        await queue.closed_engine(open_engine)
        result = await (await open_engine(workflows=[queue.order])).resume("second")
        await queue.let_go()
    assert step_of(result, "act").outcome == "unknown"
    assert queue.ran == []


@pytest.mark.parametrize("timeout", [None, 5], ids=["bare", "timeout"])
async def test_s13_a_withdrawn_job_runs_elsewhere(
    open_engine: OpenEngine, timeout: float | None
) -> None:
    """The next engine runs it, and the closed one does not join in."""
    queue = Queue(timeout=timeout)
    async with asyncio.timeout(30):
        await queue.closed_engine(open_engine)
        result = await (await open_engine(workflows=[queue.order])).resume("second")
        await queue.let_go()
    assert (result.status, queue.ran.count("second 2")) == (WorkflowStatus.COMPLETED, 1)
    assert "second 1" not in queue.ran
