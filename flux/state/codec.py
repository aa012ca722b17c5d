"""Instances to JSON text and back, with a format number and upgrades between numbers."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any

import orjson
from attrs import asdict, fields

from flux.errors import StateFormatError, StoredError
from flux.events import AttemptEnd, DataChanges, Waiting
from flux.state.execution import Attempt, Compensation, Execution, Tries, untried
from flux.state.instance import Head, Origin, Parent, Turn
from flux.state.status import (
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
)

FORMAT = 2
"""The format in which this version writes. Raise it with every change of what is written."""

Document = dict[str, Any]


def _from_1(kind: str, document: Document) -> Document:
    """Whether a step has a compensator was not remembered in its shape."""
    if kind != "origin":
        return document
    return {**document, "shape": [[*row, None] for row in document["shape"]]}


UPGRADES: Mapping[int, Callable[[str, Document], Document]] = {1: _from_1}
"""By format number, what makes a document ("origin", "head", "execution") of it into the next."""


def read(kind: str, text: bytes, upgrades: Mapping[int, Any] = UPGRADES) -> Document:
    """The document in `text`, brought to the present format."""
    document: Document = orjson.loads(text)
    found = document.get("format")
    if type(found) is not int or not 1 <= found <= FORMAT:
        raise StateFormatError(kind, found, FORMAT)
    for number in range(found, FORMAT):
        document = upgrades[number](kind, document)
    return document


# The origin


def encode_origin(origin: Origin) -> bytes:
    """What `create` stores for good; id, workflow, version, labels and time are columns."""
    document: Document = {
        "format": FORMAT,
        "input": orjson.Fragment(origin.input),
        "data": _fragments(origin.first_data),
        "shape": orjson.Fragment(origin.shape),
    }
    if origin.deadline is not None:
        document["deadline"] = origin.deadline
    if origin.parent is not None:
        document["parent"] = asdict(origin.parent)
    return orjson.dumps(document)


def decode_origin(text: bytes, **columns: Any) -> Origin:
    """The origin from its text and the columns of the record."""
    document = read("origin", text)
    return Origin(
        input=orjson.dumps(document["input"]),
        first_data=_texts(document["data"]),
        shape=orjson.dumps(document["shape"]),
        deadline=_time(document.get("deadline")),
        parent=Parent(**document["parent"]) if "parent" in document else None,
        **columns,
    )


# The head


def encode_head(head: Head) -> bytes:
    """What every save replaces; status and times are columns."""
    document: Document = {
        "format": FORMAT,
        "direction": head.direction._value_,
        "run": head.run,
        "ticks": head.ticks,
        "recoveries": head.recoveries,
    }
    if head.error is not None:
        document["error"] = _error_document(head.error)
    if head.reason is not None:
        document["reason"] = head.reason
    if head.cancelling is not None:
        document["cancelling"] = head.cancelling.value
    if head.undated:
        document["undated"] = True
    if head.inbox_read:
        document["inbox_read"] = head.inbox_read
    if head.inbox_seen:
        document["inbox_seen"] = head.inbox_seen
    if head.shape is not None:
        document["shape"] = orjson.Fragment(head.shape)
        document["version"] = head.version
    if head.turn is not None:
        document["turn"] = _turn_document(head.turn)
    if head.begun:
        document["begun"] = head.begun
    return orjson.dumps(document)


def decode_head(text: bytes, *, status: str, **columns: Any) -> Head:
    """The head from its text and the columns of the record."""
    document = read("head", text)
    cancelling = document.get("cancelling")
    return Head(
        status=WorkflowStatus(status),
        direction=Direction(document["direction"]),
        run=document["run"],
        ticks=document["ticks"],
        recoveries=document["recoveries"],
        error=_error(document.get("error")),
        reason=document.get("reason"),
        cancelling=None if cancelling is None else Cancelling(cancelling),
        undated=document.get("undated", False),
        inbox_read=document.get("inbox_read", 0),
        inbox_seen=document.get("inbox_seen", 0),
        shape=orjson.dumps(document["shape"]) if "shape" in document else None,
        version=document.get("version"),
        turn=_turn(document.get("turn")),
        begun=document.get("begun", {}),
        **columns,
    )


def _turn_document(turn: Turn) -> Document:
    return {"number": turn.number, "gates": turn.gates, "admitted": turn.admitted}


def _turn(document: Document | None) -> Turn | None:
    if document is None:
        return None
    return Turn(
        number=document["number"], gates=tuple(document["gates"]), admitted=document["admitted"]
    )


# Executions


def encode_execution(execution: Execution) -> bytes:
    """One history entry. What has its usual value is left out."""
    document: Document = {
        "format": FORMAT,
        "step": execution.step,
        "status": execution.status._value_,
        "place": execution.place,
        "attempts": execution.attempts,
        "started_at": execution.started_at,
        "ended_at": execution.ended_at,
    }
    if execution.output is not None:
        document["output"] = orjson.Fragment(execution.output)
    if execution.changes is not None:
        _add_changes(document, execution.changes)
    if execution.outcome is not None:
        document["outcome"] = execution.outcome._value_
    if execution.finished is not None:
        document["finished"] = execution.finished
    if execution.folded is not None:
        document["folded"] = execution.folded
    if execution.compensation is not None:
        document["compensation"] = _compensation_document(execution.compensation)
    if execution.tries is not untried():
        document |= _tries_document(execution.tries)
    if (seldom := _seldom(execution)) != _usual():
        document |= _differing(seldom)
    return orjson.dumps(document)


def decode_execution(number: int, text: bytes) -> Execution:
    """The execution of this number from its text."""
    document = read("execution", text)
    outcome = document.get("outcome")
    compensation = document.get("compensation")
    return Execution(
        number=number,
        step=document["step"],
        status=StepStatus(document["status"]),
        place=document["place"],
        attempts=document["attempts"],
        started_at=_time(document["started_at"]),
        ended_at=_time(document["ended_at"]),
        tries=_tries(document),
        suspended_at=_time(document.get("suspended_at")),
        waiting=_waiting(document.get("waiting")),
        outcome=None if outcome is None else Outcome(outcome),
        output=orjson.dumps(document["output"]) if "output" in document else None,
        changes=_changes(document),
        items=orjson.dumps(document["items"]) if "items" in document else None,
        merged=_changes(document["merged"]) if "merged" in document else None,
        error=_error(document.get("error")),
        compensation=None if compensation is None else _compensation(compensation),
        **{name: document[name] for name in _PLAIN if name in document},
    )


def _differing(values: tuple[Any, ...]) -> Document:
    """What is not as it mostly is."""
    rows = zip(_SELDOM, values, _usual(), strict=True)
    return {
        name: _DOCUMENTS[name](value) if name in _DOCUMENTS else value
        for name, value, usual in rows
        if value != usual
    }


_PLAIN = (
    "generation",
    "run",
    "replaced",
    "asked",
    "finished",
    "folded",
    "again",
    "closed",
    "left_out",
    "handled_by",
    "cached",
    "batch_size",
)
_SELDOM = (
    *(name for name in _PLAIN if name not in ("finished", "folded")),
    "suspended_at",
    "waiting",
    "error",
    "items",
    "merged",
)
_seldom = attrgetter(*_SELDOM)


@cache
def _usual() -> tuple[Any, ...]:
    return tuple(getattr(fields(Execution), name).default for name in _SELDOM)


def _waiting_document(waiting: Waiting) -> Document:
    document: Document = {"signal": waiting.signal, "until": waiting.until}
    if waiting.default is not None:
        document["default"] = orjson.Fragment(waiting.default)
    return document


def _waiting(document: Document | None) -> Waiting | None:
    if document is None:
        return None
    return Waiting(
        signal=document["signal"],
        until=_time(document["until"]),
        default=orjson.dumps(document["default"]) if "default" in document else None,
    )


_TRIES = frozenset(
    {"verifying", "exhausted", "failures", "verifications", "retry_at", "failed_attempts"}
)


def _tries_document(tries: Tries) -> Document:
    document: Document = {
        "verifying": tries.verifying,
        "exhausted": tries.exhausted,
        "failures": tries.failures,
        "verifications": tries.verifications,
        "retry_at": tries.retry_at,
        "failed_attempts": [_attempt_document(attempt) for attempt in tries.ended],
    }
    return {name: value for name, value in document.items() if value}


def _tries(document: Document) -> Tries:
    if document.keys().isdisjoint(_TRIES):
        return untried()
    return Tries(
        failures=document.get("failures", 0),
        ended=tuple(map(_attempt, document.get("failed_attempts", ()))),
        retry_at=_time(document.get("retry_at")),
        verifying=document.get("verifying", False),
        verifications=document.get("verifications", 0),
        exhausted=document.get("exhausted", False),
    )


def _attempt_document(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "ended": attempt.ended,
        "error": _error_document(attempt.error),
    }


def _attempt(document: Document) -> Attempt:
    return Attempt(
        number=document["number"],
        started_at=datetime.fromisoformat(document["started_at"]),
        ended_at=datetime.fromisoformat(document["ended_at"]),
        ended=AttemptEnd(document["ended"]),
        error=_stored_error(document["error"]),
    )


def _compensation_document(compensation: Compensation) -> Document:
    document: Document = {
        "status": compensation.status,
        "attempts": compensation.attempts,
        "failures": compensation.failures,
        "started_at": compensation.started_at,
        "ended_at": compensation.ended_at,
        "retry_at": compensation.retry_at,
        "reason": compensation.reason,
        "finished": compensation.finished,
        "run": compensation.run,
    }
    if compensation.changes is not None:
        _add_changes(document, compensation.changes)
    if compensation.error is not None:
        document["error"] = _error_document(compensation.error)
    return {name: value for name, value in document.items() if value is not None}


def _compensation(document: Document) -> Compensation:
    return Compensation(
        status=CompensationStatus(document["status"]),
        attempts=document["attempts"],
        failures=document["failures"],
        started_at=_time(document.get("started_at")),
        ended_at=_time(document.get("ended_at")),
        retry_at=_time(document.get("retry_at")),
        reason=document.get("reason"),
        finished=document.get("finished"),
        run=document["run"],
        changes=_changes(document),
        error=_error(document.get("error")),
    )


# Parts of several documents


def _error_document(error: StoredError) -> Document:
    return {
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "cause": None if error.cause is None else _error_document(error.cause),
    }


def _error(document: Document | None) -> StoredError | None:
    return None if document is None else _stored_error(document)


def _stored_error(document: Document) -> StoredError:
    return StoredError(
        type=document["type"],
        message=document["message"],
        traceback=document["traceback"],
        cause=_error(document["cause"]),
    )


def _add_changes(document: Document, changes: DataChanges) -> Document:
    if changes.set or not changes.deleted:
        document["set"] = _fragments(changes.set)
    if changes.deleted:
        document["deleted"] = changes.deleted
    return document


def _changes(document: Document) -> DataChanges | None:
    if "set" not in document and "deleted" not in document:
        return None
    return DataChanges(
        set=_texts(document.get("set", {})), deleted=tuple(document.get("deleted", ()))
    )


def _fragments(texts: Mapping[str, bytes]) -> dict[str, orjson.Fragment]:
    # A loop: a comprehension is one more call, up to Python 3.11.
    fragments = {}
    for key, text in texts.items():
        fragments[key] = orjson.Fragment(text)
    return fragments


def _texts(values: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: orjson.dumps(value) for key, value in values.items()}


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


_DOCUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "waiting": _waiting_document,
    "error": _error_document,
    "items": orjson.Fragment,
    "merged": lambda merged: _add_changes({}, merged),
}
"""How what is seldom is written, where it is not written as it is."""
