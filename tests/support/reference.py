"""A small model of the rules: what an instance must do, written from what is promised.

It knows nothing of the engine: it walks through a plan step by step, keeps what was saved as a
copy, and goes on from that copy after a fault. What it predicts, a real engine must do.
"""

import copy
from collections import Counter
from typing import Any

from flow_plans import LEASE, Act, Call, Command, Fault, FlowPlan, Recovery, Script, Seen, StepPlan
from reference_state import (
    Effect,
    Fold,
    Instance,
    Undoing,
    act_of,
    afresh,
    changed,
    data_of,
    entry_of,
    ran,
    undid,
)

MAX_RECOVERIES = 2
RESTS = ("completed", "failed", "rolled_back", "rollback_failed", "parked")
ERRORS = {Act.DOUBTS: "OutcomeUnknownError", Act.SPOILS: "NotJSONError", Act.RAISES: "ValueError"}


class RefusedError(Exception):
    """The verb does not fit; the message is the name of the error class."""


class FaultError(Exception):
    """The process dies here, or its storage fails."""


class Reference:
    """Predicts one instance of a plan: its saves, its calls, and what it looks like at rest."""

    def __init__(self, plan: FlowPlan) -> None:
        self.plan = plan
        self.calls: list[Call] = []
        self.saves = 0
        """Since the last command or recovery began."""
        self.saved: Instance | None = None
        self._now = 0.0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._fault: Fault | None = None
        self._has_slept_long = False
        self._live = Instance()

    # What a test asks for

    def do(self, command: Command) -> str | None:
        """Let a command happen, with its faults; the name of the error if it is refused."""
        faults = list(command.faults)
        try:
            self._begin(faults)
            getattr(self, f"_{command.verb}")(command.step)
        except RefusedError as refused:
            return str(refused)
        except FaultError:
            while not self._recovered(faults):
                pass
        return None

    @property
    def status(self) -> str | None:
        """The status as last saved; None before there is an instance."""
        return None if self.saved is None else self.saved.status

    def seen(self) -> Seen:
        """What the instance looks like as last saved."""
        saved = self.saved
        assert saved is not None
        in_order = sorted(saved.effects, key=lambda effect: effect.reached)
        return Seen(
            status=saved.status,
            error=saved.error,
            run=saved.run,
            data=data_of(saved.folds),
            history=tuple(entry_of(effect) for effect in in_order if not effect.replaced),
            replaced=tuple(entry_of(effect) for effect in in_order if effect.replaced),
        )

    # Faults

    def _begin(self, faults: list[Fault]) -> None:
        self.saves = 0
        self._fault = faults.pop(0) if faults else None
        self._has_slept_long = False

    def _recovered(self, faults: list[Fault]) -> bool:
        fault = self._fault
        assert fault is not None
        dies = fault.dies or self._has_slept_long
        if dies or fault.recovery is Recovery.POLL:
            self._now += LEASE + 1
        if self.saved is None or self.saved.status in RESTS:
            return True
        self._begin(faults)
        self._live = copy.deepcopy(self.saved)
        try:
            self._recover()
        except FaultError:
            return False
        return True

    def _save(self, intent: str | None, *, lasts: float = 0.0) -> None:
        self.saves += 1
        fault = self._fault
        strikes = fault is not None and fault.save == self.saves
        if strikes and fault is not None and not fault.written:
            raise FaultError
        self._live.intent = intent
        self.saved = copy.deepcopy(self._live)
        if lasts > LEASE:
            self._has_slept_long = True
            self._now += lasts
        if strikes:
            raise FaultError

    def _recover(self) -> None:
        live = self._live
        if live.intent is not None:
            park = live.recoveries >= MAX_RECOVERIES
            live.recoveries += 1
            if live.back:
                self._compensation_interrupted()
            else:
                self._step_interrupted(self.plan.step(live.intent))
            if park:
                live.status = "parked"
                return self._save(None)
        return self._drive()

    def _step_interrupted(self, step: StepPlan) -> None:
        effect = self._live.current(step.name)
        if effect is not None and (effect.doubted or effect.retry_at > self._now):
            return
        effect = effect or self._reach(step)
        self._attempt_lost(effect, "unknown", "OutcomeUnknownError")
        effect.exhausted = False
        if not step.at_most_once:
            return
        if step.verify is None:
            self._fail(effect, "OutcomeUnknownError")
        else:
            effect.doubted = True

    def _compensation_interrupted(self) -> None:
        undoing = self._owed()[0].undoing
        if undoing is None:
            undoing = self._owed()[0].undoing = Undoing()
        if undoing.retry_at <= self._now:
            undoing.attempts += 1
            undoing.retry_at = 0.0

    # Verbs

    def _execute(self, _: str | None) -> None:
        if self.saved is None:
            self._live = Instance()
            self._drive()

    def _resume(self, _: str | None) -> None:
        live = self._take()
        if live.status == "parked":
            live.status = "rolling_back" if live.back else "running"
            live.recoveries = 0
            self._drive()
        elif live.status == "failed":
            failed = [e for e in live.effects if e.status == "failed" and not e.replaced]
            doubtful = [e for e in failed if self._is_doubtful(e)]
            if any(self.plan.step(effect.step).verify is None for effect in doubtful):
                raise RefusedError("InvalidTransitionError")
            self._retry(failed, doubtful)

    def _retry_step(self, step: str | None) -> None:
        live = self._take()
        effect = live.current(step or "")
        if live.status != "failed":
            raise RefusedError("InvalidTransitionError")
        if effect is None or effect.status != "failed":
            raise RefusedError("StepNotCompletedError")
        self._retry([effect], [])

    def _restart(self, step: str | None) -> None:
        live = self._take()
        assert step is not None
        if live.status == "rollback_failed" or (live.status == "parked" and live.back):
            raise RefusedError("InvalidTransitionError")
        self._refuse_unfinished_before(step)
        again = set(self.plan.from_on(step))
        for effect in live.effects:
            if not effect.replaced and (effect.is_undone or not effect.is_settled):
                again |= self.plan.from_on(effect.step)
        for effect in live.effects:
            effect.replaced = effect.replaced or effect.step in again
        # Data is what the steps that stay have made of it.
        live.folds = [f for f in live.folds if not f.effect.replaced and not f.undoing]
        live.run += 1
        self._forward_again()

    def _refuse_unfinished_before(self, step: str) -> None:
        before = self.plan.before(step)
        effects = [self._live.current(s.name) for s in self.plan.order if s.name in before]
        if any(effect is not None and effect.is_undone for effect in effects):
            raise RefusedError("StepCompensatedError")
        if any(effect is None or not effect.is_settled for effect in effects):
            raise RefusedError("StepNotCompletedError")

    def _retry_rollback(self, _: str | None) -> None:
        live = self._take()
        if live.status != "rollback_failed":
            raise RefusedError("InvalidTransitionError")
        live.status, live.recoveries = "rolling_back", 0
        undoing = self._failed_undoing()
        undoing.status, undoing.failures, undoing.retry_at = "running", 0, 0.0
        self._drive()

    def _skip_compensation(self, step: str | None) -> None:
        live = self._take()
        if live.status != "rollback_failed":
            raise RefusedError("InvalidTransitionError")
        undoing = self._failed_undoing()
        if not any(e.undoing is undoing and e.step == step for e in live.effects):
            raise RefusedError("InvalidTransitionError")
        live.status, live.recoveries = "rolling_back", 0
        undoing.status = "skipped"
        self._drive()

    def _take(self) -> Instance:
        self._live = copy.deepcopy(self.saved) or Instance()
        return self._live

    def _retry(self, failed: list[Effect], doubtful: list[Effect]) -> None:
        for effect in failed:
            afresh(effect, doubted=effect in doubtful)
        self._forward_again()

    def _forward_again(self) -> None:
        live = self._live
        live.status, live.back, live.error, live.recoveries = "running", False, None, 0
        self._drive()

    def _failed_undoing(self) -> Undoing:
        undoings = (effect.undoing for effect in self._live.effects)
        return next(u for u in undoings if u is not None and u.status == "failed")

    def _is_doubtful(self, effect: Effect) -> bool:
        return effect.outcome == "unknown" and self.plan.step(effect.step).at_most_once

    # Forward

    def _drive(self) -> None:
        while not self._live.back:
            step = self._next_step()
            if step is None:
                self._live.status = "completed"
                return self._save(None)
            self._go(step)
        return self._go_back()

    def _next_step(self) -> StepPlan | None:
        for step in self.plan.order:
            effect = self._live.current(step.name)
            if effect is None or not effect.is_settled:
                return step
        return None

    def _go(self, step: StepPlan) -> None:
        """Bring a step one attempt further."""
        effect = self._live.current(step.name)
        begun = effect is not None and effect.attempts > 0
        if not begun and step.when is not None:
            act = self._act("when", step, step.when)
            if act is not Act.WELL:
                return self._unreached(step, "failed" if act is Act.RAISES else "skipped")
        past = self._live.past(step.name)
        if not begun and past is not None and not past.is_undone:
            if past.outcome != "completed":
                return self._reopen(step, past)
            if step.commit:
                return self._replay(past)
        return self._attempt(step, effect)

    def _unreached(self, step: StepPlan, status: str) -> None:
        effect = self._live.current(step.name) or self._reach(step)
        self._live.recoveries = 0
        if status == "failed":
            self._fail(effect, "ValueError")
        effect.status = status

    def _replay(self, past: Effect) -> None:
        live = self._live
        self._supersede(past)
        past.run, past.reached = live.run, live.tick()
        live.folds.append(Fold(past, past.changes))

    def _reopen(self, step: StepPlan, past: Effect) -> None:
        live = self._live
        self._supersede(past)
        past.run, past.reached = live.run, live.tick()
        doubtful = self._is_doubtful(past)
        afresh(past, doubted=doubtful and step.verify is not None)
        if doubtful and step.verify is None:
            self._fail(past, "OutcomeUnknownError")
        else:
            self._attempt(step, past)

    def _supersede(self, past: Effect) -> None:
        """Let an effect of the past count again, instead of an entry that was never begun."""
        untried = self._live.current(past.step)
        if untried is not None:
            untried.replaced = True
        past.replaced = False

    def _attempt(self, step: StepPlan, effect: Effect | None) -> None:
        pause = 0.0 if effect is None else max(0.0, effect.retry_at - self._now)
        if pause > LEASE:
            return self._save(None, lasts=pause)
        if pause and step.at_most_once:
            self._save(None)
            self._now += pause
            return None
        self._save(step.name)
        self._now += pause
        if effect is not None and effect.doubted:
            return self._verify(step, effect)
        return self._run(step, effect)

    def _run(self, step: StepPlan, known: Effect | None) -> None:
        live = self._live
        key = known.key if known else self._next_key(step)
        attempt = known.attempts + 1 if known else 1
        base = data_of(live.folds, self.plan.before(step.name))
        outputs = {source: self._output(source) for source in self.plan.sources(step)}
        act = self._act("run", step, step.script, key, attempt, data=base, seen=outputs)
        effect = known or self._reach(step)
        if act is not Act.WELL:
            return self._attempt_ended(step, effect, act)
        number = self._counts["run", step.name]
        self._complete(effect, {"by": step.name, "call": number}, ran(step, number, base), base)
        effect.attempts = attempt
        return None

    def _attempt_ended(self, step: StepPlan, effect: Effect, act: Act) -> None:
        error = ERRORS[act]
        self._attempt_lost(effect, None if act is Act.RAISES else "unknown", error)
        effect.failures += 1
        effect.exhausted = effect.failures > step.retries
        doubted = step.at_most_once and act is Act.DOUBTS
        if act is Act.SPOILS or (doubted and step.verify is None):
            self._fail(effect, error)
        elif doubted:
            effect.doubted = True
        elif effect.exhausted:
            self._fail(effect, error)
        else:
            effect.retry_at = self._now + step.pause

    def _verify(self, step: StepPlan, effect: Effect) -> None:
        assert step.verify is not None
        base = data_of(self._live.folds, self.plan.before(step.name))
        act = self._act("verify", step, step.verify, effect.key, effect.attempts, data=base)
        if act is Act.WELL:
            return self._complete(effect, "found", {**base, "verified": step.name}, base)
        if act is Act.DENIES:
            effect.outcome, effect.doubted = None, False
            if effect.exhausted:
                return self._fail(effect, effect.error)
            effect.retry_at = self._now + (step.pause if effect.failures else 0.0)
            return None
        effect.asked += 1
        if act is Act.SPOILS or effect.asked > step.retries:
            return self._fail(effect, "TypeError" if act is Act.SPOILS else "LookupError")
        effect.retry_at = self._now + step.pause
        return None

    def _complete(
        self, effect: Effect, output: object, data: dict[str, Any], base: dict[str, Any]
    ) -> None:
        live = self._live
        effect.status, effect.outcome, effect.output = "completed", "completed", output
        effect.doubted, effect.error, effect.retry_at = False, None, 0.0
        effect.finished = live.tick()
        effect.undoing = None
        live.recoveries = 0
        effect.changes = changed(base, data)
        live.folds.append(Fold(effect, effect.changes))

    def _attempt_lost(self, effect: Effect, outcome: Any, error: str) -> None:
        effect.attempts += 1
        effect.lost = (*effect.lost, effect.attempts)[-10:]
        effect.error, effect.retry_at, effect.asked = error, 0.0, 0
        effect.status = "running"
        if outcome is not None:
            effect.outcome = outcome

    def _fail(self, effect: Effect, error: str | None) -> None:
        live = self._live
        effect.status, effect.error, effect.doubted, effect.retry_at = "failed", error, False, 0.0
        live.back, live.error, live.recoveries = True, error, 0

    def _reach(self, step: StepPlan) -> Effect:
        live = self._live
        place = live.tick()
        key = self._next_key(step)
        live.effects.append(Effect(step.name, key, live.run, reached=place, began=place))
        return live.effects[-1]

    def _next_key(self, step: StepPlan) -> tuple[str, int]:
        """A key of its own for an effect that begins after all earlier ones are over."""
        over = {
            effect.key
            for effect in self._live.effects
            if effect.step == step.name and (effect.outcome == "completed" or effect.is_undone)
        }
        return step.name, 1 + len(over)

    # Backward

    def _go_back(self) -> None:
        live = self._live
        while owed := self._owed():
            live.status = "rolling_back"
            if not self._undo(self.plan.step(owed[0].step), owed[0]):
                live.status = "rollback_failed"
                return self._save(None)
        live.status = "rolled_back" if live.status == "rolling_back" else "failed"
        return self._save(None)

    def _owed(self) -> list[Effect]:
        """What is to be undone: the unknown first, then the reverse order of completion."""
        owed = [
            effect
            for effect in self._live.effects
            if effect.is_owed and self.plan.step(effect.step).undo is not None
        ]
        unknown = [effect for effect in owed if effect.outcome == "unknown"]
        completed = [effect for effect in owed if effect.outcome == "completed"]
        unknown.sort(key=lambda effect: effect.began, reverse=True)
        completed.sort(key=lambda effect: effect.finished, reverse=True)
        return unknown + completed

    def _undo(self, step: StepPlan, effect: Effect) -> bool:
        """Bring an undoing one attempt further; False if it has failed for good."""
        undoing = effect.undoing
        pause = 0.0 if undoing is None else max(0.0, undoing.retry_at - self._now)
        if pause > LEASE:
            self._save(None, lasts=pause)
            return True
        self._save(step.name)
        self._now += pause
        undoing = effect.undoing = undoing or Undoing()
        undoing.attempts += 1
        undoing.retry_at = 0.0
        base = data_of(self._live.folds)
        output = effect.output if effect.outcome == "completed" else None
        seen = {
            "key": effect.key,
            "outcome": effect.outcome,
            "output": output,
            "failure": self._live.error,
        }
        key = ("undo", *effect.key)
        act = self._act("undo", step, step.undo or (), key, undoing.attempts, data=base, seen=seen)
        if act is Act.WELL:
            undoing.status = "completed"
            self._live.tick()
            self._live.recoveries = 0
            changes = changed(base, undid(step, base))
            self._live.folds.append(Fold(effect, changes, undoing=True))
            return True
        undoing.failures += 1
        if act is Act.SPOILS or undoing.failures > step.undo_retries:
            undoing.status = "failed"
            self._live.recoveries = 0
            return False
        undoing.retry_at = self._now + step.pause
        return True

    # Calls

    def _output(self, step: str) -> Any:
        effect = self._live.current(step)
        return None if effect is None else effect.output

    def _act(
        self,
        what: str,
        step: StepPlan,
        script: Script,
        key: object = None,
        attempt: int = 0,
        **seen: Any,
    ) -> Act:
        self._counts[what, step.name] += 1
        self.calls.append(Call(what=what, step=step.name, key=key, attempt=attempt, **seen))
        return act_of(script, self._counts[what, step.name])
