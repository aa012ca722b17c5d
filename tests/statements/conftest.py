"""The tests of the statements run on both storages, and processes may die in them."""

from dying import crash
from opening import engine, open_engine, storage

__all__ = ["crash", "engine", "open_engine", "storage"]
