"""A unique key: at most one live instance holds it."""

from datetime import timedelta

from flux.errors import (
    UniqueKeyTakenError,
)
from flux.storage import Entry, WorkflowStorage
from flux.testing.conformance.expecting import refused, same
from flux.testing.conformance.looking import bodies, head, ids
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import START, checkpoint, record


@rule
async def taken(storage: WorkflowStorage) -> None:
    """A second live instance with the key is refused, and nothing of it is stored."""
    await storage.create(record("first", unique_key="key"))
    with refused(UniqueKeyTakenError) as caught:
        await storage.create(record("second", unique_key="key", labels={"a": "b"}))
    same((caught.error.key, caught.error.holder), ("key", "first"))
    same(await storage.load("second"), None)
    same(await ids(storage, labels={"a": "b"}), [])


@rule
async def empty(storage: WorkflowStorage) -> None:
    """An empty text is a key like any other."""
    await storage.create(record("first", unique_key=""))
    with refused(UniqueKeyTakenError):
        await storage.create(record("second", unique_key=""))


@rule
async def id_comes_first(storage: WorkflowStorage) -> None:
    """A repeated create is not told of the key that it holds itself."""
    await storage.create(record(unique_key="key"))
    same(await storage.create(record(unique_key="key")), True)
    same(await storage.create(record(unique_key="key", owner="two")), False)


@rule
async def id_comes_before_the_key_of_another(storage: WorkflowStorage) -> None:
    """A create of an id that exists is not told of a key that a third instance holds."""
    await storage.create(record("holder", unique_key="key"))
    await storage.create(record("known", unique_key="other"))
    same(await storage.create(record("known", unique_key="key")), True)
    same(await storage.create(record("known", unique_key="key", owner="two")), False)


@rule
async def freed_at_the_end(storage: WorkflowStorage) -> None:
    """The save that ends an instance gives its key free."""
    await storage.create(record("first", unique_key="key"))
    await storage.save(checkpoint("first", ended_at=START))
    same(await storage.create(record("second", unique_key="key")), True)


@rule
async def freed_by_delete(storage: WorkflowStorage) -> None:
    """A deleted instance holds no key."""
    await storage.create(record("first", unique_key="key"))
    await storage.delete("first", revision=1)
    same(await storage.create(record("second", unique_key="key")), True)


@rule
async def created_ended(storage: WorkflowStorage) -> None:
    """An instance that is ended from the start takes no key."""
    await storage.create(record("first", unique_key="key", ended_at=START))
    same(await storage.create(record("second", unique_key="key")), True)


@rule
async def created_ended_beside_the_holder(storage: WorkflowStorage) -> None:
    """An instance that is ended from the start needs no key, and takes none away."""
    await storage.create(record("first", unique_key="key"))
    same(await storage.create(record("second", unique_key="key", ended_at=START)), True)
    same(await storage.delete("second", revision=1), True)
    with refused(UniqueKeyTakenError) as caught:
        await storage.create(record("third", unique_key="key"))
    same(caught.error.holder, "first")


@rule
async def taken_again_when_reopened(storage: WorkflowStorage) -> None:
    """A save that makes an instance live again takes its key again."""
    await storage.create(record("first", unique_key="key"))
    await storage.save(checkpoint("first", ended_at=START))
    await storage.save(checkpoint("first", expected=2))
    with refused(UniqueKeyTakenError):
        await storage.create(record("second", unique_key="key"))


@rule
async def reopened_too_late(storage: WorkflowStorage) -> None:
    """A save that would make a second live instance with the key writes nothing."""
    await storage.create(record("first", unique_key="key"))
    await storage.save(checkpoint("first", ended_at=START))
    await storage.create(record("second", unique_key="key"))
    with refused(UniqueKeyTakenError) as caught:
        await storage.save(checkpoint("first", expected=2, entries=(Entry(number=1, body=b"1"),)))
    same(caught.error.holder, "second")
    same(((await head(storage, "first")).revision, await bodies(storage, "first")), (2, {}))


@rule
async def saved_ended_beside_the_holder(storage: WorkflowStorage) -> None:
    """An ended instance may be saved, and end again, while another holds its key."""
    await storage.create(record("first", unique_key="key"))
    await storage.save(checkpoint("first", ended_at=START))
    await storage.create(record("second", unique_key="key"))
    later = START + timedelta(seconds=1)
    await storage.save(checkpoint("first", expected=2, ended_at=later))
    with refused(UniqueKeyTakenError) as caught:
        await storage.create(record("third", unique_key="key"))
    same(caught.error.holder, "second")


@rule
async def deleted_after_another_took_it(storage: WorkflowStorage) -> None:
    """An ended instance that is deleted leaves the key with its new holder."""
    await storage.create(record("first", unique_key="key"))
    await storage.save(checkpoint("first", ended_at=START, lease=None))
    await storage.create(record("second", unique_key="key"))
    await storage.delete("first", revision=2)
    with refused(UniqueKeyTakenError):
        await storage.create(record("third", unique_key="key"))
