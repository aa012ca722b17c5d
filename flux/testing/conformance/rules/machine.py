"""Whatever is done, in whatever order: the storage against the model."""

import asyncio

from flux.testing.conformance.rule import RuleSkipped, rule_within
from flux.testing.conformance.subject import Subject


# Many lives take their time on a slow storage; an act that is stuck is found by the machine.
@rule_within(600)
async def agrees_with_the_model(subject: Subject) -> None:
    """Whatever is done, in whatever order, the storage answers as the model does."""
    if subject.real_time:
        raise RuleSkipped("the storage does not go by a clock that one can set")
    try:
        from flux.testing.conformance import machine
    except ImportError as error:
        raise RuleSkipped(
            "it needs Hypothesis, which is not installed; run pip install 'flux-saga[testing]'"
        ) from error
    await asyncio.to_thread(machine.run, subject, examples=subject.examples)
