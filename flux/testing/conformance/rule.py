"""A rule of the storage contract: a name, a sentence, and a function that tries it."""

from collections.abc import Awaitable, Callable
from inspect import signature
from unittest import SkipTest

from attrs import frozen

Check = Callable[..., Awaitable[None]]


@frozen(eq=False)
class Rule:
    """One thing that a storage owes; `str(rule)` is its name, as in `saving.stale_revision`.

    The parameters of `check` say by their names what it wants to be given (`Trial.give`).
    """

    area: str
    name: str
    text: str
    """What must be true, in a sentence."""
    check: Check
    longest: float
    """Seconds that it may take; a storage that takes longer is stuck."""

    def __str__(self) -> str:
        return f"{self.area}.{self.name}"

    @property
    def asks(self) -> tuple[str, ...]:
        """The names of what its check wants to be given."""
        return tuple(signature(self.check).parameters)


def rule(check: Check) -> Rule:
    """Make a rule of a function: the area is its module, the text its docstring."""
    return rule_within(60)(check)


def rule_within(longest: float) -> Callable[[Check], Rule]:
    """The same, for a rule that may take so many seconds."""

    def made(check: Check) -> Rule:
        return Rule(
            area=check.__module__.rpartition(".")[2],
            name=check.__name__,
            text=" ".join((check.__doc__ or "").split()),
            check=check,
            longest=longest,
        )

    return made


class RuleBrokenError(AssertionError):
    """The storage does not keep a rule; `rule` says which, `why` what was seen instead."""

    def __init__(self, rule: Rule, why: str) -> None:
        self.rule = rule
        self.why = why
        super().__init__(f"the storage breaks the rule {rule}\n  rule: {rule.text}\n  seen: {why}")


class KitMisusedError(TypeError):
    """The kit was called in a wrong way: that says nothing of the storage."""


class RuleSkipped(SkipTest):
    """A rule that cannot be tried on this storage, with the reason."""
