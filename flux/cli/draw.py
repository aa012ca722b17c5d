"""`flux draw`: a workflow, or an instance of one, as a picture."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from flux.cli.drawing.dot import dot
from flux.cli.drawing.mermaid import mermaid
from flux.cli.drawing.picture import Picture, picture_of, picture_of_shape
from flux.cli.drawing.progress import with_progress
from flux.cli.drawing.rendering import RenderingError, rendered
from flux.cli.options import StorageFailedError, apps_argument, optional_storage_option
from flux.clock import SystemClock
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.engine.fitting import fitting
from flux.engine.loading import load, shown
from flux.errors import DefinitionChangedError, FluxError, WorkflowConflictError, listing
from flux.storage import WorkflowStorage

FORMATS = ("mermaid", "dot", "svg", "png")
_SUFFIXES = {
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".png": "png",
}


class DrawingFailedError(click.ClickException):
    """The picture could not be made; ends the command with exit code 2."""

    exit_code = 2


@click.command()
@apps_argument
@click.option(
    "--format",
    "format",
    type=click.Choice(FORMATS),
    help="By default that of the file's name, else mermaid.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write; by default the picture is printed.",
)
@click.option("--workflow", metavar="NAME", help="Which of several workflows to draw.")
@optional_storage_option
@click.option("--instance", metavar="ID", help="Draw this instance, its steps by status.")
def draw(
    workflows: Sequence[WorkflowDefinition],
    format: str | None,
    output: Path | None,
    workflow: str | None,
    storage: WorkflowStorage | None,
    instance: str | None,
) -> None:
    """Draw the workflow at MODULE:NAME, or an instance of one.

    An instance needs --storage and --instance. Without its workflow it is drawn from what it
    remembers: steps and their order, without cases, failures and groups. Changes nothing. SVG and
    PNG need 'flux-saga[draw]' and no network. Ends with exit code 2 if it could not draw.
    """
    if (storage is None) is not (instance is None):
        raise click.UsageError("an instance needs both --storage and --instance")
    if workflow is not None and instance is not None:
        raise click.UsageError("--workflow is that of the instance")
    chosen = format or _SUFFIXES.get("" if output is None else output.suffix.lower(), "mermaid")
    if storage is not None and instance is not None:
        picture = _of_instance(storage, instance, workflows)
    else:
        picture = picture_of(_one_of(workflows, workflow))
    _write(_made(picture, chosen), output)


def _one_of(workflows: Sequence[WorkflowDefinition], name: str | None) -> WorkflowDefinition:
    """The workflow to be drawn; of several versions of one name the last."""
    found = [one for one in workflows if name is None or one.name == name]
    names = dict.fromkeys(one.name for one in workflows)
    if not workflows:
        raise click.UsageError("give MODULE:NAME, or --storage and --instance")
    if not found:
        raise click.UsageError(f"there is no workflow {name!r}; there are: {listing(names)}")
    if name is None and len(names) > 1:
        raise click.UsageError(f"say with --workflow which one to draw: {listing(names)}")
    return found[-1]


def _of_instance(
    storage: WorkflowStorage, id: str, workflows: Sequence[WorkflowDefinition]
) -> Picture:
    try:
        return asyncio.run(_drawn(storage, id, _registry(workflows)))
    except DefinitionChangedError as error:
        told = "without MODULE:NAME it is drawn as it was begun"
        raise DrawingFailedError(f"{error}; {told}") from error
    except FluxError as error:
        raise StorageFailedError(str(error)) from error


def _registry(workflows: Sequence[WorkflowDefinition]) -> Registry:
    registry = Registry()
    for workflow in workflows:
        try:
            registry.register(workflow)
        except WorkflowConflictError as error:
            raise click.UsageError(str(error)) from error
    return registry


async def _drawn(storage: WorkflowStorage, id: str, registry: Registry) -> Picture:
    await storage.init(SystemClock())
    try:
        loaded = await load(storage, id)
    finally:
        await storage.close()
    instance, intent = loaded.instance, loaded.record.intent
    if registry.names:
        picture = picture_of(fitting(registry, instance, intent))
    else:
        title = f"{instance.origin.workflow} {instance.version}"
        picture = picture_of_shape(title, instance.shape)
    return with_progress(picture, shown(None, instance, intent))


def _made(picture: Picture, format: str) -> bytes:
    if format == "mermaid":
        return mermaid(picture).encode()
    text = dot(picture)
    if format == "dot":
        return text.encode()
    try:
        return rendered(text, "svg" if format == "svg" else "png")
    except RenderingError as error:
        raise DrawingFailedError(str(error)) from error


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        click.echo(content, nl=False)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise DrawingFailedError(f"{output}: {error.strerror}") from error
