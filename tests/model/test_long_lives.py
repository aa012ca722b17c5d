"""Instances with long lives, of many runs and rollbacks and deaths, do what the model predicts.

Each is drawn from a seed, which a failure names together with all that happened.
`FLUX_MODEL_EXAMPLES=5000` tries so many of them.
"""

import pytest

from agreement import Agreement, Fresh
from budget import TIMEOUT, asked
from flow_plans import Command
from flux import WorkflowStorage
from seeded_plans import Life

pytestmark = TIMEOUT

LIVES = {"memory": 600, "sqlite": 150, "redis": 150}
BATCH = 50


BATCHES = [
    (kind, first) for kind, examples in LIVES.items() for first in range(0, asked(examples), BATCH)
]
"""The storages, each with the first seed of each batch."""


@pytest.mark.parametrize(("kind", "first"), BATCHES)
def test_long_lives(kind: str, first: int, fresh: Fresh) -> None:
    """Whatever happens to an instance, it is where the model says."""
    for seed in range(first, first + BATCH):
        live(seed, fresh(kind))


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
