"""Random workflows, whose processes die anywhere, do what a small model of the rules predicts.

`FLUX_MODEL_EXAMPLES=5000` tries so many; without it a few are tried, always the same ones.
A failing example is printed as the program that it is.
"""

import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from agreement import Agreement
from budget import TIMEOUT, budget
from flow_plans import Command, Fault, FlowPlan
from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage
from random_plans import NAMES, many_faults, plans

pytestmark = TIMEOUT

FAULTS = many_faults()
STEPS = st.sampled_from(NAMES)
VERBS = st.sampled_from(("execute", "resume", "retry_step", "restart", "retry_rollback"))


class Instances(RuleBasedStateMachine):
    """What people and crashes do to an instance, on a model, on memory and on SQLite."""

    @initialize(plan=plans())
    def plan(self, plan: FlowPlan) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._names = [step.name for step in plan.steps]
        file = Path(self._folder.name) / "flux.db"
        storages: list[WorkflowStorage] = [
            MemoryStorage(),
            SQLiteStorage(file, synchronous="normal"),
        ]
        self.agreement = Agreement(plan, storages)

    def teardown(self) -> None:
        if hasattr(self, "agreement"):
            self.agreement.close()
            self._folder.cleanup()

    @property
    def status(self) -> str | None:
        return self.agreement.model.status

    def do(self, verb: str, faults: tuple[Fault, ...], step: str | None = None) -> None:
        if step is not None:
            step = step if step in self._names else self._names[0]
        self.agreement.do(Command(verb, step, faults))

    @rule(faults=FAULTS)
    @precondition(lambda self: self.status is None)
    def execute(self, faults: tuple[Fault, ...]) -> None:
        self.do("execute", faults)

    @rule(faults=FAULTS)
    @precondition(lambda self: self.status in ("failed", "parked"))
    def resume(self, faults: tuple[Fault, ...]) -> None:
        self.do("resume", faults)

    @rule(faults=FAULTS, step=STEPS)
    @precondition(lambda self: self.status == "failed")
    def retry_step(self, faults: tuple[Fault, ...], step: str) -> None:
        self.do("retry_step", faults, step)

    @rule(faults=FAULTS, step=STEPS)
    @precondition(lambda self: self.status not in (None, "rollback_failed"))
    def restart(self, faults: tuple[Fault, ...], step: str) -> None:
        self.do("restart", faults, step)

    @rule(faults=FAULTS)
    @precondition(lambda self: self.status == "rollback_failed")
    def retry_rollback(self, faults: tuple[Fault, ...]) -> None:
        self.do("retry_rollback", faults)

    @rule(faults=FAULTS, step=STEPS)
    @precondition(lambda self: self.status == "rollback_failed")
    def skip_compensation(self, faults: tuple[Fault, ...], step: str) -> None:
        self.do("skip_compensation", faults, step)

    @rule(verb=VERBS, step=STEPS)
    @precondition(lambda self: self.status is not None)
    def any_verb(self, verb: str, step: str) -> None:
        """Also those that do not fit, which change nothing."""
        self.do(verb, (), step if verb in ("retry_step", "restart") else None)


TestInstances = Instances.TestCase
TestInstances.settings = budget(examples=100, steps=10)
