"""What an exploration has found, and how it is told."""

from collections.abc import Sequence
from itertools import groupby

from attrs import frozen

from flux.state.status import WorkflowStatus
from flux.testing.explorer.errors import CrashesFoundError
from flux.testing.explorer.points import Course, CrashPoint, When

_STRIKES = {
    When.BEFORE: "the process dies before",
    When.AFTER: "the process dies after",
    When.ERROR: "the process sees an error although there was written",
}


@frozen(kw_only=True)
class CrashFinding:
    """One difference that a crash makes, or one rule that it breaks.

    `seed` repeats it (`explore(…, only=seed)`); None if it takes no crash. `save` tells what the
    save at the crash point holds. `rule` is `ran-again`, `undone-again`, `undone-out-of-order`,
    `not-undone`, `forward-in-rollback`, `stuck`, `refused`, or what differs: `status`, `data`,
    `steps`, `children`, `effects`. `step` is the step that broke the rule, that was called again,
    or that was about to run, if one is to be named; `called_again` tells of all that was called
    more than once.
    """

    point: CrashPoint | None
    course: Course
    save: str | None
    rule: str
    difference: str
    step: str | None
    called_again: Sequence[str] = ()

    @property
    def seed(self) -> str | None:
        return None if self.point is None else str(self.point)

    @property
    def place(self) -> str:
        """Where it was found, in words."""
        of = "" if self.course is Course.FORWARD else ", in the rollback of the whole run"
        if self.point is None:
            return f"without a crash{of}"
        if self.save is None:
            return f"at {self.point}{of}"
        return f"{_STRIKES[self.point.when]} {self.save}{of}"

    def __str__(self) -> str:
        return f"{self.place}: {self.difference}"


@frozen(kw_only=True)
class CrashReport:
    """What came of an exploration; its text is for people.

    `saves` counts those of the runs without a crash, `points` the runs with one. `given_up` are the
    seeds of those in which an at-most-once step gave up, since nobody knew whether it had acted:
    they end otherwise by design, and only the rules were looked at. `unreached` are the seeds of
    points that a run did not come to. `status` is how the run without a crash ended, `resting` the
    steps that still wait there, `untaken` the signals of the script that no step has taken.
    """

    workflow: str
    saves: int
    points: int
    findings: Sequence[CrashFinding]
    given_up: Sequence[str] = ()
    unreached: Sequence[str] = ()
    status: str = WorkflowStatus.COMPLETED.value
    resting: Sequence[str] = ()
    untaken: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def raise_if_failed(self) -> None:
        """`CrashesFoundError`, an `AssertionError` with the report, if anything was found."""
        if not self.ok:
            raise CrashesFoundError(str(self))

    def __str__(self) -> str:
        places = [list(found) for _, found in groupby(self.findings, key=lambda f: f.place)]
        lines = [
            f"{self.workflow}: {self.saves} saves, {self.points} crash points tried; {_sum(places)}"
        ]
        if self.status != WorkflowStatus.COMPLETED:
            waiting = f", at {', '.join(map(repr, self.resting))}" if self.resting else ""
            lines.append(f"without a crash it ends as {self.status}{waiting}")
        if self.untaken:
            lines.append(f"no step took {', '.join(self.untaken)}")
        if self.given_up:
            lines.append(f"an at-most-once step gave up at: {', '.join(self.given_up)}")
        if self.unreached:
            lines.append(f"not reached: {', '.join(self.unreached)}")
        for found in places:
            lines += ["", *_lines(found)]
        return "\n".join(lines)


def _sum(places: Sequence[object]) -> str:
    if not places:
        return "no crash makes a difference"
    return f"{len(places)} {'makes' if len(places) == 1 else 'make'} a difference"


def _lines(found: Sequence[CrashFinding]) -> list[str]:
    first = found[0]
    lines = [first.place, *(f"  {finding.difference}" for finding in found)]
    lines += [f"  called again: {again}" for again in first.called_again]
    if first.seed is not None:
        lines.append(f"  to repeat it: only={first.seed!r}, or --only {first.seed}")
    return lines
