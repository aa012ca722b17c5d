"""What became of a check: which rules were kept, broken, or could not be tried."""

from attrs import frozen

from flux.testing.conformance.rule import Rule, RuleBrokenError


@frozen(kw_only=True)
class ConformanceReport:
    """The rules, by what became of them; `str(report)` is for people."""

    kept: tuple[Rule, ...]
    broken: tuple[RuleBrokenError, ...]
    skipped: tuple[tuple[Rule, str], ...]
    """Rules that could not be tried on this storage, each with the reason."""

    @property
    def ok(self) -> bool:
        """Whether no rule was broken."""
        return not self.broken

    def raise_if_broken(self) -> None:
        """Raise an `ExceptionGroup` of the rules that were broken, if any were."""
        if self.broken:
            raise ExceptionGroup("the storage breaks rules of the contract", list(self.broken))

    def __str__(self) -> str:
        head = (
            f"{len(self.kept)} rules kept, {len(self.broken)} broken, {len(self.skipped)} not tried"
        )
        broken = (str(error) for error in self.broken)
        skipped = (f"not tried: {rule}: {why}" for rule, why in self.skipped)
        return "\n".join((head, *broken, *skipped))
