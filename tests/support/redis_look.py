"""What somebody with redis-cli sees and does, beside the storage."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis


class Look:
    """A plain client for the keys that begin with a tag, at the server of a URL."""

    def __init__(self, url: str) -> None:
        place, _, settings = url.partition("?prefix=")
        self.tag = "{" + (settings or "flux") + "}"
        self.client: Any = redis.Redis.from_url(place, decode_responses=True, protocol=2)
        self._raw: Any = redis.Redis.from_url(place, protocol=2)

    def close(self) -> None:
        self.client.close()
        self._raw.close()

    def key(self, name: str) -> str:
        return f"{self.tag}:{name}"

    @property
    def keys(self) -> list[str]:
        """The names of the keys, without the tag."""
        found = self.client.keys(f"{self.tag}:*")
        return sorted(key.removeprefix(f"{self.tag}:") for key in found)

    def dump(self) -> Mapping[bytes, bytes]:
        """All that is kept, as a snapshot has it."""
        return {key: self._raw.dump(key) for key in self._raw.keys(f"{self.tag}:*")}

    def restore(self, dump: Mapping[bytes, bytes]) -> None:
        """Put back what a snapshot had, as a fail-over to a replica behind its master does."""
        for key in self._raw.keys(f"{self.tag}:*"):
            self._raw.delete(key)
        for key, value in dump.items():
            self._raw.restore(key, 0, value)

    @property
    def connections(self) -> int:
        """How many there are, its own included."""
        return len(self.client.client_list())

    @property
    def listeners(self) -> int:
        """How many listen for notices."""
        ((_, number),) = self.client.pubsub_numsub(self.key("notices"))
        return int(number)

    @contextmanager
    def calls(self) -> Iterator[dict[str, int]]:
        """How often the server did what, within scripts and without, while the block lasted."""
        self.client.config_resetstat()
        counted: dict[str, int] = {}
        yield counted
        found = self.client.info("commandstats")
        counted |= {name.removeprefix("cmdstat_"): told["calls"] for name, told in found.items()}
        counted.pop("config|resetstat", None)
        counted.pop("config", None)


@contextmanager
def looking(url: str) -> Iterator[Look]:
    look = Look(url)
    try:
        yield look
    finally:
        look.close()


async def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    """Ask again and again until it holds: a server tells nobody what happens in it."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
