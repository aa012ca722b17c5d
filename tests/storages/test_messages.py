"""What a refusal says: the words that all storages share, and those that each adapter finds."""

import pytest

from flux.errors import (
    StaleInstanceError,
    StorageClosedError,
    StorageError,
    UniqueKeyTakenError,
    UnseenSignalsError,
)
from flux.storage import SharedValues, WorkflowStorage
from opening import storage
from records import opened, record

__all__ = ["storage"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageClosedError("MemoryStorage()"), "MemoryStorage() is not open; call init() first"),
        (StaleInstanceError("order-7", 3), "'order-7' is no longer at revision 3 of this owner"),
        (UnseenSignalsError("order-7", 2), "'order-7' got signal 2 meanwhile and cannot end"),
        (UniqueKeyTakenError("key", "first"), "'first' holds the unique key 'key'"),
    ],
)
def test_shared_words(error: StorageError, says: str) -> None:
    """A refusal names the instance, and what to do or what has happened."""
    assert says in str(error)


async def test_beyond_the_calendar(storage: WorkflowStorage) -> None:
    """A time that no calendar has is refused in words, by instances and by shared values."""
    assert isinstance(storage, SharedValues)
    async with opened(storage):
        for act in (
            storage.create(record(), wake=1e12),
            storage.set_value("rate", b"1", ttl=1e12),
        ):
            with pytest.raises(StorageError, match="cannot keep this value, nothing was saved"):
                await act


async def test_no_time_to_live(storage: WorkflowStorage) -> None:
    """What is no time to live is refused with what would be one."""
    assert isinstance(storage, SharedValues)
    async with opened(storage):
        with pytest.raises(ValueError, match="ttl is a number of seconds above 0"):
            await storage.set_value("rate", b"1", ttl=0)
