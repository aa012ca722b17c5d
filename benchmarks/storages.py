"""The storages that are measured, fresh ones, in a folder that goes away."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flux import WorkflowStorage
from flux_storages import MemoryStorage, SQLiteStorage

TESTS_SUPPORT = Path(__file__).parents[1] / "tests" / "support"


@contextmanager
def fresh_storages() -> Iterator[dict[str, WorkflowStorage]]:
    """Each storage by its name and durability."""
    with TemporaryDirectory() as folder:
        yield {
            "memory": MemoryStorage(),
            "SQLite FULL": SQLiteStorage(Path(folder) / "full.db"),
            "SQLite NORMAL": SQLiteStorage(Path(folder) / "normal.db", synchronous="normal"),
        }


@contextmanager
def fresh_urls() -> Iterator[dict[str, str]]:
    """The same as URLs, for other processes, with a Redis that keeps all in memory."""
    with TemporaryDirectory() as folder, _redis_url(Path(folder)) as redis:
        yield {
            "memory": "memory:",
            "SQLite FULL": f"sqlite:///{folder}/full.db",
            "SQLite NORMAL": f"sqlite:///{folder}/normal.db?synchronous=normal",
            **({"Redis": redis} if redis is not None else {}),
        }


@contextmanager
def _redis_url(folder: Path) -> Iterator[str | None]:
    """A server of our own on a free port; None where there is none to be started."""
    sys.path.append(str(TESTS_SUPPORT))
    try:
        from redis_server import RedisServer, binary

        binary()
    except ImportError:
        yield None
        return
    finally:
        sys.path.remove(str(TESTS_SUPPORT))
    with RedisServer(folder) as server:
        yield server.url
