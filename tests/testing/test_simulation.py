"""The simulation as users see it: seeds, scenarios, and what it says when a promise is broken."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from flux import Workflow, WorkflowContext, WorkflowState, WorkflowStatus
from flux.testing import Faults, Scenario, SimulationError, random_scenario, simulate

QUIET = Faults(most=0, step_errors=0, step_unknowns=0, cancels=0, pauses=0, restarts=0)


async def nothing(ctx: WorkflowContext) -> None:
    """A handler that does nothing."""


def test_random_workflows_keep_every_promise() -> None:
    """Whatever goes wrong, under as many seeds as the environment says."""
    report = simulate(random_scenario)
    assert report.handler_calls > report.seeds


def test_a_seed_gives_the_same_run() -> None:
    """What happens under a seed happens again, in the same order, to the last line."""
    first, second = (simulate(random_scenario, seeds=range(20)) for _ in range(2))
    assert first.digests == second.digests
    assert len(set(first.digests)) == 20


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_gives_the_same_run(hash_seed: str) -> None:
    """Neither the order of sets nor the addresses of objects have a say."""
    code = (
        "from flux.testing import random_scenario, simulate\n"
        "print(*simulate(random_scenario, seeds=range(20)).digests)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.split() == list(simulate(random_scenario, seeds=range(20)).digests)


def test_days_take_no_time() -> None:
    """A wait of a day is over at once, and the report counts its seconds."""
    order = Workflow("order")
    order.sleep("day", 86400 / 10)
    report = simulate(order, seeds=[0], engines=1, faults=QUIET)
    assert report.seconds > 8640


def test_plain_handlers_are_called() -> None:
    """A plain handler runs in the loop, since no seed could choose the order of threads."""
    called: list[str] = []
    order = Workflow("order").step("act", lambda ctx: called.append(ctx.step))
    simulate(order, {}, seeds=[0], faults=QUIET)
    assert called == ["act"]


def test_signals_are_sent() -> None:
    """A signal of the scenario reaches the instance with its payload."""
    seen: list[Any] = []

    def look(states: Sequence[WorkflowState]) -> None:
        seen.extend(state.history[0].output for state in states)

    order = Workflow("order").wait("approval")
    signals = {"approval": {"by": "kim"}}
    simulate(Scenario(order, instances=2, signals=signals, check=look), seeds=[1], faults=QUIET)
    assert seen == [{"by": "kim"}, {"by": "kim"}]


def twice_charged(chance: Random) -> Scenario:
    """A charge without a key: what is charged twice stays charged twice."""
    charged: list[str] = []
    order = Workflow("order")

    @order.step
    async def charge(ctx: WorkflowContext) -> None:
        charged.append(ctx.id)
        await asyncio.sleep(1)

    def check(states: Sequence[WorkflowState]) -> None:
        done = [state.id for state in states if state.status is WorkflowStatus.COMPLETED]
        assert all(charged.count(id) == 1 for id in done), f"charged {charged}"

    return Scenario(order, check=check, horizon=5.0)


def test_an_effect_that_happens_twice_is_found() -> None:
    """A user's own check fails under some seed, and its error says under which."""
    with pytest.raises(SimulationError, match=r"check: charged \['i1', 'i1'\]") as found:
        simulate(twice_charged, seeds=range(300))
    seed = found.value.seed
    assert f"FLUX_SIMULATION_SEED={seed}" in str(found.value)
    assert "FAULT" in found.value.trace


def test_a_failing_seed_fails_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed from the environment alone is run, with the same trace."""
    with pytest.raises(SimulationError) as first:
        simulate(twice_charged, seeds=range(300))
    monkeypatch.setenv("FLUX_SIMULATION_SEED", str(first.value.seed))
    with pytest.raises(SimulationError) as again:
        simulate(twice_charged)
    assert again.value.trace == first.value.trace


def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUX_SIMULATION_SEEDS is the number of seeds."""
    monkeypatch.setenv("FLUX_SIMULATION_SEEDS", "3")
    assert simulate(Workflow("order").step("act", nothing)).seeds == 3


def test_an_instance_that_never_ends_is_told() -> None:
    """A step that runs for ever keeps its instance from its rest."""
    order = Workflow("order")

    @order.step
    async def endless(ctx: WorkflowContext) -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationError, match="S24: 'i1' does not come to its rest"):
        simulate(Scenario(order, horizon=1.0, patience=50.0), seeds=[0], faults=QUIET)


async def test_a_running_loop_is_refused() -> None:
    """It has a loop of its own, and says so."""
    with pytest.raises(RuntimeError, match="call it from a plain function"):
        simulate(Workflow("order").step("act", nothing))


def test_what_cannot_be_simulated_is_refused() -> None:
    """A text is no workflow."""
    with pytest.raises(TypeError, match="'order' cannot be simulated; give a Workflow"):
        simulate("order")  # type: ignore[arg-type]
