"""What happens in a simulation besides what goes wrong: instances, signals, and what must hold."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from attrs import Factory, field, frozen

from flux.config import FluxConfig
from flux.definition.builder import Workflow
from flux.definition.workflow import WorkflowDefinition
from flux.state.workflow_state import WorkflowState

Check = Callable[[Sequence[WorkflowState]], Any]
"""Is given all instances at their end; raises `AssertionError` if something is wrong with them."""


def _definition(workflow: Workflow | WorkflowDefinition) -> WorkflowDefinition:
    return workflow.build() if isinstance(workflow, Workflow) else workflow


@frozen
class Scenario:
    """A workflow, and what clients do with it.

    `instances` of it are started with `input`. The signals named in `signals` are sent to each,
    with these payloads, at a time that the seed chooses, and again where a wait is left. `check` is
    called at the end with the states of all instances. `horizon` is the virtual seconds in which
    the clients act and the faults strike; after that the storage and all engines are well, and
    every instance has to end within `patience` seconds.
    """

    workflow: WorkflowDefinition = field(converter=_definition)
    input: Any = None
    instances: int = field(default=1, kw_only=True)
    signals: Mapping[str, Any] = field(default=Factory(dict), kw_only=True)
    check: Check | None = field(default=None, kw_only=True)
    config: FluxConfig | None = field(default=None, kw_only=True)
    """The settings of the engines; by default a lease of 30 s, and a poll of 10 s."""
    horizon: float = field(default=60.0, kw_only=True)
    patience: float = field(default=1200.0, kw_only=True)


MakeScenario = Callable[[Random], Scenario]
"""Makes a scenario of chance: all that differs between seeds is drawn from what it is given."""
