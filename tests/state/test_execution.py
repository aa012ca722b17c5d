"""The value of one step execution."""

from attrs import fields

from flux.state.execution import Execution


def test_an_execution_has_no_dict_of_its_own() -> None:
    """With more than thirty fields, Python 3.11 gives one to every value of a class."""
    assert len(fields(Execution)) <= 30
