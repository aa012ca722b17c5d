"""LangGraph with its AsyncSqliteSaver, durability `sync`: a checkpoint is saved after each node.

Undoing is nodes of one's own, reached when the last node says that it has failed. LangGraph does
not look for what was abandoned; its user invokes each thread again, here by the ids in the file.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import uuid_utils
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from benchmarks import work
from benchmarks.contender import Place

Node = Callable[..., Any]


class State(TypedDict, total=False):
    """What the nodes share."""

    count: int
    failed: bool


class LangGraphContender:
    """The saver sets WAL itself and leaves FULL as it is."""

    def __init__(self) -> None:
        self._sequences: dict[int, Any] = {}
        self._third_begins: dict[str, asyncio.Event] = {}
        self._running: set[asyncio.Task[Any]] = set()

    async def open(self, place: Place) -> None:
        self._opening = AsyncSqliteSaver.from_conn_string(str(place.folder / "langgraph.db"))
        self._saver = await self._opening.__aenter__()
        back = [_count_back] * (work.SAGA_STEPS - 1)
        self._saga = self._line([*[_count] * (work.SAGA_STEPS - 1), _fail, *back])
        self._waiting = self._line([_wait])
        self._abandoned = self._line([_count, _count, self._third, _count, _count])

    async def close(self) -> None:
        await self._opening.__aexit__(None, None, None)

    async def sequence(self, steps: int) -> None:
        if steps not in self._sequences:
            self._sequences[steps] = self._line([_count] * steps)
        state = await self._invoke(self._sequences[steps], {"count": 0})
        assert state["count"] == steps

    async def saga(self) -> None:
        state = await self._invoke(self._saga, {"count": 0})
        assert state == {"count": 0, "failed": True}

    async def suspend(self, number: int) -> None:
        await self._invoke(self._waiting, {"count": 0}, f"waiting-{number}")

    async def wake(self, number: int) -> None:
        state = await self._invoke(self._waiting, Command(resume=1), f"waiting-{number}")
        assert state["count"] == 1

    async def abandon(self, number: int) -> None:
        id = f"abandoned-{number}"
        begins = self._third_begins[id] = asyncio.Event()
        invoked = self._invoke(self._abandoned, {"count": 0}, id)
        self._running.add(asyncio.create_task(invoked))
        await begins.wait()

    async def recover(self, count: int) -> None:
        found = await self._saver.conn.execute_fetchall("SELECT DISTINCT thread_id FROM writes")
        assert len(found) == count
        states = [self._invoke(self._abandoned, None, id) for (id,) in found]
        assert all(state["count"] == 5 for state in await asyncio.gather(*states))

    async def _third(self, state: State) -> State:
        id = get_config()["configurable"]["thread_id"]
        if id in self._third_begins:
            self._third_begins[id].set()
            await asyncio.Event().wait()
        return await _count(state)

    def _line(self, nodes: Sequence[Node]) -> Any:
        graph = StateGraph(State)
        names = [f"step-{number}" for number in range(len(nodes))]
        for name, node in zip(names, nodes, strict=True):
            graph.add_node(name, node)
        for before, after in zip((START, *names), (*names, END), strict=True):
            graph.add_edge(before, after)
        return graph.compile(checkpointer=self._saver)

    async def _invoke(self, graph: Any, input: Any, id: str | None = None) -> Any:
        thread = {"thread_id": id or str(uuid_utils.uuid7())}
        config = {"configurable": thread, "recursion_limit": 100_000}
        return await graph.ainvoke(input, config, durability="sync")


async def _count(state: State) -> State:
    data: dict[str, Any] = {**state}
    work.count(data)
    return {"count": data["count"]}


async def _count_back(state: State) -> State:
    data: dict[str, Any] = {**state}
    work.count_back(data)
    return {"count": data["count"]}


async def _fail(state: State) -> State:
    try:
        work.fail()
    except work.StepFailedError:
        return {"failed": True}
    return {}


async def _wait(state: State) -> State:
    return {"count": interrupt("go")}
