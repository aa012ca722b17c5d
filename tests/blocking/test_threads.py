"""Who may call a blocking engine: any thread, many at once, and none that runs a loop."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from flux import EngineClosedError, Entry, FluxResult, Record, Workflow, WorkflowContext
from flux.blocking import BlockingEngine
from flux_storages import MemoryStorage
from sagas import sequence

from .conftest import OpenBlocking

PATIENCE = 10.0


class Gate:
    """A plain step that says that it has begun, and ends when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.calls = 0

    def __call__(self, ctx: WorkflowContext) -> None:
        self.calls += 1
        self.begun.set()
        assert self.open.wait(PATIENCE)


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """What another thread, which ends with the test's process, gets from this call."""
    told: Future[Any] = Future()

    def run() -> None:
        try:
            told.set_result(call())
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return told


def telling_verbs() -> Workflow:
    """A step that tells which verbs the engine is about."""
    workflow = Workflow("verbs")

    @workflow.step
    async def tell(ctx: WorkflowContext) -> list[str]:
        verbs = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
        return [verb.removeprefix("FluxEngine.") for verb in verbs if "FluxEngine." in verb]

    return workflow


def test_many_threads_call_at_once(open_blocking: OpenBlocking) -> None:
    """Each thread gets its own result."""
    order = Workflow("order").step("echo", lambda ctx: ctx.input["number"])
    flux = open_blocking(order)
    together = threading.Barrier(8)

    def run(number: int) -> list[object]:
        together.wait(PATIENCE)
        numbers = range(number * 10, number * 10 + 10)
        return [flux.execute("order", {"number": n}).history[0].output for n in numbers]

    with ThreadPoolExecutor(8) as threads:
        outputs = [output for each in threads.map(run, range(8)) for output in each]
    assert outputs == list(range(80))


def test_a_waiting_thread_is_in_nobody_s_way(open_blocking: OpenBlocking) -> None:
    """While one thread waits for an end, others bring it about."""
    order = Workflow("order").wait("approval", signal="approved")
    flux = open_blocking(order)
    flux.execute("order", id="order-1")
    waiting = in_thread(lambda: flux.result("order-1"))
    flux.signal("order-1", "approved")
    result: FluxResult = waiting.result(PATIENCE)
    assert result.status == "completed"


def test_a_plain_step_may_call(open_blocking: OpenBlocking) -> None:
    """A step in a thread starts another instance, and looks at its own without waiting for it."""
    flux = open_blocking(Workflow("parcel").step("send", lambda ctx: None))
    order = Workflow("order")

    @order.step
    def ship(ctx: WorkflowContext) -> list[str]:
        parcel = flux.execute("parcel", id="parcel-1")
        return [parcel.status.value, flux.resume(ctx.id).status.value]

    result: FluxResult = in_thread(lambda: flux.execute(order)).result(PATIENCE)
    assert result.history[0].output == ["completed", "running"]


def test_an_async_step_may_not_call(open_blocking: OpenBlocking) -> None:
    """It would block the loop that everybody waits for; so it fails instead."""
    flux = open_blocking()
    order = Workflow("order")

    @order.step
    async def ship(ctx: WorkflowContext) -> None:
        flux.get(ctx.id)

    result: FluxResult = in_thread(lambda: flux.execute(order)).result(PATIENCE)
    assert "this thread runs an event loop" in str(result.error)


async def test_a_loop_s_thread_is_refused(open_blocking: OpenBlocking) -> None:
    """Whoever has an event loop is told of the engine that suits it."""
    flux = in_thread(open_blocking).result(PATIENCE)
    try:
        for call in (flux.init, flux.close, flux.count):
            with pytest.raises(RuntimeError, match=r"use FluxEngine and `await engine\.\w+"):
                call()
    finally:
        in_thread(flux.close).result(PATIENCE)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, even where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_the_instance(open_blocking: OpenBlocking, ctrl_c: None) -> None:
    """Whoever waits is interrupted; the instance goes on, and is driven once."""
    gate = Gate()
    flux = open_blocking(telling_verbs())

    def interrupt(ctx: WorkflowContext) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        gate(ctx)

    with pytest.raises(KeyboardInterrupt):
        flux.execute(Workflow("order").step("ship", interrupt), id="order-1")
    assert flux.get("order-1").status == "running"
    # Only this one is left, as soon as the loop has let go of the other.
    seen = (flux.execute("verbs").history[0].output for _ in range(200))
    assert any(verbs == ["execute"] for verbs in seen)
    gate.open.set()
    assert (flux.result("order-1").status, gate.calls) == ("completed", 1)


def test_a_closed_engine_says_so(open_blocking: OpenBlocking) -> None:
    """After the close, as before the opening, every verb is refused."""
    flux = open_blocking(sequence("a"))
    flux.close()
    with pytest.raises(EngineClosedError, match="execute"):
        flux.execute("order")


def test_closing_tells_who_waits(open_blocking: OpenBlocking) -> None:
    """A thread that waits for an instance gets an error when another one closes the engine."""
    gate = Gate()
    flux = open_blocking()
    waiting = in_thread(lambda: flux.execute(Workflow("order").step("ship", gate)))
    assert gate.begun.wait(PATIENCE)
    flux.close()
    with pytest.raises(EngineClosedError):
        waiting.result(PATIENCE)
    gate.open.set()


class Hanging(MemoryStorage):
    """A storage that never answers a look at an instance."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    async def load(self, id: str, *, history: bool = True) -> tuple[Record, Sequence[Entry]] | None:
        self.asked.set()
        await asyncio.Event().wait()
        return None


def test_closing_tells_who_waits_for_the_storage() -> None:
    """Nor does a thread wait for ever for a storage that does not answer."""
    storage = Hanging()
    with BlockingEngine(storage) as flux:
        waiting = in_thread(lambda: flux.get("order-1"))
        assert storage.asked.wait(PATIENCE)
    with pytest.raises(EngineClosedError, match="get"):
        waiting.result(PATIENCE)
