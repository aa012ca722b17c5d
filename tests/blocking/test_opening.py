"""Opening and closing a blocking engine: the thread comes and goes with it."""

import asyncio
import threading
from pathlib import Path

import pytest

from flux import FluxConfig, StorageError, StorageURLError, Workflow, WorkflowContext
from flux.blocking import BlockingEngine
from flux.testing import ManualClock
from sagas import sequence

from .conftest import OpenBlocking


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_the_thread_ends_with_the_engine(open_blocking: OpenBlocking) -> None:
    """An open engine has one thread with a loop; a closed one has none."""
    flux = open_blocking(sequence("a"))
    assert "flux-loop" in threads()
    flux.close()
    assert "flux-loop" not in threads()


def test_opening_and_closing_twice(open_blocking: OpenBlocking) -> None:
    """A second `init`, or `close`, changes nothing."""
    flux = open_blocking(sequence("a"))
    flux.init()
    assert flux.execute("order").status == "completed"
    flux.close()
    flux.close()
    assert "flux-loop" not in threads()


def test_a_closed_engine_opens_again(open_blocking: OpenBlocking) -> None:
    """What was saved before the close goes on after it."""
    flux = open_blocking(Workflow("order").wait("approval", signal="approved"))
    flux.execute("order", id="order-1")
    flux.close()
    flux.init()
    result = flux.signal("order-1", "approved")
    assert result is not None
    assert result.status == "completed"


def test_a_bad_url_is_refused_when_made() -> None:
    """A URL that names no storage is an error of the constructor, as on the engine."""
    with pytest.raises(StorageURLError):
        BlockingEngine("nonsense:")


def test_a_failed_opening_leaves_no_thread(tmp_path: Path) -> None:
    """When the storage does not open, its error comes through; later the same engine may open."""
    folder = tmp_path / "missing"
    flux = BlockingEngine(f"sqlite:///{folder}/flux.db", workflows=[sequence("a")])
    with pytest.raises(StorageError, match="folder"):
        flux.init()
    assert "flux-loop" not in threads()
    folder.mkdir()
    with flux:
        assert flux.execute("order").status == "completed"


def test_an_async_step_runs_in_the_thread(open_blocking: OpenBlocking) -> None:
    """Async steps share the engine's thread; plain ones have threads of their own."""
    order = Workflow("order").step("plain", lambda ctx: threading.current_thread().name)

    @order.step
    async def loops(ctx: WorkflowContext) -> str:
        return threading.current_thread().name

    outputs = [step.output for step in open_blocking(order).execute(order).history]
    assert outputs == ["flux-handler", "flux-loop"]


def test_a_deaf_step_does_not_hold_the_close(open_blocking: OpenBlocking) -> None:
    """A step that ignores its cancellation is left behind; the thread ends all the same."""
    order = Workflow("order")
    begun = threading.Event()

    @order.step
    async def ship(ctx: WorkflowContext) -> None:
        while True:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    flux = open_blocking(order)
    flux.start(order)
    assert begun.wait(10)
    flux.close()
    assert "flux-loop" not in threads()


def test_closing_gives_the_grace(open_blocking: OpenBlocking) -> None:
    """A step that ends in time is saved, and the next engine need not run it again."""
    ran = list[str]()
    begun, go_on = threading.Event(), threading.Event()
    order = Workflow("order")

    @order.step
    def ship(ctx: WorkflowContext) -> str:
        ran.append("ship")
        begun.set()
        return "shipped" if go_on.wait(10) else "late"

    flux = open_blocking(order)
    flux.start(order, id="order-1")
    assert begun.wait(10)
    threading.Timer(0.02, go_on.set).start()
    flux.close()
    flux.init()
    assert flux.result("order-1", timeout=10).history[0].output == "shipped"
    assert ran == ["ship"]


def test_settings_reach_the_engine() -> None:
    """What the constructor is given is given to the engine."""
    told = list[str]()
    config = FluxConfig(on={"step_complete": lambda event: told.append("config")})
    clock = ManualClock()
    with BlockingEngine(
        clock=clock, config=config, observers=[lambda event: told.append(event.type)]
    ) as flux:
        flux.execute(sequence("a"), id="order-1")
        assert flux.get("order-1").created_at == clock.now()
    assert "config" in told
    assert "workflow:complete" in told
