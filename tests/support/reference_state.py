"""What the model keeps of an instance, and what the scripted functions do to its data."""

from collections.abc import Collection
from typing import Any, Literal

from attrs import Factory, define

from flow_plans import HOUR, Act, Entry, Script, StepPlan
from incidents_model import Request

ENDED = ("completed", "failed", "rolled_back", "cancelled")
RESTS = (*ENDED, "suspended", "paused", "parked", "rollback_failed")


@define
class Message:
    """A signal in the inbox, or a request to cancel or pause."""

    number: int
    request: Request
    sent: float

    @property
    def is_signal(self) -> bool:
        return self.request.verb == "signal"


@define
class Waiting:
    """What a step waits for, and until when."""

    signal: str | None
    until: float | None
    goes_on: bool
    default: object


@define
class Undoing:
    """How the undoing of an effect stands."""

    status: Literal["running", "completed", "failed", "skipped"] = "running"
    attempts: int = 0
    failures: int = 0
    retry_at: float = 0.0

    @property
    def is_settled(self) -> bool:
        return self.status in ("completed", "skipped")


@define(eq=False)
class Effect:
    """A step that was reached, and what is known of its effect in the world.

    `key` is what its receiver knows it by. `reached` orders the history, `began` and `finished`
    order the rollback.
    """

    step: str
    key: tuple[str, int]
    run: int
    reached: int
    began: int
    status: str = "running"
    outcome: Literal["completed", "unknown"] | None = None
    output: Any = None
    attempts: int = 0
    failures: int = 0
    lost: tuple[int, ...] = ()
    """The attempts that ended without a result."""
    answered: bool = False
    """Whether its predicate said yes before it was ever begun."""
    waiting: Waiting | None = None
    doubted: bool = False
    """Whether its verifier has to be asked."""
    exhausted: bool = False
    asked: int = 0
    retry_at: float = 0.0
    error: str | None = None
    """Of its last attempt."""
    finished: int = 0
    changes: dict[str, Any] = Factory(dict)
    """What it changed in data; None for a deleted key."""
    replaced: bool = False
    undoing: Undoing | None = None

    @property
    def is_settled(self) -> bool:
        return self.status in ("completed", "skipped")

    @property
    def is_undone(self) -> bool:
        """Whether it counts as not done any more: undone, or settled by a person."""
        return self.undoing is not None and self.undoing.is_settled

    @property
    def is_owed(self) -> bool:
        return self.outcome is not None and not self.is_undone


@define
class Fold:
    """A change of data: by whom, and whether it was an undoing."""

    effect: Effect
    changes: dict[str, Any]
    undoing: bool = False


@define
class Instance:
    """All that a save keeps."""

    status: str = "running"
    back: bool = False
    run: int = 1
    ticks: int = 0
    recoveries: int = 0
    error: str | None = None
    intent: str | None = None
    is_leased: bool = False
    wake: float | None = None
    """When somebody is to look at it, if nobody drives it."""
    heard: int = 0
    """Up to which number its driver had read the inbox."""
    deadline: float | None = None
    cancelling: Literal["rollback", "keep"] | None = None
    consumed: dict[int, str] = Factory(dict)
    """The messages that were taken, each with its taker."""
    effects: list[Effect] = Factory(list)
    folds: list[Fold] = Factory(list)

    @property
    def stands(self) -> bool:
        """Whether it rests until a person lets it go on."""
        return self.status in ("paused", "parked")

    @property
    def is_undone(self) -> bool:
        """Whether a rollback is under way, though it may stand still."""
        back = self.back and self.status == "parked"
        return back or self.status in ("rolling_back", "rollback_failed")

    def current(self, step: str) -> Effect | None:
        """What counts now of a step."""
        return next((e for e in self.effects if e.step == step and not e.replaced), None)

    def past(self, step: str) -> Effect | None:
        """The last effect of a step that was ever begun and that a restart set aside."""
        aside = [e for e in self.effects if e.step == step and e.replaced and e.attempts]
        return max(aside, key=lambda effect: effect.began, default=None)

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks


def afresh(effect: Effect, *, doubted: bool) -> None:
    """Let a step that has ended without a result go on, with fresh retries."""
    effect.status, effect.doubted, effect.exhausted = "running", doubted, False
    effect.failures, effect.asked, effect.retry_at = 0, 0, 0.0
    effect.answered, effect.waiting = False, None


def data_of(folds: list[Fold], steps: Collection[str] | None = None) -> dict[str, Any]:
    """The data as these changes made it, in their order; those of `steps` alone, if given."""
    data: dict[str, Any] = {}
    for fold in folds:
        if steps is None or fold.effect.step in steps:
            data |= fold.changes
    return {key: value for key, value in data.items() if value is not None}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The keys that differ, with what they are now; None for those that are gone."""
    gone = dict.fromkeys(key for key in before if key not in after)
    return gone | {key: value for key, value in after.items() if before.get(key) != value}


def entry_of(effect: Effect) -> Entry:
    """The entry that the history has of an effect."""
    undoing = effect.undoing
    instead = {"completed": "compensated", "running": "compensating"}
    shown = effect.status if undoing is None else instead.get(undoing.status, effect.status)
    waiting = effect.waiting if shown == "suspended" else None
    until = None if waiting is None else waiting.until
    return Entry(
        name=effect.step,
        status=shown,
        outcome=effect.outcome,
        output=effect.output,
        key=effect.key if effect.attempts else None,
        run=effect.run,
        retries=effect.failures - (effect.status == "failed" and effect.failures > 0),
        attempt_count=effect.attempts,
        lost=effect.lost,
        undone=None if undoing is None else (undoing.status, undoing.attempts),
        waiting_for=None if waiting is None else waiting.signal,
        wakes=None if until is None else half_hours(until),
    )


def half_hours(seconds: float) -> float:
    """So many hours; what a few seconds more or less come to is left out."""
    return round(2 * seconds / HOUR) / 2


def act_of(script: Script, call: int) -> Act:
    """What the n-th call does."""
    return script[call - 1] if call <= len(script) else Act.WELL


def ran(step: StepPlan, call: int, data: dict[str, Any]) -> dict[str, Any]:
    """What a handler makes of data."""
    made = {**data, step.name: call, "count": data.get("count", 0) + 1, "last": step.name}
    if step.forgets:
        del made["last"]
    return made


def undid(step: StepPlan, data: dict[str, Any]) -> dict[str, Any]:
    """What a compensator makes of data."""
    made = {**data, "undone": [*data.get("undone", []), step.name]}
    made.pop(step.name, None)
    return made
