"""Lead: go on when both the CRM and the billing have answered, in whatever order.

    python examples/lead.py

The two systems do not know the ids of our instances. They know the request and the company, and by
these their events find the lead. A signal that comes before its step waits for it is kept, so the
waits may stand one after the other, whichever event comes first.
"""

import asyncio
from datetime import timedelta
from typing import Any

from attrs import frozen

from flux import (
    AmbiguousCorrelationError,
    FluxEngine,
    InstanceNotFoundError,
    Workflow,
    WorkflowContext,
)


@frozen(kw_only=True)
class Request:
    """What the form on the web page sends."""

    request_id: int
    company_id: str
    contact: str


lead = Workflow("lead", input=Request, correlate_by=("request_id", "company_id"))
lead.wait("crm", signal="crm.created", timeout=timedelta(days=1))
lead.wait("billing", signal="billing.opened", timeout=timedelta(days=1))


@lead.step
async def welcome(ctx: WorkflowContext) -> str:
    owner, account = ctx.output("crm")["owner"], ctx.output("billing")["account"]
    return f"{ctx.input.contact} is looked after by {owner} and pays with {account}"


FORMS = [
    Request(request_id=1, company_id="acme", contact="wile"),
    Request(request_id=2, company_id="acme", contact="road"),
    Request(request_id=3, company_id="initech", contact="bill"),
]
EVENTS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("crm.created", {"request_id": 1, "company_id": "acme"}, {"owner": "kim"}),
    ("billing.opened", {"request_id": 1, "company_id": "acme"}, {"account": "A-17"}),
    ("billing.opened", {"request_id": 2, "company_id": "acme"}, {"account": "A-18"}),
    ("crm.created", {"request_id": 2, "company_id": "acme"}, {"owner": "sam"}),
    ("billing.opened", {"company_id": "initech"}, {"account": "I-3"}),  # one key will do
    ("billing.opened", {"request_id": 9, "company_id": "initech"}, {"account": "I-4"}),
]


async def main() -> None:
    async with FluxEngine(workflows=[lead]) as flux:
        for form in FORMS:
            await flux.start(lead, form, id=f"lead-{form.request_id}")
        try:
            await flux.deliver("crm.created", {}, correlation={"company_id": "acme"})
        except AmbiguousCorrelationError as error:
            print("two leads of acme:", *error.ids)

        for number, (event, correlation, payload) in enumerate(EVENTS):
            try:
                result = await flux.deliver(
                    event, payload, correlation=correlation, signal_id=f"evt-{number}"
                )
            except InstanceNotFoundError:
                print(f"{event} {correlation}: nobody waits for it")
            else:
                assert result is not None
                print(f"{event} {correlation}: {result.id} is {result.status}")

        for form in FORMS:
            state = await flux.get(f"lead-{form.request_id}")
            done = state.step("welcome")
            print(
                f"{state.id}: {done.output if done else f'{state.status} at {state.current_step}'}"
            )
        print((await flux.diagnose("lead-3")).comes_next)


if __name__ == "__main__":
    asyncio.run(main())
