"""The results of pure steps, kept in the storage's shared values for whoever asks the same."""

from datetime import datetime
from hashlib import blake2b
from typing import Any, cast

import orjson

from flux.definition.step import StepDefinition
from flux.definition.workflow import WorkflowDefinition
from flux.engine.attempt import Attempted
from flux.engine.data import LazyData
from flux.engine.services import Services
from flux.events import DataChanges
from flux.state.strict_json import json_text
from flux.storage import SharedValues

_PREFIX = "cache:"


def key_of(definition: WorkflowDefinition, step: StepDefinition, made_of: bytes) -> str:
    """The key of the step's result, made of this JSON text; it holds no more than a hash of it."""
    named = [definition.name, definition.version, step.name, orjson.loads(made_of)]
    return f"{_PREFIX}{definition.name}:{step.name}:{digest(named)}"


def key_text(value: Any, path: str) -> bytes:
    """The JSON text of what a key function returned, or `NotJSONError`."""
    return json_text(value.copy() if isinstance(value, LazyData) else value, path)


def digest(value: Any) -> str:
    """Names a JSON value: equal ones alike, whatever the order of their keys."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()


async def kept(services: Services, key: str, *, started_at: datetime) -> Attempted | None:
    """The result under this key; None if there is none, or if it cannot be read."""
    try:
        text = await cast(SharedValues, services.storage).get_value(key)
        return None if text is None else _read(text, started_at)
    except Exception:
        services.logger.exception("cache.unreadable", extra={"key": key})
        return None


async def keep(services: Services, key: str, attempted: Attempted, *, ttl: float | None) -> None:
    """Keep a result; one that failed, or that is still to come, is not kept."""
    if attempted.ended is not None or attempted.waiting is not None:
        return
    try:
        await cast(SharedValues, services.storage).set_value(key, _text(attempted), ttl=ttl)
    except Exception:
        services.logger.exception("cache.unwritable", extra={"key": key})


def _text(attempted: Attempted) -> bytes:
    changes = attempted.changes
    return orjson.dumps(
        {
            "output": orjson.Fragment(attempted.output),
            "set": {name: orjson.Fragment(text) for name, text in changes.set.items()},
            "deleted": changes.deleted,
        }
    )


def _read(text: bytes, started_at: datetime) -> Attempted:
    document = orjson.loads(text)
    changes = DataChanges(
        set={name: orjson.dumps(value) for name, value in document["set"].items()},
        deleted=tuple(document["deleted"]),
    )
    output = orjson.dumps(document["output"])
    return Attempted(started_at=started_at, output=output, changes=changes, cached=True)
