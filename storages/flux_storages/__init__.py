"""Where Flux keeps instances. A driver is imported when its storage is first asked for."""

from typing import TYPE_CHECKING

from flux_storages.memory import MemoryStorage

if TYPE_CHECKING:
    from flux_storages.sqlite import SQLiteStorage

__all__ = ["MemoryStorage", "SQLiteStorage"]


def __getattr__(name: str) -> object:
    if name == "SQLiteStorage":
        from flux_storages.sqlite import SQLiteStorage

        return SQLiteStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
