"""A process leaves 200 instances, another is killed while it recovers them, a third ends them."""

from collections import Counter, defaultdict

from children import Effect, Stage

IDS = [f"o-{number}" + ("-nowhere" if number % 4 == 3 else "") for number in range(200)]

PLACES = ("after reserve", "before pay", "after pay", "after undoing pay")
"""Where each fourth instance stands when the first process is killed."""

KILLS = 2


def test_two_hundred_are_recovered(stage: Stage) -> None:
    """Killed amid 200, and amid the recovery of 200: all end, each as it should, by the rules."""
    first = stage.start("shop", "start", *IDS, hold=",".join(PLACES))
    stage.wait_until(lambda: len(stage.effects("holding")) == len(IDS))
    first.kill()
    second = stage.start("shop", "watch")
    stage.wait_until(lambda: len(effects_of(stage, second.pid)) > 60)
    second.kill()
    left = [status for status in stage.statuses().values() if status in ("running", "rolling_back")]
    assert left, "the second process was killed too late to be amid anything"
    third = stage.start("shop", "watch")
    stage.wait_until(lambda: set(stage.statuses().values()) <= {"completed", "rolled_back"})
    assert {effect["pid"] for effect in stage.effects()} == {first.pid, second.pid, third.pid}
    check_ends(stage)
    check_keys(stage)
    check_at_most_once(stage)
    check_order(stage)


def effects_of(stage: Stage, pid: int) -> list[Effect]:
    """What one process has done."""
    return [effect for effect in stage.effects() if effect["pid"] == pid]


def check_ends(stage: Stage) -> None:
    """What was done, and undone, is what the end of each instance says."""
    nowhere = {id: id.endswith("-nowhere") for id in IDS}
    assert stage.statuses() == {id: "rolled_back" if nowhere[id] else "completed" for id in IDS}
    did, undid = (defaultdict[str, set[str]](set) for _ in range(2))
    for effect in stage.effects("did", "undid"):
        (did if effect["what"] == "did" else undid)[effect["id"]].add(effect["step"])
    for id in IDS:
        assert did[id] == ({"reserve", "pay"} if nowhere[id] else {"reserve", "pay", "ship"})
        assert undid[id] == ({"reserve", "pay"} if nowhere[id] else set())


def check_keys(stage: Stage) -> None:
    """An effect that is repeated has its key again, a kill repeats it once, attempts rise."""
    effects = defaultdict[tuple[str, str, str], list[Effect]](list)
    for effect in stage.effects("did", "undid"):
        effects[effect["id"], effect["step"], effect["what"]].append(effect)
    for same in effects.values():
        assert len({effect["key"] for effect in same}) == 1
        assert len(same) <= 1 + KILLS
        attempts = [effect["attempt"] for effect in same]
        assert attempts == sorted(set(attempts))
        assert attempts[-1] <= 1 + KILLS
    keys = {same[0]["key"] for same in effects.values()}
    assert len(keys) == len(effects)


def check_at_most_once(stage: Stage) -> None:
    """Nobody has paid twice: whoever was interrupted was asked about it, not run again."""
    paid = Counter(effect["id"] for effect in stage.effects("did", step="pay"))
    assert set(paid.values()) == {1}
    asked = {effect["id"] for effect in stage.effects("asked")}
    held = {
        id for number, id in enumerate(IDS) if PLACES[number % 4] in ("before pay", "after pay")
    }
    assert held <= asked


def check_order(stage: Stage) -> None:
    """Nothing forward comes after the turn, and what is undone is undone in reverse."""
    lives = defaultdict[str, list[str]](list)
    for effect in stage.effects("did", "undid"):
        lives[effect["id"]].append(f"{effect['what']} {effect['step']}")
    steps = ["did reserve", "did pay", "did ship", "undid pay", "undid reserve"]
    for life in lives.values():
        assert [step for step in steps if step in life] == list(dict.fromkeys(life))
        assert life == sorted(life, key=steps.index)
