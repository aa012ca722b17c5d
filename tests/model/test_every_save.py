"""A process dies at each save of an instance in turn; what follows is what the model predicts."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreement import Agreement
from budget import TIMEOUT, budget
from flow_plans import Command, Fault, FlowPlan, Recovery
from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage
from random_plans import plans

pytestmark = TIMEOUT


def faults_of(saves: int, recovery: Recovery) -> Iterator[Fault]:
    """Before and after each save, a process that dies and a storage that fails."""
    for save in range(1, saves + 1):
        for written in (False, True):
            for dies in (False, True):
                yield Fault(save=save, written=written, dies=dies, recovery=recovery)


@budget(examples=40)
@given(plan=plans(), recovery=st.sampled_from(Recovery))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_any_save_may_be_the_last(kind: str, plan: FlowPlan, recovery: Recovery) -> None:
    """Whichever save the process dies at, before it or after it, the instance goes on rightly."""
    saves = saves_of(plan, kind, ())
    for fault in faults_of(saves, recovery):
        saves_of(plan, kind, (fault,))


@budget(examples=25)
@given(plan=plans(), save=st.integers(1, 4), recovery=st.sampled_from(Recovery))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_any_save_of_the_recovery(kind: str, plan: FlowPlan, save: int, recovery: Recovery) -> None:
    """The process that goes on may die at any of its saves too."""
    first = Fault(save=save, written=True, recovery=recovery)
    saves = saves_of(plan, kind, (first,))
    for second in faults_of(saves, recovery):
        if second.dies:
            saves_of(plan, kind, (first, second))


def saves_of(plan: FlowPlan, kind: str, faults: tuple[Fault, ...]) -> int:
    """Execute the plan beside the model; how many saves it took, from the last fault on."""
    with tempfile.TemporaryDirectory() as folder:
        storage: WorkflowStorage = MemoryStorage()
        if kind == "sqlite":
            storage = SQLiteStorage(Path(folder) / "flux.db", synchronous="normal")
        agreement = Agreement(plan, [storage])
        try:
            agreement.do(Command("execute", None, faults))
            return agreement.model.saves
        finally:
            agreement.close()
