"""Shared values in the memory of this process."""

import heapq
from datetime import datetime

from attrs import frozen

SWEPT = 10
"""How many values whose time has come a write removes at most; more than it can add."""


@frozen
class _Value:
    text: bytes
    expires_at: datetime | None


class Values:
    """Texts by key. What has expired counts as absent; writes remove it, a few at a time."""

    def __init__(self) -> None:
        self._values: dict[str, _Value] = {}
        self._ends: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        """How many are kept, expired ones included."""
        return len(self._values)

    def get(self, key: str, now: datetime) -> bytes | None:
        value = self._values.get(key)
        if value is None or (value.expires_at is not None and value.expires_at <= now):
            return None
        return value.text

    def set(self, key: str, text: bytes, now: datetime, expires_at: datetime | None) -> None:
        self._sweep(now)
        self._values[key] = _Value(text, expires_at)
        if expires_at is not None:
            heapq.heappush(self._ends, (expires_at, key))
            self._thin_out()

    def delete(self, key: str, now: datetime) -> bool:
        was_there = self.get(key, now) is not None
        self._values.pop(key, None)
        self._sweep(now)
        return was_there

    def _sweep(self, now: datetime) -> None:
        for _ in range(SWEPT):
            if not self._ends or self._ends[0][0] > now:
                return
            end, key = heapq.heappop(self._ends)
            value = self._values.get(key)
            if value is not None and value.expires_at == end:
                del self._values[key]

    def _thin_out(self) -> None:
        """Forget the ends of values that were set anew, when they are the greater part."""
        if len(self._ends) > 64 + 2 * len(self._values):
            ends = ((value.expires_at, key) for key, value in self._values.items())
            self._ends = [(end, key) for end, key in ends if end is not None]
            heapq.heapify(self._ends)
