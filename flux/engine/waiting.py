"""What is in an inbox, to what it means for whoever waits. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson

from flux.definition.wait import RESERVED, Wait
from flux.events import Received, Waiting
from flux.state.instance import Instance
from flux.state.strict_json import json_text
from flux.storage import StoredSignal

CANCEL = f"{RESERVED}cancel"
PAUSE = f"{RESERVED}pause"
"""Requests to whoever drives an instance go through its inbox, under names that no user has."""

TURN = f"{RESERVED}turn"
"""Tells an instance that waits for its turn to look whether it has come."""

REQUESTS = (CANCEL, PAUSE)


def cancel_payload(*, rollback: bool, reason: str | None) -> bytes:
    """What a request to cancel carries."""
    return orjson.dumps({"rollback": rollback, "reason": reason})


def pause_payload(*, reason: str | None) -> bytes:
    """What a request to pause carries."""
    return orjson.dumps({"reason": reason})


def read(request: Received) -> tuple[bool, str | None]:
    """Whether a request wants a rollback, and its reason."""
    document = orjson.loads(request.payload)
    return bool(document.get("rollback")), document["reason"]


def received(signals: Sequence[StoredSignal]) -> list[Received]:
    """The signals of a read that nobody has consumed."""
    return [
        Received(
            number=stored.number,
            name=stored.signal.name,
            payload=stored.signal.payload,
            sent_at=stored.signal.sent_at,
            signal_id=stored.signal.signal_id,
        )
        for stored in signals
        if stored.consumed_by is None
    ]


def first_request(instance: Instance) -> Received | None:
    """The first request in the inbox that was not heeded yet."""
    return next((r for r in instance.inbox.values() if r.name in REQUESTS), None)


def calls(instance: Instance) -> tuple[int, ...]:
    """The numbers of the signals in the inbox that tell it to look for its turn."""
    return tuple(r.number for r in instance.inbox.values() if r.name == TURN)


def cancel_asked_for(instance: Instance) -> bool | None:
    """Whether the cancel in the inbox wants a rollback; None if there is none."""
    asked = (read(r)[0] for r in instance.inbox.values() if r.name == CANCEL)
    return next(asked, None)


def waiting(wait: Wait, at: datetime) -> Waiting:
    """What a step that returned `wait` waits for; `NotJSONError` for a default that is no JSON."""
    until = wait.until if wait.seconds is None else at + timedelta(seconds=wait.seconds)
    goes_on = wait.on_timeout == "continue"
    default = json_text(wait.default, "default") if goes_on else None
    return Waiting(signal=wait.signal, until=until, default=default)


def arrived(instance: Instance, waiting: Waiting) -> Received | None:
    """The first signal in the inbox that was sent, in time, under the name waited for.

    One that was in time counts even if nobody drove the instance then; one that came too late does
    not, even if nobody has noticed the timeout yet.
    """
    if waiting.signal is None:
        return None
    fitting = (r for r in instance.inbox.values() if r.name == waiting.signal)
    in_time = (r for r in fitting if waiting.until is None or r.sent_at <= waiting.until)
    return next(in_time, None)
