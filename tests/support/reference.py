"""A small model of the rules: what an instance must do, written from what is promised.

It knows nothing of the engine: it walks through a plan step by step, keeps what was saved as a
copy, and goes on from that copy when whoever drove it is gone. What it predicts, a real engine
must do.
"""

import copy
import math

from flow_plans import HOUR, LEASE, SHORT, Call, Command, FlowPlan, Seen, StepPlan
from incidents_model import Request
from reference_around import Around, GoneError, RefusedError
from reference_back import MINUTE
from reference_forward import WayForward
from reference_state import RESTS, Effect, Instance, Undoing, afresh, data_of, entry_of, half_hours

MAX_RECOVERIES = 2


class Reference:
    """Predicts one instance of a plan: its saves, its calls, and what it looks like at rest."""

    def __init__(self, plan: FlowPlan) -> None:
        self.plan = plan
        self._around = Around(plan)

    # What a test asks for

    def do(self, command: Command) -> str | None:
        """Let a command happen, with its incidents; the name of the error if it is refused."""
        self._around.armed.arm(command.incidents)
        self._around.answers.clear()
        self._around.began = self._around.now
        self._around.is_found = command.is_driven_by_finders
        refusal = None
        try:
            self._verb(command)
        except RefusedError as refused:
            refusal = str(refused)
        self._settle()
        return refusal

    @property
    def calls(self) -> list[Call]:
        return self._around.calls

    @property
    def answers(self) -> list[str | None]:
        """How the requests in the incidents of the command were answered."""
        return self._around.answers

    @property
    def saves(self) -> int:
        """Since the last incident of the command, or since it began."""
        return self._around.armed.saves

    @property
    def counts(self) -> dict[str, int]:
        """How many saves and calls there were, since the last incident of the command."""
        return dict(self._around.armed.counts)

    @property
    def hours(self) -> float:
        """Since the beginning."""
        return half_hours(self._around.now)

    @property
    def status(self) -> str | None:
        """The status as last saved; None before there is an instance."""
        saved = self._around.saved
        return None if saved is None else saved.status

    def seen(self) -> Seen:
        """What the instance looks like as last saved."""
        saved = self._around.saved
        assert saved is not None
        in_order = sorted(saved.effects, key=lambda effect: effect.reached)
        return Seen(
            status=saved.status,
            error=saved.error,
            run=saved.run,
            data=data_of(saved.folds),
            history=tuple(entry_of(effect) for effect in in_order if not effect.replaced),
            replaced=tuple(entry_of(effect) for effect in in_order if effect.replaced),
            signals=tuple(
                (
                    m.request.name,
                    m.request.payload,
                    m.request.signal_id,
                    saved.consumed.get(m.number),
                )
                for m in self._around.inbox
                if m.is_signal
            ),
        )

    # Who drives

    def _drive(self, driver: WayForward) -> None:
        try:
            driver.drive()
        except GoneError as gone:
            self._left(gone)

    def _left(self, gone: GoneError) -> None:
        around, saved = self._around, self._around.saved
        if saved is None:
            return
        if not saved.is_leased:
            around.is_noticed = gone.is_noticed
            return
        if gone.lease_runs_out:
            around.now += LEASE + 1
        wants = saved.status not in RESTS if saved.wake is None else saved.wake <= around.now
        if wants or len(around.inbox) > saved.heard:
            saved.wake = around.now
        saved.is_leased = False

    def _settle(self) -> None:
        """Let time pass until nothing happens any more by itself."""
        around = self._around
        while (saved := around.saved) is not None:
            left = math.inf if saved.wake is None else saved.wake - around.now
            if left <= 0 and around.is_noticed:
                self._take_over()
            elif saved.status in RESTS and left > 0:
                return
            elif 0 < left < MINUTE:
                around.now += left
            else:
                around.pass_hour()

    def _take_over(self) -> None:
        driver = self._look()
        if driver.live.intent is not None:
            self._recover(driver)
        self._go_on(driver)

    def _recover(self, driver: WayForward) -> None:
        """What a saved intent says whose driver is gone."""
        live = driver.live
        parks = live.recoveries >= MAX_RECOVERIES
        # The first goes on at once, what kills its process again waits some seconds.
        pause = SHORT if live.recoveries and not parks else 0.0
        live.recoveries += 1
        if live.back:
            self._compensation_interrupted(driver, pause)
        else:
            self._step_interrupted(driver, self.plan.step(live.intent or ""), pause)
        if parks:
            live.status = "parked"

    def _step_interrupted(self, driver: WayForward, step: StepPlan, pause: float) -> None:
        effect = driver.live.current(step.name)
        if effect is not None and (effect.doubted or effect.retry_at > self._around.now):
            return None
        effect = driver.reach(step)
        driver.lose(effect, "unknown", "OutcomeUnknownError")
        effect.exhausted = False
        requests = (message.request.verb for message in self._around.unconsumed(driver.live))
        if driver.is_late or "cancel" in requests:
            return None  # that is the cause, and the step is closed for it
        if step.at_most_once and step.verify is None:
            return driver.fail(effect, "OutcomeUnknownError")
        effect.doubted = step.at_most_once
        if pause:
            effect.retry_at = self._around.now + pause
        return None

    def _compensation_interrupted(self, driver: WayForward, pause: float) -> None:
        effect = driver.owed()[0]
        if effect.undoing is None:
            effect.undoing = Undoing()
        undoing = effect.undoing
        if undoing.retry_at <= self._around.now:
            undoing.attempts += 1
            undoing.retry_at = self._around.now + pause if pause else 0.0

    # Verbs

    def _verb(self, command: Command) -> None:
        if command.verb == "execute":
            return self._execute()
        if command.verb == "pass":
            return self._pass(command.hours)
        if command.verb == "tell":
            return self._tell(command.request)
        if command.verb == "reopen":
            return None
        if self._around.saved is None:
            raise RefusedError("InstanceNotFoundError")
        verb = getattr(self, f"_{command.verb}")
        verb(*(() if command.step is None else (command.step,)))
        return None

    def _execute(self) -> None:
        if self._around.saved is None:
            hours = self.plan.deadline
            deadline = None if hours is None else self._around.now + hours * HOUR
            live = Instance(deadline=deadline)
            self._drive(WayForward(self.plan, self._around, live))

    def _pass(self, hours: int) -> None:
        for _ in range(hours):
            self._around.pass_hour()
            self._settle()

    def _tell(self, request: Request | None) -> None:
        assert request is not None
        self._around.receive(request)

    def _resume(self) -> None:
        if self.status not in ("parked", "paused", "failed"):
            return None
        driver = self._look()
        live = driver.live
        if live.status == "parked":
            live.status = "rolling_back" if live.back else "running"
            live.recoveries = 0
        elif live.status == "paused":
            live.status = "running"
        else:
            failed = [e for e in live.effects if e.status == "failed" and not e.replaced]
            doubtful = [e for e in failed if driver.is_doubtful(e)]
            if any(self.plan.step(effect.step).verify is None for effect in doubtful):
                raise RefusedError("InvalidTransitionError")
            return self._retry(driver, failed, doubtful)
        return self._go_on(driver)

    def _retry_step(self, step: str) -> None:
        driver = self._look()
        effect = driver.live.current(step)
        if driver.live.status != "failed":
            raise RefusedError("InvalidTransitionError")
        if effect is None or effect.status != "failed":
            raise RefusedError("StepNotCompletedError")
        self._retry(driver, [effect], [])

    def _retry(self, driver: WayForward, failed: list[Effect], doubtful: list[Effect]) -> None:
        live = driver.live
        for effect in failed:
            afresh(effect, doubted=effect in doubtful)
        live.folds = [f for f in live.folds if f.undoing or f.effect not in failed]
        self._forward_again(driver)

    def _restart(self, step: str) -> None:
        driver = self._look()
        live = driver.live
        if live.status == "rollback_failed" or (live.status == "parked" and live.back):
            raise RefusedError("InvalidTransitionError")
        self._refuse_unfinished_before(live, step)
        again = set(self.plan.from_on(step))
        for effect in live.effects:
            if not effect.replaced and (effect.is_undone or not effect.is_settled):
                again.update(self.plan.from_on(effect.step))
        for effect in live.effects:
            if effect.step in again and effect.status == "suspended":
                # It has acted, and nobody will know how.
                effect.outcome = "unknown"
            effect.replaced = effect.replaced or effect.step in again
        # Data is what the steps that stay have made of it.
        live.folds = [f for f in live.folds if not f.effect.replaced and not f.undoing]
        live.run += 1
        live.cancelling = None
        self._forward_again(driver)

    def _refuse_unfinished_before(self, live: Instance, step: str) -> None:
        before = self.plan.before(step)
        effects = [live.current(s.name) for s in self.plan.steps if s.name in before]
        if any(effect is not None and effect.is_undone for effect in effects):
            raise RefusedError("StepCompensatedError")
        if any(effect is None or not effect.is_settled for effect in effects):
            raise RefusedError("StepNotCompletedError")

    def _retry_rollback(self) -> None:
        driver, undoing = self._look_at_failed_undoing()
        undoing.status, undoing.failures, undoing.retry_at = "running", 0, 0.0
        self._go_on(driver)

    def _skip_compensation(self, step: str) -> None:
        driver, undoing = self._look_at_failed_undoing()
        if not any(e.undoing is undoing and e.step == step for e in driver.live.effects):
            raise RefusedError("InvalidTransitionError")
        undoing.status = "skipped"
        self._go_on(driver)

    def _look_at_failed_undoing(self) -> tuple[WayForward, Undoing]:
        driver = self._look()
        live = driver.live
        if live.status != "rollback_failed":
            raise RefusedError("InvalidTransitionError")
        live.status, live.recoveries = "rolling_back", 0
        undoings = (effect.undoing for effect in live.effects)
        return driver, next(u for u in undoings if u is not None and u.status == "failed")

    def _look(self) -> WayForward:
        """Begin to decide; nothing has happened yet."""
        saved = self._around.saved
        assert saved is not None
        return WayForward(self.plan, self._around, copy.deepcopy(saved))

    def _forward_again(self, driver: WayForward) -> None:
        live = driver.live
        live.status, live.back, live.error, live.recoveries = "running", False, None, 0
        live.deadline = None
        self._go_on(driver)

    def _go_on(self, driver: WayForward) -> None:
        """What was decided stands: the instance is claimed, and driven."""
        assert self._around.saved is not None
        self._around.saved.is_leased = True
        self._drive(driver)
