"""A contender's own process: it does what it is asked, one line of JSON each way.

Apart from each other, contenders share neither a heap that is searched for garbage nor threads; one
that does not answer can be killed. This module imports little, as a cold start is timed with it.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]

# The clone comes last, so that a Flux which is installed is the one that is measured.
_PROGRAM = f"import sys; sys.path.append({str(ROOT)!r}); from benchmarks.worker import main; main()"


def environment() -> dict[str, str]:
    """That of this process; but Python keeps the bytecode of all, as it does of what is installed.

    Else a checkout would be compiled anew by every process, where that is switched off.
    """
    env = {**os.environ, "PYTHONPYCACHEPREFIX": _bytecode().name}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


@cache
def _bytecode() -> "TemporaryDirectory[str]":
    from tempfile import TemporaryDirectory  # late: the processes that are timed need none

    return TemporaryDirectory(prefix="flux-benchmark-bytecode-")


class ContenderError(Exception):
    """A contender could not do what it was asked; the message is its own."""


class Worker:
    """The process as its parent sees it."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def begun(cls, folder: Path) -> "Worker":
        log = folder / "worker.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _PROGRAM,
                stdin=PIPE, stdout=PIPE, stderr=errors, cwd=ROOT, env=environment(), limit=2**24,
            )  # fmt: skip
        return cls(process, log)

    async def ask(self, job: Callable[..., Awaitable[Any]], *, patience: float, **args: Any) -> Any:
        """Have the function called there, with the stage before its arguments."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"job": f"{job.__module__}:{job.__qualname__}", "args": args}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), patience)
        except TimeoutError:
            self.kill()
            raise ContenderError(f"no answer in {patience:.0f} s") from None
        if not line:
            raise ContenderError(f"its process has ended: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer["result"]

    def kill(self) -> None:
        """End it as a power failure of its own would."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kill it and see it dead."""
        self.kill()
        await self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "without a word")


# In the process itself


class Stage:
    """What is kept between the calls."""

    contender: Any = None
    suspended: int = 0
    """How many instances were made to wait."""
    woken: int = 0
    """How many of these were sent the signal."""


async def opened(stage: Stage, *, made_by: str, settings: Any, folder: str, redis: Any) -> None:
    """Make the contender and open it."""
    # Late, so that the process is there before: its own start is not what is asked.
    from benchmarks.contender import Place, made

    stage.contender = made(made_by, settings)
    await stage.contender.open(Place(folder=Path(folder), redis=redis))


async def closed(stage: Stage) -> None:
    """Let the contender end orderly."""
    contender, stage.contender = stage.contender, None
    await contender.close()


async def _serve(answers: TextIO) -> None:
    stage = Stage()
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        module, _, name = asked["job"].partition(":")
        try:
            job = getattr(importlib.import_module(module), name)
            gc.collect()
            answer = {"result": await job(stage, **asked["args"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve until the parent closes its end."""
    # Whatever a library prints goes to the log; the answers alone go to the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(_serve(answers))
    # Threads of contenders do not keep the process.
    os._exit(0)
