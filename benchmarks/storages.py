"""The storages that are measured, fresh ones, in a folder that goes away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage


@contextmanager
def fresh_storages() -> Iterator[dict[str, WorkflowStorage]]:
    """Each storage by its name and durability."""
    with TemporaryDirectory() as folder:
        yield {
            "memory": MemoryStorage(),
            "SQLite FULL": SQLiteStorage(Path(folder) / "full.db"),
            "SQLite NORMAL": SQLiteStorage(Path(folder) / "normal.db", synchronous="normal"),
        }
