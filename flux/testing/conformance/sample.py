"""Heads, saves and signals as an engine would make them, of which a rule names what matters.

await storage.create(record("order-7", labels={"city": "Oslo"}), lease=30)
await storage.save(checkpoint("order-7", expected=1, status="completed", lease=None))
"""

from datetime import UTC, datetime
from typing import Any

from flux.storage import Checkpoint, Record, Signal

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where a `ManualClock` begins."""

ODD_TEXTS = (
    "",
    " ",
    "o'r\"d;--",
    "%_*?",
    "ordre/ß/日本/😀",
    "a\nb\tc",
    "x" * 2000,
    "NULL",
    "0",
    "\0nul",
    "{a}",
)
"""What may stand wherever a text is asked for: ids, labels, keys, names."""


ALIKE = (
    "order",
    "Order",
    "ORDER",
    "order ",
    " order",
    "orde_",
    "orde%",
    "order*",
    "ordeŕ",
)
"""Texts that some servers take for one another: by case, by spaces, as patterns, by accents."""


def record(id: str = "order-7", **fields: Any) -> Record:
    """A new instance of the workflow `order`, owned by `one`."""
    defaults: dict[str, Any] = {
        "workflow": "order",
        "version": "1",
        "status": "running",
        "owner": "one",
        "created_at": START,
        "updated_at": START,
    }
    return Record(id=id, **(defaults | fields))


def checkpoint(id: str = "order-7", *, expected: int = 1, **fields: Any) -> Checkpoint:
    """A save by `one`, who keeps the instance for 30 seconds."""
    defaults: dict[str, Any] = {
        "owner": "one",
        "status": "running",
        "intent": ("reserve",),
        "payload": b"{}",
        "updated_at": START,
        "lease": 30,
    }
    return Checkpoint(id=id, expected=expected, **(defaults | fields))


def signal(
    name: str = "approved", *, signal_id: str | None = None, payload: bytes = b"{}"
) -> Signal:
    """A signal sent at the start."""
    return Signal(name=name, payload=payload, sent_at=START, signal_id=signal_id)
