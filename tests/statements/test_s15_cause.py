"""S15: the cause is kept, and who watches never changes the outcome."""

import asyncio
import logging
from typing import Any

import pytest

from flux import (
    FluxConfig,
    FluxEngine,
    FluxTraceEvent,
    Retry,
    StoredError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of
from undoing import Lives, fail, undoable


class DeclinedError(Exception):
    """An error of the user's own."""


async def pay(ctx: WorkflowContext) -> None:
    try:
        raise ConnectionError("no route")
    except ConnectionError as error:
        raise DeclinedError("card 4711") from error


async def error_of(engine: FluxEngine, handler: Any) -> StoredError:
    """The error with which an instance of this one step fails."""
    result = await engine.execute(Workflow("order").step("pay", handler), id="o")
    assert result.status is WorkflowStatus.FAILED
    assert result.error is not None
    return result.error


async def test_s15_type_and_message_are_kept(engine: FluxEngine) -> None:
    """They come back on the result; `str` puts them together."""
    error = await error_of(engine, pay)
    assert (error.type, error.message) == ("DeclinedError", "card 4711")
    assert str(error) == "DeclinedError: card 4711"


async def test_s15_the_traceback_is_kept_as_text(engine: FluxEngine) -> None:
    """It leads to the line that raised."""
    error = await error_of(engine, pay)
    assert 'raise DeclinedError("card 4711") from error' in error.traceback
    assert error.traceback.rstrip().endswith("DeclinedError: card 4711")


async def test_s15_the_cause_is_kept(engine: FluxEngine) -> None:
    """What it was raised from comes along, as an error of its own."""
    error = await error_of(engine, pay)
    assert str(error.cause) == "ConnectionError: no route"


async def test_s15_a_chain_of_causes_is_kept(engine: FluxEngine) -> None:
    """Explicit causes and errors raised while another was handled; `from None` ends it."""

    def chained(ctx: WorkflowContext) -> None:
        try:
            try:
                try:
                    raise KeyError("hidden")
                except KeyError:
                    raise ValueError("first") from None
            except ValueError as error:
                raise TypeError("second") from error
        except TypeError:
            raise DeclinedError("third")  # noqa: B904 - the context is what is looked at

    links, link = [], await error_of(engine, chained)
    while link is not None:
        links.append(str(link))
        link = link.cause  # type: ignore[assignment]
    assert links == ["DeclinedError: third", "TypeError: second", "ValueError: first"]


async def test_s15_the_error_is_stored(lives: Lives) -> None:
    """Another process finds it as it was."""
    order = Workflow("order").step("pay", pay)
    error = (await (await lives.next(order)).execute(order, id="o")).error
    state = await (await lives.next(order)).get("o")
    assert state.error == error
    assert step_of(state, "pay").error == error


async def test_s15_every_failed_attempt_keeps_its_error(engine: FluxEngine) -> None:
    """The entry of the step has them all; the instance has the last."""

    async def moody(ctx: WorkflowContext) -> None:
        raise DeclinedError(f"attempt {ctx.attempt}")

    order = Workflow("order").step("pay", moody, retries=Retry(2, initial=0))
    result = await engine.execute(order)
    entry = step_of(result, "pay")
    assert [str(attempt.error) for attempt in entry.attempts] == [
        "DeclinedError: attempt 1",
        "DeclinedError: attempt 2",
        "DeclinedError: attempt 3",
    ]
    assert str(result.error) == str(entry.error) == "DeclinedError: attempt 3"


async def test_s15_a_rollback_keeps_the_cause(engine: FluxEngine) -> None:
    """A rolled-back instance tells what it failed of."""
    result = await engine.execute(undoable("a", did=[]).step("pay", pay))
    assert (result.status, str(result.error)) == ("rolled_back", "DeclinedError: card 4711")


async def test_s15_a_failing_compensator_does_not_hide_the_cause(engine: FluxEngine) -> None:
    """Its error is its own; the instance keeps that of the step, also when it goes on."""
    order = sequence().step("a", noting("a", []), compensate=Flaky(None)).step("pay", pay)
    result = await engine.execute(order, id="o")
    assert (result.status, str(result.error)) == ("rollback_failed", "DeclinedError: card 4711")
    undone = step_of(result, "a").compensation
    assert undone is not None
    assert str(undone.error) == "RuntimeError: flaky"
    result = await engine.skip_compensation("o", "a", reason="by hand")
    assert str(result.error) == "DeclinedError: card 4711"


async def test_s15_success_after_resume_has_no_error(engine: FluxEngine) -> None:
    """A failure that was mended is not shown as the instance's error any more."""
    await engine.execute(Workflow("order").step("pay", Flaky(1)), id="o")
    result = await engine.resume("o")
    assert (result.status, result.error) == ("completed", None)


class Unspeakable(Exception):  # noqa: N818 - told by its name
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unspeakable(), "Unspeakable: <the error has no readable message>"),
        (DeclinedError("half \ud800 a pair"), "DeclinedError: half \\ud800 a pair"),
        (DeclinedError(), "DeclinedError: "),
        (ExceptionGroup("two", [ValueError(1), KeyError(2)]), "ExceptionGroup: two"),
    ],
)
async def test_s15_any_error_can_be_kept(engine: FluxEngine, error: Exception, told: str) -> None:
    """One without a message, or with one that no text can hold, is kept as well as can be."""
    assert str(await error_of(engine, Flaky(None, error))).startswith(told)


def shout(event: FluxTraceEvent) -> None:
    raise RuntimeError("the watcher fell over")


async def shout_later(event: FluxTraceEvent) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("the watcher fell over")


def let_go(event: FluxTraceEvent) -> None:
    raise asyncio.CancelledError


class Shouting:
    """A sink that raises at every event, and when it is closed."""

    def emit(self, event: FluxTraceEvent) -> None:
        shout(event)

    def close(self) -> None:
        raise RuntimeError("the watcher fell over")


HOOKS = ("step_start", "step_complete", "step_error", "workflow_complete", "workflow_error")
WATCHERS: dict[str, dict[str, Any]] = {
    "hooks": {"on": dict.fromkeys(HOOKS, shout)},
    "async hooks": {"on": dict.fromkeys(HOOKS, shout_later)},
    "sink": {"trace": Shouting()},
    "observer": {"observers": [shout]},
    "async observer": {"observers": [shout_later]},
    "cancelled observer": {"observers": [let_go]},
}


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("ending", ["completed", "rolled_back", "rollback_failed"])
async def test_s15_who_watches_never_changes_the_outcome(
    storage: WorkflowStorage, watcher: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook, observer or sink that raises at every event is logged; all runs as without it."""
    did: list[str] = []
    order = undoable("a", did=did)
    if ending == "rollback_failed":
        order.step("b", noting("b", did), compensate=Flaky(None))
    order.step("last", noting("last", did) if ending == "completed" else fail)
    outlets = WATCHERS[watcher]
    observers = outlets.get("observers", ())
    config = FluxConfig(**{name: value for name, value in outlets.items() if name != "observers"})
    caplog.set_level(logging.ERROR, "flux")
    async with FluxEngine(storage, config=config, observers=observers) as engine:
        result = await engine.execute(order)
    expected = {
        "completed": ["a", "last"],
        "rolled_back": ["a", "undo a"],
        "rollback_failed": ["a", "b"],
    }
    assert (result.status, did) == (ending, expected[ending])
    assert "observer.failed" in caplog.text


async def test_s15_a_watcher_sees_the_next_event(open_engine: OpenEngine) -> None:
    """One that raised is not dropped for good."""
    seen: list[str] = []

    def moody(event: FluxTraceEvent) -> None:
        seen.append(event.type)
        raise RuntimeError("the watcher fell over")

    engine = await open_engine(on=dict.fromkeys(HOOKS, moody))
    await engine.execute(sequence("a"))
    assert seen == ["step:start", "step:complete", "workflow:complete"]
