"""The saga of an order: reserve, charge, ship, notify; and back, if a later step fails."""

import sqlite3

from attrs import define

from flux import CompensationContext, Retry, Workflow, WorkflowContext, done, not_done
from flux.cli.demo.orders import Order
from flux.cli.demo.shop import Shop

BUSY = Retry(60, initial=0.005, maximum=0.2, retry_on=sqlite3.OperationalError)
"""A locked database is asked again; a refusal of the shop is final."""


@define
class Progress:
    """What the steps of an order tell each other."""

    paid_cents: int = 0
    courier: str = ""


def order_workflow(shop: Shop) -> Workflow:
    """The saga on this shop."""
    workflow = Workflow("order", version="1", input=Order, data=Progress)

    @workflow.step(retries=BUSY)
    def reserve(ctx: WorkflowContext) -> None:
        shop.reserve(ctx.input, key=ctx.idempotency_key)

    @reserve.compensate(retries=BUSY)
    def release(ctx: CompensationContext) -> None:
        # step_key is the key that reserve ran with: right even if its answer was lost.
        shop.release(ctx.input, key=ctx.step_key)

    @workflow.commit(retries=BUSY)
    def charge(ctx: WorkflowContext) -> None:
        ctx.data.paid_cents = shop.charge(ctx.input, key=ctx.idempotency_key)

    @charge.compensate(retries=BUSY)
    def refund(ctx: CompensationContext) -> None:
        shop.refund(ctx.input, key=ctx.step_key)

    @workflow.step(retries=BUSY)
    def ship(ctx: WorkflowContext) -> None:
        ctx.data.courier = shop.ship(ctx.input, key=ctx.idempotency_key)

    @ship.compensate(retries=BUSY)
    def recall(ctx: CompensationContext) -> None:
        shop.recall(ctx.input, key=ctx.step_key)

    # A mail has no key. After a crash Flux asks `mailed` instead of sending it once more.
    @workflow.step(retries=BUSY, at_most_once=True)
    def notify(ctx: WorkflowContext) -> None:
        shop.send_mail(ctx.input, f"{ctx.input.id} is on its way with {ctx.data.courier}")

    @notify.verify
    def mailed(ctx: WorkflowContext) -> object:
        return done(None) if shop.has_mailed(ctx.input) else not_done

    return workflow
