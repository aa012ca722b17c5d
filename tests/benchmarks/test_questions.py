"""Every question has an answer, in a run of seconds that needs no peers."""

import importlib
import time
from collections.abc import Sequence

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.interleaved import Field, Pace
from benchmarks.questions import QUESTIONS
from benchmarks.table import Row, table

GROUPS = {"documents": "memory"}


async def answers(question: str) -> Sequence[Row]:
    """What by hand and Flux answer in one tiny round."""
    group = GROUPS.get(question, "sqlite-normal")
    entries = [entry for entry in CONTENDERS if entry.group == group]
    ends = time.monotonic() + 60
    pace = Pace(slice=0.02, rounds=1, clients=(1, 4), size=0.01, ends=ends)
    module = importlib.import_module(f"benchmarks.questions.{question}")
    rows: Sequence[Row] = await module.measure(Field(entries=entries, redis=None, pace=pace))
    return rows


@pytest.mark.parametrize("question", QUESTIONS)
async def test_question_is_answered(question: str) -> None:
    """There are rows, Flux's among them, and none of them says that somebody failed."""
    rows = await answers(question)
    assert any(row.contender.startswith("Flux") for row in rows)
    assert [row for row in rows if "failed" in row.figure or "then" in row.rounds] == []


async def test_table_holds_every_row() -> None:
    """A heading, a rule and a line for each row, all of one width."""
    rows = await answers("saga")
    lines = table(rows).split("\n")
    assert len(lines) == 2 + len(rows)
    assert len({len(line) for line in lines}) == 1
    assert all("by hand" in line or "Flux" in line for line in lines[2:])
