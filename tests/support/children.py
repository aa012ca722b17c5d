"""Processes that a test starts, stops and kills, and the world that they leave behind."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from flux import FluxEngine, StepExecution, WorkflowFilter, WorkflowState

Effect = Mapping[str, Any]
"""A line of `effects.jsonl`: what, id, step, key, attempt, pid."""

PATIENCE = 30.0
"""Seconds after which a test gives up waiting for a process."""


class Child:
    """A process that runs a program; its errors go to a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(command, stderr=errors, stdin=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it for real; it gets no chance to clean up."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it stand still until `go_on`; returns when it does, or has ended."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Wait until it has ended by itself, without an error."""
        code = self._process.wait(PATIENCE)
        assert code == 0, self.log.read_text()


class Stage:
    """A storage, a folder with the outside world, and the processes at work in them."""

    def __init__(self, program: Path, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url
        self._program = program
        self._children: list[Child] = []

    def start(self, *arguments: str, hold: str | None = None) -> Child:
        """Start the program with these arguments."""
        command = [sys.executable, str(self._program), str(self.folder), self._url, *arguments]
        if hold is not None:
            command += ["--hold", hold]
        child = Child(command, self.folder / f"child-{len(self._children)}.log")
        self._children.append(child)
        return child

    def run(self, *arguments: str) -> None:
        """Run the program to its end."""
        self.start(*arguments).end()

    def kill_when_holding(self, *arguments: str, hold: str) -> None:
        """Run the program up to a place, and kill it there."""
        before = len(self.effects("holding"))
        child = self.start(*arguments, hold=hold)
        self.wait_until(lambda: len(self.effects("holding")) > before)
        child.kill()

    def stop_outside_of_a_write(self, child: Child) -> None:
        """Stop a process, but not while it keeps the others from writing to an SQLite file."""
        child.stop()
        while self._is_locked():
            child.go_on()
            time.sleep(0.005)
            child.stop()

    def _is_locked(self) -> bool:
        file = self.folder / "flux.db"
        if not file.exists():
            return False
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False

    def kill_all(self) -> None:
        """Kill what still runs."""
        for child in self._children:
            if child.is_running:
                child.kill()

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Return once `happened` says so."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            logs = "\n".join(child.log.read_text() for child in self._children)
            assert time.monotonic() < deadline, f"it did not happen\n{self.effects()}\n{logs}"
            time.sleep(0.02)

    def effects(self, *what: str, step: str | None = None) -> list[Effect]:
        """What has happened outside: of these kinds (all if none is named), at this step."""
        file = self.folder / "effects.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [
            effect
            for effect in found
            if (not what or effect["what"] in what) and step in (None, effect["step"])
        ]

    def state(self, id: str) -> WorkflowState:
        """The instance as last saved. Nothing is driven by asking."""

        async def get() -> WorkflowState:
            async with FluxEngine(self._url) as flux:
                return await flux.get(id)

        return asyncio.run(get())

    def step(self, id: str, name: str) -> StepExecution:
        """The history's entry of a step."""
        entry = self.state(id).step(name)
        assert entry is not None
        return entry

    def statuses(self) -> dict[str, str]:
        """The status of every instance."""

        async def list_all() -> dict[str, str]:
            async with FluxEngine(self._url) as flux:
                found = await flux.list(WorkflowFilter(limit=1000))
                return {summary.id: summary.status for summary in found}

        return asyncio.run(list_all())
