"""Processes with many instances at work are killed, and all instances end."""

import random
import time
from collections import Counter

from children import Child, Stage

IDS = [f"o-{n}" + ("-nowhere" if n % 5 == 0 else "") for n in range(50)]


def test_all_fifty_end(stage: Stage) -> None:
    """A process killed in the middle of fifty instances leaves none behind, and none half done."""
    child = stage.start("order", "start", *IDS)
    stage.wait_until(lambda: len(stage.effects("did")) > 40)
    child.kill()
    stage.run("order", "start", *IDS)
    check_books(stage, kills=1)


def test_killed_at_random_moments(stage: Stage) -> None:
    """Killed again and again, at any moment, the instances all end as they should."""
    chance = random.Random(7)
    kills = 0
    child = stage.start("order", "start", *IDS)
    while kills < 6 and child.is_running:
        wait_for_progress(stage, child)
        time.sleep(chance.uniform(0, 0.1))
        child.kill()
        kills += 1
        child = stage.start("order", "start", *IDS)
    child.end()
    check_books(stage, kills=kills)


def test_peer_finishes_the_work(stage: Stage) -> None:
    """Of two processes on one file one is killed: the other finds its instances and ends them."""
    peer = stage.start("order", "watch")
    child = stage.start("order", "start", *IDS, hold="before ship")  # so that it ends none itself
    stage.wait_until(lambda: len(stage.effects("did")) > 40)
    child.kill()
    stage.wait_until(lambda: all_ended(stage))
    assert {effect["pid"] for effect in stage.effects()} == {child.pid, peer.pid}
    started = set(stage.statuses())
    assert {effect["id"] for effect in stage.effects()} == started
    check_books(stage, kills=1, ids=started)


def test_two_share_the_work(stage: Stage) -> None:
    """Two processes that start the same instances run each step of each instance once."""
    children = [stage.start("order", "start", *IDS, "--lease", "30") for _ in range(2)]
    for child in children:
        child.end()
    check_books(stage, kills=0)
    assert set(Counter(effect["key"] for effect in stage.effects()).values()) == {1}


def wait_for_progress(stage: Stage, child: Child) -> None:
    """Return once something more has happened outside, or the process has ended."""
    before = len(stage.effects())
    stage.wait_until(lambda: len(stage.effects()) > before or not child.is_running)


def all_ended(stage: Stage) -> bool:
    """Whether nothing is left to do."""
    return set(stage.statuses().values()) <= {"completed", "rolled_back"}


def check_books(stage: Stage, *, kills: int, ids: set[str] | None = None) -> None:
    """Every instance has ended, and outside is what its end says; a kill repeats an effect once."""
    statuses = stage.statuses()
    expected = {id: "rolled_back" if id.endswith("-nowhere") else "completed" for id in ids or IDS}
    assert statuses == expected
    did = Counter((effect["id"], effect["step"]) for effect in stage.effects("did"))
    undid = Counter((effect["id"], effect["step"]) for effect in stage.effects("undid"))
    for id, status in statuses.items():
        undone = status == "rolled_back"
        assert {step for of, step in did if of == id} == (
            {"reserve", "charge"} if undone else {"reserve", "charge", "ship"}
        )
        assert {step for of, step in undid if of == id} == (
            {"reserve", "charge"} if undone else set()
        )
    assert max((did | undid).values()) <= 1 + kills
