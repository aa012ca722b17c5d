"""Where Flux keeps instances. A driver is imported when its storage is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from flux_storages.memory import MemoryStorage

if TYPE_CHECKING:
    from flux_storages.redis import RedisStorage
    from flux_storages.sqlite import SQLiteStorage

__all__ = ["MemoryStorage", "RedisStorage", "SQLiteStorage"]

_MODULES = {"RedisStorage": "flux_storages.redis", "SQLiteStorage": "flux_storages.sqlite"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
