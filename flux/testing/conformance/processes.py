"""Other processes on the same storage, real ones: each does one task of `tasks.py`.

A task's terms and its answer are JSON. The processes begin together: each waits, once it has opened
the storage, until all have.
"""

import asyncio
import base64
import json
import pickle
import sys
from collections.abc import Sequence
from typing import Any

from flux.testing.conformance.rule import KitMisusedError
from flux.testing.conformance.subject import Address

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from flux.testing.conformance.tasks import main; main()"
)


class Processes:
    """Starts processes that open the storage at its address."""

    def __init__(self, address: Address, *, real_time: bool) -> None:
        try:
            carried = pickle.dumps(address)
        except Exception as error:
            raise KitMisusedError(
                f"the address {address!r} cannot be carried to another process: {error}; give a "
                "URL, or a function of a module, as functools.partial(MyStorage, path)"
            ) from error
        self._opening = json.dumps(
            {
                "address": base64.b64encode(carried).decode(),
                "real_time": real_time,
            }
        )

    async def do(self, task: str, terms: Sequence[dict[str, Any]]) -> list[Any]:
        """Let a process for each of the terms do the task, all at once; their answers."""
        children: list[_Child] = []
        try:
            for one in terms:
                children += [await self._child(task, one)]
            for child in children:
                await child.ready()
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(child.answer()) for child in children]
            return [answer.result() for answer in answers]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await asyncio.gather(*(child.end() for child in children), return_exceptions=True)

    async def interrupted(self, task: str, terms: dict[str, Any]) -> None:
        """Let a process do a task that has no end, and kill it in the midst of it."""
        child = await self._child(task, terms)
        try:
            await child.ready()
            await child.go()
            await child.line()
        finally:
            await child.end()

    async def _child(self, task: str, terms: dict[str, Any]) -> "_Child":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, json.dumps(sys.path), self._opening, task,
            json.dumps(terms),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return _Child(process)


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """It has opened the storage."""
        await self.line()

    async def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        await self._process.stdin.drain()

    async def answer(self) -> Any:
        await self.go()
        return json.loads(await self.line())

    async def line(self) -> bytes:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = await self._process.stdout.readline()
        if not line:
            said = (await self._process.stderr.read()).decode(errors="replace")
            raise AssertionError(f"another process on the same storage failed:\n{said}")
        return line

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        # Reads what is left, so that no pipe stays open.
        await self._process.communicate()
