"""`describe()`: a workflow as plain values."""

import json

import attrs

from flux import Retry, Workflow, WorkflowDescriptor
from handlers import nothing


def described() -> WorkflowDescriptor:
    order = Workflow("order", version="7")
    order.step("reserve", nothing, retries=Retry(3), timeout=5, description="takes stock")
    order.commit("charge", nothing, when=lambda ctx: True, compensate=nothing)
    order.step("ship", nothing, after=(), at_most_once=True)
    return order.describe()


def test_description_tells_of_each_step() -> None:
    """It holds name, version and what was declared."""
    told = described()
    assert (told.name, told.version) == ("order", "7")
    reserve, charge, ship = told.steps
    assert (reserve.name, reserve.retries, reserve.timeout) == ("reserve", 3, 5.0)
    assert (reserve.description, reserve.after) == ("takes stock", ())
    assert (charge.commit, charge.has_condition, charge.has_compensation) == (True, True, True)
    assert (ship.at_most_once, ship.after, charge.after) == (True, (), ("reserve",))


def test_description_can_be_written_as_json() -> None:
    """It holds plain values alone."""
    told = attrs.asdict(described())
    assert json.loads(json.dumps(told))["steps"][1] == {
        "name": "charge",
        "commit": True,
        "retries": None,
        "timeout": None,
        "has_condition": True,
        "has_compensation": True,
        "at_most_once": False,
        "after": ["reserve"],
        "description": "",
        "kind": "step",
        "signal": None,
    }


def test_description_tells_of_waits() -> None:
    """A declared wait names its signal, a sleep has none."""
    order = Workflow("order").wait("approval", "approved").sleep("cool-down", 60)
    approval, cool_down = order.describe().steps
    assert (approval.kind, approval.signal) == ("wait", "approved")
    assert (cool_down.kind, cool_down.signal) == ("sleep", None)


def test_definition_describes_itself_alike() -> None:
    """The built workflow and its builder tell the same."""
    order = Workflow("order").step("reserve", nothing)
    assert order.describe() == order.build().describe()
