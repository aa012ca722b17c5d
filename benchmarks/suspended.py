"""What do 10,000 suspended instances cost while nothing happens, and does one wake at once?

All wait for a signal, with a timeout in a month. Asked is, with none and with all of them stored:
how much memory an engine takes that is open on the storage (without what the storage itself keeps),
and the whole of a process that opens one; what one idle poll costs, that is the two calls of the
storage by which an engine finds that nothing is due; and how long it takes from the call of
`signal` until the next step of that instance runs, in the same process and in another one, which
polls every second and is woken at a random moment.

    python -m benchmarks.suspended URL      that other process: it ends when its input does
"""

import asyncio
import gc
import random
import resource
import sys
import time
import tracemalloc
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks.storages import fresh_urls
from benchmarks.table import Row
from flux import FluxConfig, FluxEngine, SystemClock, Workflow, WorkflowStorage, open_storage

COUNTS = (0, 1_000, 10_000)
AT_ONCE = 200
"""How many instances are started at a time."""
POLLS = 25
ROUNDS = 40
"""Of so many rounds of polls the quickest counts: on how many cores one runs is left to chance."""
SIGNALS = 100
SIGNALS_ABROAD = 10
PATIENCE = 30.0


async def measure() -> list[Row]:
    """Fill each storage step by step, and measure it at each."""
    rows: list[Row] = []
    with fresh_urls() as urls:
        for name, url in urls.items():
            rows += await _measure(name, url)
    return rows


def waiting(resumed: Callable[[str], None] = lambda instance: None) -> Workflow:
    """An instance that waits, and tells when it goes on."""
    workflow = Workflow("waiting").wait("go", signal="go", timeout=timedelta(days=30))
    return workflow.step("on", lambda ctx: resumed(ctx.id))


@frozen
class Idle:
    """What is spent while nothing happens."""

    poll: float
    """Seconds a poll."""
    engine: int
    """Bytes of an open engine."""
    process: int | None
    """Bytes of a process with an open engine; None where no other process sees the storage."""


async def _measure(name: str, url: str) -> list[Row]:
    storage = open_storage(url)
    await storage.init(SystemClock())
    found: list[Idle] = []
    for fewer, count in zip((0, *COUNTS), COUNTS, strict=False):
        await _fill(storage, range(fewer, count))
        found.append(await _idle(storage, url))
    ids = iter(random.sample([_id(number) for number in range(COUNTS[-1])], SIGNALS * 2))
    here = await _latencies_here(storage, [next(ids) for _ in range(SIGNALS)])
    rows = [
        Row(f"{_listed(COUNTS)} suspended: one idle poll", name, _polls(found)),
        Row(f"{_listed(COUNTS)} suspended: memory of an engine", name, _engines(found)),
        Row("from a signal to its resumption, same process", name, _times(here)),
    ]
    if not url.startswith("memory:"):
        abroad = await _latencies_abroad(storage, url, [next(ids) for _ in range(SIGNALS_ABROAD)])
        rows += [
            Row(f"{_listed(COUNTS)} suspended: memory of a process", name, _processes(found)),
            Row("from a signal to its resumption, other process", name, _times(abroad)),
        ]
    await storage.close()
    return rows


def _id(number: int) -> str:
    return f"waiting-{number:05}"


async def _fill(storage: WorkflowStorage, numbers: Sequence[int]) -> None:
    async with FluxEngine(storage, workflows=[waiting()]) as flux:
        for first in range(0, len(numbers), AT_ONCE):
            some = numbers[first : first + AT_ONCE]
            await asyncio.gather(*(flux.execute("waiting", id=_id(number)) for number in some))


# While nothing happens


async def _idle(storage: WorkflowStorage, url: str) -> Idle:
    return Idle(
        poll=await _poll_seconds(storage),
        engine=await _engine_bytes(storage),
        process=None if url.startswith("memory:") else await _process_bytes(url),
    )


async def _poll_seconds(storage: WorkflowStorage) -> float:
    gc.collect()
    rounds: list[float] = []
    for _ in range(ROUNDS):
        await asyncio.sleep(0.02)
        rounds.append(median([await _poll(storage) for _ in range(POLLS)]))
    return min(rounds)


async def _poll(storage: WorkflowStorage) -> float:
    began = time.perf_counter()
    due = await storage.claim_due(owner="nobody", lease=30, limit=100, workflows=["waiting"])
    await storage.next_due(workflows=["waiting"])
    assert not due
    return time.perf_counter() - began


async def _engine_bytes(storage: WorkflowStorage) -> int:
    """What is allocated for an engine that has polled several times."""
    gc.collect()
    tracemalloc.start()
    try:
        config = FluxConfig(poll=0.01)
        async with FluxEngine(storage, workflows=[waiting()], config=config):
            await asyncio.sleep(0.5)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def _process_bytes(url: str) -> int:
    async with _other_process(url) as process:
        return int(await _line(process))


# From a signal to its instance's resumption


async def _latencies_here(storage: WorkflowStorage, ids: Sequence[str]) -> list[float]:
    resumed: dict[str, float] = {}

    def note(id: str) -> None:
        resumed[id] = time.monotonic()

    latencies: list[float] = []
    async with FluxEngine(storage, workflows=[waiting(note)]) as flux:
        for id in ids:
            began = time.monotonic()
            await flux.signal(id, "go")
            latencies.append(resumed[id] - began)
    return latencies


async def _latencies_abroad(storage: WorkflowStorage, url: str, ids: Sequence[str]) -> list[float]:
    latencies: list[float] = []
    async with _other_process(url) as process, FluxEngine(storage) as flux:
        await _line(process)
        for id in ids:
            await asyncio.sleep(random.random() * FluxConfig().poll)
            began = time.monotonic()
            await flux.signal(id, "go", wait=False)
            resumed, at = (await _line(process)).split()
            assert resumed == id
            latencies.append(float(at) - began)
    return latencies


@asynccontextmanager
async def _other_process(url: str) -> AsyncIterator[Process]:
    program = [sys.executable, "-m", "benchmarks.suspended", url]
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), PATIENCE)


async def _line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()


async def _be_the_other_process(url: str) -> None:
    """Tell how large it is, then drive, and tell at which moment an instance is resumed."""
    workflow = waiting(lambda instance: print(instance, time.monotonic(), flush=True))
    async with FluxEngine(url, workflows=[workflow]):
        await asyncio.sleep(0.5)
        print(_resident_bytes(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _resident_bytes() -> int:
    """The memory of this process that is not swapped out."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Its peak, counted in bytes where there is no /proc.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# In words


def _polls(found: Sequence[Idle]) -> str:
    return _compared([idle.poll * 1e6 for idle in found], "µs")


def _engines(found: Sequence[Idle]) -> str:
    return _compared([idle.engine / 1e3 for idle in found], "kB")


def _processes(found: Sequence[Idle]) -> str:
    return _compared([(idle.process or 0) / 1e6 for idle in found], "MB")


def _compared(numbers: Sequence[float], unit: str) -> str:
    each = " / ".join(f"{number:5.0f}" for number in numbers)
    return f"{each} {unit}   ratio {numbers[-1] / numbers[0]:.2f}"


def _times(seconds: Sequence[float]) -> str:
    return f"median {median(seconds) * 1e3:6.1f} ms   worst {max(seconds) * 1e3:6.1f} ms"


def _listed(counts: Sequence[int]) -> str:
    return " / ".join(f"{count:,}" for count in counts)


if __name__ == "__main__":
    asyncio.run(_be_the_other_process(sys.argv[1]))
