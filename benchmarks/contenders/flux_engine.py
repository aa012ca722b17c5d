"""Flux, on the storage that a URL names."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

from attrs import evolve

from benchmarks import work
from benchmarks.contender import Place
from flux import (
    FluxConfig,
    FluxEngine,
    Workflow,
    WorkflowContext,
    WorkflowFilter,
    WorkflowStorage,
    open_storage,
)

COPIES_AT_ONCE = 500

Handler = Callable[[WorkflowContext], Awaitable[None]]


class FluxContender:
    """Its URL may name the `folder` and the `redis` of the place."""

    def __init__(self, url: str, lease: float = 30.0) -> None:
        self._url = url
        # Made for nothing but that its driver is imported; nothing is opened.
        open_storage(url.format(folder="nowhere", redis="redis://nowhere"))
        self._lease = lease
        self._made: dict[str, Workflow] = {}
        self._third_begins: dict[str, asyncio.Event] = {}

    async def open(self, place: Place) -> None:
        self._place = place
        url = self._url.format(folder=place.folder, redis=place.redis)
        self.storage: WorkflowStorage = open_storage(url)
        waiting = Workflow("waiting").wait("go", signal="go")
        workflows = [_saga(), waiting, self._abandoned()]
        config = FluxConfig(lease=self._lease)
        self.engine = FluxEngine(self.storage, workflows=workflows, config=config)
        await self.engine.init()

    async def close(self) -> None:
        await self.engine.close()

    async def sequence(self, steps: int) -> None:
        await self._run(f"sequence-{steps}", [_count] * steps)

    async def saga(self) -> None:
        result = await self.engine.execute("saga")
        assert result.status == "rolled_back", result.error

    async def document(self, steps: int, key_bytes: int) -> None:
        handlers = [_first_of_document(key_bytes)]
        handlers += [_setting(number, key_bytes) for number in range(1, steps)]
        await self._run(f"document-{steps}-{key_bytes}", handlers)

    async def suspend(self, number: int) -> None:
        result = await self.engine.execute("waiting", id=f"waiting-{number}")
        assert result.status == "suspended", result.error

    async def wake(self, number: int) -> None:
        result = await self.engine.signal(f"waiting-{number}", "go")
        assert result is not None
        assert result.status == "completed", result.error

    async def abandon(self, number: int) -> None:
        id = f"abandoned-{number}"
        begins = self._third_begins[id] = asyncio.Event()
        await self.engine.start("abandoned", id=id)
        await begins.wait()

    async def recover(self, count: int) -> None:
        completed = WorkflowFilter(name="abandoned", status="completed")
        # Whether all have ended is in the storage; to ask it seldom costs less than to be told.
        while await self.storage.count(completed) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def fill(self, count: int) -> None:
        """Put so many suspended instances into the storage, copies of one that Flux has made."""
        await self.suspend(0)
        loaded = await self.storage.load("waiting-0")
        assert loaded is not None
        record, entries = loaded

        async def copy(number: int) -> None:
            is_new = await self.storage.create(evolve(record, id=f"copy-{number}"), entries=entries)
            assert is_new

        await work.each(copy, range(count - 1), COPIES_AT_ONCE)

    async def look(self) -> None:
        """What an idle engine does at each poll."""
        await self.storage.claim_due(owner="benchmark", lease=30.0, limit=100)
        await self.storage.next_due()

    async def stored_bytes(self) -> float | None:
        """How much the storage holds, in its file or its server; None if that is this process."""
        if self._url.startswith("sqlite"):
            folder = self._place.folder
            # The log is moved into the file first.
            with closing(sqlite3.connect(folder / "flux.db")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return float((folder / "flux.db").stat().st_size)
        if self._place.redis is None or self._url == "memory:":
            return None
        from redis.asyncio import Redis

        client = Redis.from_url(self._place.redis.partition("?")[0])
        try:
            return float((await client.info("memory"))["used_memory"])
        finally:
            await client.aclose()

    async def _run(self, name: str, handlers: list[Handler]) -> None:
        if name not in self._made:
            self._made[name] = Workflow(name)
            for number, handler in enumerate(handlers):
                self._made[name].step(f"step-{number}", handler)
        result = await self.engine.execute(self._made[name])
        assert result.status == "completed", result.error

    def _abandoned(self) -> Workflow:
        async def third(ctx: WorkflowContext) -> None:
            if ctx.id in self._third_begins:
                self._third_begins[ctx.id].set()
                await asyncio.Event().wait()
            work.count(ctx.data)

        abandoned = Workflow("abandoned")
        for number, handler in enumerate([_count, _count, third, _count, _count]):
            abandoned.step(f"step-{number}", handler)
        return abandoned


async def _count(ctx: WorkflowContext) -> None:
    work.count(ctx.data)


async def _count_back(ctx: WorkflowContext) -> None:
    work.count_back(ctx.data)


async def _fail(ctx: WorkflowContext) -> None:
    work.fail()


def _saga() -> Workflow:
    saga = Workflow("saga")
    for number in range(work.SAGA_STEPS - 1):
        saga.step(f"step-{number}", _count, compensate=_count_back)
    return saga.step("last", _fail)


def _first_of_document(key_bytes: int) -> Handler:
    async def set_all(ctx: WorkflowContext) -> None:
        for number in range(work.DOCUMENT_KEYS):
            ctx.data[f"key-{number}"] = work.text(0, key_bytes)

    return set_all


def _setting(number: int, key_bytes: int) -> Handler:
    async def set_one(ctx: WorkflowContext) -> None:
        ctx.data[f"key-{number % work.DOCUMENT_KEYS}"] = work.text(number, key_bytes)

    return set_one
