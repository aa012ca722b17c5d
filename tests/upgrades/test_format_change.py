"""The stored format does not change without a number, and an upgrade from the one before."""

import copy
from itertools import pairwise

from flux import WorkflowStatus
from flux.state.codec import FORMAT, UPGRADES
from format_layout import Layout, complaint, layout
from kept_places import folder_of, formats, read_json


def kept_layout(number: int) -> Layout:
    found: Layout = read_json(folder_of(number) / "layout.json")
    return found


def test_every_format_is_kept() -> None:
    """There are files of each number; `tests/upgrades/write.py` writes those of a new one."""
    assert formats() == [*UPGRADES, FORMAT]


async def test_format_is_that_of_its_number(redis_url: str) -> None:
    """What the present code writes has the layout that was kept with its number."""
    said = complaint(kept_layout(FORMAT), await layout(redis_url), FORMAT)
    assert not said, said


def test_every_status_is_kept() -> None:
    """Instances of the present format are in every status that there is."""
    states = read_json(folder_of(FORMAT) / "states.json").values()
    assert {state["status"] for state in states} == set(WorkflowStatus)


def test_migrations_are_only_added() -> None:
    """The files of older versions were made by the migrations as they still stand."""
    kept = [kept_layout(number)["sqlite"] for number in formats()]
    for older, newer in pairwise(kept):
        assert older.items() <= newer.items()


def test_change_is_refused() -> None:
    """The complaint names what differs, and tells what to do about it."""
    kept = kept_layout(FORMAT)
    changed = copy.deepcopy(kept)
    changed["documents"]["head"]["mood?"] = "text"
    del changed["redis"]["keys"]["head hash owner"]
    said = complaint(kept, changed, FORMAT)
    assert "documents.head.mood?: was nothing, is text" in said
    assert "redis.keys.head hash owner: was text, is nothing" in said
    assert f"raise FORMAT in flux/state/codec.py to {FORMAT + 1}" in said
    assert complaint(kept, copy.deepcopy(kept), FORMAT) == ""
