"""A random plan and a random life for its instance, from a seed: long, and with much going wrong.

Hypothesis finds small examples and shrinks them; these are the large ones. Each verb fits the
status that the model predicts, so that one life has many runs and rollbacks.
"""

import random
from collections.abc import Sequence

from flow_plans import (
    LONG,
    SHORT,
    Act,
    Command,
    FlowPlan,
    Reaction,
    Script,
    StepPlan,
    WaitPlan,
)
from incidents_model import Incident, Recovery, Request, What
from reference import Reference

FITTING: dict[str | None, tuple[str, ...]] = {
    None: ("execute",),
    "completed": ("restart",),
    "failed": ("resume", "retry_step", "restart"),
    "rolled_back": ("restart",),
    "cancelled": ("restart",),
    "parked": ("resume", "resume", "restart", "tell"),
    "paused": ("resume", "resume", "restart", "tell", "tell", "pass", "pass"),
    "suspended": ("tell", "tell", "tell", "pass", "pass", "restart", "resume"),
    "rollback_failed": ("retry_rollback", "skip_compensation", "tell"),
}
ENDS = (What.DIES, What.DIES, What.FAILS, What.STALLS, What.CLOSES)


class Life:
    """Draws a plan, and then one command after another."""

    def __init__(self, seed: int, *, engines: int | None = None) -> None:
        self._chance = random.Random(seed)
        self._engines = engines
        self.plan = self._plan()
        self.length = self._chance.randint(1, 10)

    def command(self, model: Reference) -> Command:
        """What happens next to the instance that the model predicts."""
        verb = self._chance.choice(FITTING[model.status])
        if self._may(0.08):
            verb = self._chance.choice(("execute", "pass", "reopen", "tell"))
        step = request = None
        if verb in ("retry_step", "restart", "skip_compensation"):
            step = self._chance.choice(self._steps_for(verb, model))
        if verb == "tell":
            request = self._request(waits=self._may(0.7))
        return Command(
            verb,
            step,
            () if verb == "reopen" else self._incidents(),
            engine=self._chance.randrange(self.plan.engines),
            request=request,
            hours=self._chance.choice((1, 1, 2, 3, 6)) if verb == "pass" else 0,
        )

    def _plan(self) -> FlowPlan:
        names = "abcde"[: self._chance.choice((1, 2, 3, 3, 4, 4, 5))]
        is_sequence = self._may(0.6)
        return FlowPlan(
            tuple(
                self._step(name, None if is_sequence else names[:place])
                for place, name in enumerate(names)
            ),
            deadline=self._chance.choice((2.5, 5.5, 12.5)) if self._may(0.25) else None,
            engines=self._engines or self._chance.choice((1, 1, 2, 3)),
        )

    def _step(self, name: str, before: str | None) -> StepPlan:
        if self._may(0.1):
            return self._declared(name, before)
        once, doubtful = self._may(0.3), (Act.RAISES, Act.DOUBTS, Act.SPOILS)
        waits = self._may(0.35)
        often = (Act.WAITS, Act.WAITS, Act.WAITS, Act.WAITS, Act.LOSES) if waits else ()
        in_run = (*often, *doubtful)
        return StepPlan(
            name=name,
            after=self._after(before),
            script=self._script(0.8 if waits else 0.35, in_run),
            retries=self._chance.choice((0, 0, 1, 2)),
            pause=self._chance.choice((0.0, SHORT, LONG)),
            commit=self._may(0.4),
            at_most_once=once,
            forgets=self._may(0.3),
            when=self._when(),
            verify=self._script(0.5, (*doubtful[::2], Act.DENIES))
            if once and self._may(0.7)
            else None,
            undo=self._script(0.2, (*doubtful[::2], Act.WAITS)) if self._may(0.5) else None,
            undo_retries=self._chance.choice((0, 1)),
            wait=self._wait(),
            told=self._chance.choice(
                (Reaction.ENDS, Reaction.ENDS, Reaction.FINISHES, Reaction.STAYS)
            ),
        )

    def _declared(self, name: str, before: str | None) -> StepPlan:
        wait = self._wait()
        signal = None if wait.signal is None else name
        return StepPlan(
            name=name,
            after=self._after(before),
            when=self._when(),
            is_declared=True,
            wait=WaitPlan(signal=signal, hours=wait.hours, goes_on=wait.goes_on),
        )

    def _wait(self) -> WaitPlan:
        if self._may(0.25):
            return WaitPlan(hours=self._chance.choice((0.5, 1.5, 7.5)), by_date=self._may(0.5))
        signal = self._chance.choice("xxy")
        if self._may(0.5):
            return WaitPlan(signal=signal)
        hours = self._chance.choice((0.5, 1.5, 4.5))
        return WaitPlan(signal=signal, hours=hours, goes_on=self._may(0.5))

    def _when(self) -> Script | None:
        return self._script(0.3, (Act.DENIES, Act.RAISES)) if self._may(0.4) else None

    def _after(self, before: str | None) -> tuple[str, ...] | None:
        if not before or self._may(0.4):
            return None
        count = self._chance.randint(0, min(len(before), 2))
        return tuple(sorted({*self._chance.sample(before, count), before[-1]}))

    def _script(self, risk: float, acts: Sequence[Act]) -> Script:
        calls = range(self._chance.randint(0, 5))
        return tuple(self._chance.choice(acts) if self._may(risk) else Act.WELL for _ in calls)

    def _request(self, *, waits: bool = False) -> Request:
        verb = self._chance.choice(("signal",) * 6 + ("cancel", "pause"))
        awaited = [step.wait.signal for step in self.plan.steps if step.wait.signal is not None]
        names = [*awaited * 4, "x", "z"]
        return Request(
            verb=verb,
            name=self._chance.choice(names),
            payload=self._chance.choice((None, 1, 2, {"by": "kim"})),
            signal_id=self._chance.choice((None, None, None, "i", "j")),
            rollback=self._may(0.7),
            waits=waits,
        )

    def _incidents(self) -> tuple[Incident, ...]:
        if self._may(0.4):
            return ()
        if self._may(0.2):
            # Recovered without progress until it is parked.
            again = [Incident(save=1, written=True, recovery=self._recovery()) for _ in range(2)]
            return (Incident(save=self._chance.randint(1, 4), written=True), *again)
        return tuple(self._incident() for _ in range(self._chance.randint(1, 4)))

    def _incident(self) -> Incident:
        in_call = self._may(0.4)
        what = self._what(in_call=in_call)
        number = self._chance.choice((1, 1, 1, 2, 2, 3, 4))
        return Incident(
            what=what,
            save=None if in_call else number,
            written=self._may(0.6),
            call=number if in_call else None,
            ends=self._may(0.5),
            request=self._request(),
            elsewhere=self._may(0.4),
            hours=self._chance.choice((1, 2, 4)),
            thaws=self._chance.choice((None, 1, 2, 3)),
            recovery=self._recovery(),
        )

    def _what(self, *, in_call: bool) -> What:
        if self._may(0.45):
            return What.IS_TOLD
        what = self._chance.choice(ENDS)
        if in_call and (what is What.FAILS or self._may(0.2)):
            return What.LASTS
        return what

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
