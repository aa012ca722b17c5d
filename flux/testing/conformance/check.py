"""The kit without a test runner."""

from collections.abc import Callable, Sequence

from flux.storage import WorkflowStorage
from flux.testing.conformance.report import ConformanceReport
from flux.testing.conformance.rule import Rule, RuleBrokenError, RuleSkipped
from flux.testing.conformance.rules import RULES
from flux.testing.conformance.subject import Address, Dispose, Make, Subject
from flux.testing.conformance.trial import keep


async def check_storage(
    make: Make,
    *,
    address: Callable[[WorkflowStorage], Address | None] | None = None,
    dispose: Dispose | None = None,
    real_time: bool = False,
    examples: int = 40,
    rules: Sequence[Rule] = RULES,
) -> ConformanceReport:
    """Try every rule on a storage of its own, one after the other.

        report = await check_storage(lambda: MyStorage(fresh_place()))
        print(report)
        report.raise_if_broken()

    `make` gives a new storage with nothing in it, not opened, each time it is called; it may be
    async. `address` gives, for such a storage, a URL or a function that `pickle` can carry, by
    which another process opens the same one; without it, what several processes do is not tried.
    `dispose`, plain or async, is called after each storage was closed. `real_time` is for a storage
    that does not go by the clock given to `init`. `examples` is how many lives the state machine
    plays. docs/conformance.md tells more.

    `TypeError` or `ValueError` for what makes no sense: that is no fault of the storage.
    """
    subject = Subject(
        make=make, address=address, dispose=dispose, real_time=real_time, examples=examples
    )
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"{rule!r} is no rule; choose from flux.testing.conformance.RULES")
    kept: list[Rule] = []
    broken: list[RuleBrokenError] = []
    skipped: list[tuple[Rule, str]] = []
    for rule in rules:
        try:
            await keep(rule, subject)
        except RuleSkipped as skip:
            skipped.append((rule, str(skip)))
        except RuleBrokenError as error:
            broken.append(error)
        else:
            kept.append(rule)
    return ConformanceReport(kept=tuple(kept), broken=tuple(broken), skipped=tuple(skipped))
