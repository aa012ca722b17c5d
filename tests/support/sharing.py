"""Shared values that a test looks through: they die with their process, or fail where it says."""

import asyncio
from typing import Any

from flux import SharedValues, StorageError, WorkflowStorage
from saves import Saves


class Sharing(Saves):
    """`Saves` in front of a storage that keeps shared values; `asked` are the keys that were read.

    While `is_out` is set, shared values can be neither read nor written; while `text` is set, that
    is what every key holds.
    """

    is_out = False
    text: bytes | None = None

    def __init__(self, storage: WorkflowStorage, **places: Any) -> None:
        super().__init__(storage, **places)
        self.asked: list[str] = []

    async def get_value(self, key: str) -> bytes | None:
        self.asked.append(key)
        found = await self._values().get_value(key)
        return found if self.text is None else self.text

    async def set_value(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._values().set_value(key, value, ttl=ttl)

    async def delete_value(self, key: str) -> bool:
        return await self._values().delete_value(key)

    async def compare_and_set_value(
        self, key: str, expected: bytes | None, value: bytes, *, ttl: float | None = None
    ) -> bool:
        await asyncio.sleep(0)  # so that others come in between
        return await self._values().compare_and_set_value(key, expected, value, ttl=ttl)

    def _values(self) -> SharedValues:
        self._alive()
        if self.is_out:
            raise StorageError("the shared values are out of reach")
        values: SharedValues = self._storage  # type: ignore[assignment]
        return values
