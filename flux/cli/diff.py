"""`flux diff`: which live instances could go on under the code at hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import click
import orjson
from attrs import asdict

from flux.cli.options import StorageFailedError, app_option, storage_option
from flux.clock import SystemClock
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.engine.fitting import fitting
from flux.engine.loading import Loaded, load
from flux.errors import (
    DefinitionChangedError,
    FluxError,
    InstanceNotFoundError,
    StateFormatError,
    StateUnreadableError,
    UnknownWorkflowError,
)
from flux.frozen import frozen
from flux.state.status import ENDED, WorkflowStatus
from flux.storage import WorkflowFilter, WorkflowStorage, WorkflowSummary

PAGE = 500
"""How many instances are listed at once."""

_LIVE = tuple(status for status in WorkflowStatus if status not in ENDED)


@frozen(kw_only=True)
class Verdict:
    """Whether one instance could go on; if not, why."""

    id: str
    workflow: str
    version: str
    status: str
    why_not: Sequence[str]

    @property
    def fits(self) -> bool:
        return not self.why_not

    @property
    def line(self) -> str:
        end = "could go on" if self.fits else f"cannot go on: {'; '.join(self.why_not)}"
        return f"{self.id} ({self.workflow} {self.version}, {self.status}) {end}"

    @property
    def json(self) -> str:
        return orjson.dumps({**asdict(self, recurse=False), "fits": self.fits}).decode()


@click.command()
@storage_option
@app_option
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each instance.")
def diff(storage: WorkflowStorage, workflows: Sequence[WorkflowDefinition], as_json: bool) -> None:
    """Tell which live instances could go on under the workflows at hand, and which not and why.

    Changes no instance, and may run while others drive them. Ends with exit code 0 if all could go
    on, 1 if some could not, 2 if it could not look.
    """
    registry = Registry()
    for workflow in workflows:
        registry.register(workflow)
    try:
        misfits = asyncio.run(_tell_all(storage, registry, as_json=as_json))
    except FluxError as error:
        raise StorageFailedError(str(error)) from error
    if misfits:
        raise click.exceptions.Exit(1)


async def _tell_all(storage: WorkflowStorage, registry: Registry, *, as_json: bool) -> int:
    """Print every verdict; how many instances could not go on."""
    looked_at = misfits = 0
    await storage.init(SystemClock())
    try:
        async for summary in _live(storage):
            verdict = await _verdict(storage, registry, summary)
            if verdict is not None:
                looked_at += 1
                misfits += not verdict.fits
                click.echo(verdict.json if as_json else verdict.line)
    finally:
        await storage.close()
    if not as_json:
        click.echo(f"live instances: {looked_at}; cannot go on: {misfits}")
    return misfits


async def _live(storage: WorkflowStorage) -> AsyncIterator[WorkflowSummary]:
    """All live instances, newest first, listed page by page."""
    seen: list[str] = []
    while True:
        last = seen[-1] if seen else None
        page = await storage.list(WorkflowFilter(status=_LIVE, limit=PAGE, after=last))
        for summary in page:
            seen.append(summary.id)
            yield summary
        if page:
            continue
        if last is None or await storage.load(last, history=False) is not None:
            return
        seen.pop()  # deleted meanwhile, so that nothing comes after it: go on from the one before


async def _verdict(
    storage: WorkflowStorage, registry: Registry, summary: WorkflowSummary
) -> Verdict | None:
    """None for one that has ended, or was deleted, since it was listed."""
    status = summary.status
    try:
        loaded = await load(storage, summary.id)
        if loaded.status.is_ended:
            return None
        status, why_not = loaded.status, _why_not(registry, loaded)
    except InstanceNotFoundError:
        return None
    except (StateFormatError, StateUnreadableError) as error:
        why_not = [str(error)]
    return Verdict(
        id=summary.id,
        workflow=summary.name,
        version=summary.version,
        status=status,
        why_not=why_not,
    )


def _why_not(registry: Registry, loaded: Loaded) -> Sequence[str]:
    """What an engine that claimed the instance would complain of; empty if it would drive it."""
    try:
        fitting(registry, loaded.instance, loaded.record.intent)
    except UnknownWorkflowError as unknown:
        return [f"the app has no workflow {unknown.workflow!r}"]
    except DefinitionChangedError as changed:
        return changed.differences
    return ()
