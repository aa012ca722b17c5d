"""The inbox: order, ids, receipts."""

import asyncio

from attrs import evolve

from flux.storage import StoredSignal, WorkflowStorage
from flux.testing.conformance.expecting import same, there
from flux.testing.conformance.looking import due, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import checkpoint, record, signal


@rule
async def order_of_arrival(storage: WorkflowStorage) -> None:
    """Signals are numbered from 1 in the order of arrival, in each instance."""
    for id in ("a", "b"):
        await storage.create(record(id))
    sent = [signal("x"), signal("y", payload=b'"2"'), signal("x", signal_id="e-1")]
    for one in sent:
        await storage.send_signal("a", one)
    receipt = there(await storage.send_signal("b", signal("z")))
    same((receipt.number, receipt.status, receipt.earlier), (1, "running", None))
    stored = tuple(StoredSignal(number=n, signal=one) for n, one in enumerate(sent, 1))
    same(await storage.signals("a"), stored)


@rule
async def after(storage: WorkflowStorage) -> None:
    """The inbox can be read from after a number."""
    await storage.create(record())
    for _ in range(4):
        await storage.send_signal("order-7", signal())
    same([one.number for one in await storage.signals("order-7", after=2)], [3, 4])
    same(await storage.signals("order-7", after=4), ())
    same(len(await storage.signals("order-7", after=-2)), 4)


@rule
async def unknown_instance(storage: WorkflowStorage) -> None:
    """A signal to an instance that is not stored has no receipt and leaves nothing."""
    same(await storage.send_signal("nobody", signal()), None)
    same(await storage.signals("nobody"), ())


@rule
async def many_at_once(storage: WorkflowStorage) -> None:
    """Signals that arrive together get numbers of their own."""
    await storage.create(record())
    sent = [storage.send_signal("order-7", signal(str(n))) for n in range(20)]
    receipts = await asyncio.gather(*sent)
    same(sorted(one.number or 0 for one in receipts if one), list(range(1, 21)))


@rule
async def a_thousand(storage: WorkflowStorage) -> None:
    """The inbox comes whole and in order, however many signals it holds."""
    await storage.create(record())
    for _ in range(11):
        await asyncio.gather(*(storage.send_signal("order-7", signal()) for _ in range(100)))
    same([one.number for one in await storage.signals("order-7")], list(range(1, 1_101)))
    same(len(await storage.signals("order-7", after=50)), 1_050)


@rule
async def takers_stay(storage: WorkflowStorage) -> None:
    """What a later save consumes leaves earlier signals with their takers."""
    await storage.create(record())
    for _ in range(3):
        await storage.send_signal("order-7", signal())
    await storage.save(checkpoint(consumed={1: "a"}, seen=3))
    await storage.save(checkpoint(expected=2, consumed={2: "b"}, seen=3))
    same([one.consumed_by for one in await storage.signals("order-7")], ["a", "b", None])


@rule
async def known_id(storage: WorkflowStorage) -> None:
    """A known signal id is answered with the earlier signal, and nothing is written."""
    await storage.create(record())
    first = signal(signal_id="e-1", payload=b"[1]")
    await storage.send_signal("order-7", first)
    receipt = there(await storage.send_signal("order-7", signal("other", signal_id="e-1")))
    same((receipt.number, receipt.earlier), (1, first))
    same(await storage.signals("order-7"), (StoredSignal(number=1, signal=first),))


@rule
async def known_id_elsewhere(storage: WorkflowStorage) -> None:
    """A signal id counts within its instance."""
    for id in ("a", "b"):
        await storage.create(record(id))
        receipt = there(await storage.send_signal(id, signal(signal_id="e-1")))
        same(receipt.earlier, None)


@rule
async def known_id_wakes_nobody(storage: WorkflowStorage) -> None:
    """A repeated signal does not make its instance due."""
    await storage.create(record(), lease=30)
    await storage.send_signal("order-7", signal(signal_id="e-1"))
    await storage.save(checkpoint(lease=None, seen=1))
    await storage.send_signal("order-7", signal(signal_id="e-1"))
    same(await due(storage), [])


@rule
async def refused_status(storage: WorkflowStorage) -> None:
    """A status in `refused` keeps the signal out; the receipt names the status."""
    await storage.create(record(status="completed"))
    receipt = there(await storage.send_signal("order-7", signal(), refused=["failed", "completed"]))
    same((receipt.status, receipt.number, receipt.earlier), ("completed", None, None))
    same(await storage.signals("order-7"), ())
    same(await due(storage), [])


@rule
async def known_id_before_refusal(storage: WorkflowStorage) -> None:
    """A consumed signal's id is acknowledged even where a new signal would be refused."""
    await storage.create(record())
    sent = signal(signal_id="e-1")
    await storage.send_signal("order-7", sent)
    await storage.save(checkpoint(status="completed", consumed={1: "approval"}))
    receipt = there(await storage.send_signal("order-7", sent, refused=["completed"]))
    same((receipt.status, receipt.number, receipt.earlier), ("completed", 1, sent))


@rule
async def consumed_are_kept(storage: WorkflowStorage) -> None:
    """A consumed signal stays in the inbox with the name of its taker."""
    await storage.create(record())
    for name in ("x", "y"):
        await storage.send_signal("order-7", signal(name))
    await storage.save(checkpoint(consumed={2: "approval", 9: "nobody", 0: "nobody"}))
    takers = [one.consumed_by for one in await storage.signals("order-7")]
    same(takers, [None, "approval"])


@rule
async def consumed_before_it_came(storage: WorkflowStorage) -> None:
    """A number that no signal bears yet cannot be consumed in advance."""
    await storage.create(record())
    await storage.save(checkpoint(consumed={1: "nobody"}))
    await storage.send_signal("order-7", signal())
    same([one.consumed_by for one in await storage.signals("order-7")], [None])


@rule
async def revision_stays(storage: WorkflowStorage) -> None:
    """A signal leaves the head of a driven instance as it is, but for the last number."""
    await storage.create(record(), lease=30, wake=60)
    before = await head(storage)
    await storage.send_signal("order-7", signal())
    same(await head(storage), evolve(before, last_signal=1))


@rule
async def last_of_the_inbox(storage: WorkflowStorage) -> None:
    """Every head tells the number of the last signal, consumed or not."""
    await storage.create(record(), wake=0)
    for _ in range(2):
        await storage.send_signal("order-7", signal())
    found = await head(storage)
    claimed = await storage.claim("order-7", owner="a", lease=0)
    (woken,) = await storage.claim_due(owner="b", lease=30, limit=1)
    await storage.save(checkpoint(expected=3, owner="b", consumed={1: "x", 2: "y"}))
    heads = (found, claimed, woken, await head(storage))
    same([one and one.last_signal for one in heads], [2, 2, 2, 2])


@rule
async def given_last_signal(storage: WorkflowStorage) -> None:
    """The storage keeps the number itself: what a new record says of it is ignored."""
    await storage.create(record(last_signal=5))
    same((await head(storage)).last_signal, 0)
    receipt = there(await storage.send_signal("order-7", signal()))
    same(receipt.number, 1)
