"""The settings of an engine."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Factory, field

from flux.definition.policy import Retry, retry_policy, seconds
from flux.frozen import frozen
from flux.observe.observers import FluxTraceSink


def _positive(_: Any, attribute: Any, value: float) -> None:
    if not value > 0:
        raise ValueError(f"FluxConfig({attribute.name}={value!r}): it must be more than 0")


def _limit(value: Any) -> float | None:
    return None if value is None else seconds(value)


@frozen(kw_only=True)
class FluxConfig:
    """The settings of an engine; durations are seconds or a `timedelta`."""

    default_retries: Retry = field(default=Retry(), converter=retry_policy)
    """For handlers and compensators that declare none."""
    default_timeout: float | None = field(default=None, converter=_limit)
    """For attempts of handlers and compensators that declare none."""
    when_timeout: float = field(default=1.0, converter=seconds, validator=_positive)
    """How long a predicate may take."""
    lease: float = field(default=30.0, converter=seconds, validator=_positive)
    """How long an instance stays with a driver that no longer renews."""
    grace: float = field(default=5.0, converter=seconds)
    """How long a handler has to end once it was told to."""
    poll: float = field(default=1.0, converter=seconds, validator=_positive)
    """How often the storage is asked for what is due or abandoned."""
    storage_patience: float = field(default=30.0, converter=seconds)
    """How long a running instance waits for a storage that cannot be reached."""
    max_recoveries: int = field(default=10, validator=_positive)
    """After so many recoveries without progress an instance is parked."""
    max_instances: int = field(default=1000, validator=_positive)
    """How many instances the engine drives at once."""
    max_parallel_steps: int = field(default=50, validator=_positive)
    """How many steps and items of one instance run at once."""
    max_depth: int = field(default=10, validator=_positive)
    """How deep sub-workflows may lie in sub-workflows."""
    max_threads: int = field(default=16, validator=_positive)
    """How many plain handlers run at once."""
    on: Mapping[str, Callable[[Any], Any]] = Factory(dict)
    """Callbacks by name, as in the original: step_start, step_complete, step_error,
    workflow_complete, workflow_error."""
    trace: FluxTraceSink | None = None
    """Gets every trace event."""
    logger: logging.Logger | None = None
    """Where the engine logs; by default the logger `flux`."""
