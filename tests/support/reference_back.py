"""How the model drives an instance: what both ways have in common, and the way back."""

from flow_plans import LEASE, Act, FlowPlan, StepPlan
from reference_around import Around
from reference_state import Effect, Fold, Instance, Message, Undoing, changed, data_of, undid

MINUTE = 60.0


class WayBack:
    """Drives an instance that goes back; `WayForward` adds the rest.

    Every turn decides anew what comes next, and ends with a save and what was announced by it.
    """

    def __init__(self, plan: FlowPlan, around: Around, live: Instance) -> None:
        self.live = live
        self.is_stopping = False
        self.told = False
        self.heard = len(around.inbox)
        self._plan = plan
        self._around = around

    # Messages

    def _listen(self) -> None:
        if self.told:
            self.told, self.heard = False, len(self._around.inbox)

    def _messages(self) -> list[Message]:
        return self._around.unconsumed(self.live, self.heard)

    def _request(self) -> Message | None:
        """The first that asks for the instance to be paused or cancelled."""
        return next((m for m in self._messages() if not m.is_signal), None)

    def _heed(self, message: Message) -> None:
        live, request = self.live, message.request
        if request.verb == "pause":
            dropped = live.back or live.stands
        else:
            dropped = live.cancelling is not None or (live.stands and live.back)
        live.consumed[message.number] = "nobody" if dropped else request.verb
        if dropped:
            return
        if request.verb == "pause":
            live.status = "paused"
            return
        keeps = not request.rollback and live.status != "rolling_back"
        self._turn_back("InstanceCancelledError")
        live.cancelling = "keep" if keeps else "rollback"

    @property
    def is_late(self) -> bool:
        """Whether it goes forward past its deadline."""
        deadline = self._deadline
        return deadline is not None and deadline <= self._around.now

    @property
    def _deadline(self) -> float | None:
        return None if self.live.back else self.live.deadline

    def _turn_back(self, error: str) -> None:
        """Nothing forward follows: what has begun, or waits, has failed; the first cause stays."""
        live = self.live
        live.back, live.recoveries = True, 0
        live.error = live.error or error
        if live.stands:
            live.status = "running"
        for effect in live.effects:
            if not effect.replaced and effect.status in ("running", "suspended"):
                self._close(effect, error)

    def _close(self, effect: Effect, error: str) -> None:
        if not effect.attempts:
            effect.replaced = True
            return
        if effect.status == "suspended":
            effect.outcome = "unknown"
        effect.status, effect.error = "failed", error
        effect.doubted, effect.retry_at = False, 0.0

    # Saves

    def _rest(self, status: str, wake: float | None = None) -> bool:
        """Come to rest; False if a message came in time to be heeded instead."""
        before, self.live.status = self.live.status, status
        if self._around.save(self, rests=True, wake=wake):
            return True
        self.live.status = before
        return False

    def _hand_over(self, due: float) -> bool:
        due = due if self._deadline is None else min(due, self._deadline)
        return self._around.save(self, rests=True, wake=max(due, self._around.now))

    def _pause(self, until: float) -> bool:
        """Wait for the next attempt without an intent; whether the lease is given back for it."""
        wake = until if self._deadline is None else min(until, self._deadline)
        if self.is_stopping:
            return self._hand_over(until)
        if wake - self._around.now > LEASE:
            return self._around.save(self, rests=True, wake=wake)
        self._around.save(self)
        self._is_called_off(until)
        return False

    def _is_called_off(self, retry_at: float) -> bool:
        """Wait out the back-off; whether something else is to be done instead."""
        around = self._around
        while not self.is_stopping:
            self._listen()
            if self._request() is not None or self.is_late:
                return True
            left = retry_at - around.now
            if left <= 0:
                return False
            if left < MINUTE:
                around.now = retry_at
            else:
                around.pass_hour(self)
        return True

    # The way back

    def _turn_of_rollback(self) -> bool:
        live = self.live
        if live.cancelling == "keep":
            return self._rest("cancelled")
        owed = self.owed()
        if not owed:
            turned = "rolled_back" if live.status == "rolling_back" else "failed"
            return self._rest("cancelled" if live.cancelling else turned)
        live.status = "rolling_back"
        undoing = owed[0].undoing
        if undoing is not None and undoing.status == "failed":
            return self._rest("rollback_failed")
        return self._undo(self._plan.step(owed[0].step), owed[0])

    def owed(self) -> list[Effect]:
        """What is to be undone: the unknown first, then the reverse order of completion."""
        owed = [
            effect
            for effect in self.live.effects
            if effect.is_owed and self._plan.step(effect.step).undo is not None
        ]
        unknown = [effect for effect in owed if effect.outcome == "unknown"]
        completed = [effect for effect in owed if effect.outcome == "completed"]
        unknown.sort(key=lambda effect: effect.began, reverse=True)
        completed.sort(key=lambda effect: effect.finished, reverse=True)
        return unknown + completed

    def _undo(self, step: StepPlan, effect: Effect) -> bool:
        """Bring an undoing one attempt further; whether the driver ends with it."""
        retry_at = 0.0 if effect.undoing is None else effect.undoing.retry_at
        if self.is_stopping:
            return self._hand_over(retry_at)
        if retry_at - self._around.now > LEASE:
            return self._pause(retry_at)
        self._around.save(self, intent=step.name)
        if not self._is_called_off(retry_at):
            self._compensate(step, effect)
        return False

    def _compensate(self, step: StepPlan, effect: Effect) -> None:
        undoing = effect.undoing or Undoing()
        base = data_of(self.live.folds)
        output = effect.output if effect.outcome == "completed" else None
        seen = {
            "key": effect.key,
            "outcome": effect.outcome,
            "output": output,
            "failure": self.live.error,
        }
        attempt, key = undoing.attempts + 1, ("undo", *effect.key)
        act, _ = self._around.call(
            self, "undo", step, step.undo or (), key, attempt, data=base, seen=seen
        )
        effect.undoing = undoing
        undoing.attempts, undoing.retry_at = attempt, 0.0
        if act is Act.WELL:
            undoing.status = "completed"
            self.live.tick()
            self.live.recoveries = 0
            changes = changed(base, undid(step, base))
            self.live.folds.append(Fold(effect, changes, undoing=True))
            return
        undoing.failures += 1
        if act in (Act.SPOILS, Act.WAITS) or undoing.failures > step.undo_retries:
            undoing.status = "failed"
            self.live.recoveries = 0
        else:
            undoing.retry_at = self._around.now + step.pause
