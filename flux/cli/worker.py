"""`flux worker`: a process that only drives."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import click

from flux.cli.fields import log_to_stderr
from flux.cli.options import StorageFailedError, app_option, storage_option
from flux.config import FluxConfig
from flux.definition.workflow import WorkflowDefinition
from flux.engine.engine import FluxEngine
from flux.errors import FluxError
from flux.observe.logs import LoggingSink
from flux.storage import WorkflowStorage

LAST = 1.0
"""Seconds that a handler which ignored its cancellation has to end when all else has."""

_DEFAULT = FluxConfig()
_logger = logging.getLogger("flux.worker")


def _setting(name: str, kind: type, help: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        metavar="SECONDS" if kind is float else "NUMBER",
        default=getattr(_DEFAULT, name),
        show_default=True,
        help=help,
    )


@click.command()
@storage_option
@app_option
@_setting("lease", float, "After how long others take over what a dead worker drove.")
@_setting("poll", float, "How often to look for what is due.")
@_setting("grace", float, "How long running steps may go on once the worker is to stop.")
@_setting("max_instances", int, "How many instances to drive at once.")
@click.option("--trace", is_flag=True, help="Log what happens to every instance.")
def worker(
    storage: WorkflowStorage,
    workflows: Sequence[WorkflowDefinition],
    trace: bool,
    **settings: Any,
) -> None:
    """Drive what is due in a storage, until SIGTERM or Ctrl-C.

    Other processes start instances and send signals. To stop, the worker begins nothing more, lets
    running steps end within the grace, and hands its instances back. A second signal ends it at
    once; what it drove then is taken over when its leases run out.
    """
    try:
        config = FluxConfig(**settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    log_to_stderr()
    observers = [LoggingSink()] if trace else []
    flux = FluxEngine(storage, workflows=workflows, config=config, observers=observers)
    try:
        asyncio.run(_drive(flux, [f"{one.name}:{one.version}" for one in workflows]))
    except FluxError as error:
        raise StorageFailedError(str(error)) from error


async def _drive(flux: FluxEngine, names: Sequence[str]) -> None:
    told = asyncio.Event()
    _tell_at_a_signal(told)
    async with flux:
        _logger.info("worker.started", extra={"pid": os.getpid(), "workflows": ",".join(names)})
        await told.wait()
        _logger.info("worker.stopping")
    _logger.info("worker.stopped")
    _end_within(LAST)


def _tell_at_a_signal(told: asyncio.Event) -> None:
    """Set `told` at the first signal; the second ends the process, even where nothing else runs."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def tell(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(told.set)

    for each in signals:
        signal.signal(each, tell)


def _end_within(seconds: float) -> None:
    """End the process for sure: all is saved, and some handlers never end."""

    def end() -> None:
        sys.stdout.flush()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
