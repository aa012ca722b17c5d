"""The verbs of the blocking engine: those of the engine, and what they do."""

import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from flux import (
    FluxEngine,
    InputError,
    InstanceNotFoundError,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    wait,
)
from flux.blocking import BlockingEngine
from sagas import sequence

from .conftest import OpenBlocking


def verbs_of(engine: type) -> list[str]:
    return sorted(name for name in vars(engine) if not name.startswith("_"))


def waiting() -> Workflow:
    """An order that is found by its number, and waits for an approval."""
    return Workflow("order", correlate_by="number").wait("approval", signal="approved")


def failing() -> Workflow:
    """An order that fails until somebody has approved it."""
    order = Workflow("order")

    @order.step(retries=Retry(0))
    def pay(ctx: WorkflowContext) -> None:
        raise RuntimeError("declined")

    return order


def eventually(condition: Callable[[], object]) -> None:
    """Return once the condition holds: another thread brings it about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# The list of verbs


def test_verbs_are_those_of_the_engine() -> None:
    """Every public verb of the engine is there, and no other."""
    assert verbs_of(BlockingEngine) == verbs_of(FluxEngine) != []


@pytest.mark.parametrize("verb", [*verbs_of(FluxEngine), "__init__"])
def test_parameters_are_those_of_the_engine(verb: str) -> None:
    """Names, kinds, defaults, types, and what is returned."""
    blocking, real = getattr(BlockingEngine, verb), getattr(FluxEngine, verb)
    assert inspect.signature(blocking) == inspect.signature(real)


@pytest.mark.parametrize("verb", verbs_of(FluxEngine))
def test_verbs_block(verb: str) -> None:
    """No verb is async; each stands under its own name, and says what it does."""
    method = getattr(BlockingEngine, verb)
    assert not inspect.iscoroutinefunction(method)
    assert (method.__name__, bool(method.__doc__)) == (verb, True)


# What they do


def test_execute_returns_at_the_rest(open_blocking: OpenBlocking) -> None:
    """Plain and async steps run; the result is that of the engine."""
    order = sequence("a").step("b", lambda ctx: ctx.data.update(b=ctx.output("a")))
    result = open_blocking(order).execute(order, {"sku": "A1"}, id="order-1")
    assert (result.id, result.status, result.data) == ("order-1", "completed", {"b": "a"})


def test_a_failure_is_returned(open_blocking: OpenBlocking) -> None:
    """A failed instance is no exception."""
    result = open_blocking(failing()).execute("order")
    assert (result.status, str(result.error)) == ("failed", "RuntimeError: declined")


def test_errors_come_through(open_blocking: OpenBlocking) -> None:
    """What the engine raises is raised in the thread that called."""
    with pytest.raises(InstanceNotFoundError, match="'nobody'"):
        open_blocking().get("nobody")


def test_bad_input_is_refused(open_blocking: OpenBlocking) -> None:
    """A refused input comes through, and nothing was saved."""
    order = Workflow("order", validate=lambda given: False).step("a", lambda ctx: None)
    flux = open_blocking(order)
    with pytest.raises(InputError):
        flux.execute(order)
    assert flux.count() == 0


def test_a_signal_resumes(open_blocking: OpenBlocking) -> None:
    """A signal is delivered, and its instance's next rest waited for."""
    flux = open_blocking(waiting())
    flux.start("order", {"number": 7}, id="order-7")
    result = flux.signal("order-7", "approved", {"by": "kim"}, signal_id="evt-1")
    assert result is not None
    assert result.history[0].output == {"by": "kim"}


def test_a_plain_step_may_wait(open_blocking: OpenBlocking) -> None:
    """A handler need not be async to return a wait."""
    order = Workflow("order").step("approval", lambda ctx: wait("approved"))
    assert open_blocking(order).execute(order).status == "suspended"


def test_a_delivery_resumes(open_blocking: OpenBlocking) -> None:
    """A signal finds its instance by the correlation; without a wait nothing is returned."""
    flux = open_blocking(waiting())
    flux.execute("order", {"number": 7}, id="order-7")
    assert flux.deliver("approved", correlation={"number": 7}, wait=False) is None
    assert flux.result("order-7", timeout=5).status == "completed"


def test_steering(open_blocking: OpenBlocking) -> None:
    """Pause, resume and cancel do as they do on the engine."""
    flux = open_blocking(waiting())
    flux.execute("order", {"number": 7}, id="order-7")
    flux.pause("order-7", reason="holiday")
    eventually(lambda: flux.get("order-7").status == "paused")
    assert flux.resume("order-7").status == "suspended"
    flux.cancel("order-7", reason="withdrawn")
    assert flux.result("order-7").status == "cancelled"


def test_looking_and_clearing(open_blocking: OpenBlocking) -> None:
    """What has ended is listed, diagnosed, and deleted."""
    flux = open_blocking(sequence("a"))
    for id in ("order-1", "order-2"):
        flux.execute("order", id=id)
    assert {head.id for head in flux.list(WorkflowFilter(status="completed"))} == {
        "order-1",
        "order-2",
    }
    assert flux.diagnose("order-1").because == "it has run to its end"
    flux.delete("order-1")
    assert flux.purge(datetime.now(UTC) + timedelta(days=1)) == 1
