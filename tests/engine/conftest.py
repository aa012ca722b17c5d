"""The tests of the engine run on both storages."""

from disks import small_disk
from opening import engine, open_engine, storage
from undoing import lives

__all__ = ["engine", "lives", "open_engine", "small_disk", "storage"]
