"""A claim: one owner at a time."""

import asyncio
from datetime import timedelta

from flux.storage import WorkflowStorage
from flux.testing.clock import ManualClock
from flux.testing.conformance.expecting import same, there
from flux.testing.conformance.looking import head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, record


@rule
async def at_rest(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A claim takes an instance at rest, due or not, and gives its new head."""
    await storage.create(record(payload=b"[1]", fixed=b"[2]"), wake=60)
    claimed = await storage.claim("order-7", owner="two", lease=30)
    same(claimed, await head(storage))
    same(
        claimed,
        record(
            revision=2,
            owner="two",
            lease_until=START + timedelta(seconds=30),
            wake_at=START + timedelta(seconds=60),
            payload=b"[1]",
            fixed=b"[2]",
        ),
    )


@rule
async def unknown(storage: WorkflowStorage) -> None:
    """There is nothing to claim of an instance that is not stored."""
    same(await storage.claim("nobody", owner="two", lease=30), None)


@rule
async def held_by_another(storage: WorkflowStorage, clock: ManualClock) -> None:
    """What somebody holds cannot be claimed until the lease has run out."""
    await storage.create(record(), lease=30)
    clock.advance(29.999)
    same(await storage.claim("order-7", owner="two", lease=30), None)
    same((await head(storage)).revision, 1)
    clock.advance(0.001)
    there(await storage.claim("order-7", owner="two", lease=30))


@rule
async def to_the_microsecond(storage: WorkflowStorage, clock: ManualClock) -> None:
    """A lease counts up to its last microsecond, and no longer."""
    await storage.create(record(), lease=30)
    clock.advance(29.999999)
    same(await storage.claim("order-7", owner="two", lease=30), None)
    clock.advance(0.000001)
    there(await storage.claim("order-7", owner="two", lease=30))


@rule
async def ended(storage: WorkflowStorage) -> None:
    """What has ended can be claimed, as by who resumes it."""
    await storage.create(record(status="failed", ended_at=START))
    claimed = there(await storage.claim("order-7", owner="two", lease=30))
    same((claimed.ended_at, claimed.owner), (START, "two"))


@rule
async def own_token_is_no_pass(storage: WorkflowStorage) -> None:
    """Even the owner cannot claim what is leased, unless it says that it holds it."""
    await storage.create(record(), lease=30)
    same(await storage.claim("order-7", owner="one", lease=30), None)


@rule
async def held_counts_as_free(storage: WorkflowStorage) -> None:
    """A lease of the owner `held` can be claimed over, one of another owner cannot."""
    await storage.create(record(), lease=30)
    same(await storage.claim("order-7", owner="three", lease=30, held="two"), None)
    claimed = there(await storage.claim("order-7", owner="two", lease=30, held="one"))
    same((claimed.owner, claimed.revision), ("two", 2))


@rule
async def one_of_many(storage: WorkflowStorage) -> None:
    """Of many who claim at once, one gets the instance."""
    await storage.create(record())
    claims = [storage.claim("order-7", owner=str(n), lease=30) for n in range(20)]
    claimed = [one for one in await asyncio.gather(*claims) if one is not None]
    same([one.owner for one in claimed], [(await head(storage)).owner])
