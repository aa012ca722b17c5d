"""By hand, in Redis: one HSET a step, with the fields of the head and the entry of the step."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.contender import Place
from benchmarks.contenders.by_hand import ByHand
from benchmarks.contenders.by_hand_rows import Statement

CONNECTIONS = 64
"""The driver's default pool makes one for every caller, and fails when they are too many."""


def one_by_one() -> ByHand:
    return ByHand(_Hashes())


class _Hashes:
    """Each instance is one hash."""

    async def open(self, place: Place) -> None:
        assert place.redis is not None
        url, _, self._prefix = place.redis.partition("?prefix=")
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=None)
        self._redis: Any = Redis(connection_pool=pool)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.aclose()

    async def write(self, id: str, statements: Sequence[Statement]) -> None:
        fields: dict[str, Any] = {}
        for _, terms in statements:
            fields |= _fields(terms)
        await self._redis.hset(self._key(id), mapping=fields)

    async def load(self, id: str) -> tuple[int, Sequence[bytes]]:
        fields = await self._redis.hgetall(self._key(id))
        bodies = [body for name, body in fields.items() if name.startswith(b"step:")]
        return int(fields[b"revision"]), bodies

    async def unfinished(self) -> Sequence[str]:
        keys = [key async for key in self._redis.scan_iter(self._key("*"), count=1000)]
        return [key.decode().rpartition(":")[2] for key in keys]

    def _key(self, id: str) -> str:
        return f"{self._prefix}:{id}"


def _fields(terms: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a row as fields; the entry of a step is one."""
    if "number" in terms:
        return {f"step:{terms['number']}": terms["body"]}
    return {name: "" if value is None else value for name, value in terms.items() if name != "id"}
