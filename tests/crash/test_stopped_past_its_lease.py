"""A process stands still for longer than its lease, and wakes up when another one has taken over.

Its handler does not let the event loop run, so it is the save that tells it that it is too late.
"""

from collections import Counter

from children import Stage
from flux import WorkflowStatus


def test_late_save_is_refused(stage: Stage) -> None:
    """What a process saves after it has lost its lease is dropped; the new driver's result counts.

    Whoever called `execute` there is not told: it waits for the new driver.
    """
    late = stage.start("deaf", "start", "d-1")
    stage.wait_until(lambda: stage.effects("did"))
    late.stop()
    peer = stage.start("deaf", "watch")
    stage.wait_until(lambda: len(stage.effects("did")) == 2)
    (stage.folder / "gate").touch()
    stage.wait_until(lambda: stage.state("d-1").status is WorkflowStatus.COMPLETED)
    late.go_on()
    late.end()
    assert [effect["pid"] for effect in stage.effects("did")] == [late.pid, peer.pid]
    assert stage.step("d-1", "block").output == {"pid": peer.pid}
    assert "instance.lost" in late.log.read_text()
    assert "d-1 completed" in late.log.read_text()


def test_late_save_of_an_undecided_race(stage: Stage) -> None:
    """The late save is refused as well while the new driver is still at work."""
    late = stage.start("deaf", "start", "d-1")
    stage.wait_until(lambda: stage.effects("did"))
    late.stop()
    peer = stage.start("deaf", "watch")
    stage.wait_until(lambda: len(stage.effects("did")) == 2)
    peer.stop()
    (stage.folder / "gate").touch()
    late.go_on()
    stage.wait_until(lambda: "instance.lost" in late.log.read_text() or not late.is_running)
    peer.go_on()
    late.end()
    keys = {effect["key"] for effect in stage.effects("did")}
    assert len(keys) == 1
    assert len(stage.state("d-1").history) == 1


def test_stopped_in_a_handler_that_waits(stage: Stage) -> None:
    """A process that can hear, and was stopped, learns that it has lost and ends its handler."""
    late = stage.start("order", "start", "o-1", hold="after reserve")
    stage.wait_until(lambda: stage.effects("holding"))
    stage.stop_outside_of_a_write(late)
    peer = stage.start("order", "watch")
    stage.wait_until(lambda: stage.state("o-1").status is WorkflowStatus.COMPLETED)
    late.go_on()
    late.end()
    assert [effect["pid"] for effect in stage.effects("did")] == [late.pid, *[peer.pid] * 3]
    assert "instance.lost" in late.log.read_text()
    assert "o-1 completed" in late.log.read_text()


def test_stopped_among_many(stage: Stage) -> None:
    """A process stopped amid forty calls nothing more that a peer has taken: all end once."""
    ids = [f"o-{number}" + ("-nowhere" if number % 5 == 0 else "") for number in range(40)]
    late = stage.start("order", "start", *ids)
    stage.wait_until(lambda: len(stage.effects("did")) > 20)
    stage.stop_outside_of_a_write(late)
    stage.start("order", "watch")
    stage.wait_until(lambda: set(stage.statuses().values()) <= {"completed", "rolled_back"})
    before = len(stage.effects())
    late.go_on()
    stage.wait_until(lambda: len(stage.statuses()) == len(ids))
    late.end()
    repeated = Counter(
        (effect["id"], effect["step"], effect["what"]) for effect in stage.effects("did", "undid")
    )
    assert max(repeated.values()) <= 2
    taken = {effect["id"] for effect in stage.effects()[:before]}
    late_ones = [e for e in stage.effects()[before:] if e["pid"] == late.pid and e["id"] in taken]
    assert len(late_ones) <= 1
    assert set(stage.statuses().values()) <= {"completed", "rolled_back"}
