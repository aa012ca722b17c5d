"""Subscription: charge, sleep until the period is over, renew; until somebody cancels.

    python examples/subscription.py

An instance is one period. Its last step starts the next one under an id of its own, so a renewal
that is tried twice is made once, and no history grows for ever. The sleep is on disk: the engine
is closed while the subscribers' instances sleep, and when it opens again they wake. Ada's periods
are short, so that the example ends; `seconds` could be `timedelta(days=30).total_seconds()`.
"""

import asyncio
from tempfile import TemporaryDirectory

from attrs import evolve, frozen

from flux import FluxEngine, Wait, Workflow, WorkflowContext, sleep


@frozen(kw_only=True)
class Period:
    """A period that somebody has subscribed to; after the `last` one it is not renewed."""

    who: str
    seconds: float
    number: int = 1
    last: int = 12

    @property
    def id(self) -> str:
        return f"{self.who}-{self.number}"


FOLDER = TemporaryDirectory()
CHARGED: dict[str, str] = {}  # what the bank knows, by idempotency key

subscription = Workflow("subscription", input=Period)
flux = FluxEngine(f"sqlite:///{FOLDER.name}/flux.db")


@subscription.commit
async def charge(ctx: WorkflowContext) -> None:
    CHARGED[ctx.idempotency_key] = ctx.input.id


@subscription.step
async def period(ctx: WorkflowContext) -> Wait:
    return sleep(ctx.input.seconds)


# With retries, since an engine that is just closing starts nothing: the next one tries again.
@subscription.step(when=lambda ctx: ctx.input.number < ctx.input.last, retries=5)
async def renew(ctx: WorkflowContext) -> str:
    following: Period = evolve(ctx.input, number=ctx.input.number + 1)
    await flux.start("subscription", following, id=following.id)
    return following.id


async def main() -> None:
    async with flux:
        for first in (
            Period(who="ada", seconds=0.3, last=3),
            Period(who="linus", seconds=3600),
        ):
            result = await flux.execute(subscription, first, id=first.id)
            print(f"{result.id}: {result.status}")

    print("the process may end here: nobody need be there while they sleep")

    async with flux:
        for number in (1, 2, 3):
            result = await flux.result(f"ada-{number}")
            renewed = result.state.step("renew")
            print(f"{result.id}: {result.status}, renewed as {renewed and renewed.output}")

        await flux.cancel("linus-1", rollback=False, reason="moved away")
        result = await flux.result("linus-1")
        print(f"{result.id}: {result.status}, {result.error}")
    print("charged:", *CHARGED.values())


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
