"""Where declared steps stand in the graph: groups, branches, fallbacks, and what comes next."""

from collections.abc import Callable
from typing import Any

import pytest

from flux import DefinitionError, Workflow, WorkflowContext


async def nothing(ctx: WorkflowContext) -> None:
    """A handler."""


def fits(ctx: WorkflowContext) -> bool:
    """A predicate."""
    return True


def sources(workflow: Workflow) -> dict[str, set[str]]:
    """By step, what it is declared to come after."""
    return {step.name: set(step.after) for step in workflow.build().steps}


def steps(*names: str) -> Workflow:
    """A workflow of these steps, one after the other."""
    order = Workflow("order")
    for name in names:
        order.step(name, nothing)
    return order


def member(name: str) -> tuple[str, Any]:
    return name, nothing


def test_group_stands_between_its_neighbours() -> None:
    """Each chain begins after the step before, what comes next comes after all ends."""
    order = steps("a").parallel("g", [member("b"), [member("c"), member("d")]])
    assert sources(order.step("z", nothing)) == {
        "a": set(),
        "b": {"a"},
        "c": {"a"},
        "d": {"c"},
        "z": {"b", "d"},
    }


def test_members_declared_before_are_moved() -> None:
    """They stand in the group, not where they were declared; the others close up."""
    order = steps("a", "b", "c", "d").parallel("g", ["b", "c"])
    found = sources(order.step("z", nothing))
    assert found == {"a": set(), "d": {"a"}, "b": {"d"}, "c": {"d"}, "z": {"b", "c"}}


def test_members_declared_later_are_moved() -> None:
    """A name may come before its step."""
    order = steps("a").parallel("g", ["b", "c"]).step("b", nothing).step("z", nothing)
    assert sources(order.step("c", nothing)) == {
        "a": set(),
        "b": {"a"},
        "c": {"a"},
        "z": {"b", "c"},
    }


def test_group_first_is_an_entry() -> None:
    """Its chains begin the workflow."""
    order = Workflow("order").parallel("g", [member("b"), member("c")]).step("z", nothing)
    assert sources(order) == {"b": set(), "c": set(), "z": {"b", "c"}}


def test_groups_follow_each_other() -> None:
    """Each member of the second comes after all ends of the first."""
    order = Workflow("order").parallel("g", [member("a"), member("b")])
    found = sources(order.parallel("h", [member("c"), member("d")]))
    assert found["c"] == found["d"] == {"a", "b"}


def test_name_of_a_group_means_its_ends() -> None:
    """In `after`, beside names of steps, each once."""
    order = steps("a").parallel("g", [[member("b"), member("c")], member("d")])
    order.step("y", nothing, after=("g", "d", "a")).step("e", nothing, after="g")
    found = sources(order.parallel("h", [member("f")], after=["g", "a"]))
    assert found["y"] == {"c", "d", "a"}
    assert order.build().step("y").after == ("c", "d", "a")
    assert (found["e"], found["f"]) == ({"c", "d"}, {"c", "d", "a"})


def test_entry_group_does_not_hold_up() -> None:
    """`after=()`; what comes next comes after it alone."""
    found = sources(steps("a").parallel("g", [member("b")], after=()).step("z", nothing))
    assert found == {"a": set(), "b": set(), "z": {"b"}}


def test_cases_begin_at_their_branch() -> None:
    """What comes next comes after all ends, and after the branch, for a case without steps."""
    order = steps("a").branch(
        "r", on=nothing, cases={1: [member("x"), member("x2")], 2: member("y"), 3: None}
    )
    assert sources(order.step("z", nothing)) == {
        "a": set(),
        "r": {"a"},
        "x": {"r"},
        "x2": {"x"},
        "y": {"r"},
        "z": {"x2", "y", "r"},
    }


def test_name_of_a_branch_means_its_ends() -> None:
    """As that of a group does; its cases come after the branch itself."""
    order = steps("a").branch("r", on=nothing, cases={1: member("x")}, default=member("y"))
    assert sources(order.step("z", nothing, after="r"))["z"] == {"x", "y"}


@pytest.mark.parametrize("options", [{"default": None}, {"when": fits}], ids=["empty", "when"])
def test_branch_after_which_nothing_may_run_is_an_end(options: dict[str, Any]) -> None:
    """Where a case has no steps, or the branch may be skipped, what comes next comes after it."""
    order = steps("a").branch("r", on=nothing, cases={1: member("x")}, **options)
    assert sources(order.step("z", nothing))["z"] == {"x", "r"}


def test_branch_may_stand_elsewhere() -> None:
    """With `after=`."""
    order = steps("a", "b").branch("r", on=nothing, cases={1: member("x")}, after="a")
    assert sources(order)["r"] == {"a"}


@pytest.mark.parametrize("outer_first", [True, False])
def test_branch_in_a_case(outer_first: bool) -> None:
    """What comes next comes after the ends of both, whichever was declared first."""
    order = steps("a")
    declare: list[Callable[[], Workflow]] = [
        lambda: order.branch("out", on=nothing, cases={1: "in", 2: member("q")}),
        lambda: order.branch("in", on=nothing, cases={1: member("m"), 2: member("n")}),
    ]
    for branch in declare if outer_first else reversed(declare):
        branch()
    found = sources(order.step("z", nothing))
    assert (found["out"], found["in"], found["q"]) == ({"a"}, {"out"}, {"out"})
    assert found["m"] == found["n"] == {"in"}
    assert found["z"] == {"m", "n", "q"}


def test_branch_within_a_chain() -> None:
    """The next of the chain comes after all ends of the branch."""
    order = steps("a")
    order.parallel("g", [["b", "r", "c"], "d"])
    order.step("b", nothing).step("c", nothing).step("d", nothing)
    order.branch("r", on=nothing, cases={1: member("x"), 2: member("y")})
    found = sources(order.step("z", nothing))
    assert (found["r"], found["x"], found["c"]) == ({"b"}, {"r"}, {"x", "y"})
    assert (found["b"], found["d"], found["z"]) == ({"a"}, {"a"}, {"c", "d"})


def test_fallbacks_stand_apart() -> None:
    """A fallback or handler has no place of its own, and the next step passes it by."""
    order = steps("a").step("b", nothing, fallback="f").step("f", nothing)
    order.on_error(nothing, name="h").step("c", nothing)
    found = sources(order)
    assert (found["f"], found["h"], found["c"]) == (set(), set(), {"b"})


def test_fallback_may_be_declared_first() -> None:
    """Where it stands in the code makes no difference."""
    order = Workflow("order").step("f", nothing).step("a", nothing, fallback="f")
    assert sources(order.step("b", nothing)) == {"f": set(), "a": set(), "b": {"a"}}


def test_fallback_is_before_what_it_stands_in_for() -> None:
    """In the order of running, and for a restart, also through several of them."""
    order = steps("a").step("b", nothing, fallback="f").step("c", nothing)
    order.step("f", nothing, fallback="g").step("g", nothing)
    built = order.build()
    assert built.before_step("c") == {"a", "b", "f", "g"}
    assert [step.name for step in built.order] == ["a", "b", "f", "g", "c"]
    assert built.from_step_on("b") == {"b", "f", "g", "c"}


def test_handler_is_after_what_it_is_for() -> None:
    """Without `steps` after all, but for those that come after it."""
    order = steps("a", "b").on_error(nothing, name="h").step("tell", nothing, after="h")
    built = order.build()
    assert built.before_step("h") == {"a", "b"}
    assert built.from_step_on("a") == {"a", "b", "h", "tell"}


# Refused


def refused(order: Workflow) -> str:
    with pytest.raises(DefinitionError) as found:
        order.build()
    return str(found.value)


def test_two_gatherings_of_one_name() -> None:
    """They are told by their name."""
    order = Workflow("order").parallel("g", [member("a")]).parallel("g", [member("b")])
    assert "'g'" in refused(order)


def test_group_with_the_name_of_a_step() -> None:
    """`after` would not know which is meant."""
    order = steps("g").parallel("g", [member("a")])
    assert "group 'g': there is a step of that name" in refused(order)


def test_step_in_two_gatherings() -> None:
    """It can begin in one place only."""
    order = steps("a").parallel("g", ["a"]).branch("r", on=nothing, cases={1: "a"})
    assert "step 'a' stands at 2 places of groups and branches" in refused(order)


def test_member_after_its_own_group() -> None:
    """A member has its place; the group cannot begin after itself."""
    assert "'a' has its place there, and an after= of its own" in refused(
        Workflow("order").step("a", nothing, after="g").parallel("g", ["a"])
    )
    assert "'g'" in refused(Workflow("order").parallel("g", [member("a")], after="g"))


@pytest.mark.parametrize("followed", [True, False])
def test_fallbacks_in_a_circle(followed: bool) -> None:
    """They are told as a cycle, whatever comes after them."""
    order = Workflow("order").step("a", nothing, fallback="f").step("f", nothing, fallback="a")
    if followed:
        order.step("b", nothing, after="a")
    assert "waits for itself: " in refused(order)


@pytest.mark.parametrize("inner", ["r", "s"])
def test_branches_in_a_circle(inner: str) -> None:
    """A branch in a case of its own, or of one in a case of its own, waits for itself."""
    order = Workflow("order").branch("r", on=nothing, cases={1: inner})
    if inner != "r":
        order.branch(inner, on=nothing, cases={1: "r"})
    assert "step 'r' waits for itself: r -> " in refused(order.step("z", nothing))


def test_fallback_that_is_its_own() -> None:
    """Nor can a step stand in for itself."""
    order = steps().step("a", nothing, fallback="a").step("b", nothing, after="a")
    assert "'a' waits for itself" in refused(order)


def test_fallback_that_comes_after() -> None:
    """One that needs what it stands in for is a cycle."""
    order = steps("a").step("b", nothing, fallback="d", after="a").step("c", nothing, after="b")
    order.step("d", nothing, after="c")
    assert "'c' waits for itself: c -> d -> c" in refused(order)


@pytest.mark.parametrize("option", ["fallback", "handler", "covered"])
def test_names_of_nobody(option: str) -> None:
    """A fallback or handler that is no step, or is for none, is refused with its name."""
    order = steps("a")
    if option == "fallback":
        order.step("b", nothing, fallback="nobody")
    elif option == "handler":
        order.on_error("nobody")
    else:
        order.on_error(nothing, name="h", steps="nobody")
    assert "'nobody'" in refused(order)
    assert "is no step; there are: " in refused(order)


def test_continue_with_a_fallback() -> None:
    """One of the two would never count."""
    order = steps("f").step("a", nothing, on_error="continue", fallback="f")
    assert "it has a fallback; on_error='continue' would never count" in refused(order)
