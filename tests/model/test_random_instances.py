"""Random workflows, to whose instances anything may happen, do what a small model predicts.

`FLUX_MODEL_EXAMPLES=5000` tries so many; without it a few are tried, always the same ones.
A failing example is printed as the program that it is.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agreement import Agreement, Fresh
from budget import TIMEOUT, budget
from flow_plans import Command, FlowPlan
from incidents_model import Incident, Request
from random_plans import NAMES, many_incidents, plans, requests

pytestmark = TIMEOUT

INCIDENTS = many_incidents()
ENGINES = st.integers(0, 1)
STEPS = st.sampled_from(NAMES)
VERBS = ("execute", "resume", "retry_step", "restart", "retry_rollback", "skip_compensation")
WITH_STEP = ("retry_step", "restart", "skip_compensation")
Incidents = tuple[Incident, ...]


class Instances(RuleBasedStateMachine):
    """What people, crashes and time do to an instance, on a model and on all storages."""

    fresh: Fresh

    @initialize(plan=plans())
    def plan(self, plan: FlowPlan) -> None:
        self._names = [step.name for step in plan.steps]
        storages = [self.fresh(kind) for kind in ("memory", "sqlite", "redis")]
        self.agreement = Agreement(plan, storages)

    def teardown(self) -> None:
        if hasattr(self, "agreement"):
            self.agreement.close()

    @property
    def status(self) -> str | None:
        return self.agreement.model.status

    def do(self, verb: str, incidents: Incidents, engine: int, step: str | None = None) -> None:
        if step is not None:
            step = step if step in self._names else self._names[0]
        self.agreement.do(Command(verb, step, incidents, engine=engine))

    @rule(incidents=INCIDENTS, engine=ENGINES)
    @precondition(lambda self: self.status is None)
    def execute(self, incidents: Incidents, engine: int) -> None:
        self.do("execute", incidents, engine)

    @rule(incidents=INCIDENTS, engine=ENGINES)
    @precondition(lambda self: self.status in ("failed", "parked", "paused"))
    def resume(self, incidents: Incidents, engine: int) -> None:
        self.do("resume", incidents, engine)

    @rule(incidents=INCIDENTS, engine=ENGINES, step=STEPS)
    @precondition(lambda self: self.status == "failed")
    def retry_step(self, incidents: Incidents, engine: int, step: str) -> None:
        self.do("retry_step", incidents, engine, step)

    @rule(incidents=INCIDENTS, engine=ENGINES, step=STEPS)
    @precondition(lambda self: self.status not in (None, "rollback_failed"))
    def restart(self, incidents: Incidents, engine: int, step: str) -> None:
        self.do("restart", incidents, engine, step)

    @rule(incidents=INCIDENTS, engine=ENGINES)
    @precondition(lambda self: self.status == "rollback_failed")
    def retry_rollback(self, incidents: Incidents, engine: int) -> None:
        self.do("retry_rollback", incidents, engine)

    @rule(incidents=INCIDENTS, engine=ENGINES, step=STEPS)
    @precondition(lambda self: self.status == "rollback_failed")
    def skip_compensation(self, incidents: Incidents, engine: int, step: str) -> None:
        self.do("skip_compensation", incidents, engine, step)

    @rule(incidents=INCIDENTS, engine=ENGINES, request=requests(waits=True))
    @precondition(lambda self: self.status in ("suspended", "paused", "parked"))
    def tell(self, incidents: Incidents, engine: int, request: Request) -> None:
        self.agreement.do(Command("tell", None, incidents, engine=engine, request=request))

    @rule(incidents=INCIDENTS, hours=st.integers(1, 4))
    @precondition(lambda self: self.status in ("suspended", "paused", "parked"))
    def hours_pass(self, incidents: Incidents, hours: int) -> None:
        self.agreement.do(Command("pass", None, incidents, hours=hours))

    @rule(engine=ENGINES)
    def reopen(self, engine: int) -> None:
        self.do("reopen", (), engine)

    @rule(verb=st.sampled_from(VERBS), step=STEPS, engine=ENGINES)
    @precondition(lambda self: self.status is not None)
    def any_verb(self, verb: str, step: str, engine: int) -> None:
        """Also those that do not fit, which change nothing."""
        self.do(verb, (), engine, step if verb in WITH_STEP else None)

    @rule(request=requests(), engine=ENGINES)
    def any_request(self, request: Request, engine: int) -> None:
        """Also before there is an instance, and after it has ended."""
        self.agreement.do(Command("tell", request=request, engine=engine))


def test_random_instances(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to an instance, it is where the model says, on all storages."""
    monkeypatch.setattr(Instances, "fresh", staticmethod(fresh), raising=False)
    run_state_machine_as_test(Instances, settings=budget(examples=60, steps=8))
