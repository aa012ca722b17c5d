"""Instances with long lives, of many runs and rollbacks and deaths, do what the model predicts.

Each is drawn from a seed, which a failure names together with all that happened.
`FLUX_MODEL_EXAMPLES=5000` tries so many of them.
"""

from pathlib import Path

import pytest

from agreement import Agreement
from budget import TIMEOUT, asked
from flow_plans import Command
from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage
from seeded_plans import Life

pytestmark = TIMEOUT

BATCH = 50


def batches(examples: int) -> list[int]:
    """The first seed of each batch."""
    return list(range(0, asked(examples), BATCH))


@pytest.mark.parametrize("first", batches(500))
def test_long_lives_on_memory(first: int) -> None:
    """On memory, whatever happens to an instance, it is where the model says."""
    for seed in range(first, first + BATCH):
        live(seed, MemoryStorage())


@pytest.mark.parametrize("first", batches(150))
def test_long_lives_on_sqlite(first: int, tmp_path: Path) -> None:
    """On SQLite, whatever happens to an instance, it is where the model says."""
    for seed in range(first, first + BATCH):
        live(seed, SQLiteStorage(tmp_path / f"{seed}.db", synchronous="normal"))


def live(seed: int, storage: WorkflowStorage) -> None:
    """Let all of it happen; a disagreement tells how to repeat it."""
    life = Life(seed)
    agreement = Agreement(life.plan, [storage])
    commands: list[Command] = []
    try:
        for _ in range(life.length):
            commands.append(life.command(agreement.model))
            agreement.do(commands[-1])
    except AssertionError as error:
        told = "\n".join(map(repr, commands))
        raise AssertionError(f"seed {seed}: {error}\n{life.plan}\n{told}") from error
    finally:
        agreement.close()
