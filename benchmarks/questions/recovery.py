"""How fast are 1,000 instances driven to their end whose process was killed in the third of five
steps?

One process starts them and is killed; when its leases have run out another opens the storage. The
time is counted from there until all have ended.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.contender import Entry, Place, made
from benchmarks.interleaved import Field, Measured, Team, rows, team
from benchmarks.table import Row, amount
from benchmarks.worker import Stage, opened

ABANDONED = 1_000
CLIENTS = 64
LEASES_RUN_OUT = 2.5
"""Seconds; those of Flux last two here."""
ROUNDS = 3


async def measure(field: Field) -> Sequence[Row]:
    found: list[Row] = []
    for entries in field.asked("recovery").values():
        measured = [Measured(entry) for entry in entries]
        for _ in range(min(ROUNDS, field.pace.rounds)):
            await _round(field, measured)
        asked = "abandoned instances recovered a second"
        found += rows(asked, measured, "rate", amount)
    return found


async def _round(field: Field, measured: Sequence[Measured]) -> None:
    async with team(field) as its:
        for one in field.left(measured):
            with one.noting_errors():
                await _abandon(its, one.entry, _count(field, one))
        await asyncio.sleep(LEASES_RUN_OUT)
        for one in field.left(measured):
            with one.noting_errors():
                await its.begin(one.entry)
                opening = its.opening(one.entry)
                count = _count(field, one)
                one.note = "" if count == field.pace.sized(ABANDONED) else f" (of {count:,})"
                one.add(await its.ask(one.entry, recovered, count=count, opening=opening))


def _count(field: Field, one: Measured) -> int:
    return one.entry.count("recovery", field.pace.sized(ABANDONED))


async def _abandon(its: Team, entry: Entry, count: int) -> None:
    await its.begin(entry)
    await its.ask(entry, opened, **its.opening(entry, **entry.when_killed))
    await its.ask(entry, abandoned, count=count)
    await its.end(entry)


async def abandoned(stage: Stage, *, count: int) -> None:
    """Start so many; they are abandoned when this process is killed."""
    await work.each(stage.contender.abandon, range(count), CLIENTS)


async def recovered(stage: Stage, *, count: int, opening: Any) -> Mapping[str, float]:
    # What is imported is imported before.
    stage.contender = made(opening["made_by"], opening["settings"])
    place = Place(folder=Path(opening["folder"]), redis=opening["redis"])
    began = time.perf_counter()
    await stage.contender.open(place)
    await stage.contender.recover(count)
    return {"rate": count / (time.perf_counter() - began)}
