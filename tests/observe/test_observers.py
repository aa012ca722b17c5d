"""Observers watch and never steer."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from flux import events
from flux.events import InstanceFacts
from flux.observe.observers import DROPS_A_LINE, Observer, Observers
from flux.observe.trace import FluxTraceEvent
from flux.testing.clock import ManualClock

AT = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = events.InstanceStarted(at=AT)
COMPLETED = events.InstanceCompleted(at=AT)
LOGGER = logging.getLogger("flux")


class Recorder:
    """A sink that keeps the types it gets, and counts how often it is closed."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.closed = 0

    def emit(self, event: FluxTraceEvent) -> None:
        self.types.append(event.type)

    def close(self) -> None:
        self.closed += 1


class AsyncRecorder(Recorder):
    """The same, later: each event after some turns of the loop, as is its end."""

    async def emit(self, event: FluxTraceEvent) -> None:  # type: ignore[override]
        await turns(2)
        super().emit(event)

    async def close(self) -> None:  # type: ignore[override]
        await turns(5)
        super().close()


class Hanging:
    """A sink whose deliveries never end; it tells when one has begun, and when it was stopped."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.stopped = False

    async def emit(self, event: FluxTraceEvent) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped = True


def failing(event: FluxTraceEvent) -> None:
    raise RuntimeError("no room")


async def failing_later(event: FluxTraceEvent) -> None:
    raise RuntimeError("no room")


def cancelled(event: FluxTraceEvent) -> None:
    raise asyncio.CancelledError


async def cancelled_later(event: FluxTraceEvent) -> None:
    raise asyncio.CancelledError


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def observers(*outlets: Observer, capacity: int = 10_000) -> Observers:
    """Observers on a clock that stands still, so that no grace ever ends by itself."""
    return Observers(outlets, logger=LOGGER, clock=ManualClock(), capacity=capacity)


def only_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    [record] = caplog.records
    return record


# Who listens


def test_nobody_listens() -> None:
    """Without outlets there is no need to make events."""
    assert not observers().active


def test_somebody_listens() -> None:
    """One outlet is enough."""
    assert observers(print).active


@pytest.mark.parametrize("outlet", ["trace.jsonl", None, Recorder])
def test_outlet_must_take_events(outlet: Observer) -> None:
    """What cannot take an event, such as the class of a sink, is refused at once."""
    with pytest.raises(TypeError, match=r"is no observer; give a function of one event, or an obj"):
        observers(outlet)


# Plain outlets


def test_function_is_told(facts: InstanceFacts) -> None:
    """A plain function gets the event before tell returns."""
    told: list[FluxTraceEvent] = []
    observers(told.append).tell(facts, STARTED)
    assert [(event.type, event.workflow_id) for event in told] == [("workflow:start", "order-7")]


def test_sink_is_told(facts: InstanceFacts) -> None:
    """A sink gets the event by its emit."""
    sink = Recorder()
    observers(sink).tell(facts, STARTED)
    assert sink.types == ["workflow:start"]


def test_all_get_the_same_event(facts: InstanceFacts) -> None:
    """An event is made once, for all outlets."""
    first: list[FluxTraceEvent] = []
    second: list[FluxTraceEvent] = []
    observers(first.append, second.append).tell(facts, STARTED)
    assert first[0] is second[0]


def test_untold_events_reach_nobody(facts: InstanceFacts) -> None:
    """What has no trace event is not handed on."""
    sink = Recorder()
    observers(sink).tell(facts, events.Event(at=AT))
    assert sink.types == []


@pytest.mark.parametrize("outlet", [failing, cancelled])
def test_s15_failure_reaches_nobody_else(facts: InstanceFacts, outlet: Observer) -> None:
    """An outlet that raises neither stops the teller nor keeps others from the event."""
    sink = Recorder()
    observers(outlet, sink).tell(facts, STARTED)
    assert sink.types == ["workflow:start"]


def test_s15_failure_is_logged(facts: InstanceFacts, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells which outlet lost which event of which instance, and why."""
    observers(failing).tell(facts, STARTED)
    record = only_record(caplog)
    fields = vars(record)
    assert record.getMessage() == "observer.failed"
    assert (fields["observer"], fields["event"]) == ("failing", "workflow:start")
    assert fields["instance"] == "order-7"
    assert "no room" in caplog.text


def test_failed_outlet_is_told_again(facts: InstanceFacts) -> None:
    """An outlet that raised once still gets what comes later."""
    told: list[str] = []

    def raises_first(event: FluxTraceEvent) -> None:
        told.append(event.type)
        if len(told) == 1:
            raise RuntimeError("no room")

    listening = observers(raises_first)
    listening.tell(facts, STARTED)
    listening.tell(facts, COMPLETED)
    assert told == ["workflow:start", "workflow:complete"]


def test_unreadable_event_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An event that cannot be made does not stop the teller."""
    broken = InstanceFacts(
        id="order-7", workflow="order", created_at=STARTED.at, input=b"{", steps={}
    )
    observers(print).tell(broken, STARTED)
    record = only_record(caplog)
    assert record.getMessage() == "observer.event_unreadable"
    assert vars(record)["event"] == "InstanceStarted"


# Async outlets


async def test_async_outlets_are_awaited_in_order(facts: InstanceFacts) -> None:
    """What async outlets return is awaited in the background, in the order of the events."""
    told: list[str] = []

    async def slow_at_first(event: FluxTraceEvent) -> None:
        await turns(5 if not told else 1)
        told.append(event.type)

    listening = observers(slow_at_first)
    await listening.start()
    listening.tell(facts, STARTED)
    listening.tell(facts, COMPLETED)
    await turns(10)
    assert told == ["workflow:start", "workflow:complete"]
    await listening.close(5)


async def test_tell_does_not_wait(facts: InstanceFacts) -> None:
    """An async outlet has not run when tell returns."""
    sink = AsyncRecorder()
    listening = observers(sink)
    await listening.start()
    listening.tell(facts, STARTED)
    assert sink.types == []
    await listening.close(5)


async def test_events_before_the_start_are_kept(facts: InstanceFacts) -> None:
    """What is told before the start is delivered after it."""
    sink = AsyncRecorder()
    listening = observers(sink)
    listening.tell(facts, STARTED)
    await listening.start()
    await listening.close(5)
    assert sink.types == ["workflow:start"]


async def test_starting_twice_is_starting(facts: InstanceFacts) -> None:
    """A second start changes nothing: there is one delivery at a time."""
    hanging, sink = Hanging(), AsyncRecorder()
    listening = observers(hanging, sink)
    await listening.start()
    await listening.start()
    listening.tell(facts, STARTED)
    await turns(10)
    assert (hanging.begun.is_set(), sink.types) == (True, [])
    await listening.close(0)


@pytest.mark.parametrize("outlet", [failing_later, cancelled_later])
async def test_s15_late_failure_is_logged(
    facts: InstanceFacts, caplog: pytest.LogCaptureFixture, outlet: Observer
) -> None:
    """An async outlet that raises is logged like a plain one."""
    listening = observers(outlet)
    await listening.start()
    listening.tell(facts, STARTED)
    await listening.close(5)
    record = only_record(caplog)
    assert record.getMessage() == "observer.failed"
    assert vars(record)["event"] == "workflow:start"


@pytest.mark.parametrize("outlet", [failing_later, cancelled_later])
async def test_s15_late_failure_stops_nobody(facts: InstanceFacts, outlet: Observer) -> None:
    """After an async outlet has raised, deliveries go on."""
    sink = AsyncRecorder()
    listening = observers(outlet, sink)
    await listening.start()
    listening.tell(facts, STARTED)
    listening.tell(facts, COMPLETED)
    await listening.close(5)
    assert sink.types == ["workflow:start", "workflow:complete"]


async def test_s15_hanging_outlet_holds_nobody_up(facts: InstanceFacts) -> None:
    """While an async outlet hangs, plain ones are told at once."""
    hanging, sink = Hanging(), Recorder()
    listening = observers(hanging, sink)
    await listening.start()
    listening.tell(facts, STARTED)
    await hanging.begun.wait()
    listening.tell(facts, COMPLETED)
    assert sink.types == ["workflow:start", "workflow:complete"]
    await listening.close(0)


async def test_full_queue_drops(facts: InstanceFacts, caplog: pytest.LogCaptureFixture) -> None:
    """What finds the queue full is dropped, with a line in the log."""
    sink = AsyncRecorder()
    listening = observers(sink, capacity=1)
    listening.tell(facts, STARTED)
    listening.tell(facts, COMPLETED)
    await listening.start()
    await listening.close(5)
    assert sink.types == ["workflow:start"]
    assert only_record(caplog).getMessage() == "observer.queue_full"


async def test_drops_are_logged_now_and_then(
    facts: InstanceFacts, caplog: pytest.LogCaptureFixture
) -> None:
    """Many drops make few lines, which count them."""
    listening = observers(AsyncRecorder(), capacity=1)
    for _ in range(1 + DROPS_A_LINE + 1):
        listening.tell(facts, STARTED)
    assert [vars(record)["dropped"] for record in caplog.records] == [1, DROPS_A_LINE + 1]
    await listening.start()
    await listening.close(5)


async def test_dropped_future_is_left_alone(facts: InstanceFacts) -> None:
    """An outlet may return any awaitable; one that is dropped goes on without us."""
    futures: list[asyncio.Future[None]] = []

    def returns_future(event: FluxTraceEvent) -> asyncio.Future[None]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    listening = observers(returns_future)
    listening.tell(facts, STARTED)
    await listening.close(5)
    assert not futures[0].done()


# The end


async def test_close_delivers_what_waits(facts: InstanceFacts) -> None:
    """What was told before the end reaches async outlets within the grace."""
    sink = AsyncRecorder()
    listening = observers(sink)
    await listening.start()
    for event in (STARTED, COMPLETED):
        listening.tell(facts, event)
    await listening.close(5)
    assert sink.types == ["workflow:start", "workflow:complete"]


async def test_close_waits_for_the_grace(facts: InstanceFacts) -> None:
    """A delivery that hangs is waited for until the grace has passed, and then stopped."""
    clock, hanging = ManualClock(), Hanging()
    listening = Observers([hanging], logger=LOGGER, clock=clock)
    await listening.start()
    listening.tell(facts, STARTED)
    closing = asyncio.create_task(listening.close(5))
    await turns(10)
    clock.advance(4)
    await turns(10)
    assert (closing.done(), hanging.stopped) == (False, False)
    clock.advance(1)
    await closing
    assert hanging.stopped


async def test_close_logs_what_it_drops(
    facts: InstanceFacts, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells which delivery was stopped, and how many were never begun."""
    hanging = Hanging()
    listening = observers(hanging)
    await listening.start()
    for _ in range(3):
        listening.tell(facts, STARTED)
    await hanging.begun.wait()
    await listening.close(0)
    logged = {record.getMessage(): vars(record) for record in caplog.records}
    assert logged.keys() == {"observer.interrupted", "observer.dropped"}
    assert logged["observer.interrupted"]["observer"] == "Hanging"
    assert logged["observer.dropped"]["dropped"] == 2


async def test_close_survives_a_stubborn_outlet(
    facts: InstanceFacts, caplog: pytest.LogCaptureFixture
) -> None:
    """A delivery that ignores being stopped is left behind, with a line in the log."""
    released = asyncio.Event()

    async def stubborn(event: FluxTraceEvent) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    listening = observers(stubborn)
    await listening.start()
    listening.tell(facts, STARTED)
    await turns(2)
    await listening.close(0)
    assert "observer.close_timed_out" in caplog.messages
    released.set()
    await turns(2)


async def test_stubborn_outlet_takes_nothing_later(facts: InstanceFacts) -> None:
    """A delivery that was left behind does not disturb a new start."""
    released = asyncio.Event()
    told: list[str] = []

    async def stubborn_once(event: FluxTraceEvent) -> None:
        told.append(event.type)
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    listening = observers(stubborn_once)
    await listening.start()
    listening.tell(facts, STARTED)
    await turns(2)
    await listening.close(0)
    await listening.start()
    released.set()
    listening.tell(facts, COMPLETED)
    await listening.close(5)
    assert told == ["workflow:start", "workflow:complete"]


@pytest.mark.parametrize("kind", [Recorder, AsyncRecorder])
async def test_outlets_are_closed(kind: type[Recorder]) -> None:
    """The close of an outlet, plain or async, is called once."""
    sink = kind()
    listening = observers(sink)
    await listening.start()
    await listening.close(5)
    assert sink.closed == 1


async def test_outlets_are_closed_after_their_events(facts: InstanceFacts) -> None:
    """An outlet gets its last event before it is closed."""
    closed_before: list[int] = []

    class Sink(AsyncRecorder):
        async def emit(self, event: FluxTraceEvent) -> None:  # type: ignore[override]
            await turns(3)
            closed_before.append(self.closed)

    listening = observers(Sink())
    await listening.start()
    listening.tell(facts, STARTED)
    await listening.close(5)
    assert closed_before == [0]


async def test_failing_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An outlet whose close raises is logged, and the others are closed all the same."""

    class Failing(Recorder):
        def close(self) -> None:
            raise OSError("no room")

    sink = Recorder()
    listening = observers(Failing(), sink)
    await listening.start()
    await listening.close(5)
    assert only_record(caplog).getMessage() == "observer.close_failed"
    assert sink.closed == 1


async def test_hanging_close_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """An outlet whose close never ends is stopped, and the others are closed all the same."""
    ended: list[str] = []

    class HangingClose(Recorder):
        async def close(self) -> None:  # type: ignore[override]
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("stopped")

    sink = Recorder()
    listening = observers(HangingClose(), sink)
    await listening.start()
    await listening.close(0)
    await turns(3)
    assert "observer.close_timed_out" in caplog.messages
    assert (ended, sink.closed) == (["stopped"], 1)


async def test_slowest_close_is_waited_for() -> None:
    """The end has come when the last outlet is closed, not the first."""
    sink = AsyncRecorder()
    listening = observers(Recorder(), sink)
    await listening.start()
    await listening.close(5)
    assert sink.closed == 1


async def test_close_leaves_no_timer() -> None:
    """What ended within the grace leaves nobody waiting for the rest of it."""
    clock = ManualClock()
    listening = Observers([Recorder()], logger=LOGGER, clock=clock)
    await listening.start()
    await listening.close(5)
    await turns(3)
    assert clock.sleeping == 0


async def test_closed_observers_are_not_active(facts: InstanceFacts) -> None:
    """After the end nobody listens, and nobody is told."""
    sink = Recorder()
    listening = observers(sink)
    await listening.start()
    await listening.close(5)
    listening.tell(facts, STARTED)
    assert (listening.active, sink.types) == (False, [])


async def test_closing_without_start(
    facts: InstanceFacts, caplog: pytest.LogCaptureFixture
) -> None:
    """What was told to observers that never started is dropped, with a line in the log."""
    listening = observers(AsyncRecorder())
    listening.tell(facts, STARTED)
    await listening.close(5)
    assert only_record(caplog).getMessage() == "observer.dropped"


async def test_closing_nothing() -> None:
    """Without outlets a close returns at once."""
    listening = observers()
    await listening.start()
    await listening.close(5)
    assert not listening.active


async def test_cancelled_close_leaves_nothing_running(facts: InstanceFacts) -> None:
    """Who cancels the close stops the deliveries too."""
    hanging = Hanging()
    listening = observers(hanging)
    await listening.start()
    listening.tell(facts, STARTED)
    closing = asyncio.create_task(listening.close(5))
    await hanging.begun.wait()
    closing.cancel()
    await turns(5)
    assert closing.cancelled()
    assert hanging.stopped


def test_observers_start_again_in_another_loop(facts: InstanceFacts) -> None:
    """Closed observers can be started anew, also by another loop."""
    sink = AsyncRecorder()
    listening = observers(sink)

    async def one_round() -> None:
        await listening.start()
        await turns(2)
        listening.tell(facts, STARTED)
        await listening.close(5)

    asyncio.run(one_round())
    asyncio.run(one_round())
    assert sink.types == ["workflow:start"] * 2
