"""A process is killed while its instance waits, and another one takes what comes."""

import time
from datetime import UTC, datetime

from children import Child, Stage
from flux import StepStatus, WorkflowStatus

SUSPENDED, COMPLETED = WorkflowStatus.SUSPENDED, WorkflowStatus.COMPLETED


def killed(stage: Stage, workflow: str = "approval") -> Child:
    """A process that was killed when its instance "o-1" had been suspended."""
    child = stage.start(workflow, "start", "o-1")
    stage.wait_until(lambda: stage.effects("did") and stage.state("o-1").status is SUSPENDED)
    child.kill()
    return child


def test_signal_from_another_process(stage: Stage) -> None:
    """Whoever signals goes on with the instance; what was done before is not done again."""
    dead = killed(stage)
    stage.run("approval", "signal", "o-1")
    reserved, shipped = stage.effects("did")
    assert (reserved["pid"], reserved["step"], shipped["step"]) == (dead.pid, "reserve", "ship")
    assert shipped["pid"] != dead.pid
    assert (reserved["attempt"], shipped["attempt"]) == (1, 1)
    assert stage.state("o-1").status is COMPLETED
    assert stage.step("o-1", "approval").output == {"by": "kim"}


def test_peer_takes_the_signal(stage: Stage) -> None:
    """A live peer acts on a signal that a process sends which does not know the workflow."""
    dead = killed(stage)
    peer = stage.start("approval", "watch")
    stage.run("approval", "send", "o-1")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    assert [effect["pid"] for effect in stage.effects("did")] == [dead.pid, peer.pid]


def test_signal_while_nobody_lives(stage: Stage) -> None:
    """One that is sent when no process drives anything is kept, and taken by the next one."""
    killed(stage)
    stage.run("approval", "send", "o-1")
    assert stage.state("o-1").status is SUSPENDED
    peer = stage.start("approval", "watch")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    assert stage.effects("did")[-1]["pid"] == peer.pid


def test_signal_before_the_wait(stage: Stage) -> None:
    """One that came while the step before the wait ran outlives the process that ran it."""
    dead = stage.start("approval", "start", "o-1", hold="after reserve")
    stage.wait_until(lambda: stage.effects("holding"))
    stage.run("approval", "send", "o-1")
    dead.kill()
    stage.start("approval", "watch")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    assert [effect["attempt"] for effect in stage.effects("did", step="reserve")] == [1, 2]
    assert stage.step("o-1", "approval").output == {"by": "kim"}


def test_signal_is_taken_once(stage: Stage) -> None:
    """A process killed right after it took the signal has consumed it: it is not taken again."""
    killed(stage)
    stage.kill_when_holding("approval", "signal", "o-1", hold="before ship")
    stage.run("approval", "signal", "o-1")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    (shipped,) = stage.effects("did", step="ship")
    assert shipped["attempt"] == 2
    entry = stage.step("o-1", "approval")
    assert (entry.attempt_count, entry.output) == (1, {"by": "kim"})


def test_repeated_signal(stage: Stage) -> None:
    """Whoever was killed after sending sends it again, with its id: it is delivered once."""
    killed(stage)
    stage.run("approval", "send", "o-1")
    stage.run("approval", "signal", "o-1")
    stage.run("approval", "signal", "o-1")
    assert len(stage.effects("did", step="ship")) == 1


def test_timeout_while_nobody_lives(stage: Stage) -> None:
    """A wait that has timed out meanwhile is over for the next process; a late signal is late."""
    killed(stage, "brief")
    until = stage.step("o-1", "approval").wakes_at
    assert until is not None
    stage.wait_until(lambda: datetime.now(UTC) > until)
    stage.run("brief", "send", "o-1")
    peer = stage.start("brief", "watch")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    assert stage.step("o-1", "approval").output == "nobody came"
    assert stage.effects("did", step="ship")[0]["pid"] == peer.pid


def test_timer_is_not_early(stage: Stage) -> None:
    """A live peer acts on the timer of a dead process when it is due, not before."""
    peer = stage.start("brief", "watch")
    dead = killed(stage, "brief")
    stage.wait_until(lambda: stage.state("o-1").status is COMPLETED)
    entry = stage.step("o-1", "approval")
    assert {effect["pid"] for effect in stage.effects("did")} <= {dead.pid, peer.pid}
    assert entry.completed_at is not None
    assert entry.suspended_at is not None
    assert (entry.completed_at - entry.suspended_at).total_seconds() >= 0.5


def test_many_wait(stage: Stage) -> None:
    """A process killed with forty that wait leaves them to the peer that gets their signals."""
    ids = [f"o-{number}" for number in range(40)]
    child = stage.start("approval", "start", *ids)
    stage.wait_until(lambda: set(stage.statuses().values()) == {"suspended"})
    stage.wait_until(lambda: len(stage.statuses()) == 40)
    child.kill()
    stage.run("approval", "signal", *ids)
    assert set(stage.statuses().values()) == {"completed"}
    shipped = stage.effects("did", step="ship")
    assert sorted(effect["id"] for effect in shipped) == sorted(ids)
    assert stage.step("o-7", "ship").status is StepStatus.COMPLETED


def test_waiting_costs_no_lease(stage: Stage) -> None:
    """Nobody waits for the lease of a dead process: its instances at rest have none."""
    child = stage.start("approval", "start", "o-1", "--lease", "600")
    stage.wait_until(lambda: stage.effects("did") and stage.state("o-1").status is SUSPENDED)
    child.kill()
    before = time.monotonic()
    stage.run("approval", "signal", "o-1", "--lease", "600")
    assert time.monotonic() - before < 60
    assert stage.state("o-1").status is COMPLETED
