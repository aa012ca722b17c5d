"""Worker processes of a test, and the instances that they drive."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flux import FluxConfig, WorkflowState
from flux.blocking import BlockingEngine

from .worker_app import workflows

PATIENCE = 60.0


class Worker:
    """A `flux worker` process; what it logs goes to a file."""

    def __init__(self, command: list[str], folder: Path, log: Path) -> None:
        self._log = log
        env = {**os.environ, "WORKER_APP_FOLDER": str(folder)}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=Path(__file__).parent, env=env, stderr=errors
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal that ended it."""
        return self._process.poll()

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Workers:
    """A storage, instances in it that wait for their payment, and the workers that drive them."""

    def __init__(self, command: str, url: str, folder: Path) -> None:
        self._command = command
        self._url = url
        self._folder = folder
        self._workers: list[Worker] = []

    def start(self, *options: object) -> Worker:
        """Start a worker, and wait until it looks for what is due."""
        place = ["--storage", self._url, "--app", "worker_app:workflows"]
        command = [self._command, "worker", *place, *map(str, options)]
        log = self._folder / f"worker-{len(self._workers)}.log"
        worker = Worker(command, self._folder, log)
        self._workers.append(worker)
        self.wait_until(lambda: "worker.started" in worker.log)
        return worker

    def order(self, *ids: str, workflow: str = "order") -> None:
        """Start instances, which rest until they are paid."""
        with BlockingEngine(self._url, workflows=workflows) as flux:
            for id in ids:
                assert flux.execute(workflow, id=id).status == "suspended"

    def pay(self, *ids: str) -> None:
        """Send the signal from here, where nobody drives."""
        with BlockingEngine(self._url) as flux:
            for id in ids:
                flux.signal(id, "paid", wait=False)

    def state(self, id: str) -> WorkflowState:
        with BlockingEngine(self._url) as flux:
            return flux.get(id)

    def result(self, id: str) -> str:
        """The status in which the instance ends."""
        with BlockingEngine(self._url, config=FluxConfig(poll=0.02)) as flux:
            return flux.result(id, timeout=PATIENCE).status

    def open_gate(self) -> None:
        (self._folder / "gate").touch()

    def effects(self, what: str | None = None) -> list[dict[str, Any]]:
        file = self._folder / "effects.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in map(json.loads, lines) if what in (None, line["what"])]

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Return once `happened` says so."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            logs = "\n".join(worker.log for worker in self._workers)
            assert time.monotonic() < deadline, f"it did not happen\n{self.effects()}\n{logs}"
            time.sleep(0.01)

    def kill_all(self) -> None:
        for worker in self._workers:
            worker.kill()
