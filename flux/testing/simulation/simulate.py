"""Many seeds, one after the other, until one fails."""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from flux.definition.builder import Workflow
from flux.definition.workflow import WorkflowDefinition
from flux.storage import WorkflowStorage, open_storage
from flux.testing.simulation.faults import Faults
from flux.testing.simulation.run import Run
from flux.testing.simulation.scenario import MakeScenario, Scenario

SEED = "FLUX_SIMULATION_SEED"
SEEDS = "FLUX_SIMULATION_SEEDS"

_FEW = 300
_SHOWN = 400
"""So many lines of a trace are shown, the last ones."""


class SimulationError(AssertionError):
    """A promise was broken under this seed; `trace` tells what happened, line by line."""

    def __init__(self, seed: int, violation: str, trace: str) -> None:
        self.seed = seed
        self.violation = violation
        self.trace = trace
        lines = trace.splitlines()
        left_out = [] if len(lines) <= _SHOWN else [f"... {len(lines) - _SHOWN} lines before"]
        shown = "\n".join([*left_out, *lines[-_SHOWN:]])
        super().__init__(
            f"seed {seed}: {violation}\n{shown}\nseed {seed}: {violation}\n"
            f"to see it again: {SEED}={seed}"
        )


@frozen(kw_only=True)
class SimulationReport:
    """What was tried: seeds, calls of handlers, calls of the storage, and virtual seconds."""

    seeds: int
    handler_calls: int
    storage_calls: int
    seconds: float
    digests: tuple[str, ...]
    """By seed, a digest of all that happened: equal where the same happened."""


def simulate(
    workflow: Workflow | WorkflowDefinition | Scenario | MakeScenario,
    input: Any = None,
    *,
    seeds: Iterable[int] | None = None,
    engines: int = 3,
    faults: Faults | None = None,
    storage: Callable[[], WorkflowStorage] | str = "memory:",
) -> SimulationReport:
    """Run a workflow once for each seed, with several engines on one storage and with faults.

    Time is virtual, and everything that could happen in one order or another happens in an order
    that the seed chooses: the same seed gives the same run. What Flux promises is checked at every
    call of a handler, at every write of the storage, and at the end; the first seed under which a
    promise is broken raises `SimulationError` with a trace of what happened.

    `workflow` is a workflow with its `input`, a `Scenario`, or a function that makes one of a
    `random.Random`, anew for each seed. Handlers had better be async; plain ones are called in the
    loop. `seeds` are by default as many as the environment variable FLUX_SIMULATION_SEEDS says, or
    300; or the one in FLUX_SIMULATION_SEED. `storage` makes an empty one for each seed: one in
    memory, that never waits for anything but the loop.
    """
    _refuse_in_a_loop()
    make = _maker(workflow, input)
    open_empty = _opener(storage)
    chosen = _seeds() if seeds is None else seeds
    handler_calls = storage_calls = 0
    seconds = 0.0
    digests: list[str] = []
    for seed in chosen:
        run = Run(seed, make, open_empty(), engines=engines, faults=faults or Faults())
        run.play()
        if run.violation is not None:
            raise SimulationError(seed, run.violation, str(run.trace))
        handler_calls += len(run.world.calls)
        storage_calls += run.net.calls
        seconds += run.loop.time()
        digests.append(run.trace.digest)
    return SimulationReport(
        seeds=len(digests),
        handler_calls=handler_calls,
        storage_calls=storage_calls,
        seconds=seconds,
        digests=tuple(digests),
    )


def _refuse_in_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("simulate() has an event loop of its own; call it from a plain function")


def _maker(
    workflow: Workflow | WorkflowDefinition | Scenario | MakeScenario, input: Any
) -> MakeScenario:
    if isinstance(workflow, Scenario):
        scenario = workflow
        return lambda chance: scenario
    if isinstance(workflow, Workflow | WorkflowDefinition):
        scenario = Scenario(workflow, input)
        return lambda chance: scenario
    if callable(workflow):
        return workflow
    raise TypeError(
        f"{workflow!r} cannot be simulated; give a Workflow, a Scenario, or a function that makes "
        "a Scenario of a random.Random"
    )


def _opener(storage: Callable[[], WorkflowStorage] | str) -> Callable[[], WorkflowStorage]:
    if not isinstance(storage, str):
        return storage
    url = storage
    kind: Any = type(open_storage(url))

    def made() -> WorkflowStorage:
        made_of_url: WorkflowStorage = kind.from_url(url)
        return made_of_url

    return made


def _seeds() -> Iterable[int]:
    one = os.environ.get(SEED)
    return range(int(os.environ.get(SEEDS, _FEW))) if one is None else [int(one)]
