"""The storage conformance kit: what any `WorkflowStorage` must do, rule by rule.

Written for those who bring a storage of their own; Flux's pass it too. docs/conformance.md tells
how to run it and what it cannot see. The idea of such a suite for others is Hypothesis'
`provider_conformance`.
"""

from flux.testing.conformance.case import StorageConformance
from flux.testing.conformance.check import check_storage
from flux.testing.conformance.report import ConformanceReport
from flux.testing.conformance.rule import Rule, RuleBrokenError
from flux.testing.conformance.rules import RULES
from flux.testing.conformance.subject import Address

__all__ = [
    "RULES",
    "Address",
    "ConformanceReport",
    "Rule",
    "RuleBrokenError",
    "StorageConformance",
    "check_storage",
]
