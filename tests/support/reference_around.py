"""What is around whoever drives an instance in the model: the time, the storage, what strikes."""

import copy
from collections import Counter
from typing import Protocol

from flow_plans import HOUR, Act, Call, FlowPlan, Reaction, Script, StepPlan
from incidents_model import Armed, Incident, Recovery, Request, What
from reference_state import ENDED, RESTS, Instance, Message, act_of


class RefusedError(Exception):
    """The verb does not fit; the message is the name of the error class."""


class GoneError(Exception):
    """Whoever drove the instance is gone; the lease has to run out, or is given back."""

    def __init__(self, *, lease_runs_out: bool = False, is_noticed: bool = True) -> None:
        super().__init__()
        self.lease_runs_out = lease_runs_out
        self.is_noticed = is_noticed


class Drives(Protocol):
    """Whoever drives an instance."""

    live: Instance
    heard: int
    """Up to which number it has read the inbox."""
    told: bool
    """Whether it knows that there may be more in the inbox."""
    is_stopping: bool

    @property
    def is_late(self) -> bool: ...


class Around:
    """The time, what is saved, the inbox, the calls, and the incidents that strike."""

    def __init__(self, plan: FlowPlan) -> None:
        self.now = self.began = 0.0
        """The time, and when the command began."""
        self.is_found = False
        """Whether the instance is driven by whoever finds it due."""
        self.saved: Instance | None = None
        self.inbox: list[Message] = []
        self.calls: list[Call] = []
        self.answers: list[str | None] = []
        """How the requests in incidents were answered: by None, or by the name of an error."""
        self.armed = Armed()
        self.is_noticed = True
        """Whether somebody knows that the instance is due, if it is."""
        self._plan = plan
        self._counts: Counter[tuple[str, str]] = Counter()

    # Requests

    def receive(self, request: Request) -> bool:
        """Take in a request; whether it is to be heeded."""
        saved = self.saved
        if saved is None:
            raise RefusedError("InstanceNotFoundError")
        if self._is_known(request):
            return False
        if saved.status in ENDED:
            raise RefusedError("InstanceEndedError")
        if request.verb == "cancel" and saved.is_undone:
            return False
        if saved.status in ("rolling_back", "rollback_failed"):
            raise RefusedError("InvalidTransitionError")
        if request.verb == "pause" and saved.stands:
            if saved.status == "parked":
                raise RefusedError("InvalidTransitionError")
            return False
        self.inbox.append(Message(len(self.inbox) + 1, request, self.now))
        if not saved.is_leased:
            saved.wake, self.is_noticed = self.now, True
        return True

    def _is_known(self, request: Request) -> bool:
        if request.verb != "signal" or request.signal_id is None:
            return False
        for message in filter(lambda message: message.is_signal, self.inbox):
            if message.request.signal_id == request.signal_id:
                same = ("name", "payload")
                if any(getattr(message.request, a) != getattr(request, a) for a in same):
                    raise RefusedError("SignalConflictError")
                return True
        return False

    def unconsumed(self, live: Instance, up_to: int | None = None) -> list[Message]:
        """The messages that nobody has taken, in the order of arrival."""
        return [m for m in self.inbox[:up_to] if m.number not in live.consumed]

    # The time

    def pass_hour(self, driver: Drives | None = None) -> None:
        """Let an hour pass; everybody looks, and a lease is renewed, which tells of messages."""
        self.now, self.is_noticed = self.now + HOUR, True
        if driver is not None and len(self.inbox) > driver.heard:
            driver.told = True

    # Saves

    def save(
        self,
        driver: Drives,
        *,
        intent: str | None = None,
        rests: bool = False,
        wake: float | None = None,
    ) -> bool:
        """Keep what was done so far; False if it may not end since there is a message unread."""
        live, incident = driver.live, self.armed.at_save()
        if incident is not None and not incident.written:
            self._strike(incident, driver)
        is_new = self.saved is None
        unread = len(self.inbox) > driver.heard
        ends = live.status not in ENDED or not unread
        if ends:
            live.intent, live.is_leased, live.heard = intent, not rests, driver.heard
            live.wake = self.now if rests and unread else wake
            self.saved, self.is_noticed = copy.deepcopy(live), True
        if unread and not is_new:
            driver.told = True
        if incident is not None and incident.written:
            self._strike(incident, driver)
        return ends

    def _strike(self, incident: Incident, driver: Drives) -> None:
        match incident.what:
            case What.DIES | What.STALLS:
                raise GoneError(lease_runs_out=True)
            case What.FAILS if self.now > self.began or self.is_found:
                # Whether anybody waits for this driver is open: there it dies.
                raise GoneError(lease_runs_out=True)
            case What.FAILS:
                # Only the engine that has the lease knows that it is of no use any more.
                rests = self.saved is not None and self.saved.status in RESTS
                is_asked = incident.recovery is not Recovery.POLL and not rests
                is_noticed = is_asked or driver.is_stopping
                raise GoneError(lease_runs_out=not is_asked, is_noticed=is_noticed)
            case What.CLOSES:
                driver.is_stopping = True
            case What.IS_TOLD:
                self._tell(incident, driver)

    def _tell(self, incident: Incident, driver: Drives) -> None:
        # One that is closed takes no requests: somebody else sends them.
        elsewhere = incident.elsewhere or driver.is_stopping
        try:
            accepted = self.receive(incident.request)
        except RefusedError as refused:
            self.answers.append(str(refused))
            return
        self.answers.append(None)
        if accepted and not elsewhere:
            driver.told = True

    # Calls

    def call(
        self,
        driver: Drives,
        what: str,
        step: StepPlan,
        script: Script,
        key: object = None,
        attempt: int = 0,
        **seen: object,
    ) -> tuple[Act, bool]:
        """What a call does, and whether it was interrupted, so that it did nothing."""
        self._counts[what, step.name] += 1
        self.calls.append(Call(what=what, step=step.name, key=key, attempt=attempt, **seen))
        act = act_of(script, self._counts[what, step.name])
        if what == "when":
            return act, False
        incident = self.armed.in_call()
        interrupted = incident is not None and self._happens_in(incident, driver, what, step)
        if interrupted and step.told is Reaction.STAYS:
            raise GoneError
        return act, interrupted and step.told is Reaction.ENDS

    def number_of(self, what: str, step: str) -> int:
        """How often it was called."""
        return self._counts[what, step]

    def _happens_in(self, incident: Incident, driver: Drives, what: str, step: StepPlan) -> bool:
        if incident.what is What.CLOSES:
            driver.is_stopping = True
            if not incident.ends and step.told is not Reaction.FINISHES:
                raise GoneError
            return False
        if incident.what is not What.LASTS:
            self._strike(incident, driver)
            return what != "undo" and self._is_called_off(driver)
        for _ in range(incident.hours):
            self.pass_hour(driver)
            if what != "undo" and self._is_called_off(driver):
                return True
        return False

    def _is_called_off(self, driver: Drives) -> bool:
        messages = self.unconsumed(driver.live) if driver.told else []
        return driver.is_late or any(m.request.verb == "cancel" for m in messages)
