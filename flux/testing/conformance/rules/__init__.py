"""The rules, a file an area; `RULES` is all of them in the order in which they are tried."""

from types import ModuleType

from flux.testing.conformance.rule import Rule
from flux.testing.conformance.rules import (
    claiming,
    creating,
    deleting,
    due,
    ended,
    json_values,
    listing,
    loading,
    lost_answers,
    machine,
    next_due,
    notices,
    opening,
    processes,
    releasing,
    renewing,
    reopening,
    saving,
    signals,
    time,
    together,
    unique_keys,
    unseen_signals,
    values,
    values_compare,
    values_ttl,
    wake_ups,
)


def _rules_of(module: ModuleType) -> tuple[Rule, ...]:
    return tuple(one for one in vars(module).values() if isinstance(one, Rule))


RULES: tuple[Rule, ...] = tuple(
    rule
    for module in (
        opening,
        creating,
        json_values,
        loading,
        saving,
        lost_answers,
        unique_keys,
        claiming,
        due,
        next_due,
        renewing,
        releasing,
        time,
        signals,
        wake_ups,
        unseen_signals,
        listing,
        ended,
        deleting,
        together,
        reopening,
        processes,
        values,
        values_ttl,
        values_compare,
        notices,
        machine,
    )
    for rule in _rules_of(module)
)
