"""A workflow with limits, and who was at work in it when."""

import asyncio
from collections import defaultdict
from typing import Any

from flux import Workflow, WorkflowContext
from sagas import until


class Desk:
    """A workflow "order" of one step, at which an instance stays until it is let go.

    `key` is the instance's customer. `came` are the ids of those at work, in order, `most` says how
    many of a customer were there at once at the most.
    """

    def __init__(self, *, closed: bool = False, **limit: Any) -> None:
        self.came: list[str] = []
        self.came_at: list[float] = []
        self.most: dict[str, int] = defaultdict(int)
        self.opened = asyncio.Event()
        if not closed:
            self.opened.set()
        self._there: dict[str, int] = defaultdict(int)
        self.order = Workflow("order")
        if limit:
            self.order.limit(key=customer, **limit)
        self.order.step("serve", self._serve)

    async def has(self, number: int) -> None:
        """Wait until so many have come."""
        await until(lambda: len(self.came) >= number)

    def open_with(self, number: int) -> None:
        """Let all go, and who comes later, once so many have come."""
        self._opening = asyncio.create_task(self._open_with(number))

    async def _open_with(self, number: int) -> None:
        await self.has(number)
        self.opened.set()

    async def _serve(self, ctx: WorkflowContext) -> None:
        key = customer(ctx)
        self.came.append(ctx.id)
        self.came_at.append(ctx.now().timestamp())
        self._there[key] += 1
        self.most[key] = max(self.most[key], self._there[key])
        try:
            for _ in range(10):
                await asyncio.sleep(0)
            await self.opened.wait()
        finally:
            self._there[key] -= 1


def customer(ctx: WorkflowContext) -> str:
    """The key of an instance: its input's customer, or "all"."""
    return str(ctx.input.get("customer", "all"))
