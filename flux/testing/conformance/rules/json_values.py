"""Every JSON text comes back as it was given, byte for byte, from wherever it is kept."""

from flux.storage import Entry, SharedValues, WorkflowStorage
from flux.testing.conformance.expecting import same
from flux.testing.conformance.looking import bodies, head
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import checkpoint, record, signal

TEXTS = (
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1.50",
    "1e400",
    "-12345678901234567890",
    "9223372036854775808",
    "0.1000000000000000055511151231257827",
    '""',
    '"null"',
    '" "',
    r'"\u0000"',
    r'"\ud83d\ude00 \"\\\/\b\f\n\r\t"',
    '"ß日😀\u2028\x7f"',
    "[]",
    "{}",
    "[[],{},null,false,0]",
    '{"":null,"b":1,"a":false}',
    '{ "spaced" : [ 1 ,\n2 ] }',
    '{"__class__":"x","$ref":"#","a.b":{"c d":0}}',
    "[" * 60 + "]" * 60,
)
"""As text, since that is what a storage keeps: order of keys, spaces and digits included."""

LARGE = b'"' + "日本語x".encode() * 100_000 + b'"'
"""A megabyte."""


@rule
async def heads(storage: WorkflowStorage) -> None:
    """What is fixed and what a create or a save gives as payload come back as they were given."""
    for text in TEXTS:
        body = text.encode()
        await storage.create(record(text, fixed=body, payload=body))
        created = await head(storage, text)
        same((created.fixed, created.payload), (body, body))
        await storage.save(checkpoint(text, payload=b"7"))
        await storage.save(checkpoint(text, expected=2, payload=body))
        saved = await head(storage, text)
        same((saved.fixed, saved.payload), (body, body))


@rule
async def entries(storage: WorkflowStorage) -> None:
    """Entries come back as a create or a save gave them."""
    given = [Entry(number=n, body=text.encode()) for n, text in enumerate(TEXTS)]
    wanted = {entry.number: entry.body for entry in given}
    await storage.create(record("created"), entries=given)
    await storage.create(record("saved"))
    await storage.save(checkpoint("saved", entries=tuple(given)))
    same(await bodies(storage, "created"), wanted)
    same(await bodies(storage, "saved"), wanted)


@rule
async def claimed(storage: WorkflowStorage) -> None:
    """The head that a claim gives holds the texts as they were given."""
    for text in TEXTS:
        body = text.encode()
        await storage.create(record(text, fixed=body, payload=body), wake=0)
        (due,) = await storage.claim_due(owner="two", lease=30, limit=9)
        again = await storage.claim(text, owner="three", lease=30, held="two")
        found = [(one.fixed, one.payload) for one in (due, again) if one is not None]
        same(found, [(body, body)] * 2)


@rule
async def signals(storage: WorkflowStorage) -> None:
    """Signals come back as they were sent, from the inbox and as the earlier one of a receipt."""
    await storage.create(record())
    sent = [signal(signal_id=f"e-{n}", payload=text.encode()) for n, text in enumerate(TEXTS)]
    for one in sent:
        await storage.send_signal("order-7", one)
    receipts = [await storage.send_signal("order-7", one) for one in sent]
    same([one.signal for one in await storage.signals("order-7")], sent)
    same([one and one.earlier for one in receipts], sent)


@rule
async def shared_values(values: SharedValues) -> None:
    """Shared values come back as they were set, and are compared as texts."""
    for text in TEXTS:
        body = text.encode()
        await values.set_value("rate", body)
        same(await values.get_value("rate"), body)
        same(await values.compare_and_set_value("rate", body + b" ", b"7"), False)
        same(await values.compare_and_set_value("rate", body, b"7"), True)


@rule
async def large(storage: WorkflowStorage) -> None:
    """A megabyte in head, entry and signal comes back byte for byte."""
    await storage.create(record(fixed=LARGE, payload=LARGE), entries=[Entry(number=1, body=LARGE)])
    await storage.save(checkpoint(payload=LARGE, entries=(Entry(number=2, body=LARGE),)))
    await storage.send_signal("order-7", signal(payload=LARGE))
    stored = await head(storage)
    (received,) = await storage.signals("order-7")
    same((stored.fixed, stored.payload, received.signal.payload), (LARGE, LARGE, LARGE))
    same(await bodies(storage), {1: LARGE, 2: LARGE})


@rule
async def many(storage: WorkflowStorage) -> None:
    """A thousand entries and a hundred signals of one instance come back, in order."""
    given = [Entry(number=n, body=b"%d" % n) for n in range(1, 1001)]
    await storage.create(record(), entries=given[:500])
    await storage.save(checkpoint(entries=tuple(given[500:])))
    for n in range(100):
        await storage.send_signal("order-7", signal(str(n)))
    same(list(await bodies(storage)), list(range(1, 1001)))
    names = [one.signal.name for one in await storage.signals("order-7")]
    same(names, [str(n) for n in range(100)])
