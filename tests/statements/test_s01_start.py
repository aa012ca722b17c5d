"""S1: an instance is saved before its first handler runs, and its id belongs to one run."""

import asyncio
import uuid

import pytest

from flux import (
    FluxEngine,
    InputError,
    InstanceConflictError,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStatus,
)
from opening import OpenEngine
from sagas import noting, sequence


async def test_s01_saved_before_the_first_handler(engine: FluxEngine) -> None:
    """The first handler finds its own instance in the storage, with itself as current step."""
    order = Workflow("order")
    seen = []

    @order.step
    async def look(ctx: WorkflowContext) -> None:
        seen.append(await engine.get(ctx.id))

    await engine.execute(order, {"sku": "A1"}, id="order-1")
    assert [(state.id, state.status) for state in seen] == [("order-1", WorkflowStatus.RUNNING)]
    assert (seen[0].input, seen[0].current_step) == ({"sku": "A1"}, "look")


async def test_s01_the_same_run_is_returned(engine: FluxEngine) -> None:
    """A second `execute` with id, workflow and input of an instance runs nothing again."""
    ran: list[str] = []
    order = sequence("pay", ran=ran)
    first = await engine.execute(order, {"a": 1, "b": 2}, id="order-1")
    second = await engine.execute(order, {"b": 2, "a": 1}, id="order-1")
    assert ran == ["pay"]
    assert (second.id, second.status, second.state) == (first.id, first.status, first.state)


async def test_s01_a_failed_run_is_returned_as_it_is(engine: FluxEngine) -> None:
    """A second `execute` of a failed instance gives the failure back; it does not resume."""
    calls = []

    async def fail(ctx: WorkflowContext) -> None:
        calls.append(ctx.attempt)
        raise RuntimeError("no")

    order = Workflow("order").step("fail", fail)
    await engine.execute(order, id="order-1")
    again = await engine.execute(order, id="order-1")
    assert (again.status, str(again.error), calls) == ("failed", "RuntimeError: no", [1])


async def test_s01_the_same_run_is_awaited(engine: FluxEngine) -> None:
    """While the instance runs, a second `execute` waits for its rest."""
    go_on = asyncio.Event()
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> str:
        await go_on.wait()
        return "paid"

    await engine.start(order, id="order-1")
    second = asyncio.create_task(engine.execute(order, id="order-1"))
    await asyncio.sleep(0.02)
    assert not second.done()
    go_on.set()
    assert (await second).status is WorkflowStatus.COMPLETED


async def test_s01_two_at_once_run_once(open_engine: OpenEngine) -> None:
    """Two engines that execute the same run at the same time run its steps once."""
    ran: list[str] = []
    order = sequence("pay", "ship", ran=ran)
    one, other = await open_engine(), await open_engine()
    results = await asyncio.gather(
        one.execute(order, id="order-1"),
        one.execute(order, id="order-1"),
        other.execute(order, id="order-1"),
    )
    assert [result.status for result in results] == [WorkflowStatus.COMPLETED] * 3
    assert ran == ["pay", "ship"]


async def test_s01_another_input_conflicts(engine: FluxEngine) -> None:
    """An id that was started with another input is refused, and the instance stays as it is."""
    order = sequence("pay")
    first = await engine.execute(order, {"sku": "A1"}, id="order-1")
    with pytest.raises(InstanceConflictError, match=r"order-1.*another input") as caught:
        await engine.execute(order, {"sku": "B2"}, id="order-1")
    assert caught.value.id == "order-1"
    assert await engine.get("order-1") == first.state


async def test_s01_another_workflow_conflicts(engine: FluxEngine) -> None:
    """An id of another workflow is refused, by `start` as by `execute`."""
    await engine.execute(sequence("pay"), id="order-1")
    other = Workflow("invoice").step("write", noting("write", []))
    for verb in (engine.execute, engine.start):
        with pytest.raises(InstanceConflictError, match="runs workflow 'order', not 'invoice'"):
            await verb(other, id="order-1")


async def test_s01_a_running_instance_conflicts_too(engine: FluxEngine) -> None:
    """Another input is refused while the instance still runs, without waiting for it."""
    go_on = asyncio.Event()
    order = Workflow("order")

    @order.step
    async def pay(ctx: WorkflowContext) -> None:
        await go_on.wait()

    await engine.start(order, {"sku": "A1"}, id="order-1")
    with pytest.raises(InstanceConflictError):
        await engine.execute(order, {"sku": "B2"}, id="order-1")
    go_on.set()
    assert (await engine.result("order-1")).status is WorkflowStatus.COMPLETED


async def test_s01_ids_are_made_in_order(engine: FluxEngine) -> None:
    """Without an id the engine makes a UUIDv7, so that ids sort by their age."""
    order = sequence("pay")
    ids = [(await engine.execute(order)).id for _ in range(3)]
    assert [uuid.UUID(id).version for id in ids] == [7, 7, 7]
    assert ids == sorted(ids)


@pytest.mark.parametrize("id", ["", "new\nline", 7])
async def test_s01_an_id_is_printable_text(engine: FluxEngine, id: str) -> None:
    """What is no printable text is refused as an id, and nothing is saved."""
    with pytest.raises(ValueError, match="is no id"):
        await engine.execute(sequence("pay"), id=id)
    assert await engine.count() == 0


async def test_s01_a_refused_input_saves_nothing(engine: FluxEngine) -> None:
    """An input that the workflow's validator refuses leaves no instance behind."""
    order = sequence("pay").validate(lambda given: given["total"] > 0)
    with pytest.raises(InputError, match="validator returned False"):
        await engine.execute(order, {"total": 0}, id="order-1")
    assert await engine.count(WorkflowFilter()) == 0


async def test_s01_labels_are_kept(engine: FluxEngine) -> None:
    """Labels given at the start come back with the instance and find it."""
    await engine.execute(sequence("pay"), id="order-1", labels={"shop": "north"})
    await engine.execute(sequence("pay"), id="order-2", labels={"shop": "south"})
    assert (await engine.get("order-1")).labels == {"shop": "north"}
    found = await engine.list(WorkflowFilter(labels={"shop": "north"}))
    assert [summary.id for summary in found] == ["order-1"]


async def test_s01_the_instance_outlives_its_engine(open_engine: OpenEngine) -> None:
    """An engine that is opened later finds the instance under its id."""
    ran: list[str] = []
    order = sequence("pay", ran=ran)
    first = await open_engine()
    await first.execute(order, {"sku": "A1"}, id="order-1")
    await first.close()
    later = await open_engine()
    again = await later.execute(order, {"sku": "A1"}, id="order-1")
    assert (again.status, ran) == (WorkflowStatus.COMPLETED, ["pay"])
