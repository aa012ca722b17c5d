"""Leases and wake times, counted by the storage's time and by nobody else's."""

from datetime import timedelta

from flux.storage import Lease, TimeKeeper, WorkflowStorage
from flux.testing.conformance.expecting import holds, same, there
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record
from flux.testing.conformance.time import Time
from flux.testing.conformance.trial import Another

SHORT = 0.5
"""Seconds of a lease that is to run out: where time is real, they are waited."""
LONG_ENOUGH = 0.6


@rule
async def lease_runs_out(storage: WorkflowStorage, time: Time) -> None:
    """A lease keeps others out until so many seconds have passed, and no longer."""
    await storage.create(record(), lease=SHORT)
    await storage.create(record("long"), lease=60)
    await time.passes(LONG_ENOUGH)
    there(await storage.claim("order-7", owner="two", lease=60))
    same(await storage.claim("long", owner="two", lease=60), None)
    same(await due(storage), [])


@rule
async def renewed_lease(storage: WorkflowStorage, time: Time) -> None:
    """A renewal counts from when it was made, and so does the lease of a save."""
    for id in ("renewed", "saved", "left"):
        await storage.create(record(id), lease=SHORT)
    await storage.renew([Lease(id="renewed", owner="one")], lease=60)
    await storage.save(checkpoint("saved", lease=60))
    await time.passes(LONG_ENOUGH)
    same(await due(storage), ["left"])


@rule
async def wake_time_comes(storage: WorkflowStorage, time: Time) -> None:
    """An instance at rest is due when its wake time has come, however that was given."""
    await storage.create(record("created"), wake=SHORT)
    for id in ("saved", "released"):
        await storage.create(record(id), lease=60)
    await storage.save(checkpoint("saved", lease=None, wake=SHORT))
    await storage.release(Lease(id="released", owner="one"), wake=SHORT)
    await storage.create(record("later"), wake=60)
    await time.passes(LONG_ENOUGH)
    same(sorted(await due(storage)), ["created", "released", "saved"])


@rule
async def not_that_of_the_records(storage: WorkflowStorage, time: Time) -> None:
    """The times that a caller writes into heads and saves do not move leases and wake times."""
    for id, days in (("past", -1000), ("future", 1000)):
        told = START + timedelta(days=days)
        await storage.create(record(id, created_at=told, updated_at=told), lease=60)
        same(await storage.claim(id, owner="two", lease=60), None)
        await storage.save(checkpoint(id, updated_at=told, lease=60, wake=1))
        same(await storage.claim(id, owner="two", lease=60), None)
        await storage.save(checkpoint(id, expected=2, updated_at=told, lease=SHORT))
    await time.passes(LONG_ENOUGH)
    same(sorted(await due(storage)), ["future", "past"])


@rule
async def not_that_of_the_caller(storage: WorkflowStorage, ahead: Another) -> None:
    """Whoever's clock is a day ahead can take nothing before the server says that it ran out."""
    await storage.create(record(), lease=60)
    await storage.create(record("resting"), wake=60)
    early = await ahead()
    same(await due(early), [])
    same(await early.claim("order-7", owner="two", lease=60), None)
    await early.create(record("theirs"), lease=60)
    first, second = await head(storage), await head(storage, "theirs")
    apart = there(second.lease_until) - there(first.lease_until)
    holds(apart < timedelta(minutes=10), f"both count from the same time; they are {apart} apart")


@rule
async def told(storage: WorkflowStorage, keeper: TimeKeeper) -> None:
    """The time that the storage tells is that by which it counts, in UTC."""
    before = await keeper.time()
    await storage.create(record(), lease=30)
    after = await keeper.time()
    until = there((await head(storage)).lease_until)
    same(before.utcoffset(), timedelta(0))
    holds(
        before <= until - timedelta(seconds=30) <= after,
        f"{until}, less 30 seconds, lies between {before} and {after}",
    )
