"""The Redis that contenders share: a process of our own, which writes a log as users' do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS_SUPPORT = Path(__file__).parents[1] / "tests" / "support"
EVERY_SECOND = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


@contextmanager
def shared_redis() -> Iterator[str | None]:
    """Its URL; None where there is none to be started."""
    sys.path.append(str(TESTS_SUPPORT))
    try:
        from redis_server import RedisServer, binary

        binary()
    except ImportError:
        yield None
        return
    finally:
        sys.path.remove(str(TESTS_SUPPORT))
    with TemporaryDirectory() as folder, RedisServer(Path(folder), *EVERY_SECOND) as server:
        yield server.url
