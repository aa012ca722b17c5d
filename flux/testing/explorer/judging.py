"""What is to be said of one run: the rules it broke, and how it differs from the whole run."""

from collections.abc import Sequence

from attrs import evolve, frozen

from flux.testing.explorer.checks import broken_rules
from flux.testing.explorer.outcome import Difference, Outcome, differences
from flux.testing.explorer.points import Course, CrashPoint, When
from flux.testing.explorer.report import CrashFinding


@frozen
class Judged:
    """A run, and where it was struck."""

    course: Course
    point: CrashPoint | None
    outcome: Outcome

    def rules(self) -> list[CrashFinding]:
        """What it did that no run may do."""
        found = [
            evolve(self._finding(broken.rule, broken.text), step=broken.step)
            for broken in broken_rules(self.outcome.story)
        ]
        for id, step in self.outcome.left.standing:
            told = f"{step!r} of {id} was not undone although the rollback has ended"
            found.append(evolve(self._finding("not-undone", told), step=step))
        found += [self._finding("stuck", text) for text in self.outcome.stuck]
        return found + [self._finding("refused", text) for text in self.outcome.refused]

    def differences(self, whole: Outcome, ignore: Sequence[str]) -> list[CrashFinding]:
        """How it ended otherwise than the whole run."""
        found = differences(self.outcome.document, whole.document, ignore)
        return [self._difference(one) for one in found]

    def _difference(self, difference: Difference) -> CrashFinding:
        rule, _, rest = difference.path.partition(".")
        text = str(difference)
        if self.point is None:
            text += " in another run without a crash; name it in ignore= if it may differ"
        finding = self._finding(rule, text)
        if finding.step is None and rule == "steps":
            return evolve(finding, step=rest.partition(".")[0])
        return finding

    @property
    def _next_step(self) -> str | None:
        """The step that was about to run when the process died."""
        struck = self.outcome.story.struck
        is_after = self.point is not None and self.point.when is When.AFTER
        return struck.intent[0] if is_after and struck is not None and struck.intent else None

    def _finding(self, rule: str, text: str) -> CrashFinding:
        again = self.outcome.story.again()
        struck = self.outcome.story.struck
        return CrashFinding(
            point=self.point,
            course=self.course,
            save=None if struck is None else str(struck),
            rule=rule,
            difference=text,
            step=again[0].step if again else self._next_step,
            called_again=tuple(map(str, again)),
        )
