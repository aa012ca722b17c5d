"""The fluent way to types, and how a workflow shows itself."""

from attrs import define

from flux import Workflow, WorkflowContext, create_workflow, not_done


@define
class Order:
    """What is ordered."""

    sku: str


@define
class Progress:
    """What has been done."""

    paid: bool = False


async def pay(ctx: WorkflowContext) -> None:
    """Pay for what is ordered."""
    ctx.data.paid = True


def test_types_can_be_chained() -> None:
    """`.input()` and `.data()` type a workflow as the arguments do."""
    built = create_workflow("order").input(Order).data(Progress).step("pay", pay).build()
    assert (built.input_type, built.data_type) == (Order, Progress)


def test_workflow_shows_its_name_and_size() -> None:
    """A workflow in a debugger tells what it is."""
    order = Workflow("order", version="2").step("pay", pay)
    assert (order.step_count, repr(order)) == (1, "<Workflow 'order' version '2', 1 steps>")


def test_step_shows_its_workflow() -> None:
    """So does a step, and the answer of a verifier."""
    step = Workflow("order").step(pay)
    assert (repr(step), repr(not_done)) == ("<Step 'pay' of 'order'>", "not_done")
