"""Listings and counts in Redis: indexes walked part by part, so that nobody waits for long."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from heapq import nlargest
from typing import Any

from attrs import frozen

from flux.storage import WorkflowFilter, WorkflowSummary
from flux_storages import redis_records as records
from flux_storages.redis_lua import Argument

Run = Callable[..., Awaitable[Any]]

LOOKS = 1000
"""How many instances a script looks at before others get their turn."""


async def list_heads(run: Run, filter: WorkflowFilter) -> Sequence[WorkflowSummary]:
    """One page. Instances that change meanwhile are seen before or after their change."""
    offset, limit = max(filter.offset, 0), max(filter.limit, 0)
    found: dict[bytes, WorkflowSummary] = {}
    after = records.optional(filter.after)
    for walk in _walks(filter):
        rows = await walk.rows(run, after, offset + limit)
        found |= {row[0]: records.summary(row) for row in rows}
    newest = nlargest(offset + limit, found.values(), key=_age)
    return tuple(newest[offset:])


async def count(run: Run, filter: WorkflowFilter) -> int:
    return sum([await walk.number(run) for walk in _walks(filter)])


@frozen
class _Walk:
    """A way through the instances that are in all of these indexes."""

    indexes: Sequence[str]
    ended_before: str

    async def rows(self, run: Run, after: bytes, wanted: int) -> Sequence[Sequence[bytes]]:
        rows: list[Sequence[bytes]] = []
        position: bytes | None = b""
        while position is not None and len(rows) < wanted:
            terms = "heads", position, after, self.ended_before, LOOKS, wanted - len(rows)
            position, found = await self._go(run, *terms)
            rows += found
        return rows

    async def number(self, run: Run) -> int:
        number = 0
        position: bytes | None = b""
        while position is not None:
            terms = "number", position, "", self.ended_before, LOOKS, LOOKS + 1
            position, found = await self._go(run, *terms)
            number += found
        return number

    async def _go(self, run: Run, *terms: Argument) -> tuple[bytes | None, Any]:
        position, found = await run("list", *terms, *self.indexes)
        return position or None, found


def _walks(filter: WorkflowFilter) -> Iterator[_Walk]:
    """One for each status asked for."""
    common = [_label_index(*label) for label in filter.labels.items()]
    if filter.name is not None:
        common.append(f":workflow:{filter.name}")
    ended_before = records.iso(filter.ended_before)
    for status in dict.fromkeys(filter.statuses):
        yield _Walk([*common, f":status:{status}"], ended_before)
    if not filter.statuses:
        yield _Walk(common or [":all"], ended_before)


def _label_index(name: str, value: str) -> str:
    escaped = name.replace("%", "%25").replace("=", "%3D")
    return f":label:{escaped}={value}"


def _age(summary: WorkflowSummary) -> tuple[datetime, str]:
    return summary.created_at, summary.id
