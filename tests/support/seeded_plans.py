"""A random plan and a random life for its instance, from a seed: long, and with much going wrong.

Hypothesis finds small examples and shrinks them; these are the large ones. Each verb fits the
status that the model predicts, so that one life has many runs and rollbacks.
"""

import random
from collections.abc import Sequence

from flow_plans import LONG, SHORT, Act, Command, Fault, FlowPlan, Recovery, Script, StepPlan
from reference import Reference

FITTING: dict[str | None, tuple[str, ...]] = {
    None: ("execute",),
    "completed": ("restart",),
    "failed": ("resume", "retry_step", "restart"),
    "rolled_back": ("restart",),
    "parked": ("resume", "restart"),
    "rollback_failed": ("retry_rollback", "skip_compensation"),
}


class Life:
    """Draws a plan, and then one command after another."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.plan = self._plan()
        self.length = self._chance.randint(1, 8)

    def command(self, model: Reference) -> Command:
        """What happens next to the instance that the model predicts."""
        verb = self._chance.choice(FITTING[model.status])
        step = None
        if verb in ("retry_step", "restart", "skip_compensation"):
            step = self._chance.choice(self._steps_for(verb, model))
        return Command(verb, step, self._faults())

    def _plan(self) -> FlowPlan:
        names = "abcde"[: self._chance.choice((1, 2, 3, 3, 4, 4, 5))]
        is_sequence = self._may(0.6)
        return FlowPlan(
            tuple(
                self._step(name, None if is_sequence else names[:place])
                for place, name in enumerate(names)
            )
        )

    def _step(self, name: str, before: str | None) -> StepPlan:
        once, doubtful = self._may(0.3), (Act.RAISES, Act.DOUBTS, Act.SPOILS)
        return StepPlan(
            name=name,
            after=self._after(before),
            script=self._script(0.35, doubtful),
            retries=self._chance.choice((0, 0, 1, 2)),
            pause=self._chance.choice((0.0, SHORT, LONG)),
            commit=self._may(0.4),
            at_most_once=once,
            forgets=self._may(0.3),
            when=self._script(0.3, (Act.DENIES, Act.RAISES)) if self._may(0.4) else None,
            verify=self._script(0.5, (*doubtful[::2], Act.DENIES))
            if once and self._may(0.7)
            else None,
            undo=self._script(0.2, doubtful[::2]) if self._may(0.5) else None,
            undo_retries=self._chance.choice((0, 1)),
        )

    def _after(self, before: str | None) -> tuple[str, ...] | None:
        if not before or self._may(0.4):
            return None
        count = self._chance.randint(0, min(len(before), 2))
        return tuple(sorted(self._chance.sample(before, count)))

    def _script(self, risk: float, acts: Sequence[Act]) -> Script:
        calls = range(self._chance.randint(0, 5))
        return tuple(self._chance.choice(acts) if self._may(risk) else Act.WELL for _ in calls)

    def _faults(self) -> tuple[Fault, ...]:
        if self._may(0.45):
            return ()
        if self._may(0.3):
            # Recovered without progress until it is parked.
            again = [Fault(save=1, written=True, recovery=self._recovery()) for _ in range(2)]
            return (Fault(save=self._chance.randint(1, 4), written=True), *again)
        return tuple(self._fault() for _ in range(self._chance.randint(1, 4)))

    def _fault(self) -> Fault:
        return Fault(
            save=self._chance.choice((1, 1, 2, 2, 3, 4, 5)),
            written=self._may(0.6),
            dies=self._may(0.7),
            recovery=self._recovery(),
        )

    def _recovery(self) -> Recovery:
        return self._chance.choice(list(Recovery))

    def _steps_for(self, verb: str, model: Reference) -> list[str]:
        """Any step, but mostly one that the verb is for."""
        seen = model.seen()
        fitting: list[str] = []
        if verb == "retry_step":
            fitting = [entry.name for entry in seen.history if entry.status == "failed"]
        elif verb == "skip_compensation":
            entries = (*seen.history, *seen.replaced)
            fitting = [e.name for e in entries if e.undone and e.undone[0] == "failed"]
        return [*fitting * 5, *(step.name for step in self.plan.steps)]

    def _may(self, probability: float) -> bool:
        return self._chance.random() < probability
