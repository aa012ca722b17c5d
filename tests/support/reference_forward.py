"""How the model drives an instance forward."""

from typing import Any

from flow_plans import HOUR, LEASE, Act, StepPlan
from reference_back import WayBack
from reference_state import Effect, Fold, Message, Waiting, afresh, changed, data_of, ran

ERRORS = {
    Act.DOUBTS: "OutcomeUnknownError",
    Act.SPOILS: "NotJSONError",
    Act.RAISES: "ValueError",
    Act.LOSES: "WaitNotReturnedError",
}


class WayForward(WayBack):
    """Drives an instance, whichever way it goes."""

    def drive(self) -> None:
        """Go on until it rests; `GoneError` if the driver ends before."""
        while not self._turn():
            pass

    def _turn(self) -> bool:
        """Do what comes next; whether the driver ends with it."""
        self._listen()
        request = self._request()
        if request is not None:
            self._heed(request)
            return False
        if self.is_late:
            self._turn_back("DeadlineExceededError")
            return False
        if self.live.stands:
            return self._rest(self.live.status, self._deadline)
        if self.live.back:
            return self._turn_of_rollback()
        step = self._next_step()
        return self._rest("completed") if step is None else self._go(step)

    def _next_step(self) -> StepPlan | None:
        for step in self._plan.steps:
            effect = self.live.current(step.name)
            if effect is None or not effect.is_settled:
                return step
        return None

    def _go(self, step: StepPlan) -> bool:
        """Bring a step one attempt further."""
        effect = self.live.current(step.name)
        if effect is not None and effect.status == "suspended":
            return self._await(step, effect)
        begun = effect is not None and effect.attempts > 0
        answered = effect is not None and effect.answered
        if not begun and not answered and step.when is not None:
            act, _ = self._around.call(self, "when", step, step.when)
            if act is not Act.WELL:
                return self._unreached(step, "failed" if act is Act.RAISES else "skipped")
        past = self.live.past(step.name)
        if not begun and past is not None and not past.is_undone:
            if past.outcome != "completed":
                return self._reopen(step, past)
            if step.commit:
                return self._replay(past)
        return self._attempt(step, effect)

    def _unreached(self, step: StepPlan, status: str) -> bool:
        effect = self.live.current(step.name) or self._reach(step)
        self.live.recoveries = 0
        if status == "failed":
            self.fail(effect, "ValueError")
        effect.status = status
        return False

    def _replay(self, past: Effect) -> bool:
        self._supersede(past)
        past.run, past.reached = self.live.run, self.live.tick()
        self.live.folds.append(Fold(past, past.changes))
        return False

    def _reopen(self, step: StepPlan, past: Effect) -> bool:
        self._supersede(past)
        past.run, past.reached = self.live.run, self.live.tick()
        # One that waited was not interrupted.
        doubtful = past.status != "suspended" and self.is_doubtful(past)
        afresh(past, doubted=doubtful and step.verify is not None)
        if doubtful and step.verify is None:
            self.fail(past, "OutcomeUnknownError")
            return False
        return self._attempt(step, past)

    def _supersede(self, past: Effect) -> None:
        """Let an effect of the past count again, instead of an entry that was never begun."""
        untried = self.live.current(past.step)
        if untried is not None:
            untried.replaced = True
        past.replaced = False

    def is_doubtful(self, effect: Effect) -> bool:
        """Whether it may only run again once somebody says that it has not acted."""
        return effect.outcome == "unknown" and self._plan.step(effect.step).at_most_once

    # Waits

    def _await(self, step: StepPlan, effect: Effect) -> bool:
        waiting, live = effect.waiting, self.live
        assert waiting is not None
        message = self._arrived(waiting)
        over = waiting.until is not None and waiting.until <= self._around.now
        if message is None and not over:
            ends = [time for time in (waiting.until, self._deadline) if time is not None]
            return self._rest("suspended", min(ends, default=None))
        live.status = "running"
        if message is not None:
            live.consumed[message.number] = step.name
            self._came(effect, message.request.payload)
        elif waiting.goes_on:
            self._came(effect, waiting.default)
        else:
            effect.outcome = "unknown"
            self.fail(effect, "WaitTimeoutError")
        return False

    def _arrived(self, waiting: Waiting) -> Message | None:
        """The first of the signals that it waits for, if it was sent in time."""
        for message in self._messages():
            in_time = waiting.until is None or message.sent <= waiting.until
            if message.is_signal and message.request.name == waiting.signal and in_time:
                return message
        return None

    def _came(self, effect: Effect, output: object) -> None:
        effect.status, effect.outcome, effect.output = "completed", "completed", output
        effect.finished, effect.waiting = self.live.tick(), None
        self.live.recoveries = 0

    # Attempts

    def _attempt(self, step: StepPlan, effect: Effect | None) -> bool:
        """Let the handler, or the verifier, be called once its back-off is over."""
        retry_at = 0.0 if effect is None else effect.retry_at
        if self.is_stopping:
            return self._hand_over(retry_at)
        left = retry_at - self._around.now
        if left > LEASE or (left > 0 and step.at_most_once):
            return self._pause(retry_at)
        self._around.save(self, intent=step.name)
        if self._is_called_off(retry_at):
            if effect is None and step.when is not None:
                self._reach(step).answered = True
        elif effect is not None and effect.doubted:
            self._verify(step, effect)
        else:
            self._run(step, effect)
        return False

    def _run(self, step: StepPlan, known: Effect | None) -> None:
        key = known.key if known else self._next_key(step)
        attempt = known.attempts + 1 if known else 1
        base = data_of(self.live.folds, self._plan.before(step.name))
        if step.is_declared:
            return self._suspend(step, known or self._reach(step), attempt, {})
        outputs = {source: self._output(source) for source in self._plan.sources(step)}
        act, interrupted = self._around.call(
            self, "run", step, step.script, key, attempt, data=base, seen=outputs
        )
        effect = known or self._reach(step)
        if interrupted:
            self.lose(effect, "unknown", "HandlerCancelledError")
            effect.failures += 1
            return None
        number = self._around.number_of("run", step.name)
        changes = changed(base, ran(step, number, base))
        if act is Act.WAITS:
            return self._suspend(step, effect, attempt, changes)
        if act is not Act.WELL:
            return self._attempt_ended(step, effect, act)
        self._complete(effect, {"by": step.name, "call": number}, changes)
        effect.attempts = attempt
        return None

    def _suspend(
        self, step: StepPlan, effect: Effect, attempt: int, changes: dict[str, Any]
    ) -> None:
        plan = step.wait
        until = None if plan.hours is None else self._around.now + plan.hours * HOUR
        goes_on = plan.goes_on or plan.signal is None
        effect.waiting = Waiting(plan.signal, until, goes_on, plan.default)
        effect.status, effect.attempts, effect.doubted = "suspended", attempt, False
        effect.retry_at, effect.changes = 0.0, changes
        self.live.tick()
        self.live.recoveries = 0
        self.live.folds.append(Fold(effect, changes))

    def _attempt_ended(self, step: StepPlan, effect: Effect, act: Act) -> None:
        error = ERRORS[act]
        self.lose(effect, None if act is Act.RAISES else "unknown", error)
        effect.failures += 1
        effect.exhausted = effect.failures > step.retries
        doubted = step.at_most_once and act is Act.DOUBTS
        if act in (Act.SPOILS, Act.LOSES) or (doubted and step.verify is None):
            self.fail(effect, error)
        elif doubted:
            effect.doubted = True
        elif effect.exhausted:
            self.fail(effect, error)
        else:
            effect.retry_at = self._around.now + step.pause

    def _verify(self, step: StepPlan, effect: Effect) -> None:
        assert step.verify is not None
        base = data_of(self.live.folds, self._plan.before(step.name))
        act, interrupted = self._around.call(
            self, "verify", step, step.verify, effect.key, effect.attempts, data=base
        )
        if interrupted:
            return None
        if act is Act.WELL:
            return self._complete(
                effect, "found", changed(base, {**base, f"{step.name} verified": True})
            )
        if act is Act.DENIES:
            effect.outcome, effect.doubted = None, False
            if effect.exhausted:
                return self.fail(effect, effect.error)
            effect.retry_at = self._around.now + (step.pause if effect.failures else 0.0)
            return None
        effect.asked += 1
        if act is Act.SPOILS or effect.asked > step.retries:
            return self.fail(effect, "TypeError" if act is Act.SPOILS else "LookupError")
        effect.retry_at = self._around.now + step.pause
        return None

    # Effects

    def _complete(self, effect: Effect, output: object, changes: dict[str, Any]) -> None:
        effect.status, effect.outcome, effect.output = "completed", "completed", output
        effect.doubted, effect.error, effect.retry_at = False, None, 0.0
        effect.finished = self.live.tick()
        effect.undoing = None
        self.live.recoveries = 0
        effect.changes = changes
        self.live.folds.append(Fold(effect, changes))

    def lose(self, effect: Effect, outcome: Any, error: str) -> None:
        """An attempt has ended without a result."""
        effect.attempts += 1
        effect.lost = (*effect.lost, effect.attempts)[-10:]
        effect.error, effect.retry_at, effect.asked = error, 0.0, 0
        effect.status = "running"
        if outcome is not None:
            effect.outcome = outcome

    def fail(self, effect: Effect, error: str | None) -> None:
        """The step has failed for good."""
        live = self.live
        effect.status, effect.error, effect.doubted, effect.retry_at = "failed", error, False, 0.0
        live.back, live.error, live.recoveries = True, error, 0

    def reach(self, step: StepPlan) -> Effect:
        """What counts now of a step, from now on if there is nothing yet."""
        return self.live.current(step.name) or self._reach(step)

    def _reach(self, step: StepPlan) -> Effect:
        live = self.live
        place = live.tick()
        key = self._next_key(step)
        live.effects.append(Effect(step.name, key, live.run, reached=place, began=place))
        return live.effects[-1]

    def _next_key(self, step: StepPlan) -> tuple[str, int]:
        """A key of its own for an effect that begins after all earlier ones are over."""
        over = {
            effect.key
            for effect in self.live.effects
            if effect.step == step.name and (effect.outcome == "completed" or effect.is_undone)
        }
        return step.name, 1 + len(over)

    def _output(self, step: str) -> Any:
        effect = self.live.current(step)
        return None if effect is None else effect.output
