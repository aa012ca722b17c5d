"""The tests of the engine run on both storages."""

from opening import engine, open_engine, storage

__all__ = ["engine", "open_engine", "storage"]
