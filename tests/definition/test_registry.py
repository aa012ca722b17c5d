"""The registry: the workflows that an engine knows."""

import pytest

from flux import (
    DefinitionError,
    UnknownWorkflowError,
    Workflow,
    WorkflowConflictError,
    WorkflowDefinition,
)
from flux.definition.registry import Registry
from handlers import nothing, nothing_async


def order(version: str = "1", *steps: str) -> WorkflowDefinition:
    workflow = Workflow("order", version=version)
    for step in steps or ("pack",):
        workflow.step(step, nothing)
    return workflow.build()


def test_registered_workflow_is_found_by_name() -> None:
    """A `Workflow` is built when it is registered, and found by its name."""
    registry = Registry()
    built = registry.register(Workflow("order").step("pack", nothing))
    assert registry.find("order") is built
    assert registry.names == ("order",)


def test_workflow_given_is_registered() -> None:
    """`find` registers what it is given."""
    registry = Registry()
    given = order()
    assert registry.find(given) is given
    assert registry.find("order") is given


def test_name_means_the_newest() -> None:
    """Of several versions the one registered last is meant."""
    registry = Registry()
    for version in ("2", "1"):
        registry.register(order(version))
    assert registry.find("order").version == "1"


def test_instance_has_its_own_version() -> None:
    """An instance gets the version that it was started with, or else the newest."""
    registry = Registry()
    for version in ("1", "2"):
        registry.register(order(version))
    assert registry.of_instance("order", "1").version == "1"
    assert registry.of_instance("order", "0.9").version == "2"


def test_same_shape_takes_the_place() -> None:
    """Handlers and policies may change under one version."""
    registry = Registry()
    registry.register(order())
    changed = Workflow("order").step("pack", nothing_async, retries=3).build()
    assert registry.register(changed) is changed
    assert registry.find("order") is changed


def test_another_shape_needs_another_version() -> None:
    """Two workflows of one name and version, but of other steps, are a mistake."""
    registry = Registry()
    first = registry.register(order("1", "pack"))
    with pytest.raises(WorkflowConflictError, match="give the new one another version") as refused:
        registry.register(order("1", "pack", "ship"))
    assert (refused.value.workflow, refused.value.version) == ("order", "1")
    assert registry.find("order") is first


def test_unknown_name_tells_the_known_ones() -> None:
    """The error names what is registered, and how to register more."""
    registry = Registry()
    registry.register(order())
    with pytest.raises(UnknownWorkflowError, match=r"there are: order\); pass it to FluxEngine"):
        registry.find("ordre")


def test_senseless_workflow_is_refused_at_registration() -> None:
    """It is built then, and its problems are told."""
    registry = Registry()
    with pytest.raises(DefinitionError, match="it has no steps"):
        registry.register(Workflow("order"))
    assert registry.names == ()


def test_something_else_is_no_workflow() -> None:
    """The error says what was given."""
    with pytest.raises(TypeError, match="5 is no Workflow"):
        Registry().find(5)  # type: ignore[arg-type]
