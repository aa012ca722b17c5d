"""The tests of the statements run on both storages, and processes may die in them."""

from dying import crash
from opening import engine, open_engine, storage
from turning import turned
from undoing import lives

__all__ = ["crash", "engine", "lives", "open_engine", "storage", "turned"]
