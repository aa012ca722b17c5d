"""Callbacks by name: the `on` of the original."""

import inspect
from datetime import UTC, datetime

import pytest

from flux.observe.callbacks import Callbacks
from flux.observe.trace import FluxTraceEvent


def event(type: str) -> FluxTraceEvent:
    return FluxTraceEvent(
        type=type, timestamp=datetime.now(UTC), workflow_id="order-7", workflow_name="order"
    )


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("step_start", "step:start"),
        ("step_complete", "step:complete"),
        ("step_error", "step:error"),
        ("workflow_complete", "workflow:complete"),
        ("workflow_error", "workflow:error"),
        ("workflow_error", "workflow:rollback_complete"),
        ("workflow_error", "workflow:rollback_failed"),
    ],
)
def test_callback_gets_its_events(name: str, type: str) -> None:
    """Each name is called with the event that it stands for."""
    calls: list[FluxTraceEvent] = []
    happened = event(type)
    Callbacks({name: calls.append}).emit(happened)
    assert calls == [happened]


@pytest.mark.parametrize("type", ["step:retry", "step:compensate_error", "step:start"])
def test_callback_gets_no_others(type: str) -> None:
    """A retry is no error of the step, and neither is what happens in its undoing."""
    calls: list[FluxTraceEvent] = []
    Callbacks({"step_error": calls.append}).emit(event(type))
    assert calls == []


def test_names_do_not_mix() -> None:
    """Each of several callbacks gets its own events."""
    started: list[FluxTraceEvent] = []
    completed: list[FluxTraceEvent] = []
    callbacks = Callbacks({"step_start": started.append, "step_complete": completed.append})
    callbacks.emit(event("step:complete"))
    assert (len(started), len(completed)) == (0, 1)


async def test_async_callback_is_returned() -> None:
    """What an async callback has to do is handed on, to be awaited."""
    calls: list[FluxTraceEvent] = []

    async def record(event: FluxTraceEvent) -> None:
        calls.append(event)

    pending = Callbacks({"step_start": record}).emit(event("step:start"))
    assert inspect.isawaitable(pending)
    await pending
    assert len(calls) == 1


def test_unknown_name_is_refused() -> None:
    """A name that means nothing raises, with the names that there are."""
    with pytest.raises(ValueError, match="no callback 'finished'") as raised:
        Callbacks({"finished": print})
    assert str(raised.value) == (
        "on has no callback 'finished'; "
        "There are: step_start, step_complete, step_error, workflow_complete, workflow_error"
    )


@pytest.mark.parametrize("written", ["step_errors", "stepError", "step:error"])
def test_near_name_is_offered(written: str) -> None:
    """A name that is nearly right, as the original's are, is put right."""
    with pytest.raises(ValueError, match=r"did you mean 'step_error'\?"):
        Callbacks({written: print})


def test_value_must_be_callable() -> None:
    """What cannot be called is refused, by its name."""
    with pytest.raises(TypeError, match=r"^on\['step_start'\] is 'print'; give a function"):
        Callbacks({"step_start": "print"})  # type: ignore[dict-item]
