"""A file of tests, as you may write one for a workflow of yours.

    pytest examples/test_your_workflow.py --flux-cov

It uses pytest-asyncio; with anyio's plugin the mark is `pytest.mark.anyio`. Two days of waiting and
half a minute of back-offs take no time here, and no payment service is called.
"""

import os
from datetime import timedelta
from typing import Any

import pytest

from flux import Workflow, WorkflowContext, wait
from flux.testing import TestEngine

pytestmark = pytest.mark.asyncio

# In your project these are elsewhere: `from shop.flows import order`.

order = Workflow("order")


@order.step(retries=3)
async def reserve(ctx: WorkflowContext) -> dict[str, Any]:
    return {"shelf": f"shelf of {ctx.input['sku']}"}


@reserve.compensate
async def release(ctx: WorkflowContext) -> None:
    pass


@order.commit(timeout=30)
def charge(ctx: WorkflowContext) -> str:
    raise NotImplementedError("calls the payment service, which no test does")


@charge.compensate
def refund(ctx: WorkflowContext) -> None:
    raise NotImplementedError("calls it as well")


@order.step(when=lambda ctx: ctx.input["total"] > 500)
async def approval(ctx: WorkflowContext) -> Any:
    return wait("approved", timeout=timedelta(days=2))


async def by_post(ctx: WorkflowContext) -> None:
    pass


async def by_courier(ctx: WorkflowContext) -> None:
    pass


order.branch(
    "delivery",
    on=lambda ctx: "courier" if ctx.input["total"] > 500 else "post",
    cases={"post": by_post, "courier": by_courier},
)

# The tests.

SMALL = {"sku": "A1", "total": 20}
LARGE = {"sku": "A1", "total": 900}


async def test_small_order_goes_through() -> None:
    async with TestEngine(order) as t:
        t.mock("charge", returns="receipt 7")
        run = await t.run(order, SMALL)
    run.status("completed").order("reserve", "charge", "by_post").did_not_run("approval")


async def test_stock_is_asked_again() -> None:
    async with TestEngine(order) as t:
        t.mock("charge")
        t.fail("reserve", ConnectionError("stock is away"), attempt=(1, 2))
        run = await t.run(order, SMALL)
    run.status("completed").retried("reserve", times=2)


async def test_large_order_needs_an_approval() -> None:
    async with TestEngine(order) as t:
        t.mock("charge")
        run = await t.run(order, LARGE)
        run.waits_for("approved").did_not_run("by_courier")
        await run.signal("approved", {"by": "kim"})
    run.status("completed").output("approval", {"by": "kim"}).ran("by_courier")


async def test_nobody_approves() -> None:
    async with TestEngine(order) as t:
        t.mock("charge")
        refunded = t.mock_compensation("charge")
        run = await t.run(order, LARGE)
        await t.advance(days=2)
    run.status("rolled_back").compensated("charge", "reserve")
    assert len(refunded.calls) == 1


async def test_payment_never_answers() -> None:
    async with TestEngine(order) as t:
        t.mock("charge", takes=timedelta(hours=1))
        t.mock_compensation("charge")
        run = await t.run(order, SMALL)
    # It may have been paid all the same: so it is undone as well.
    run.failed_with(TimeoutError).compensated("charge", "reserve")


async def test_reserved_before_charged(flux_test_engine: type[TestEngine]) -> None:
    """With the fixture, a failure of any kind shows what happened in the runs."""
    async with flux_test_engine(order) as t:
        payment = t.mock("charge")
        async for step in t.steps(order, SMALL):
            if step.name == "reserve":
                assert step.output == {"shelf": "shelf of A1"}
                assert payment.calls == []


if __name__ == "__main__":
    options = ["-qq", "-p", "flux_pytest", "-p", "no:cacheprovider", "--flux-cov", "--rootdir"]
    loop = "asyncio_default_fixture_loop_scope=function"
    # This very file has imported Flux before pytest did.
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    ended = pytest.main([__file__, "-c", os.devnull, "-o", loop, *quiet, *options, os.curdir])
    raise SystemExit(ended)
